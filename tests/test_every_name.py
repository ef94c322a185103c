"""Every public function of the main namespaces is called by a test; those that no other file calls are tested here.

A name counts as called if a test file of its namespace mentions it as an attribute or in a string (a parameter of a test).
"""
from __future__ import annotations

import ast
import functools
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import scipy.special

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax, nn
from tracejit import scipy as tscipy
from tracejit.lax import ScatterDimensionNumbers
from tracejit.tools.compat import found

ROOT = Path(__file__).parent
NAMES = json.loads((ROOT.parent / "docs" / "jax_names.json").read_text())["names"]
MAIN = ("jax.numpy", "jax.lax", "jax.random", "jax.nn", "jax.scipy")

RNG = np.random.default_rng(0)
X, Y, P = (RNG.normal(size=(3, 4)).astype("f"), RNG.normal(size=(3, 4)).astype("f"), RNG.uniform(0.5, 3, (3, 4)).astype("f"))
IMAGE, KERNEL = RNG.normal(size=(1, 1, 6, 5)).astype("f"), RNG.normal(size=(1, 1, 3, 2)).astype("f")
ROWS = ScatterDimensionNumbers((1,), (0,), (0,))
AT = np.int32([[2], [0], [2]])


def slope(f: Callable, a: np.ndarray, h: float = 1e-4) -> np.ndarray:
    return (f(a + h) - f(a - h)) / (2 * h)


def scaled_rows(x: np.ndarray, rows: np.ndarray, factors: np.ndarray) -> np.ndarray:
    out = x.copy()
    np.multiply.at(out, rows[:, 0], factors)
    return out


def correlated(x: np.ndarray, k: np.ndarray, pads: tuple) -> np.ndarray:
    return scipy.signal.correlate(np.pad(x[0, 0], pads), k[0, 0], "valid")[None, None]


