"""The PTX interpreter against Python's own integers and floats, and the mistakes that it must find."""
from __future__ import annotations

import math

import numpy as np
import pytest

from tracejit.runtime.cuda.ptx.machine import launch
from tracejit.runtime.cuda.ptx.memory import Counters
from tracejit.runtime.cuda.ptx.parse import PTXError
from tracejit.runtime.cuda.ptx.program import compile_program

REGISTERS = """
    .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<20>; .reg .f32 %f<20>; .reg .b64 %rd<20>; .reg .f64 %fd<20>;
"""
PLACE = {"s16": "%rs", "u16": "%rs", "b16": "%rs", "s32": "%r", "u32": "%r", "b32": "%r", "f32": "%f", "s64": "%rd", "u64": "%rd",
         "b64": "%rd", "f64": "%fd"}
NUMPY = {"s16": "i2", "u16": "u2", "b16": "u2", "s32": "i4", "u32": "u4", "b32": "u4", "f32": "f4", "s64": "i8", "u64": "u8",
         "b64": "u8", "f64": "f8"}


def entry(params: str, body: str, before: str = "") -> str:
    return f".version 8.0\n.target sm_90\n.address_size 64\n{before}\n.visible .entry k({params})\n{{{REGISTERS}{body}\n ret;\n}}\n"


def run(text: str, grid: tuple, threads: int, *args, counters=None):
    counters = counters or Counters()
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    launch(compile_program(text), grid, threads, [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args],
           [(a.ctypes.data, a.nbytes) for a in arrays], counters, counting=True)
    return counters


def apply(op: str, types: str, *arrays: np.ndarray) -> np.ndarray:
    """The instruction `op` on arrays; `types` is its result's type and its operands'."""
    result, *operands = types.split()
    n = len(arrays[0])
    out = np.zeros(n, NUMPY[result])
    lines = ["mov.u32 %r0, %tid.x;"]
    names = []
    for k, (t, x) in enumerate(zip(operands, arrays)):
        names.append(f"{PLACE[t]}{k + 1}")
        lines += [f"ld.param.u64 %rd{10 + k}, [k_{k}];", f"mul.wide.u32 %rd0, %r0, {x.itemsize};", f"add.s64 %rd0, %rd{10 + k}, %rd0;",
                  f"ld.global.b{8 * x.itemsize} {names[-1]}, [%rd0];"]
    lines += [f"{op} {PLACE[result]}8, {', '.join(names)};", f"ld.param.u64 %rd19, [k_{len(arrays)}];",
              f"mul.wide.u32 %rd0, %r0, {out.itemsize};", "add.s64 %rd0, %rd19, %rd0;", f"st.global.b{8 * out.itemsize} [%rd0], {PLACE[result]}8;"]
    params = ", ".join(f".param .u64 k_{k}" for k in range(len(arrays) + 1))
    run(entry(params, "\n".join(lines)), (1,), n, *[np.ascontiguousarray(x, NUMPY[t]) for t, x in zip(operands, arrays)], out)
    return out


