"""Calls of every sampler: name -> argument tuples after the key, and the values JAX gives for them.

``python tests/random_cases.py`` writes tests/golden/random.json from an installed JAX.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden") / "random.json"
SEED = 5


def a(*values):
    return np.array(values, np.float32)


GRID = np.arange(12, dtype=np.float32).reshape(3, 4)
COV = np.array([[1.3, 0.3], [0.3, 1.3]], np.float32)

CASES = {
    "bits": [((4,),), ((4,), "uint8"), ((4,), "uint16")],
    "uniform": [((4,),), ((4,), "float16"), ((4,), "bfloat16"), ((4,), None, -2.0, 5.0)],
    "randint": [((6,), 0, 10), ((6,), -100, 100, "int8"), ((6,), 0, 2**31 - 1), ((6,), -128, 128, "int8"), ((3,), 5, 5)],
    "bernoulli": [(0.3, (8,)), (0.3, (8,), "high"), (a(0.1, 0.9),)],
    "rademacher": [((8,),), ((4,), "float32")],
    "normal": [((4,),), ((4,), "bfloat16"), ((4,), "float16"), ((4,), "complex64")],
    "truncated_normal": [(-1.0, 2.0, (5,)), (a(-1, 0, 3), a(0.5, 5, 4))],
    "multivariate_normal": [(a(1, 2), COV, (3,)), (a(1, 2), COV, None, None, "eigh"), (a(1, 2), COV, (2,), None, "svd")],
    "lognormal": [(0.5, (4,))],
    "maxwell": [((4,),)],
    "double_sided_maxwell": [(1.0, 2.0, (4,)), (a(1, 2), 2.0)],
    "wald": [(a(2, 0.1),)],
    "orthogonal": [(3,), (2, (2,)), (2, (), None, 4), (4, (), None, 2)],
    "exponential": [((4,),), ((4,), "float16")],
    "cauchy": [((4,),)],
    "laplace": [((4,),), ((4,), "bfloat16")],
    "logistic": [((4,),)],
    "gumbel": [((4,),), ((4,), None, "high"), ((4,), None, "highest"), ((4,), "float16")],
    "pareto": [(3.0, (4,)), (a(1, 2),)],
    "weibull_min": [(2.0, 1.5, (4,))],
    "rayleigh": [(a(1, 2), (2, 2))],
    "triangular": [(0.0, 1.0, 3.0, (4,))],
    "geometric": [(0.3, (6,)), (a(0.1, 0.9),)],
    "gamma": [(a(0.1, 0.5, 1, 3, 100), (2, 5))],
    "loggamma": [(a(0.001, 0.1, 3, 100),)],
    "beta": [(2.0, 3.0, (4,)), (a(0.1, 0.2), 0.3)],
    "dirichlet": [(a(0.1, 1, 3), (3,))],
    "chisquare": [(a(1, 2, 7),)],
    "f": [(3.0, 4.0, (4,))],
    "t": [(5.0, (4,))],
    "generalized_normal": [(1.5, (4,))],
    "ball": [(3, 2, (2,)), (4, 1.5)],
    "poisson": [(a(0, 0.1, 3, 9.9, 10, 50, 1e4),)],
    "binomial": [(a(0, 5, 10, 100, 1000, np.inf, -1), a(0.1, 0.5, 0.7, 0.3, 0.9, 0.3, 0.3)), (10, 0.3, (5,))],
    "multinomial": [(10, a(0.2, 0.3, 0.5)), (a(10, 100), np.array([[0.2, 0.3, 0.5], [0, 0.5, 0.5]], np.float32))],
    "permutation": [(10,), (GRID,), (GRID, 1), (GRID, 1, True)],
    "choice": [(10, (3, 2)), (10, (4,), False), (GRID, (2,), False), (GRID, (2,), True, None, 1),
               (5, (3,), True, a(0.1, 0.2, 0.3, 0.2, 0.2)), (5, (3,), False, a(0.1, 0.2, 0.3, 0.2, 0.2)),
               (GRID, (2,), False, a(0.1, 0.2, 0.3, 0.4), 1)],
    "categorical": [(a(-2, -1, 0), -1, (8,)), (GRID / 10,), (GRID / 10, 0, (2, 4)), (GRID / 10, 0, (2, 4), False)],
    "split": [(), (3,), ((2, 2),)],
    "fold_in": [(7,), (2**32 - 1,)],
}
CALLS = [(name, number) for name, calls in CASES.items() for number in range(len(calls))]


def plain(values) -> list:
    """Values as JSON can hold them; complex numbers as pairs, low precision as doubles."""
    values = np.asarray(values)
    if values.dtype.kind == "c":
        values = np.stack([values.real, values.imag], -1)
    return [float(x) for x in values.astype(np.float64).ravel()]


def write_golden() -> None:
    import jax  # the one place that needs it

    key = jax.random.PRNGKey(SEED)
    rows = {f"{name}-{number}": plain(getattr(jax.random, name)(key, *CASES[name][number])) for name, number in CALLS}
    lines = ",\n".join(f"{json.dumps(row)}: {json.dumps(values)}" for row, values in rows.items())
    GOLDEN.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    write_golden()