# name: (what is called, what independent code or mathematics says)
EXAMPLES: dict[str, tuple[Callable[[], Any], Any]] = {
    "jax.numpy.atan2": (lambda: jnp.atan2(X, Y), np.arctan2(X, Y)),
    "jax.numpy.isrealobj": (lambda: [jnp.isrealobj(X), jnp.isrealobj(1j * X)], [True, False]),
    "jax.numpy.tril_indices_from": (lambda: jnp.tril_indices_from(jnp.asarray(X), 1), np.tril_indices_from(X, 1)),
    "jax.numpy.triu_indices_from": (lambda: jnp.triu_indices_from(jnp.asarray(X), -1), np.triu_indices_from(X, -1)),
    "jax.numpy.get_printoptions": (lambda: jnp.get_printoptions()["precision"], np.get_printoptions()["precision"]),
    "jax.lax.bessel_i0e": (lambda: lax.bessel_i0e(3 * X), scipy.special.i0e(3 * X)),
    "jax.lax.bessel_i1e": (lambda: lax.bessel_i1e(3 * X), scipy.special.i1e(3 * X)),
    "jax.lax.igamma_grad_a": (lambda: lax.igamma_grad_a(P, P[::-1]), slope(lambda a: scipy.special.gammainc(a, P[::-1].astype(float)), P.astype(float))),
    "jax.lax.random_gamma_grad": (lambda: lax.random_gamma_grad(P, P[::-1]), slope(
        lambda a: scipy.special.gammaincinv(a, scipy.special.gammainc(P.astype(float), P[::-1])), P.astype(float))),
    "jax.lax.broadcast_like": (lambda: lax.broadcast_like(X[0], X), np.broadcast_to(X[0], X.shape)),
    "jax.lax.broadcast_shapes": (lambda: lax.broadcast_shapes((3, 1), (2, 1, 4)), np.broadcast_shapes((3, 1), (2, 1, 4))),
    "jax.lax.broadcast_to_rank": (lambda: lax.broadcast_to_rank(X, 4), X[None, None]),
    "jax.lax.unstack": (lambda: lax.unstack(X, 1), list(X.T)),
    "jax.lax.shape_as_value": (lambda: lax.shape_as_value((3, 4)), [3, 4]),
    "jax.lax.dynamic_slice_in_dim": (lambda: lax.dynamic_slice_in_dim(X, np.int32(1), 2, 1), X[:, 1:3]),
    "jax.lax.dynamic_update_slice_in_dim": (lambda: lax.dynamic_update_slice_in_dim(X, Y[:, :2], np.int32(9), 1), np.c_[X[:, :2], Y[:, :2]]),
    "jax.lax.scatter_mul": (lambda: lax.scatter_mul(X, AT, Y, ROWS), scaled_rows(X, AT, Y)),
    "jax.lax.scatter_apply": (lambda: lax.scatter_apply(X, AT[:2], lax.square, ROWS, update_shape=(2, 4)), np.stack([X[0] ** 2, X[1], X[2] ** 2])),
    "jax.lax.conv_with_general_padding": (lambda: lax.conv_with_general_padding(IMAGE, KERNEL, (1, 1), [(1, 2), (0, 1)], None, None),
                                          correlated(IMAGE, KERNEL, ((1, 2), (0, 1)))),
    "jax.lax.conv_shape_tuple": (lambda: lax.conv_shape_tuple((2, 3, 9, 8), (5, 3, 3, 2), (2, 1), [(0, 0), (1, 1)]), (2, 5, 4, 9)),
    "jax.lax.conv_general_shape_tuple": (lambda: lax.conv_general_shape_tuple((2, 9, 8, 3), (3, 2, 3, 5), (2, 1), "VALID", ("NHWC", "HWIO", "NHWC")),
                                         (2, 4, 7, 5)),
    "jax.lax.conv_dimension_numbers": (lambda: lax.conv_dimension_numbers((2, 9, 8, 3), (3, 2, 3, 5), ("NHWC", "HWIO", "NHWC")),
                                       [(0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)]),
    "jax.lax.conv_general_permutations": (lambda: lax.conv_general_permutations(("NWHC", "HWIO", "NCHW")), [(0, 3, 2, 1), (3, 2, 0, 1), (0, 1, 2, 3)]),
    "jax.lax.pswapaxes": (lambda: tj.vmap(lambda x: lax.pswapaxes(x, "i", 0), axis_name="i")(X[:, :3]), X[:, :3].T),
    "jax.lax.scaled_dot": (lambda: lax.scaled_dot(X[None], Y.T[None], lhs_scale=P[None, :, :2], rhs_scale=P.T[None, :2, :3], preferred_element_type=np.float32),
                           ((X * np.repeat(P[:, :2], 2, 1)) @ (Y.T * np.repeat(P.T[:2, :3], 2, 0)))[None]),
    "jax.lax.composite": (lambda: lax.composite(lambda x, *, k: x * k, "my.scale")(X, k=2.0), 2 * X),
    "jax.lax.stage": (lambda: lax.stage(X), X), "jax.lax.pcast": (lambda: lax.pcast(X, (), to="varying"), X),
    "jax.lax.optimization_barrier": (lambda: tj.jit(lambda x: lax.optimization_barrier((x, 2 * x)))(X), [X, 2 * X]),
    "jax.lax.after_all": (lambda: lax.after_all(lax.create_token(), lax.create_token()).size, 0),
    "jax.lax.create_token": (lambda: lax.create_token().size, 0), "jax.lax.dce_sink": (lambda: lax.dce_sink(X) is None, True),
    "jax.lax.rng_uniform": (lambda: [(lambda u: u.min() >= 2 and u.max() < 5 and u.std() > 0.5)(np.asarray(lax.rng_uniform(2.0, 5.0, (64,))))], [True]),
    "jax.random.key_dtype": (lambda: [jnp.issubdtype(tj.random.key_dtype("threefry2x32"), tj.dtypes.prng_key)], [True]),
    "jax.nn.swish": (lambda: nn.swish(X), X / (1 + np.exp(-X))),
    "jax.nn.hard_swish": (lambda: nn.hard_swish(4 * X), 4 * X * np.clip(4 * X + 3, 0, 6) / 6),
    **{f"jax.nn.initializers.{name}": (
        lambda name=name: np.std(getattr(nn.initializers, name)()(tj.random.key(0), (400, 100))).round(2), np.sqrt(2 / total).round(2))
       for name, total in (("kaiming_normal", 400), ("kaiming_uniform", 400), ("xavier_normal", 500), ("xavier_uniform", 500))},
    "jax.scipy.fft.dctn": (lambda: tscipy.fft.dctn(jnp.asarray(X)), scipy.fft.dctn(X)),
    "jax.scipy.fft.idctn": (lambda: tscipy.fft.idctn(jnp.asarray(X)), scipy.fft.idctn(X)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_value(name: str) -> None:
    call, want = EXAMPLES[name]
    got = call()
    pairs = zip(got, want, strict=True) if isinstance(want, (list, tuple)) else [(got, want)]
    for x, y in pairs:
        np.testing.assert_allclose(np.asarray(x), y, rtol=2e-3 if "gamma" in name else 1e-5, atol=1e-5)


def test_set_printoptions() -> None:
    before = jnp.get_printoptions()
    try:
        jnp.set_printoptions(precision=2)
        assert str(jnp.float32(1) / 3 * jnp.ones(1)) == "[0.33]"
    finally:
        jnp.set_printoptions(precision=before["precision"])


@functools.cache
def words_of_tests() -> list[set[str]]:
    return [words(path) for path in ROOT.rglob("*.py")]


def words(path: Path) -> set[str]:
    """The names, attributes, imports and words in strings of a file."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.arg):
            used.add(node.arg)
        elif isinstance(node, ast.ImportFrom):
            used.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.update(re.findall(r"\w+", node.value))
    return used


def marks_of(namespace: str) -> set[str]:
    """The words that a test file of this namespace has."""
    _, first, *rest = namespace.split(".")
    if first == "scipy":
        return {"scipy"} if not rest else {rest[0], rest[-1]}
    return {"jnp" if first == "numpy" else first, *rest}


def is_function(namespace: str, name: str) -> bool:
    """Whether the name is a function, not a class, a type for annotations or a constant."""
    here = found(f"{namespace}.{name}")
    return bool(here) and callable(here[0]) and not inspect.isclass(here[0]) and type(here[0]).__module__ not in ("typing", "types")


@pytest.mark.parametrize("namespace", [space for space, names in NAMES.items() if space.startswith(MAIN) and names])
def test_every_function_is_called(namespace: str) -> None:
    called = set().union(*[used for used in words_of_tests() if marks_of(namespace) <= used])
    functions = [name for name in NAMES[namespace] if is_function(namespace, name)]
    assert [name for name in functions if name not in called] == []


def test_a_function_that_nobody_calls_would_be_found() -> None:
    assert "no_such_function" + "_anywhere" not in set().union(*words_of_tests())
    assert is_function("jax.numpy", "sin") and not is_function("jax.numpy", "float32") and not is_function("jax.numpy", "pi")