def special(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    values = [0, 1, 2, 3, 7, info.max, info.max - 1, info.min, info.min + 1, info.max // 3, *([-1, -2, -7] if info.min else [])]
    return np.array(values, dtype)


def pairs(dtype: str):
    x, y = np.meshgrid(special(dtype), special(dtype))
    return x.ravel(), y.ravel()


def wrapped(values, dtype: str) -> np.ndarray:
    bits = 8 * np.dtype(dtype).itemsize
    return np.array([v % (1 << bits) for v in values], f"u{bits // 8}").view(dtype)


def truncated(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


INTEGER_OPS = {
    "add": lambda x, y, n: x + y, "sub": lambda x, y, n: x - y, "mul.lo": lambda x, y, n: x * y,
    "mul.hi": lambda x, y, n: (x * y) >> n, "min": lambda x, y, n: min(x, y), "max": lambda x, y, n: max(x, y),
    "div": lambda x, y, n: truncated(x, y) if y else -1, "rem": lambda x, y, n: x - truncated(x, y) * y if y else x}


@pytest.mark.parametrize("t", ["s16", "u16", "s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("op", INTEGER_OPS)
def test_integer_arithmetic(op, t):
    x, y = pairs(NUMPY[t])
    want = [INTEGER_OPS[op](int(a), int(b), 8 * x.itemsize) for a, b in zip(x, y)]
    assert np.array_equal(apply(f"{op}.{t}", f"{t} {t} {t}", x, y), wrapped(want, NUMPY[t]))


@pytest.mark.parametrize("t,wide", [("s16", "s32"), ("u16", "u32"), ("s32", "s64"), ("u32", "u64")])
def test_wide_products(t, wide):
    x, y = pairs(NUMPY[t])
    assert np.array_equal(apply(f"mul.wide.{t}", f"{wide} {t} {t}", x, y), wrapped([int(a) * int(b) for a, b in zip(x, y)], NUMPY[wide]))
    z = np.resize(special(NUMPY[wide]), len(x))
    want = [int(a) * int(b) + int(c) for a, b, c in zip(x, y, z)]
    assert np.array_equal(apply(f"mad.wide.{t}", f"{wide} {t} {t} {wide}", x, y, z), wrapped(want, NUMPY[wide]))


@pytest.mark.parametrize("t", ["b16", "s16", "b32", "s32", "u64", "s64"])
def test_shifts(t):
    x = np.repeat(special(NUMPY[t]), 6)
    n = np.resize(np.array([0, 1, 15, 31, 64, 4000000000], "u4"), len(x))
    bits = 8 * x.itemsize
    left = wrapped([int(a) << int(b) if b < bits else 0 for a, b in zip(x, n)], NUMPY[t])
    assert np.array_equal(apply(f"shl.b{bits}", f"{t} {t} u32", x, n), left)
    right = wrapped([int(a) >> min(int(b), bits) for a, b in zip(x, n)], NUMPY[t])
    assert np.array_equal(apply(f"shr.{t}", f"{t} {t} u32", x, n), right)


def test_bit_instructions():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 1 << 32, 100, "u4"), rng.integers(0, 1 << 32, 100, "u4")
    n = np.arange(100, dtype="u4") % 45
    assert apply("clz.b32", "u32 u32", x >> n % 33).tolist() == [32 - int(a).bit_length() for a in x >> n % 33]
    assert apply("popc.b64", "u32 u64", x.astype("u8") * y).tolist() == [int(a).bit_count() for a in x.astype("u8") * y]
    assert apply("brev.b32", "u32 u32", x).tolist() == [int(f"{a:032b}"[::-1], 2) for a in x]
    both = [int(b) << 32 | int(a) for a, b in zip(x, y)]
    assert apply("shf.r.wrap.b32", "u32 u32 u32 u32", x, y, n).tolist() == [v >> (int(k) & 31) & 0xFFFFFFFF for v, k in zip(both, n)]
    assert apply("shf.l.clamp.b32", "u32 u32 u32 u32", x, y, n).tolist() == [
        v << min(int(k), 32) >> 32 & 0xFFFFFFFF for v, k in zip(both, n)]
    start, length = n % 40, np.arange(100, dtype="u4")[::-1] % 36
    fields = [int(a) >> int(s) & (1 << int(w)) - 1 for a, s, w in zip(x, start, length)]
    assert apply("bfe.u32", "u32 u32 u32 u32", x, start, length).tolist() == fields
    masks = [(((1 << int(w)) - 1) << int(s)) & 0xFFFFFFFF for s, w in zip(start, length)]
    want = [(int(b) & ~m) | (int(a) << int(s) & m) for a, b, s, m in zip(x, y, start, masks)]
    assert apply("bfi.b32", "u32 u32 u32 u32 u32", x, y, start, length).tolist() == want
    assert apply("prmt.b32", "u32 u32 u32 u32", x, y, np.full(100, 0x5410, "u4")).tolist() == [
        (int(b) & 0xFFFF) << 16 | int(a) & 0xFFFF for a, b in zip(x, y)]


FLOATS = [0.0, -0.0, 1.0, -1.5, 2.5, 1e-40, 3e38, math.inf, -math.inf, math.nan, 1 / 3]


def same(x, y):
    return np.array_equal(x, y, equal_nan=True) and np.array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(y[~np.isnan(y)]))


@pytest.mark.parametrize("t", ["f32", "f64"])
def test_float_extrema_and_comparisons(t):
    x, y = (a.ravel().astype(NUMPY[t]) for a in np.meshgrid(FLOATS, FLOATS))

    def larger(a, b):
        return a if (a, math.copysign(1, a)) > (b, math.copysign(1, b)) else b
    plain = [b if a != a else a if b != b else larger(a, b) for a, b in zip(x.tolist(), y.tolist())]
    assert same(apply(f"max.{t}", f"{t} {t} {t}", x, y), np.array(plain, NUMPY[t]))
    assert same(apply(f"min.{t}", f"{t} {t} {t}", -x, -y), -np.array(plain, NUMPY[t]))
    if t == "f32":
        total = np.where(np.isnan(x) | np.isnan(y), np.nan, plain).astype("f4")
        assert same(apply("max.NaN.f32", "f32 f32 f32", x, y), total)
    for name, want in (("lt", x < y), ("geu", ~(x < y)), ("equ", (x == y) | np.isnan(x) | np.isnan(y)), ("ne", (x < y) | (x > y))):
        assert np.array_equal(apply(f"set.{name}.u32.{t}", f"u32 {t} {t}", x, y) != 0, want), name


def test_fused_multiply_add_rounds_once():
    rng = np.random.default_rng(0)
    for t, bits in (("f32", 23), ("f64", 52)):
        x = (1 + rng.random(200) * 2.0 ** -8).astype(NUMPY[t])
        y = x[::-1].copy()
        z = -(x * y)            # what is left is the rounding error of the product
        from fractions import Fraction
        want = [float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))) for a, b, c in zip(x, y, z)]
        assert np.array_equal(apply(f"fma.rn.{t}", f"{t} {t} {t} {t}", x, y, z), np.array(want, NUMPY[t])) and any(want)


