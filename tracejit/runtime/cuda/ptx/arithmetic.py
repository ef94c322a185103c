"""Arithmetic, logic, comparison and bit instructions as functions of arrays of one PTX type."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.runtime.cuda.ptx.exact import fma
from tracejit.runtime.cuda.ptx.lanes import DTYPES, FLOAT_TYPES, RAW, Index, Lanes, Step, reader, value_step, writer
from tracejit.runtime.cuda.ptx.parse import SIZES, Instruction, Module, PTXError

DOUBLED = {"s16": "s32", "u16": "u32", "s32": "s64", "u32": "u64"}
ROUNDINGS = {"rz", "rm", "rp"}      # no kernel needs them, and NumPy has only the nearest


def flushed(x: Any) -> Any:
    """Subnormal float32 as zeros of their sign."""
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def computed(compute: Callable[..., Any], flush: bool = False) -> Callable[..., Any]:
    def run(*values: Any) -> Any:
        with np.errstate(all="ignore"):
            return flushed(compute(*map(flushed, values))) if flush else compute(*values)
    return run


def step_of(module: Module, ins: Instruction, compute: Callable[..., Any], *types: str) -> Step:
    """The step that applies `compute` to operands of the instruction's type, or of `types`."""
    wanted = list(types) or [ins.type] * (len(ins.args) - 1)
    if ROUNDINGS & set(ins.op) and ins.type in FLOAT_TYPES:
        raise PTXError(f"only rounding to the nearest is known: {ins}")
    return value_step(module, ins, wanted, computed(compute, "ftz" in ins.op and ins.type == "f32"))


# --- products -------------------------------------------------------------------------------------

def high_part(x: Any, y: Any) -> Any:
    """The upper half of a product of integers."""
    bits = 8 * x.dtype.itemsize
    if bits < 64:
        wide = np.dtype(f"{x.dtype.kind}{2 * x.dtype.itemsize}")
        return (np.multiply(x, y, dtype=wide) >> wide.type(bits)).astype(x.dtype)
    return high_part_64(x, y) if x.dtype.kind == "u" else high_part_64_signed(x, y)


def high_part_64(x: Any, y: Any) -> Any:
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    x0, x1, y0, y1 = x & low, x >> half, y & low, y >> half
    middle = x1 * y0 + (x0 * y0 >> half)
    return x1 * y1 + (middle >> half) + ((x0 * y1 + (middle & low)) >> half)


def high_part_64_signed(x: Any, y: Any) -> Any:
    a, b = np.asarray(x).view(np.uint64), np.asarray(y).view(np.uint64)
    high = high_part_64(a, b) - np.where(x < 0, b, np.uint64(0)) - np.where(y < 0, a, np.uint64(0))
    return high.view(np.int64)


def decode_mul(module: Module, ins: Instruction) -> Step:
    if ins.type in FLOAT_TYPES or "lo" in ins.op:
        return step_of(module, ins, np.multiply)
    if "hi" in ins.op:
        return step_of(module, ins, high_part)
    wide = DTYPES[DOUBLED[ins.type]]
    return step_of(module, ins, lambda x, y: np.multiply(x, y, dtype=wide))


def decode_mad(module: Module, ins: Instruction) -> Step:
    t = ins.type
    if t in FLOAT_TYPES:
        return step_of(module, ins, fma)
    if "lo" in ins.op:
        return step_of(module, ins, lambda x, y, z: x * y + z)
    if "hi" in ins.op:
        return step_of(module, ins, lambda x, y, z: high_part(x, y) + z)
    wide = DOUBLED[t]
    return step_of(module, ins, lambda x, y, z: np.multiply(x, y, dtype=DTYPES[wide]) + z, t, t, wide)


# --- division ---------------------------------------------------------------------------------------

