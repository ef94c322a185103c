"""The state of all threads of some blocks: a NumPy array per register, and which of the threads an instruction is for.

An `Index` selects threads: ALL, or an array of their numbers. Registers hold unsigned words, predicates booleans; what
was never written is filled with ones, which is a nan for floats.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.runtime.cuda.ptx.parse import SIZES, Instruction, Module, PTXError

ALL = slice(None)
Index = Any
WARP = 32
RAW = {1: np.dtype("u1"), 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}
DTYPES = {name: np.dtype(f"u{size}") for name, size in SIZES.items()} | {
    name: np.dtype("if"[name[0] == "f"] + str(SIZES[name])) for name in ("s8", "s16", "s32", "s64", "f16", "f32", "f64")}
FLOAT_TYPES = {"f16", "f32", "f64"}
SPECIAL = {f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"} | {"%laneid", "%warpsize"}


class Lanes:
    """Threads `block * threads + thread` of the given blocks of a grid."""

    def __init__(self, module: Module, blocks: np.ndarray, grid: tuple[int, int, int], threads: int) -> None:
        self.module, self.n = module, len(blocks) * threads
        self.threads, self.n_blocks = threads, len(blocks)
        self.thread = np.tile(np.arange(threads), len(blocks))
        self.block = np.repeat(np.arange(len(blocks)), threads)
        self.lane = self.thread % WARP
        self.warp = self.block * -(-threads // WARP) + self.thread // WARP
        self.n_warps = len(blocks) * -(-threads // WARP)
        self.registers: dict[str, np.ndarray] = {}
        self.special = {name: np.ascontiguousarray(value, np.uint32) for name, value in
                        self.special_registers(np.repeat(blocks, threads), grid).items()}

    def special_registers(self, block: np.ndarray, grid: tuple[int, int, int]) -> dict[str, np.ndarray]:
        same = lambda value: np.full(self.n, value)
        found = {"%laneid": self.lane, "%warpsize": same(WARP), "%tid.x": self.thread, "%tid.y": same(0), "%tid.z": same(0),
                 "%ntid.x": same(self.threads), "%ntid.y": same(1), "%ntid.z": same(1)}
        for axis, count, place in zip("xyz", grid, (block % grid[0], block // grid[0] % grid[1], block // (grid[0] * grid[1]))):
            found[f"%nctaid.{axis}"], found[f"%ctaid.{axis}"] = same(count), place
        return found

    def count(self, i: Index) -> int:
        return self.n if i is ALL else len(i)

    def register(self, name: str) -> np.ndarray:
        found = self.registers.get(name)
        if found is None:
            width = self.module.widths[name]
            found = self.registers[name] = (np.full(self.n, 256 ** width - 1, RAW[width]) if width else np.zeros(self.n, bool))
        return found


Read = Callable[[Lanes, Index], Any]
Write = Callable[[Lanes, Index, Any], None]
Step = Callable[[Lanes, Index], None]


def literal(text: str, t: str) -> Any:
    """A number in an instruction as a NumPy scalar of a PTX type."""
    if text[:2] in ("0f", "0F", "0d", "0D"):
        bits = np.dtype("u4") if text[1] in "fF" else np.dtype("u8")
        return np.array(int(text[2:], 16), bits).astype(RAW[SIZES[t]]).view(DTYPES[t])[()]
    size = SIZES[t]
    return np.array(int(text.rstrip("U"), 0) & 256 ** size - 1, RAW[size]).view(DTYPES[t])[()]


def reader(module: Module, text: str, t: str) -> Read:
    """How to read an operand as a PTX type (`pred`: as booleans): an array, or a scalar for constants."""
    if text.startswith("!"):
        inner = reader(module, text[1:], t)
        return lambda lanes, i: ~inner(lanes, i)
    if text in SPECIAL:
        return lambda lanes, i: lanes.special[text][i].astype(RAW[SIZES[t]]).view(DTYPES[t])
    if text in module.widths:
        return register_reader(text, module.widths[text], t)
    if text.startswith("%"):
        raise PTXError(f"unknown register {text}")
    if t == "pred":
        value = np.bool_(int(text))
    elif text in module.constants:
        value = np.uint64(module.constants[text].ctypes.data)
    else:
        value = literal(text, t)
    return lambda lanes, i: value


def register_reader(name: str, width: int, t: str) -> Read:
    if t == "pred":
        return lambda lanes, i: lanes.register(name)[i]
    dtype = DTYPES[t]
    if width == dtype.itemsize:
        return lambda lanes, i: lanes.register(name)[i].view(dtype)
    raw = RAW[dtype.itemsize]       # the low bytes of a wider register
    return lambda lanes, i: lanes.register(name)[i].astype(raw).view(dtype)


def writer(module: Module, text: str) -> Write:
    """How to write a register: booleans for predicates, else an array that nobody else keeps, extended by its sign."""
    if text == "_":
        return lambda lanes, i, value: None
    width = module.widths.get(text)
    if width is None:
        raise PTXError(f"unknown register {text}")

    def write(lanes: Lanes, i: Index, value: Any) -> None:
        value = np.asarray(value)
        if width:
            if value.itemsize != width:
                value = value.astype(f"{value.dtype.kind}{width}")
            value = value.view(RAW[width])
        if i is not ALL:
            lanes.register(text)[i] = value
        elif value.shape == (lanes.n,):
            lanes.registers[text] = value
        else:
            lanes.registers[text] = np.full(lanes.n, value)
    return write


def value_step(module: Module, ins: Instruction, types: list[str], compute: Callable[..., Any]) -> Step:
    """args[0] = compute(args[1], ...), operand k read as types[k]."""
    write = writer(module, ins.args[0])
    read = [reader(module, text, t) for text, t in zip(ins.args[1:], types)]

    def step(lanes: Lanes, i: Index) -> None:
        write(lanes, i, compute(*[r(lanes, i) for r in read]))
    return step