def test_conversions():
    x = np.array([0.5, 1.5, 2.5, -0.5, -3.7, 3e9, -3e9, 1e30, -1e30, math.inf, -math.inf, math.nan], "f4")
    clamp = lambda low, high: [0 if v != v else int(min(max(v, low), high)) for v in x.tolist()]
    assert apply("cvt.rzi.s32.f32", "s32 f32", x).tolist() == clamp(-2 ** 31, 2 ** 31 - 1)
    assert apply("cvt.rzi.u32.f32", "u32 f32", x).tolist() == clamp(0, 2 ** 32 - 1)
    assert apply("cvt.rzi.s8.f32", "s16 f32", x).tolist() == clamp(-128, 127)
    assert apply("cvt.rzi.s64.f64", "s64 f64", x.astype("f8"))[-1] == -2 ** 63, "what a device makes of nan in 64 bits"
    assert same(apply("cvt.rni.f32.f32", "f32 f32", x), np.rint(x))
    with np.errstate(over="ignore"):
        halves = x.astype("f2")
    assert np.array_equal(apply("cvt.rn.f16.f32", "u16 f32", x).view("f2"), halves, equal_nan=True)
    import ml_dtypes
    bits = apply("cvt.rn.bf16.f32", "u16 f32", x).view(ml_dtypes.bfloat16).astype("f4")
    assert np.array_equal(bits, x.astype(ml_dtypes.bfloat16).astype("f4"), equal_nan=True)
    assert apply("cvt.s32.s8", "s32 b32", np.array([0x17F, 0x80], "u4")).tolist() == [127, -128]
    assert apply("cvt.u64.u32", "u64 u32", np.array([0xFFFFFFFF], "u4")).tolist() == [0xFFFFFFFF]
    assert apply("cvt.rn.f32.u64", "f32 u64", np.array([2 ** 64 - 1, 2 ** 53 + 1], "u8")).tolist() == [2.0 ** 64, 2.0 ** 53]


