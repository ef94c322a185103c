"""The public functions of lax give what JAX's of the same name give: values, dtypes, weak types, derivatives, errors."""
from __future__ import annotations

import functools

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.runtime.array import from_numpy

jax = pytest.importorskip("jax")
jlax = jax.lax

RNG = np.random.default_rng(3)


def f32(*size: int, low: float = -2, high: float = 2) -> np.ndarray:
    return RNG.uniform(low, high, size).astype(np.float32)


def i32(low: int, high: int, *size: int) -> np.ndarray:
    return RNG.integers(low, high, size).astype(np.int32)


X, Y, P = f32(3, 4), f32(3, 4), f32(3, 4, low=0.1)
TIES = np.array([[1.0, 3, 3, 2], [2, 2, 2, 2], [0, -1, 0, -1]], np.float32)
C = (X + 1j * Y).astype(np.complex64)
ROWS = i32(-2, 6, 5, 1)


def numbers(l, kind: str, *fields):
    return getattr(l, f"{kind}DimensionNumbers")(*fields)


def take_rows(l, x, at, mode, **how):
    return l.gather(x, at, numbers(l, "Gather", (1,), (0,), (0,)), (1, 4), mode=mode, **how)


def put_rows(l, name, x, at, updates, mode):
    return getattr(l, name)(x, at, updates, numbers(l, "Scatter", (1,), (0,), (0,)), mode=mode)


