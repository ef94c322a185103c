"""Every transform of every transform of every transform of small functions, against the same meaning in 60 digits."""
from __future__ import annotations

import itertools
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

# Where functions are tried in each dtype, and how exact results must be.
DTYPES = {"float64": (0.4, 1e-9), "float32": (0.4, 1e-4), "bfloat16": (0.4, 0.1), "complex64": (0.4 + 0.2j, 1e-4)}
STEP = mpmath.mpf(10) ** -12

# A function as it is written with jnp, and as it is written with mpmath.
ZOO: list[tuple[Callable, Callable]] = [
    (lambda x: jnp.sin(x) * x, lambda x: mpmath.sin(x) * x),
    (lambda x: jnp.exp(-x * x) + 0.3 * x, lambda x: mpmath.exp(-x * x) + 0.3 * x),
    (lambda x: jnp.tanh(x) / (1.5 + x * x), lambda x: mpmath.tanh(x) / (1.5 + x * x)),
]


def mean_of_lanes(f: Callable) -> Callable:
    def g(x):
        return jnp.sum(tj.vmap(f, in_axes=0)(jnp.stack([x, 2 * x, x * x]))) / 3
    return g


def run_scan(f: Callable) -> Callable:
    def g(x):
        carry, ys = lax.scan(lambda c, k: (0.5 * f(c) + k * x, c * c), x, jnp.array([0.1, 0.2], x.dtype))
        return carry + jnp.sum(ys)
    return g


def scan_by_hand(f: Callable) -> Callable:
    def g(x):
        c, total = x, 0
        for k in (0.1, 0.2):
            c, y = 0.5 * f(c) + k * x, c * c
            total += y
        return c + total
    return g


def run_while(f: Callable) -> Callable:
    def g(x):
        return lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, 0.7 * f(c[1]) + c[1] * x), (0, x))[1]
    return g


def while_by_hand(f: Callable) -> Callable:
    def g(x):
        c = x
        for _ in range(2):
            c = 0.7 * f(c) + c * x
        return c
    return g


def derivative(f: Callable) -> Callable:
    return lambda x: tj.grad(f, holomorphic=jnp.iscomplexobj(x))(x)


def difference(f: Callable) -> Callable:
    return lambda x: (f(x + STEP) - f(x - STEP)) / (2 * STEP)


# A transform, and its meaning.
TRANSFORMS: dict[str, tuple[Callable, Callable]] = {
    "jit": (tj.jit, lambda f: f),
    "grad": (derivative, difference),
    "vmap": (mean_of_lanes, lambda f: lambda x: (f(x) + f(2 * x) + f(x * x)) / 3),
    "jvp": (lambda f: lambda x: tj.jvp(f, (x,), (2 * x,))[1], lambda f: lambda x: 2 * x * difference(f)(x)),
    "vjp": (lambda f: lambda x: tj.vjp(f, x)[1](x)[0], lambda f: lambda x: x * difference(f)(x)),
    "checkpoint": (tj.checkpoint, lambda f: f),
    "scan": (run_scan, scan_by_hand),
    "cond": (lambda f: lambda x: lax.cond(x.real > 0.1, f, lambda x: jnp.sqrt(x - 100.), x),
             lambda f: lambda x: f(x) if mpmath.re(x) > 0.1 else mpmath.sqrt(x - 100) if mpmath.im(x) else mpmath.nan),
    "while": (run_while, while_by_hand),
}


def check(outer: str, middle: str, inner: str, dtype: str) -> None:
    names, (x, error) = (inner, middle, outer), DTYPES[dtype]
    f, exact = ZOO[(list(TRANSFORMS).index(inner) + len(outer) + len(middle)) % len(ZOO)]
    for name in names:
        f, exact = TRANSFORMS[name][0](f), TRANSFORMS[name][1](exact)
    with mpmath.workdps(60):
        expected = complex(exact(mpmath.mpmathify(np.asarray(x, dtype).item())))
    actual = f(jnp.asarray(x, dtype=dtype))
    assert actual.dtype == dtype, f"{outer} of {middle} of {inner}"
    np.testing.assert_allclose(complex(actual), expected, rtol=error, atol=error / 10, err_msg=f"{outer} of {middle} of {inner}")


PAIRS = list(itertools.product(TRANSFORMS, repeat=2))


@pytest.mark.parametrize("outer, middle", PAIRS)
def test_composition(outer: str, middle: str):
    for inner in TRANSFORMS:
        check(outer, middle, inner, "float64")


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "float64"])
@pytest.mark.parametrize("outer", TRANSFORMS)
def test_some_in_other_dtypes(outer: str, dtype: str):
    """With every transform in the middle and, over all of `outer`, every one inside."""
    inside = list(TRANSFORMS)
    for k, middle in enumerate(TRANSFORMS):
        check(outer, middle, inside[(k + inside.index(outer)) % len(inside)], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "float64"])
@pytest.mark.parametrize("outer, middle", PAIRS)
def test_all_in_other_dtypes(outer: str, middle: str, dtype: str):
    for inner in TRANSFORMS:
        check(outer, middle, inner, dtype)