def test_carries_make_wide_sums():
    body = """
    ld.param.u64 %rd1, [k_0];
    mov.u32 %r1, 0xFFFFFFFF; mov.u32 %r2, 5; mov.u32 %r3, 7; mov.u32 %r4, 9;
    add.cc.u32 %r5, %r1, %r2; addc.u32 %r6, %r3, %r4;
    mad.lo.cc.u32 %r7, %r1, %r1, %r1; madc.hi.u32 %r8, %r1, %r1, %r2;
    st.global.v4.u32 [%rd1], {%r5, %r6, %r7, %r8};
"""
    out = np.zeros(4, "u4")
    run(entry(".param .u64 k_0", body), (1,), 1, out)
    big = 0xFFFFFFFF ** 2
    assert out.tolist() == [4, 17, ((big & 0xFFFFFFFF) + 0xFFFFFFFF) & 0xFFFFFFFF, (big >> 32) + 5 + 1 & 0xFFFFFFFF]


# --- control flow ---------------------------------------------------------------------------------------

COLLATZ = """
    ld.param.u64 %rd1, [k_0];
    mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
    mad.lo.s32 %r4, %r2, %r3, %r1;
    mul.wide.u32 %rd2, %r4, 4; add.s64 %rd3, %rd1, %rd2;
    add.s32 %r5, %r4, 1; mov.u32 %r6, 0;
$LOOP:
    setp.le.s32 %p1, %r5, 1;
    @%p1 bra $DONE;
    and.b32 %r7, %r5, 1; setp.eq.s32 %p2, %r7, 0;
    @%p2 bra $EVEN;
    mad.lo.s32 %r5, %r5, 3, 1;
    bra.uni $NEXT;
$EVEN:
    shr.u32 %r5, %r5, 1;
$NEXT:
    add.s32 %r6, %r6, 1;
    bra.uni $LOOP;
$DONE:
    st.global.u32 [%rd3], %r6;
"""