# name: (function of (lax, *args), args); the derivative is taken with respect to the floating args
CASES = {
    **{f: (lambda l, x, f=f: getattr(l, f)(x), X) for f in (
        "neg", "sign", "abs", "square", "exp", "exp2", "expm1", "sin", "cos", "tan", "tanh", "sinh", "cosh", "asinh",
        "atan", "logistic", "cbrt", "floor", "ceil", "round", "is_finite", "erf", "erfc", "stop_gradient")},
    **{f: (lambda l, x, f=f: getattr(l, f)(x), P) for f in (
        "log", "log1p", "sqrt", "rsqrt", "reciprocal", "lgamma", "digamma")},
    **{f: (lambda l, x, f=f: getattr(l, f)(x), np.tanh(X)) for f in ("asin", "acos", "atanh", "erf_inv")},
    "acosh": (lambda l, x: l.acosh(x), P + 1),
    **{f: (lambda l, x, y, f=f: getattr(l, f)(x, y), X, Y) for f in (
        "add", "sub", "mul", "div", "rem", "max", "min", "atan2", "nextafter", "eq", "ne", "lt", "le", "gt", "ge")},
    **{f + " of complex": (lambda l, x, f=f: getattr(l, f)(x), C) for f in (
        "abs", "sign", "real", "imag", "conj", "exp", "log", "sqrt", "sin", "tanh", "square", "reciprocal", "neg")},
    "abs at 0": (lambda l, x: l.abs(x), np.zeros(2, np.float32)),
    "max of ties": (lambda l, x, y: l.max(x, y), TIES, TIES), "pow": (lambda l, x, y: l.pow(x, y), P, Y),
    "pow of integers": (lambda l, x, n: l.pow(x, n), X, i32(-3, 4, 3, 4)),
    "pow at 0": (lambda l, x: l.pow(x, np.float32(2)), np.zeros(2, np.float32)),
    "pow 0 at 0": (lambda l, x: l.pow(x, np.int32(0)), np.zeros(2, np.float32)),
    "integer_pow": (lambda l, x: l.integer_pow(x, 3), X), "integer_pow negative": (lambda l, x: l.integer_pow(x, -2), X),
    "clamp": (lambda l, x: l.clamp(np.float32(-0.5), x, np.float32(0.5)), X), "clamp arrays": (lambda l, a, x, b: l.clamp(a, x, b), X, Y, P),
    "clamp at its bounds": (lambda l, x: l.clamp(np.float32(2), x, np.float32(3)), TIES),
    "round to even": (lambda l, x: l.round(x, l.RoundingMethod.TO_NEAREST_EVEN), np.float32([0.5, 1.5, -2.5])),
    "round away": (lambda l, x: l.round(x), np.float32([0.5, 1.5, -2.5])),
    "integer div": (lambda l, x, y: l.div(x, y), i32(-9, 9, 20), i32(1, 5, 20)),
    "integer rem": (lambda l, x, y: l.rem(x, y), i32(-9, 9, 20), i32(1, 5, 20)),
    **{f: (lambda l, x, y, f=f: getattr(l, f)(x, y), i32(-99, 99, 9), i32(0, 40, 9)) for f in (
        "bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right_arithmetic", "shift_right_logical", "mulhi")},
    **{f: (lambda l, x, f=f: getattr(l, f)(x), i32(-99, 99, 9)) for f in ("bitwise_not", "population_count", "clz", "abs", "sign")},
    "float to int8": (lambda l, x: l.convert_element_type(x, np.int8), np.float32([1.9, -1.9, 300, -300, np.nan])),
    "complex to float": (lambda l, x: l.convert_element_type(l.real(x), np.float32), C),
    "float to complex": (lambda l, x: l.convert_element_type(x, np.complex64), X),
    "bits": (lambda l, x: l.bitcast_convert_type(x, np.int32), X), "narrow bits": (lambda l, x: l.bitcast_convert_type(x, np.uint8), X),
    "wide bits": (lambda l, x: l.bitcast_convert_type(x, np.float32), np.arange(8, dtype=np.uint8).reshape(2, 4)),
    "reduce_precision": (lambda l, x: l.reduce_precision(x, 5, 10), np.float32([1.2345, 1e30, 1e-30, 65530, 3e-6])),
    "select": (lambda l, c, x, y: l.select(c, x, y), X > 0, X, Y), "select_n": (lambda l, k, x, y, z: l.select_n(k, x, y, z), i32(0, 3, 3, 4), X, Y, P),
    "broadcast": (lambda l, x: l.broadcast(x, (2, 2)), X), "broadcast_in_dim": (lambda l, x: l.broadcast_in_dim(x, (3, 2, 4), (0, 2)), X),
    "expand_dims": (lambda l, x: l.expand_dims(x, (0, -1)), X), "squeeze": (lambda l, x: l.squeeze(x, (1,)), f32(3, 1, 2)),
    "reshape": (lambda l, x: l.reshape(x, (2, 6), (1, 0)), X), "collapse": (lambda l, x: l.collapse(x, 1, 3), f32(2, 3, 4)),
    "rev": (lambda l, x: l.rev(x, (1,)), X), "slice": (lambda l, x: l.slice(x, (1, 0), (3, 4), (1, 2)), X),
    "slice_in_dim": (lambda l, x: l.slice_in_dim(x, -3, None, 2, 1), X), "index_in_dim": (lambda l, x: l.index_in_dim(x, -1, 1, False), X),
    "pad": (lambda l, x, v: l.pad(x, v, [(1, -1, 2), (-1, 2, 0)]), X, f32()), "tile": (lambda l, x: l.tile(x, (2, 3)), X),
    "concatenate": (lambda l, x, y: l.concatenate([x, y], 1), X, Y), "split": (lambda l, x: l.split(x, [1, 3], 1)[1], X),
    "iota": (lambda l: l.iota(np.int32, 5),), "broadcasted_iota": (lambda l: l.broadcasted_iota(np.float32, (2, 3), 1),),
    "full": (lambda l: l.full((2, 3), 1.5),), "full with dtype": (lambda l: l.full((2,), 3, np.int8),), "full_like": (lambda l, x: l.full_like(x, 2), X),
    **{f: (lambda l, x, f=f: getattr(l, f)(x, (0,)), X) for f in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")},
    "reduce_prod with zeros": (lambda l, x: l.reduce_prod(x, (1,)), TIES), "reduce_max of ties": (lambda l, x: l.reduce_max(x, (1,)), TIES),
    **{f + " of bools": (lambda l, x, f=f: getattr(l, f)(x, (0,)), X > 0) for f in ("reduce_and", "reduce_or", "reduce_xor", "reduce_max")},
    **{f: (lambda l, x, f=f: getattr(l, f)(x, 1, np.int32), TIES) for f in ("argmax", "argmin")},
    "argmax of nan": (lambda l, x: l.argmax(x, 0, np.int32), np.float32([1, np.nan, 3, np.nan])),
    "reduce": (lambda l, x: l.reduce(x, np.float32(3), l.add, (1,)), X),
    "reduce by a function": (lambda l, x: l.reduce(x, np.float32(0), lambda a, b: l.add(l.add(a, b), l.mul(a, b)), (1,)), X),
    "reduce a pair": (lambda l, x, y: l.reduce((x, y), (np.float32(0), np.float32(1)), lambda a, b: (l.add(a[0], b[0]), l.mul(a[1], b[1])), (0,)), X, Y),
    **{f: (lambda l, x, f=f: getattr(l, f)(x, 1), X) for f in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")},
    **{f + " reversed": (lambda l, x, f=f: getattr(l, f)(x, 0, True), X) for f in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")},
    **{f"gather {m}": (lambda l, x, m=m: take_rows(l, x, ROWS, m), f32(4, 4)) for m in ("clip", "fill")},
    "gather with fill value": (lambda l, x: take_rows(l, x, ROWS, "fill", fill_value=7), f32(4, 4)),
    "gather integers": (lambda l, x: take_rows(l, x, ROWS, "fill"), i32(0, 9, 4, 4)),
    **{f"{f} {m}": (lambda l, x, u, f=f, m=m: put_rows(l, f, x, ROWS, u, m), f32(4, 4), f32(5, 4))
       for f in ("scatter_add", "scatter_sub", "scatter_min", "scatter_max") for m in ("clip", "drop")},
    "scatter": (lambda l, x, u: put_rows(l, "scatter", x, np.int32([[2], [0], [9]]), u, "drop"), f32(4, 4), f32(3, 4)),
    "dynamic_slice": (lambda l, x: l.dynamic_slice(x, (np.int32(-2), 3), (2, 2)), X),
    "dynamic_slice of a vector": (lambda l, x, i: l.dynamic_slice(x, i, (2, 2)), X, np.int32([1, 9])),
    "dynamic_update_slice": (lambda l, x, u: l.dynamic_update_slice(x, u, (1, -2)), X, f32(2, 2)),
    "dynamic_index_in_dim": (lambda l, x: l.dynamic_index_in_dim(x, 2, 1, keepdims=False), X),
    "dynamic_update_index_in_dim": (lambda l, x, u: l.dynamic_update_index_in_dim(x, u, 1, 0), X, f32(4)),
    "index_take": (lambda l, x: l.index_take(x, [np.int32([0, 2, -1])], [0]), X),
    "zeta": (lambda l, q: l.zeta(np.float32(2.5), q), P), "polygamma": (lambda l, x: l.polygamma(np.float32(2), x), P),
}
EACH_CASE = pytest.mark.parametrize("name", CASES)


def weighed(l, y):
    """A sum of all elements in which each counts differently."""
    return l.reduce_sum(l.mul(y, l.sin(l.reshape(l.iota(np.float32, y.size), y.shape))), range(y.ndim))


def leaves(out) -> list:
    return list(out) if isinstance(out, (list, tuple)) else [out]


def same(mine, theirs, rtol: float) -> None:
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=rtol)


@EACH_CASE
def test_value_and_type(name: str):
    f, *args = CASES[name]
    mine, theirs = leaves(f(lax, *map(from_numpy, args))), leaves(f(jlax, *map(jax.numpy.asarray, args)))
    same(mine, theirs, rtol=3e-6)
    assert [x.weak_type for x in mine] == [x.weak_type for x in theirs]


# JAX divides by zero where a clipped update loses.
@pytest.mark.parametrize("name", [name for name in CASES if name not in ("scatter_min clip", "scatter_max clip")])
def test_gradient(name: str):
    f, *args = CASES[name]
    moving = [i for i, x in enumerate(args) if x.dtype.kind in "fc"]
    if not moving:
        pytest.skip("nothing moves")

    def loss(l):
        def total(*moved):
            given = dict(zip(moving, moved))
            outs = leaves(f(l, *[given.get(i, x) for i, x in enumerate(args)]))
            outs = [l.real(y) if y.dtype.kind == "c" else y for y in outs if y.dtype.kind in "fc"]
            return functools.reduce(l.add, [weighed(l, y) for y in outs], l.full((), 0, np.float32))
        return total
    moved = [args[i] for i in moving]
    try:
        _, pullback = jax.vjp(loss(jlax), *map(jax.numpy.asarray, moved))
    except NotImplementedError:
        pytest.skip("JAX has no derivative for it")
    same(tj.vjp(loss(lax), *map(from_numpy, moved))[1](from_numpy(np.float32(1))), pullback(jax.numpy.float32(1)), rtol=2e-5)


@pytest.mark.parametrize("algorithm", [0, 1, 2])
@pytest.mark.parametrize("shape", [(), (8,), (3,), (2, 5), (5, 3, 2), (3, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_random_bits(algorithm: int, shape: tuple[int, ...], dtype: str):
    for state in (np.uint32([1, 2, 3, 4]), np.uint32([2**32 - 1, 5, 2**32 - 2, 7])):
        mine = lax.rng_bit_generator(state, shape, dtype, lax.RandomAlgorithm(algorithm))
        theirs = jlax.rng_bit_generator(jax.numpy.asarray(state), shape, jax.numpy.dtype(dtype), algorithm)
        same(mine, theirs, rtol=0)


@pytest.mark.parametrize("call", [
    lambda l, x: l.add(x, np.zeros(3, np.float32)), lambda l, x: l.reshape(x, (5, 5)), lambda l, x: l.transpose(x, (0, 0)),
    lambda l, x: l.concatenate([x, x[:, :2]], 0), lambda l, x: l.slice(x, (0, 0), (9, 9)), lambda l, x: l.squeeze(x, (0,)),
    lambda l, x: l.sin(np.int32(3)), lambda l, x: l.bitwise_and(x, x), lambda l, x: l.add(x, X.astype(np.int32)),
    lambda l, x: l.broadcast_in_dim(x, (4, 3), (0, 1)), lambda l, x: l.dynamic_slice(x, (0, 0), (9, 9)),
    lambda l, x: l.pad(x, np.int32(0), [(0, 0, 0)] * 2), lambda l, x: l.integer_pow(np.int32(2), -1), lambda l, x: l.reduce_and(x, (0,)),
])
def test_both_refuse(call):
    for l, array in ((jlax, jax.numpy.asarray), (lax, from_numpy)):
        with pytest.raises((TypeError, ValueError)):
            call(l, array(X))
