"""Derivatives against differences of values: check_grads, for the tests of users."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import tree
from tracejit.ir.types import FLOAT0 as float0
from tracejit.ir.types import bfloat16, is_inexact, type_of
from tracejit.transforms.derivatives import jvp, vjp

__all__ = ["check_close", "check_grads", "check_jvp", "check_vjp"]

STEP = {2: 1e-2, 4: 1e-4, 8: 1e-6}            # bytes of a real element -> step of a difference
TOLERANCE = {2: 1e-1, 4: 2e-2, 8: 1e-5}


def width(x: Any) -> int:
    """Bytes of the real numbers that x is made of."""
    dtype = type_of(x).dtype
    return dtype.itemsize // (2 if dtype.kind == "c" else 1)


def direction(rng: np.random.Generator, x: Any) -> Any:
    """A random tangent of x: of its type, or float0 where it has none."""
    t = type_of(x)
    if not is_inexact(t.dtype):
        return np.zeros(t.shape, float0)
    drawn = rng.standard_normal(t.shape) + (1j * rng.standard_normal(t.shape) if t.dtype.kind == "c" else 0)
    return np.asarray(drawn).astype(t.dtype)


def values(x: Any) -> list[np.ndarray]:
    """The leaves in double precision; zeros for float0, the derivative of integers."""
    found = [np.zeros(np.shape(leaf)) if np.asarray(leaf).dtype == float0 else np.asarray(leaf) for leaf in tree.leaves(x)]
    return [leaf.astype(np.complex128 if leaf.dtype.kind == "c" else np.float64) for leaf in found]


def moved(args: Any, tangents: Any, step: float) -> Any:
    shift = lambda x, t: (np.asarray(x, t.dtype) + np.asarray(step * t, t.dtype)).astype(t.dtype) \
        if is_inexact(type_of(x).dtype) else x
    return tree.map(shift, args, tangents)


def difference(f: Callable, args: tuple, tangents: tuple, eps: float) -> list[np.ndarray]:
    """The derivative of f along tangents, from values on both sides."""
    up, down = values(f(*moved(args, tangents, eps))), values(f(*moved(args, tangents, -eps)))
    return [(a - b) / (2 * eps) for a, b in zip(up, down)]


def settings(args: Any, atol: float | None, rtol: float | None, eps: float | None) -> tuple[float, float, float]:
    narrowest = min([width(x) for x in tree.leaves(args) if is_inexact(type_of(x).dtype)], default=4)
    default = TOLERANCE[narrowest]
    return atol if atol is not None else default, rtol if rtol is not None else default, eps or STEP[narrowest]


def compare(what: str, got: Sequence[Any], want: Sequence[Any], atol: float, rtol: float, err_msg: str) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=atol, rtol=rtol, err_msg=f"{what} differs from differences of values. {err_msg}")


def rounding(x: np.ndarray) -> float:
    """How far results of this dtype may be apart when nothing else is said; integers must be equal."""
    if not is_inexact(x.dtype):
        return 0.0
    return {2: 1e-2 if x.dtype == bfloat16 else 1e-3, 4: 1e-6, 8: 1e-15}[width(x)]


def tolerance(given: Any, x: np.ndarray, y: np.ndarray) -> float:
    """What is given for the dtypes, as one number or by dtype; by default what rounding explains."""
    if given is not None and not isinstance(given, dict):
        return given
    named = {np.dtype(dtype): value for dtype, value in (given or {}).items()}
    return max(named.get(a.dtype, rounding(a)) for a in (x, y))


def check_close(xs: Any, ys: Any, atol: Any = None, rtol: Any = None, err_msg: str = "") -> None:
    """AssertionError unless two trees have close leaves; tolerances, numbers or dicts by dtype, grow with the number of
    elements, as sums of them do.

    >>> check_close([1.0, 2.0], [1.0, 2.0 + 1e-7], atol=1e-6)
    """
    for x, y in zip(tree.leaves(xs), tree.leaves(ys), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, f"shapes {x.shape} and {y.shape} differ. {err_msg}"
        allowed = {name: tolerance(given, x, y) * x.size for name, given in (("atol", atol), ("rtol", rtol))}
        x, y = (a.astype(np.float32) if a.dtype == bfloat16 else a for a in (x, y))
        np.testing.assert_allclose(x, y, **allowed, err_msg=err_msg)


def check_jvp(f: Callable, f_jvp: Callable, args: Sequence[Any], atol: float | None = None, rtol: float | None = None,
              eps: float | None = None, err_msg: str = "") -> None:
    """AssertionError unless f_jvp(primals, tangents) gives f and its derivative along a random direction."""
    args = tuple(args)
    atol, rtol, eps = settings(args, atol, rtol, eps)
    tangents = tree.map(lambda x: direction(np.random.default_rng(0), x), args)
    out, out_tangents = f_jvp(args, tangents)
    compare("the value from jvp", values(out), values(f(*args)), atol, rtol, err_msg)
    compare("jvp", values(out_tangents), difference(f, args, tangents, eps), atol, rtol, err_msg)


def check_vjp(f: Callable, f_vjp: Callable, args: Sequence[Any], atol: float | None = None, rtol: float | None = None,
              eps: float | None = None, err_msg: str = "") -> None:
    """AssertionError unless f_vjp(*args) gives f and a pullback that pairs with its derivative: <ct, J t> = <J* ct, t>."""
    args = tuple(args)
    atol, rtol, eps = settings(args, atol, rtol, eps)
    rng = np.random.default_rng(0)
    tangents = tree.map(lambda x: direction(rng, x), args)
    out, pullback = f_vjp(*args)
    compare("the value from vjp", values(out), values(f(*args)), atol, rtol, err_msg)
    cts = tree.map(lambda x: direction(rng, x), out)
    pairs = zip(values(pullback(cts)), values(tangents), [is_inexact(type_of(x).dtype) for x in tree.leaves(args)])
    got = sum(np.sum(a * b) for a, b, moves in pairs if moves)
    want = sum(np.sum(a * b) for a, b in zip(values(cts), difference(f, args, tangents, eps)))
    compare("vjp", [np.real(got)], [np.real(want)], atol, rtol, err_msg)


def check_grads(f: Callable, args: Sequence[Any], order: int, modes: Sequence[str] = ("fwd", "rev"),
                atol: float | None = None, rtol: float | None = None, eps: float | None = None) -> None:
    """AssertionError unless f's derivatives up to `order` agree with differences of values, in each of the modes.

    >>> import tracejit.numpy as jnp
    >>> check_grads(lambda x: jnp.sin(x) * x, (0.7,), order=2)
    """
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := set(modes) - {"fwd", "rev"}:
        raise ValueError(f"check_grads: modes are 'fwd' and 'rev', got {sorted(unknown)}")
    check(f, tuple(args), order, modes, atol, rtol, eps, "")


def check(f: Callable, args: tuple, order: int, modes: tuple[str, ...], atol, rtol, eps, path: str) -> None:
    if order == 0:
        return
    if "fwd" in modes:
        f_jvp = lambda primals, tangents: jvp(f, primals, tangents)
        check_jvp(f, f_jvp, args, atol, rtol, eps, f"({path}jvp)")
        tangents = tree.map(lambda x: direction(np.random.default_rng(1), x), args)
        check(lambda *xs: f_jvp(xs, tangents), args, order - 1, modes, atol, rtol, eps, path + "jvp of ")
    if "rev" in modes:
        check_vjp(f, lambda *xs: vjp(f, *xs), args, atol, rtol, eps, f"({path}vjp)")
        cts = tree.map(lambda x: direction(np.random.default_rng(2), x), f(*args))
        check(lambda *xs: vjp(f, *xs)[1](cts), args, order - 1, modes, atol, rtol, eps, path + "vjp of ")