def truncated_quotient(x: Any, y: Any) -> Any:
    """x / y towards zero; all ones where y is zero, as devices do."""
    divisor = np.where(y == 0, y.dtype.type(1), y)
    if x.dtype.kind == "u":
        quotient = x // divisor
    else:
        safe = np.where(divisor == -1, x.dtype.type(1), divisor)     # the lowest number by -1 would trap
        quotient = np.where(divisor == -1, -x, (x - np.fmod(x, safe)) // safe)
    return np.where(y == 0, ~y.dtype.type(0), quotient).astype(x.dtype)


def truncated_remainder(x: Any, y: Any) -> Any:
    trapping = (y == 0) | (y == ~y.dtype.type(0)) if x.dtype.kind == "i" else y == 0
    remainder = np.fmod(x, np.where(trapping, y.dtype.type(1), y))
    return np.where(y == 0, x, remainder).astype(x.dtype)


# --- order --------------------------------------------------------------------------------------------

def zero_aware(choose: Callable[..., Any], sign_wins: bool) -> Callable[..., Any]:
    """max and min of floats on a device order -0.0 before 0.0."""
    def run(x: Any, y: Any) -> Any:
        out = choose(x, y)
        zero = (x == 0) & (y == 0)
        negative = (np.signbit(x) | np.signbit(y)) if sign_wins else (np.signbit(x) & np.signbit(y))
        return np.where(zero, np.where(negative, -out.dtype.type(0), out.dtype.type(0)), out)
    return run


def decode_extremum(module: Module, ins: Instruction) -> Step:
    is_min, total = ins.op[0] == "min", "NaN" in ins.op
    if ins.type not in FLOAT_TYPES:
        return step_of(module, ins, np.minimum if is_min else np.maximum)
    choose = (np.minimum if total else np.fmin) if is_min else (np.maximum if total else np.fmax)
    return step_of(module, ins, zero_aware(choose, is_min))


ORDERS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
JOINS = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def comparison(name: str, is_float: bool) -> Callable[..., Any]:
    if not is_float:
        return ORDERS[UNSIGNED.get(name, name)]
    unordered = lambda x, y: np.isnan(x) | np.isnan(y)
    if name in ("num", "nan"):
        return unordered if name == "nan" else lambda x, y: ~unordered(x, y)
    if name.endswith("u"):
        return lambda x, y: ORDERS[name[:-1]](x, y) | unordered(x, y)
    return lambda x, y: ORDERS[name](x, y) & ~unordered(x, y)


def decode_setp(module: Module, ins: Instruction) -> Step:
    compare = computed(comparison(ins.op[1], ins.type in FLOAT_TYPES))
    first, _, second = ins.args[0].partition("|")
    x, y = reader(module, ins.args[1], ins.type), reader(module, ins.args[2], ins.type)
    join, other = JOINS.get(ins.op[2]), reader(module, ins.args[3], "pred") if len(ins.args) > 3 else None
    write, negated = writer(module, first), writer(module, second) if second else None

    def step(lanes: Lanes, i: Index) -> None:
        found = compare(x(lanes, i), y(lanes, i))
        write(lanes, i, join(found, other(lanes, i)) if other else found)
        if negated:
            negated(lanes, i, join(~found, other(lanes, i)) if other else ~found)
    return step


def decode_set(module: Module, ins: Instruction) -> Step:
    compare, result = comparison(ins.op[1], ins.type in FLOAT_TYPES), ins.op[-2]
    yes = DTYPES[result].type(1) if result in FLOAT_TYPES else ~DTYPES[result].type(0)
    return step_of(module, ins, lambda x, y: np.where(compare(x, y), yes, yes.dtype.type(0)), ins.type, ins.type)


def decode_selp(module: Module, ins: Instruction) -> Step:
    return step_of(module, ins, lambda x, y, c: np.where(c, x, y), ins.type, ins.type, "pred")


# --- bits -----------------------------------------------------------------------------------------------

def decode_bits(module: Module, ins: Instruction) -> Step:
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert}[ins.op[0]]
    return step_of(module, ins, function)


def shifted(left: bool) -> Callable[..., Any]:
    def run(x: Any, n: Any) -> Any:
        bits = 8 * x.dtype.itemsize
        n = np.asarray(n)
        short = np.minimum(n, bits - 1).astype(x.dtype)
        moved = x << short if left else x >> short
        return moved if not left and x.dtype.kind == "i" else np.where(n >= bits, x.dtype.type(0), moved)
    return run


def decode_shift(module: Module, ins: Instruction) -> Step:
    return step_of(module, ins, shifted(ins.op[0] == "shl"), ins.type, "u32")


def decode_funnel(module: Module, ins: Instruction) -> Step:
    left, wrap = ins.op[1] == "l", "wrap" in ins.op

    def run(low: Any, high: Any, n: Any) -> Any:
        n = (n & np.uint32(31) if wrap else np.minimum(n, np.uint32(32))).astype(np.uint64)
        both = np.asarray(high).astype(np.uint64) << np.uint64(32) | np.asarray(low).astype(np.uint64)
        return (both << n >> np.uint64(32) if left else both >> n).astype(np.uint32)
    return step_of(module, ins, run, "u32", "u32", "u32")


