"""cvt: one PTX type to another, with the rounding and the clamping of the instruction."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.runtime.cuda.ptx.arithmetic import computed
from tracejit.runtime.cuda.ptx.lanes import DTYPES, FLOAT_TYPES, Step, value_step
from tracejit.runtime.cuda.ptx.parse import Instruction, Module, PTXError

TO_WHOLE = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def bfloat16_bits(x: Any) -> Any:
    """float32 -> the bits of the nearest bfloat16, ties to even; nan is 0x7fff."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), rounded.astype(np.uint16))


def to_integer(x: Any, target: np.dtype, source_is_double: bool) -> Any:
    """A float that is whole -> the nearest integer of the type; what nan becomes depends on the widths."""
    limits = np.iinfo(target)
    top = np.nextafter(np.float64(limits.max), 0) if target.itemsize == 8 else np.float64(limits.max)
    wide = np.asarray(x).astype(np.float64)
    inside = np.clip(np.where(np.isnan(wide), 0, wide), float(limits.min), top).astype(target)
    above = np.where(wide > top, target.type(limits.max), inside)
    odd = source_is_double or target.itemsize == 8
    of_nan = np.array(1 << 8 * target.itemsize - 1, f"u{target.itemsize}").view(target)[()] if odd else target.type(0)
    return np.where(np.isnan(wide), of_nan, above).astype(target)


def conversion(target: str, source: str, mode: str | None, saturate: bool) -> Callable[[Any], Any]:
    dtype = DTYPES[target]

    def convert(x: Any) -> Any:
        if source in FLOAT_TYPES and mode in TO_WHOLE:
            x = TO_WHOLE[mode](x)
        if target not in FLOAT_TYPES and source in FLOAT_TYPES:
            return to_integer(np.trunc(x), dtype, source == "f64")
        if target in FLOAT_TYPES:
            out = np.array(x, dtype)
            return np.clip(np.where(np.isnan(out), dtype.type(0), out), dtype.type(0), dtype.type(1)) if saturate else out
        if saturate:
            limits = np.iinfo(dtype)
            low = limits.min if DTYPES[source].kind == "i" else 0
            return np.clip(x, max(low, np.iinfo(DTYPES[source]).min), min(limits.max, np.iinfo(DTYPES[source]).max)).astype(dtype)
        return np.array(x).astype(dtype)
    return convert


def decode_cvt(module: Module, ins: Instruction) -> Step:
    target, source = ins.op[-2:]
    if target == "bf16x2":
        return value_step(module, ins, ["f32", "f32"], lambda high, low: (
            bfloat16_bits(high).astype(np.uint32) << np.uint32(16) | bfloat16_bits(low).astype(np.uint32)))
    if target == "bf16" and source == "f32":
        return value_step(module, ins, [source], bfloat16_bits)
    if "bf16" in (target, source):
        raise PTXError(f"unknown conversion: {ins}")
    mode = next((m for m in ins.op[1:-2] if m in {*TO_WHOLE, "rn", "rz", "rm", "rp"}), None)
    if mode in ("rz", "rm", "rp"):
        raise PTXError(f"only rounding to the nearest is known: {ins}")
    return value_step(module, ins, [source], computed(conversion(target, source, mode, "sat" in ins.op)))


DECODERS = {"cvt": decode_cvt}