def test_lanes_part_and_meet():
    out = np.zeros(96, "u4")
    run(entry(".param .u64 k_0", COLLATZ), (3,), 32, out)

    def steps(n):
        count = 0
        while n > 1:
            n, count = (3 * n + 1 if n % 2 else n // 2), count + 1
        return count
    assert out.tolist() == [steps(k + 1) for k in range(96)]


def test_functions_are_called():
    before = """.func (.param .b32 func_retval0) twice(.param .b32 twice_param_0)
{ .reg .b32 %r<4>;
  ld.param.u32 %r1, [twice_param_0]; add.s32 %r2, %r1, %r1; st.param.b32 [func_retval0+0], %r2; ret;
}"""
    body = """
    ld.param.u64 %rd1, [k_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    { // callseq
    .param .b32 param0; st.param.b32 [param0+0], %r1; .param .b32 retval0;
    call.uni (retval0), twice, (param0);
    ld.param.b32 %r2, [retval0+0];
    }
    st.global.u32 [%rd3], %r2;
"""
    out = np.zeros(40, "u4")
    run(entry(".param .u64 k_0", body, before), (1,), 40, out)
    assert out.tolist() == [2 * k for k in range(40)]


SHUFFLED = """
    ld.param.u64 %rd1, [k_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    {op} %r2|%p1, %r1, {by}, {clamp}, -1;
    selp.u32 %r3, 1, 0, %p1; shl.b32 %r4, %r3, 16; or.b32 %r5, %r2, %r4;
    st.global.u32 [%rd3], %r5;
"""


@pytest.mark.parametrize("mode,by,clamp,lane", [("bfly", 5, 31, lambda k: k ^ 5), ("down", 3, 31, lambda k: k + 3),
                                                ("up", 2, 0, lambda k: k - 2), ("idx", 7, 31, lambda k: 7)])
def test_shuffles(mode, by, clamp, lane):
    out = np.zeros(64, "u4")
    body = SHUFFLED.format(op=f"shfl.sync.{mode}.b32", by=by, clamp=clamp)
    run(entry(".param .u64 k_0", body), (1,), 64, out)
    for k in range(64):
        wanted = lane(k % 32)
        inside = 0 <= wanted < 32
        assert out[k] == (k // 32 * 32 + (wanted if inside else k % 32)) | inside << 16


# --- memory ---------------------------------------------------------------------------------------------

EXCHANGE = """
    .shared .align 4 .b8 tile[{nbytes}];
    ld.param.u64 %rd1, [k_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    mov.u32 %r2, tile; shl.b32 %r3, %r1, 2; add.s32 %r4, %r2, %r3;
    {store} st.shared.u32 [%r4], %r1;
    {barrier}
    xor.b32 %r5, %r1, {other}; shl.b32 %r6, %r5, 2; add.s32 %r7, %r2, %r6;
    ld.shared.u32 %r8, [%r7]; st.global.u32 [%rd3], %r8;
"""


def exchange(barrier="bar.sync 0;", other=32, store="", nbytes=256):
    out = np.zeros(64, "u4")
    text = entry(".param .u64 k_0", EXCHANGE.format(barrier=barrier, other=other, store=store, nbytes=nbytes))
    return out, run(text, (1,), 64, out)


def test_shared_memory_across_a_barrier():
    out, counters = exchange()
    assert out.tolist() == [k ^ 32 for k in range(64)]
    assert (counters.barriers, counters.shared_requests, counters.shared_wavefronts) == (1, 4, 4)


def test_a_missing_barrier_is_a_race():
    with pytest.raises(PTXError, match="race"):
        exchange(barrier="")
    out, _ = exchange(barrier="", other=1)      # inside of a warp there is none
    assert out.tolist() == [k ^ 1 for k in range(64)]


def test_unwritten_shared_memory_is_found():
    with pytest.raises(PTXError, match="unwritten"):
        exchange(store="setp.gt.u32 %p1, %r1, 3; @%p1")


def test_shared_bounds_are_found():
    with pytest.raises(PTXError, match="shared access out of bounds"):
        exchange(nbytes=128)


def test_a_barrier_that_not_all_reach_the_same_way():
    body = """
    mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32; @%p1 bra $ONE;
    bar.sync 0; bra.uni $END;
$ONE:
    bar.sync 0;
$END:
"""
    with pytest.raises(PTXError, match="different barriers"):
        run(entry("", body), (1,), 64)


STRIDED = """
    ld.param.u64 %rd1, [k_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, {stride}; add.s64 %rd3, %rd1, %rd2;
    st.global.{t} [%rd3{offset}], {value};
"""


def strided(stride, n, t="u32", value="%r1", offset="", threads=32):
    out = np.full(n, 7, "u4")
    out = np.concatenate([out, np.zeros(64, "u4")])[-out.__array_interface__["data"][0] % 64 // 4:][:n]
    return run(entry(".param .u64 k_0", STRIDED.format(stride=stride, t=t, value=value, offset=offset)), (1,), threads, out)


def test_global_bounds_and_alignment_are_found():
    strided(4, 32)
    for bad in (dict(stride=4, n=31), dict(stride=4, n=32, offset="+-4"), dict(stride=128, n=32)):
        with pytest.raises(PTXError, match="out of bounds"):
            strided(**bad)
    with pytest.raises(PTXError, match="misaligned"):
        strided(2, 64)
    with pytest.raises(PTXError, match="misaligned"):
        strided(8, 512, t="v4.u32", value="{%r1, %r1, %r1, %r1}")


def test_sectors_are_counted():
    dense, sparse, wide = strided(4, 32), strided(64, 512), strided(16, 128, t="v4.u32", value="{%r1, %r1, %r1, %r1}")
    assert (dense.store_requests, dense.store_bytes) == (1, 128) and dense.store_sectors in (4, 5)
    assert sparse.store_sectors == 32 and sparse.sector_efficiency == 4 / 32
    assert wide.widest == 16 and wide.store_bytes == 512


def test_bank_conflicts_are_counted():
    body = """
    .shared .align 4 .b8 tile[4096];
    mov.u32 %r1, %tid.x; mov.u32 %r2, tile; mul.lo.u32 %r3, %r1, {stride}; add.s32 %r4, %r2, %r3; st.shared.u32 [%r4], %r1;
"""
    for stride, depth in ((4, 1), (8, 2), (128, 32), (132, 1)):
        counters = run(entry("", body.format(stride=stride) if stride < 129 else body.format(stride=stride).replace("4096", "4224")), (1,), 32)
        assert (counters.shared_requests, counters.shared_wavefronts) == (1, depth), stride


@pytest.mark.parametrize("op,t,want", [("add", "u32", lambda n: 3 * n), ("inc", "u32", lambda n: n % 4), ("max", "u32", lambda n: 3)])
def test_atomics_are_in_some_order(op, t, want):
    body = f"ld.param.u64 %rd1, [k_0]; ld.param.u64 %rd2, [k_1]; mov.u32 %r1, %tid.x; mov.u32 %r2, 3; atom.global.{op}.{t} %r3, [%rd1], %r2;" \
           "mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd2, %rd3; st.global.u32 [%rd4], %r3;"
    total, old = np.zeros(1, "u4"), np.zeros(64, "u4")
    run(entry(".param .u64 k_0, .param .u64 k_1", body), (1,), 64, total, old)
    assert total[0] == want(64)
    found = np.unique(old, return_counts=True)
    expected = {"add": (list(range(0, 192, 3)), [1] * 64), "inc": ([0, 1, 2, 3], [16] * 4), "max": ([0, 3], [1, 63])}[op]
    assert (found[0].tolist(), found[1].tolist()) == expected


def test_local_memory_belongs_to_a_lane():
    body = """
    .local .align 8 .b8 depot[16]; .reg .b64 %SP; .reg .b64 %SPL;
    mov.u64 %SPL, depot; cvta.local.u64 %SP, %SPL;
    ld.param.u64 %rd1, [k_0]; mov.u32 %r1, %tid.x; st.local.u32 [%SPL+4], %r1; ld.u32 %r2, [%SP+4];
    mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2;
"""
    out = np.zeros(32, "u4")
    run(entry(".param .u64 k_0", body), (1,), 32, out)
    assert out.tolist() == list(range(32))


def test_constants_are_read():
    body = """
    ld.param.u64 %rd1, [k_0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
    mov.u64 %rd4, table; add.s64 %rd5, %rd4, %rd2; ld.global.u32 %r2, [%rd5]; st.global.u32 [%rd3], %r2;
"""
    out = np.zeros(3, "u4")
    run(entry(".param .u64 k_0", body, ".global .align 4 .u32 table[3] = {10, 0x20, 30};"), (1,), 3, out)
    assert out.tolist() == [10, 32, 30]


@pytest.mark.parametrize("line,message", [("wgmma.fence.sync.aligned;", "unknown instruction"), ("add.rz.f32 %f1, %f2, %f3;", "rounding"),
                                          ("mov.u32 %nothing, 1;", "unknown register")])
def test_what_is_not_known_is_said(line, message):
    with pytest.raises(PTXError, match=message):
        compile_program(entry("", line))


def test_arguments_are_checked():
    text = entry(".param .u64 k_0, .param .u32 k_1", "ld.param.u32 %r1, [k_1];")
    out = np.zeros(1, "u4")
    with pytest.raises(PTXError, match="takes 2 arguments"):
        run(text, (1,), 1, out)
    with pytest.raises(PTXError, match="is a u32, got int64"):
        run(text, (1,), 1, out, np.int64(1))