def leading_zeros(x: Any) -> Any:
    bits, found = 8 * x.dtype.itemsize, np.asarray(x)
    count = np.zeros(found.shape, np.uint32)
    for half in (bits // 2 >> k for k in range(bits.bit_length() - 1)):
        empty = found >> found.dtype.type(bits - half) == 0
        count += np.where(empty, np.uint32(half), np.uint32(0))
        found = np.where(empty, found << found.dtype.type(half), found)
    return count + (found == 0)


def reversed_bits(x: Any) -> Any:
    found, bits = np.asarray(x), 8 * x.dtype.itemsize
    raw = found.view(RAW[found.dtype.itemsize])
    out = np.zeros_like(raw)
    for k in range(bits):
        out |= (raw >> raw.dtype.type(k) & raw.dtype.type(1)) << raw.dtype.type(bits - 1 - k)
    return out


def field_taken(x: Any, start: Any, length: Any) -> Any:
    """bfe: a field of bits, extended by its sign."""
    bits = 8 * x.dtype.itemsize
    start, length = np.asarray(start).astype(np.int64) & 255, np.asarray(length).astype(np.int64) & 255
    kept = np.clip(np.minimum(length, bits - np.minimum(start, bits)), 0, bits)
    moved = shifted(False)(x, np.minimum(start, bits - 1))
    room = (bits - np.maximum(kept, 1)).astype(x.dtype)
    return np.where(kept == 0, x.dtype.type(0), moved << room >> room)


def field_put(x: Any, y: Any, start: Any, length: Any) -> Any:
    """bfi: x's low bits in y at a place."""
    start, length = np.asarray(start).astype(np.int64) & 255, np.asarray(length).astype(np.int64) & 255
    ones = shifted(True)(~np.zeros_like(np.asarray(x)), length)
    mask = shifted(True)(~ones, start)
    return (y & ~mask) | (shifted(True)(x, start) & mask)


def permuted_bytes(x: Any, y: Any, selector: Any) -> Any:
    both = np.asarray(y).astype(np.uint64) << np.uint64(32) | np.asarray(x).astype(np.uint64)
    out = np.zeros(np.broadcast(x, y, selector).shape, np.uint64)
    for k in range(4):
        pick = np.asarray(selector).astype(np.uint64) >> np.uint64(4 * k)
        byte = both >> (np.uint64(8) * (pick & np.uint64(7))) & np.uint64(255)
        sign = np.where(byte & np.uint64(128), np.uint64(255), np.uint64(0))
        out |= np.where(pick & np.uint64(8), sign, byte) << np.uint64(8 * k)
    return out.astype(np.uint32)


# --- carries ----------------------------------------------------------------------------------------------

def decode_carry(module: Module, ins: Instruction) -> Step:
    """add.cc, addc, sub.cc, subc, mad.cc, madc in 32 bits: the carry is a register of its own."""
    module.widths.setdefault("%carry", 0)
    read = [reader(module, text, "u32") for text in ins.args[1:]]
    write, write_carry = writer(module, ins.args[0]), writer(module, "%carry")
    reads_carry, high = ins.op[0] in ("addc", "subc", "madc"), "hi" in ins.op
    name, half, low = ins.op[0].rstrip("c"), np.uint64(32), np.uint64(0xFFFFFFFF)

    def step(lanes: Lanes, i: Index) -> None:
        values = [np.asarray(r(lanes, i)).astype(np.uint64) for r in read]
        carry = lanes.register("%carry")[i].astype(np.uint64) if reads_carry else np.uint64(0)
        if name == "mad":
            product = values[0] * values[1]
            total = (product >> half if high else product & low) + values[2] + carry
        else:
            total = values[0] + values[1] + carry if name == "add" else values[0] - values[1] - carry
        if "cc" in ins.op:
            write_carry(lanes, i, total >> half != 0)
        write(lanes, i, (total & low).astype(np.uint32))
    return step


def decode_sum(module: Module, ins: Instruction) -> Step:
    if "cc" in ins.op:
        return decode_carry(module, ins)
    return step_of(module, ins, np.add if ins.op[0] == "add" else np.subtract)


def decode_mad_or_carry(module: Module, ins: Instruction) -> Step:
    return decode_carry(module, ins) if "cc" in ins.op else decode_mad(module, ins)


# --- moves ------------------------------------------------------------------------------------------------

def decode_mov(module: Module, ins: Instruction) -> Step:
    target, source = ins.args
    if isinstance(source, tuple):
        return packing(module, ins, source)
    if isinstance(target, tuple):
        return unpacking(module, ins, target)
    if source in module.shared or source in module.local:
        return address_of(module, ins, source)
    return step_of(module, ins, np.copy)


def address_of(module: Module, ins: Instruction, name: str) -> Step:
    place = module.shared.get(name, module.local.get(name))
    write, value = writer(module, ins.args[0]), DTYPES[ins.type].type(place)
    return lambda lanes, i: write(lanes, i, value)


def packing(module: Module, ins: Instruction, parts: tuple[str, ...]) -> Step:
    size = SIZES[ins.type] // len(parts)
    return value_step(module, Instruction(ins.op, [ins.args[0], *parts]), [f"u{8 * size}"] * len(parts), lambda *xs: sum(
        np.asarray(x).astype(DTYPES[ins.type]) << DTYPES[ins.type].type(8 * size * k) for k, x in enumerate(xs)))


def unpacking(module: Module, ins: Instruction, parts: tuple[str, ...]) -> Step:
    read, write = reader(module, ins.args[1], ins.type), [writer(module, p) for p in parts]
    size = SIZES[ins.type] // len(parts)

    def step(lanes: Lanes, i: Index) -> None:
        whole = np.asarray(read(lanes, i))
        for k, w in enumerate(write):
            w(lanes, i, (whole >> whole.dtype.type(8 * size * k)).astype(RAW[size]))
    return step


# --- elementary ---------------------------------------------------------------------------------------------

def reciprocal(x: Any) -> Any:
    return x.dtype.type(1) / x


def function_step(function: Callable[..., Any]) -> Callable[[Module, Instruction], Step]:
    def decode(module: Module, ins: Instruction) -> Step:
        return step_of(module, ins, lambda *xs: function(*xs).astype(DTYPES[ins.type]))
    return decode


def plain(function: Callable[..., Any], *types: str) -> Callable[[Module, Instruction], Step]:
    """A decoder for operands of the instruction's type, or of `types` where "" is that."""
    return lambda module, ins: step_of(module, ins, function, *[t or ins.type for t in types])


TESTS = {"finite": np.isfinite, "infinite": np.isinf, "notanumber": np.isnan, "number": lambda x: ~np.isnan(x),
         "normal": lambda x: np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny),
         "subnormal": lambda x: (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)}


