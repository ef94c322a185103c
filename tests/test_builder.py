"""Every operation of the Builder against NumPy: all dtypes, special values, vectors and scalars."""
from __future__ import annotations

import ctypes
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from llvm_harness import TARGET_IDS, TARGETS, Kernels, address, compile_module, elementwise

from tracejit.codegen.cpu.builder import PTR, Builder, Module
from tracejit.codegen.cpu.isa import host_isa, make_isa
from tracejit.config import config

BF16 = np.dtype(ml_dtypes.bfloat16)
INTEGERS = [np.dtype(t) for t in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
FLOATS = [np.dtype("f2"), BF16, np.dtype("f4"), np.dtype("f8")]
COMPLEX = [np.dtype("c8"), np.dtype("c16")]
BOOL = np.dtype("?")
ALL = [BOOL, *INTEGERS, *FLOATS, *COMPLEX]
I64 = np.dtype("i8")

targets = pytest.mark.parametrize("isa, wide", TARGETS, ids=TARGET_IDS)


def is_float(dtype):
    return dtype.kind == "f" or dtype == BF16


def samples(dtype, rng=None):
    """Special and random values of `dtype`."""
    rng = rng or np.random.default_rng(7)
    if dtype == BOOL:
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        edge = [0, 1, 2, 3, 7, info.max, info.max - 1, info.min, info.min + 1, info.max // 2]
        edge += [-1, -2, -3, -7] if dtype.kind == "i" else []
        return np.concatenate([np.array(edge, dtype), rng.integers(info.min, info.max, 18, dtype, endpoint=True)])
    if dtype.kind == "c":
        part = samples(np.dtype("f4" if dtype == np.dtype("c8") else "f8"), rng)
        finite = part[np.isfinite(part) & (np.abs(part) < 1e4) & ((np.abs(part) > 1e-4) | (part == 0))]
        return (finite + 1j * rng.permutation(finite)).astype(dtype)
    info = ml_dtypes.finfo(dtype)
    edge = [0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, float(info.max), -float(info.max)]
    edge += [float(info.tiny), float(info.smallest_subnormal), -3 * float(info.smallest_subnormal), 1e5, -1e10]
    with np.errstate(over="ignore"):
        return np.concatenate([np.array(edge), rng.normal(size=12), rng.normal(size=12) * 300]).astype(dtype)


def pairs(dtype):
    """Every sample with every other."""
    x = samples(dtype)
    return np.repeat(x, x.size), np.tile(x, x.size)


def bits(x):
    return x.view(f"u{x.dtype.itemsize}") if x.dtype.kind != "c" else x


def assert_same(got, want, what=""):
    """Equal, all nans alike, zeros of one sign."""
    want = np.asarray(want).astype(got.dtype)
    if got.dtype.kind == "c":
        np.testing.assert_allclose(got, want, rtol=8 * np.finfo(got.dtype).eps, err_msg=what)
        return
    same = bits(got) == bits(want)
    if is_float(got.dtype):
        same |= (got != got) & (want != want)
    assert same.all(), f"{what}: got {got[~same][:5]}, not {want[~same][:5]}"


def check(kernels, cases):
    """cases: (name, body, arguments, wanted array, dtype of the result); compiled together."""
    built = [(name, kernels.add(body, [a.dtype for a in args], out), args, want)
             for name, body, args, want, out in cases]
    for name, function, args, want in built:
        assert_same(function(*args), want, f"{name} {args[0].dtype}")


def truncating_divide(x, y):
    """lax.div of integers: toward zero, x / 0 = -1, INT_MIN / -1 wraps."""
    exact = [(-1 if d == 0 else abs(n) // abs(d) * (1 if (n < 0) == (d < 0) else -1)) for n, d in zip(x.tolist(), y.tolist())]
    return np.array([e & (2 ** (8 * x.dtype.itemsize) - 1) for e in exact], np.uint64).astype(x.dtype)


def truncating_remainder(x, y):
    exact = [n if d == 0 else (abs(n) % abs(d)) * (-1 if n < 0 else 1) for n, d in zip(x.tolist(), y.tolist())]
    return np.array(exact, object).astype(x.dtype)


def sign_of(x):
    return np.where(x != x, x, np.where(x > 0, 1, np.where(x < 0, -1, x))).astype(x.dtype)


def extreme(x, y, biggest):
    pick = np.maximum(x, y) if biggest else np.minimum(x, y)
    both_zero = (x == 0) & (y == 0)
    negative = (np.signbit(x) & np.signbit(y)) if biggest else (np.signbit(x) | np.signbit(y))
    return np.where(both_zero, np.where(negative, -0.0, 0.0).astype(x.dtype), pick)


def round_away(x):
    whole = np.trunc(x.astype("f8"))
    return np.copysign(whole + np.where(np.abs(x.astype("f8") - whole) >= 0.5, np.sign(x.astype("f8")), 0), x.astype("f8"))


@targets
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@np.errstate(all="ignore")
def test_integer_operations(isa, wide, dtype):
    x, y = pairs(dtype)
    size = dtype.itemsize * 8
    counts = (y.view(f"u{dtype.itemsize}") % (size + 4)).astype(dtype)
    inside = counts.astype("u8") < size
    safe = np.where(inside, counts, 0).astype(dtype)
    unsigned = x.view(f"u{dtype.itemsize}")
    signed = x.view(f"i{dtype.itemsize}")
    ones = np.array([int(v).bit_count() for v in unsigned])
    fill = np.where(inside, signed >> safe.view(signed.dtype), np.where(signed < 0, -1, 0)).astype(signed.dtype)
    check(Kernels(isa, wide), [
        ("add", lambda b, x, y: b.add(x, y), (x, y), x + y, dtype),
        ("sub", lambda b, x, y: b.sub(x, y), (x, y), x - y, dtype),
        ("mul", lambda b, x, y: b.mul(x, y), (x, y), x * y, dtype),
        ("div", lambda b, x, y: b.div(x, y), (x, y), truncating_divide(x, y), dtype),
        ("div by 7", lambda b, x: b.div(x, 7), (x,), truncating_divide(x, np.full_like(x, 7)), dtype),
        ("rem", lambda b, x, y: b.rem(x, y), (x, y), truncating_remainder(x, y), dtype),
        ("neg", lambda b, x: b.neg(x), (x,), -x, dtype),
        ("abs", lambda b, x: b.abs(x), (x,), np.abs(x), dtype),
        ("sign", lambda b, x: b.sign(x), (x,), np.sign(x), dtype),
        ("max", lambda b, x, y: b.max(x, y), (x, y), np.maximum(x, y), dtype),
        ("min", lambda b, x, y: b.min(x, y), (x, y), np.minimum(x, y), dtype),
        ("and", lambda b, x, y: b.and_(x, y), (x, y), x & y, dtype),
        ("or", lambda b, x, y: b.or_(x, y), (x, y), x | y, dtype),
        ("xor", lambda b, x, y: b.xor(x, y), (x, y), x ^ y, dtype),
        ("not", lambda b, x: b.not_(x), (x,), ~x, dtype),
        ("shl", lambda b, x, y: b.shl(x, y), (x, counts), np.where(inside, x << safe, 0), dtype),
        ("shr_logical", lambda b, x, y: b.shr_logical(x, y), (x, counts),
         np.where(inside, unsigned >> safe.view(unsigned.dtype), 0).astype(unsigned.dtype).view(dtype), dtype),
        ("shr_arith", lambda b, x, y: b.shr_arith(x, y), (x, counts), fill.view(dtype), dtype),
        ("popcount", lambda b, x: b.popcount(x), (x,), ones, dtype),
        ("clz", lambda b, x: b.clz(x), (x,), [size - int(v).bit_length() for v in unsigned], dtype),
        ("integer_pow", lambda b, x: b.integer_pow(x, 5), (x,), x * x * x * x * x, dtype),
        ("is_finite", lambda b, x: b.is_finite(x), (x,), np.ones(x.shape, bool), BOOL),
    ])


@targets
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@np.errstate(all="ignore")
def test_float_operations(isa, wide, dtype):
    x, y = pairs(dtype)
    wide_x = x.astype("f8")
    half = dtype.itemsize == 2
    power = (x * x) * x if not half else ((x.astype("f4") * x.astype("f4")) * x.astype("f4"))
    check(Kernels(isa, wide), [
        ("add", lambda b, x, y: b.add(x, y), (x, y), x + y, dtype),
        ("sub", lambda b, x, y: b.sub(x, y), (x, y), x - y, dtype),
        ("mul", lambda b, x, y: b.mul(x, y), (x, y), x * y, dtype),
        ("div", lambda b, x, y: b.div(x, y), (x, y), x / y, dtype),
        ("rem", lambda b, x, y: b.rem(x, y), (x, y), np.fmod(wide_x, y.astype("f8")), dtype),
        ("neg", lambda b, x: b.neg(x), (x,), -x, dtype),
        ("abs", lambda b, x: b.abs(x), (x,), np.abs(x), dtype),
        ("sign", lambda b, x: b.sign(x), (x,), sign_of(x), dtype),
        ("sqrt", lambda b, x: b.sqrt(x), (x,), np.sqrt(x.astype("f4") if half else x), dtype),
        ("max", lambda b, x, y: b.max(x, y), (x, y), extreme(x, y, True), dtype),
        ("min", lambda b, x, y: b.min(x, y), (x, y), extreme(x, y, False), dtype),
        ("max with 0", lambda b, x: b.max(x, 0.0), (x,), extreme(x, np.zeros_like(x), True), dtype),
        ("min with 0", lambda b, x: b.min(x, 0.0), (x,), extreme(x, np.zeros_like(x), False), dtype),
        ("max with -0", lambda b, x: b.max(-0.0, x), (x,), extreme(x, -np.zeros_like(x), True), dtype),
        ("min with -0", lambda b, x: b.min(-0.0, x), (x,), extreme(x, -np.zeros_like(x), False), dtype),
        ("min with 2", lambda b, x: b.min(2.0, x), (x,), extreme(x, np.full_like(x, 2), False), dtype),
        ("floor", lambda b, x: b.floor(x), (x,), np.floor(wide_x), dtype),
        ("ceil", lambda b, x: b.ceil(x), (x,), np.ceil(wide_x), dtype),
        ("trunc", lambda b, x: b.trunc(x), (x,), np.trunc(wide_x), dtype),
        ("rint", lambda b, x: b.rint(x), (x,), np.rint(wide_x), dtype),
        ("round_away", lambda b, x: b.round_away(x), (x,), round_away(x), dtype),
        ("copysign", lambda b, x, y: b.copysign(x, y), (x, y), np.copysign(x, y), dtype),
        ("nextafter", lambda b, x, y: b.nextafter(x, y), (x, y), np.where(x == y, y, np.nextafter(x, y)), dtype),
        ("is_finite", lambda b, x: b.is_finite(x), (x,), np.isfinite(x), BOOL),
        ("integer_pow", lambda b, x: b.integer_pow(x, 3), (x,), power, dtype),
        ("bits", lambda b, x: b.bitcast(b.bitcast(x, f"i{dtype.itemsize}"), dtype), (x,), x, dtype),
    ])


@targets
@np.errstate(all="ignore")
def test_rem_of_large_quotients_is_exact(isa, wide):
    for dtype, top in ((np.dtype("f4"), 120), (np.dtype("f8"), 1000)):
        rng = np.random.default_rng(3)
        x = (rng.normal(size=300) * 2.0 ** rng.integers(-top, top, 300)).astype(dtype)
        y = (rng.normal(size=300) * 2.0 ** rng.integers(-top, top, 300)).astype(dtype)
        y[:3], x[:3] = np.finfo(dtype).smallest_subnormal * 3, np.finfo(dtype).max
        check(Kernels(isa, wide), [("rem", lambda b, x, y: b.rem(x, y), (x, y), np.fmod(x, y), dtype)])


@targets
@pytest.mark.parametrize("dtype", [BOOL, *INTEGERS, *FLOATS], ids=str)
@np.errstate(all="ignore")
def test_comparisons_and_select(isa, wide, dtype):
    x, y = pairs(dtype)
    compare = {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}
    cases = [(name, lambda b, x, y, name=name: getattr(b, name)(x, y), (x, y), want, BOOL)
             for name, want in compare.items()]
    cases.append(("select", lambda b, x, y: b.select(b.lt(x, y), x, y), (x, y), np.where(x < y, x, y), dtype))
    check(Kernels(isa, wide), cases)


@targets
def test_bool_operations(isa, wide):
    x, y = pairs(BOOL)
    check(Kernels(isa, wide), [
        ("add", lambda b, x, y: b.add(x, y), (x, y), x | y, BOOL),
        ("mul", lambda b, x, y: b.mul(x, y), (x, y), x & y, BOOL),
        ("max", lambda b, x, y: b.max(x, y), (x, y), x | y, BOOL),
        ("min", lambda b, x, y: b.min(x, y), (x, y), x & y, BOOL),
        ("xor", lambda b, x, y: b.xor(x, y), (x, y), x ^ y, BOOL),
        ("not", lambda b, x: b.not_(x), (x,), ~x, BOOL),
    ])


@targets
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
@np.errstate(all="ignore")
def test_complex_operations(isa, wide, dtype):
    x, y = pairs(dtype)
    part = x.real.dtype
    nonzero = np.where(x == 0, 1, x)
    check(Kernels(isa, wide), [
        ("add", lambda b, x, y: b.add(x, y), (x, y), x + y, dtype),
        ("sub", lambda b, x, y: b.sub(x, y), (x, y), x - y, dtype),
        ("neg", lambda b, x: b.neg(x), (x,), -x, dtype),
        ("conj", lambda b, x: b.conj(x), (x,), x.conj(), dtype),
        ("real", lambda b, x: b.real(x), (x,), x.real, part),
        ("imag", lambda b, x: b.imag(x), (x,), x.imag, part),
        ("complex", lambda b, x, y: b.complex(x, y), (x.real.copy(), x.imag.copy()), x, dtype),
        ("sign", lambda b, x: b.sign(x), (x,), np.where(x == 0, 0, nonzero / np.abs(nonzero)), dtype),
        ("eq", lambda b, x, y: b.eq(x, y), (x, y), x == y, BOOL),
        ("ne", lambda b, x, y: b.ne(x, y), (x, y), x != y, BOOL),
        ("max", lambda b, x, y: b.max(x, y), (x, y), np.maximum(x, y), dtype),
        ("min", lambda b, x, y: b.min(x, y), (x, y), np.minimum(x, y), dtype),
        ("select", lambda b, x, y: b.select(b.eq(x, y), x, y), (x, y), y, dtype),
    ])


@targets
@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_complex_products_and_roots(isa, wide, dtype):
    x, y = pairs(dtype)
    y = np.where(y == 0, 2 - 1j, y).astype(dtype)
    exact_x, exact_y = x.astype(np.clongdouble), y.astype(np.clongdouble)
    kernels = Kernels(isa, wide)
    cases = [
        (kernels.add(lambda b, x, y: b.mul(x, y), [dtype] * 2, dtype), (x, y), exact_x * exact_y),
        (kernels.add(lambda b, x, y: b.div(x, y), [dtype] * 2, dtype), (x, y), exact_x / exact_y),
        (kernels.add(lambda b, x: b.sqrt(x), [dtype], dtype), (x,), np.sqrt(exact_x)),
        (kernels.add(lambda b, x: b.rsqrt(x), [dtype], dtype), (y,), 1 / np.sqrt(exact_y)),
        (kernels.add(lambda b, x: b.integer_pow(x, -2), [dtype], dtype), (y,), 1 / exact_y**2),
        (kernels.add(lambda b, x: b.abs(x), [dtype], x.real.dtype), (x,), np.abs(exact_x)),
    ]
    for function, args, want in cases:
        error = np.abs(function(*args) - want)
        assert (error <= 6 * np.finfo(dtype).eps * np.abs(want)).all()


def test_complex_sqrt_at_the_edges():
    root = elementwise(lambda b, x: b.sqrt(x), ["c16"], "c16", host_isa(), 4)
    inf, nan, big = np.inf, np.nan, 1.7e308
    z = np.array([complex(*p) for p in [(-0.0, 0.0), (-4, 0.0), (-4, -0.0), (inf, 1), (-inf, 1), (nan, inf), (1, -inf),
                                       (big, big), (5e-324, 0), (0, 5e-324)]])
    with np.errstate(all="ignore"):
        want = np.sqrt(z.astype(np.clongdouble))
    got = root(z)
    np.testing.assert_allclose(got.real, want.real.astype("f8"), rtol=1e-15)
    np.testing.assert_allclose(got.imag, want.imag.astype("f8"), rtol=1e-15)
    np.testing.assert_array_equal(np.signbit(got.imag), np.signbit(want.imag))


def round_to(x, dtype):
    """A long double correctly rounded to a short float format."""
    info = ml_dtypes.finfo(dtype)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(np.where(np.isfinite(x), x, 0))
        exponent = np.maximum(exponent, info.minexp + 1)
        unit = np.ldexp(np.longdouble(1), exponent - info.nmant - 1)
        rounded = np.where(np.isfinite(x), np.rint(x / unit) * unit, x)
        out = np.where(np.abs(rounded) > np.longdouble(info.max), np.copysign(np.inf, x), rounded)
    return np.copysign(out, x).astype("f8").astype(dtype)


def converted(x, dtype):
    """lax.convert_element_type, by way of long doubles."""
    if x.dtype.kind == "c" and dtype.kind != "c":
        return x != 0 if dtype == BOOL else converted(x.real.copy(), dtype)
    if dtype == BOOL:
        return x != 0
    if is_float(x.dtype) and dtype.kind in "iu":
        info = np.iinfo(dtype)
        value = np.where(np.isnan(x), 0, np.trunc(x.astype(np.longdouble)))
        clipped = np.clip(value, np.longdouble(info.min), np.longdouble(info.max))
        return np.array([int(v) for v in clipped], object).astype(dtype)
    if is_float(dtype) and dtype.itemsize == 2:
        return round_to(x.astype("f8").astype(np.longdouble) if x.dtype == BF16 else x.astype(np.longdouble), dtype)
    return x.astype(dtype)


@targets
@pytest.mark.parametrize("source", ALL, ids=str)
@np.errstate(all="ignore")
def test_convert_every_pair_of_dtypes(isa, wide, source):
    x = samples(source)
    if is_float(source):
        ties = np.array([2048 + 1, 2048 + 3, 257, 259, 1 + 2.0**-9, 1 + 2.0**-12, 65520, 65519.99, 2.0**-25, 2.0**-24 * 1.5])
        x = np.concatenate([x, ties.astype(source), -ties.astype(source), (2.0 ** np.arange(7, 65)).astype(source)])
        x = np.concatenate([x, np.nextafter(ties.astype(source), source.type(0)), np.nextafter(ties.astype(source), source.type(9e9))])
    if source.itemsize == 8 and source.kind in "iu":
        x = np.concatenate([x, (np.array([257, 259, 2049]) << 50).astype(source), (np.array([257, 259]) << 50).astype(source) + source.type(1)])
    check(Kernels(isa, wide), [
        (f"convert to {dtype} from", lambda b, x, dtype=dtype: b.convert(x, dtype), (x,), converted(x, dtype), dtype)
        for dtype in ALL
    ])


@targets
def test_fma_rounds_once(isa, wide):
    for dtype in (np.dtype("f4"), np.dtype("f8")):
        rng = np.random.default_rng(5)
        x, y = rng.normal(size=(2, 400)).astype(dtype)
        z = (-(x.astype("f8") * y) * rng.choice([1, 1 + 1e-7, 0.5, 1e-9, 3e5], 400)).astype(dtype)
        got = Kernels(isa, wide).add(lambda b, *v: b.fma(*v), [dtype] * 3, dtype)(x, y, z)
        for p, q, r, result in zip(x, y, z, got):
            exact = Fraction(float(p)) * Fraction(float(q)) + Fraction(float(r))
            distance = abs(Fraction(float(result)) - exact)
            assert distance <= Fraction(float(np.spacing(np.abs(result)))) / 2


@targets
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_memory_round_trips_with_masks_and_indices(isa, wide, dtype):
    """Masked load, gather, scatter and masked store of reversed elements, for every dtype."""
    module = Module(make_isa(isa))
    lanes = 8 if wide else 1
    b = Builder(module, "k", [("x", PTR), ("out", PTR), ("n", I64)])
    x, out, n = b.params
    zero = b.const(0, dtype)
    with b.loop(0, n, lanes) as loop:
        place = b.add(b.splat(loop.index, lanes), b.iota(lanes, I64))
        valid = b.lt(place, n)
        forward = b.load(dtype, b.gep(x, loop.index, dtype), lanes, mask=valid, other=zero)
        backward = b.gather(dtype, x, b.sub(b.sub(n, 1), place), mask=valid, other=zero)
        b.store(forward, b.gep(out, loop.index, dtype), mask=valid)
        b.scatter(backward, b.gep(out, n, dtype), place, mask=valid)
    b.ret()
    b.finish()
    kernel = address(compile_module(module), "k", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    for size in (1, 5, 8, 21):
        values = np.resize(samples(dtype), size)
        got = np.zeros(2 * size + 3, dtype)
        got[2 * size:] = 1
        kernel(values.ctypes.data, got.ctypes.data, size)
        np.testing.assert_array_equal(got[:size].view("u1"), values.view("u1"))
        np.testing.assert_array_equal(got[size : 2 * size].view("u1"), values[::-1].copy().view("u1"))
        assert (got[2 * size:] == 1).all()


@pytest.mark.parametrize("kind, numpy", [("add", np.add), ("mul", np.multiply), ("min", np.minimum), ("max", np.maximum),
                                         ("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)])
def test_reduce_is_a_halving_tree(kind, numpy):
    dtype = np.dtype("i4") if kind in ("and", "or", "xor") else np.dtype("f4")
    x = (np.random.default_rng(0).normal(size=64) * 100).astype(dtype)
    got = elementwise(lambda b, v: b.splat(b.reduce(kind, v), 16), [dtype], dtype, host_isa(), 16)(x)
    rows = x.reshape(-1, 16)
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        rows = numpy(rows[:, :half], rows[:, half:])
    np.testing.assert_array_equal(got, np.repeat(rows[:, 0], 16))


def test_lanes_can_be_moved():
    x = np.arange(32, dtype="f4")
    kernels = Kernels(host_isa())
    rotate = kernels.add(lambda b, v: b.shuffle(v, None, [*range(1, 8), 0]), ["f4"], "f4", 8)
    put = kernels.add(lambda b, v: b.insert(v, b.extract(v, 3), 0), ["f4"], "f4", 8)
    parts = kernels.add(lambda b, v: b.concat(b.split(v, 2)[::-1]), ["f4"], "f4", 8)
    widened = kernels.add(lambda b, v: b.add(b.splat(b.extract(v, 1), 8), b.iota(8, "f4")), ["f4"], "f4", 8)
    rows = x.reshape(4, 8)
    np.testing.assert_array_equal(rotate(x).reshape(4, 8), np.roll(rows, -1, 1))
    np.testing.assert_array_equal(put(x).reshape(4, 8), np.concatenate([rows[:, 3:4], rows[:, 1:]], 1))
    np.testing.assert_array_equal(parts(x).reshape(4, 8), rows[:, [6, 7, 4, 5, 2, 3, 0, 1]])
    np.testing.assert_array_equal(widened(x).reshape(4, 8), rows[:, 1:2] + np.arange(8))


def scalar_function(build, *dtypes):
    """An i64 function of i64 arguments."""
    module = Module(host_isa())
    b = Builder(module, "f", [(f"x{i}", I64) for i in range(len(dtypes))], ret=I64)
    b.ret(build(b, *b.params))
    b.finish()
    return address(compile_module(module), "f", ctypes.c_int64, *[ctypes.c_int64] * len(dtypes))


def test_loops_carry_values():
    def triangle(b, n, m):
        with b.loop(0, n, carries=[b.index(0), b.index(1)]) as outer:
            i, (total, count) = outer
            with b.loop(i, m, 2, carries=[total]) as inner:
                inner.carry(b.add(inner.carries[0], inner.index))
            outer.carry(inner.results[0], b.mul(count, 2))
        return b.add(outer.results[0], outer.results[1])

    f = scalar_function(triangle, I64, I64)
    for n, m in [(0, 5), (3, 0), (4, 9), (7, 3)]:
        assert f(n, m) == sum(sum(range(i, m, 2)) for i in range(n)) + 2**n


def test_while_and_cond():
    def collatz(b, n):
        def step(carry):
            value, steps = carry
            even = b.eq(b.rem(value, 2), 0)
            (following,) = b.cond(even, lambda: [b.div(value, 2)], lambda: [b.add(b.mul(value, 3), 1)])
            return [following, b.add(steps, 1)]

        return b.while_loop([n, b.index(0)], lambda carry: b.ne(carry[0], 1), step)[1]

    f = scalar_function(collatz, I64)
    assert [f(n) for n in (1, 2, 3, 7, 27)] == [0, 1, 7, 16, 111]


def test_free_blocks_calls_and_stack():
    module = Module(host_isa())
    square = Builder(module, "square", [("x", np.dtype("f8"))], linkage="internal")
    square.ret(square.mul(square.params[0], square.params[0]))
    square.finish()
    b = Builder(module, "f", [("x", np.dtype("f8"))])
    (x,) = b.params
    slot = b.alloca(16)
    b.condbr(b.gt(x, 0.0), "positive", "join")
    before = b.block
    b.label("positive")
    b.store(b.call("square", np.dtype("f8"), [x]), slot)
    loaded = b.load(np.dtype("f8"), slot)
    b.br("join")
    b.label("join")
    b.ret(b.phi([(x, before), (loaded, "positive")]))
    b.finish()
    f = address(compile_module(module), "f", ctypes.c_double, ctypes.c_double)
    assert f(3.0) == 9.0 and f(-3.0) == -3.0


def test_equal_operations_are_emitted_once_where_they_dominate():
    b = Builder(Module(host_isa()), "f", [("x", np.dtype("f8")), ("p", np.dtype("?"))])
    x, p = b.params
    first = b.mul(x, x)
    assert b.mul(x, x) is first
    inside = []
    b.cond(p, lambda: inside.append(b.add(x, x)) or [b.mul(x, x)], lambda: [inside[0]] and [x])
    assert b.mul(x, x) is first
    assert b.add(x, x) is not inside[0]
    b.br("next")
    b.label("next")
    assert b.mul(x, x) is not first


def test_constants_are_folded():
    b = Builder(Module(host_isa()), "f", [("i", I64)])
    (i,) = b.params
    assert b.add(b.index(3), b.index(4)).const == 7
    assert b.mul(b.const(100, np.int8), b.const(3, np.int8)).const == 44
    assert b.add(i, 0) is i and b.mul(i, 1) is i and b.mul(i, 0).const == 0
    assert b.div(b.const(1.0, np.float32), b.const(3.0, np.float32)).const == np.float32(1) / np.float32(3)
    assert b.gep(b.function_pointer("f"), 0).name == "@f"


def test_mixed_dtypes_are_refused():
    b = Builder(Module(host_isa()), "f", [("i", I64), ("x", np.dtype("f4"))])
    with pytest.raises(TypeError, match="differ in dtype: int64, float32"):
        b.add(*b.params)
    with pytest.raises(TypeError, match="cannot bitcast int64 to float32"):
        b.bitcast(b.params[0], np.float32)
    with pytest.raises(ValueError, match="loop.carry"), b.loop(0, 3, carries=[b.index(0)]):
        pass


def test_isa_names():
    assert make_isa("baseline").vector_bits == 128
    host = make_isa("native")
    assert host.lanes(np.dtype("f4")) * 32 == host.vector_bits
    assert host.lanes(np.dtype("c16")) * 64 == host.vector_bits and host.lanes(np.dtype("?")) * 8 == host.vector_bits
    assert f'"prefer-vector-width"="{host.vector_bits}"' in host.attributes


def test_isa_from_the_settings():
    with config.setting(isa="baseline"):
        assert host_isa() is make_isa("baseline")
    assert host_isa() is make_isa("native")


def test_a_loop_of_one_trip_is_plain_code():
    b = Builder(Module(host_isa()), "k", [("n", np.dtype("i8"))], ret=np.dtype("i8"))
    with b.loop(3, 5, 2, carries=[b.params[0]]) as loop:
        loop.carry(b.add(loop.carries[0], loop.index))
    b.ret(*loop.results)
    b.finish()
    assert "br " not in b.module.text() and "add i64 %n, 3" in b.module.text()
    with pytest.raises(ValueError, match="carry"), b.loop(0, 1, carries=[b.params[0]]):
        pass
