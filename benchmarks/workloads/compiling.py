"""Programs whose first call is what counts: chains of operations written out by a Python loop."""
from __future__ import annotations

import numpy as np

from benchmarks.workload import Data, Workload, generator, jitted, normal, register

LENGTHS = (10, 100, 1000, 5000)


def elementwise_chain(n: int):
    def chain(J, x):
        steps = (J.numpy.sin, lambda x: x * 1.01, lambda x: x + 0.125, J.numpy.tanh)
        for k in range(n):
            x = steps[k % 4](x)
        return x
    return chain


def product_chain(n: int):
    def chain(J, x, w):
        for k in range(n):
            x = J.numpy.tanh(x) if k % 2 else x @ w
        return x
    return chain


def shifting() -> Data:
    """A matrix that shifts and scales, so that a long chain is not chaotic."""
    return {"x": generator().standard_normal((32, 32)).astype(np.float32),
            "w": 1.5 * np.roll(np.eye(32, dtype=np.float32), 1, axis=0)}


for n in LENGTHS:
    register(Workload(f"{n} elementwise operations", f"elementwise_chain_{n}", "compilation", normal(x=(1000,)),
                      jitted(elementwise_chain(n)), compiles=True, tolerance=1e-3))
    register(Workload(f"{n} products and tanh", f"product_chain_{n}", "compilation", shifting, jitted(product_chain(n)),
                      compiles=True, tolerance=1e-3))
register(Workload("x*c + x", "small_formula", "compilation", normal(x=(1000,)), jitted(lambda J, x: x * 1.25 + x), compiles=True))