def decode_div(module: Module, ins: Instruction) -> Step:
    return step_of(module, ins, np.divide if ins.type in FLOAT_TYPES else truncated_quotient)


DECODERS: dict[str, Callable[[Module, Instruction], Step]] = {
    "add": decode_sum, "sub": decode_sum, "addc": decode_carry, "subc": decode_carry, "madc": decode_carry,
    "mul": decode_mul, "mad": decode_mad_or_carry, "fma": decode_mad, "div": decode_div, "rem": plain(truncated_remainder),
    "neg": plain(np.negative), "abs": plain(np.abs), "min": decode_extremum, "max": decode_extremum,
    "setp": decode_setp, "set": decode_set, "selp": decode_selp, "mov": decode_mov,
    "and": decode_bits, "or": decode_bits, "xor": decode_bits, "not": decode_bits, "shl": decode_shift, "shr": decode_shift,
    "shf": decode_funnel, "clz": lambda module, ins: step_of(module, ins, leading_zeros, f"u{ins.type[1:]}"),
    "popc": lambda module, ins: step_of(module, ins, lambda x: np.bitwise_count(x).astype(np.uint32)), "brev": plain(reversed_bits),
    "bfe": plain(field_taken, "", "u32", "u32"), "bfi": plain(field_put, "", "", "u32", "u32"),
    "prmt": plain(permuted_bytes, "u32", "u32", "u32"), "copysign": plain(lambda sign, x: np.copysign(x, sign)),
    "rcp": function_step(reciprocal), "sqrt": function_step(np.sqrt), "rsqrt": function_step(lambda x: reciprocal(np.sqrt(x))),
    "ex2": function_step(np.exp2), "lg2": function_step(np.log2), "sin": function_step(np.sin), "cos": function_step(np.cos),
    "tanh": function_step(np.tanh), "testp": lambda module, ins: step_of(module, ins, TESTS[ins.op[1]]),
}
