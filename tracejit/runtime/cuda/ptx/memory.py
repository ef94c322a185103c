"""ld, st and address conversion, with what a device leaves undefined made an error: bounds, alignment, races, unwritten memory.

Global memory is this process's own, so an address is an address; a launch says which regions its kernel may touch.
Shared and local variables are offsets; as generic addresses they carry a tag in their upper bits.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.runtime.cuda.ptx.lanes import DTYPES, RAW, WARP, Index, Lanes, Read, Step, reader, writer
from tracejit.runtime.cuda.ptx.parse import SIZES, Instruction, Module, PTXError

SHARED_TAG, LOCAL_TAG = 1 << 58, 1 << 59
PAGE = 4096     # nothing is ever at the lowest addresses, and an array cannot start at 0
SECTOR = 32
SPACES = ("global", "shared", "local", "param", "const")
PLACE = re.compile(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\d+))?\s*\]")


class WholeMemory:
    """All addresses of this process as one array of words of `size` bytes."""

    def __init__(self, size: int) -> None:
        self.__array_interface__ = {"data": (PAGE, False), "shape": (((1 << 47) - PAGE) // size,), "typestr": f"<u{size}",
                                    "version": 3}


MEMORY = {size: np.asarray(WholeMemory(size)) for size in RAW}


@dataclass
class Counters:
    """What one or more launches did; requests are instructions of a warp."""
    launches: int = 0
    instructions: int = 0       # of a warp
    barriers: int = 0
    load_requests: int = 0
    load_sectors: int = 0       # of 32 bytes
    load_bytes: int = 0
    store_requests: int = 0
    store_sectors: int = 0
    store_bytes: int = 0
    shared_requests: int = 0
    shared_wavefronts: int = 0  # equal to the requests where no banks conflict
    widest: int = 0             # bytes of the widest global access of a thread

    @property
    def sector_efficiency(self) -> float:
        """Bytes used of the bytes moved."""
        moved = SECTOR * (self.load_sectors + self.store_sectors)
        return (self.load_bytes + self.store_bytes) / moved if moved else 1.0


class Regions:
    """The memory that a kernel may touch, as sorted disjoint spans."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        merged: list[list[int]] = []
        for start, nbytes in sorted(s for s in spans if s[1]):
            if merged and start < merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], start + nbytes)
            else:
                merged.append([start, start + nbytes])
        self.starts = np.array([s for s, _ in merged], np.int64)
        self.ends = np.array([e for _, e in merged], np.int64)

    def check(self, address: np.ndarray, size: int, what: Any) -> None:
        k = np.searchsorted(self.starts, address, "right") - 1
        outside = (k < 0) | (address + size > self.ends[k]) if len(self.ends) else np.ones(address.shape, bool)
        if outside.any():
            bad = int(address[np.argmax(outside)])
            raise PTXError(f"access out of bounds: {size} bytes at {bad:#x}, {self.nearest(bad)}: {what}")
        if (address % size).any():
            raise PTXError(f"misaligned access of {size} bytes at {int(address[np.argmax(address % size != 0)]):#x}: {what}")

    def nearest(self, address: int) -> str:
        if not len(self.starts):
            return "the kernel has no memory"
        k = max(int(np.searchsorted(self.starts, address, "right")) - 1, 0)
        return f"{address - int(self.starts[k])} bytes from the start of {int(self.ends[k] - self.starts[k])}"


class Shared:
    """Shared memory of some blocks, and for each word who touched it last since which barrier."""

    def __init__(self, module: Module, n_blocks: int) -> None:
        nbytes = -(-module.shared_bytes // 8) * 8
        words = -(-nbytes // 4)
        self.bytes = np.zeros((n_blocks, nbytes), np.uint8)
        self.views = {size: self.bytes.view(raw) for size, raw in RAW.items()} if nbytes else {}
        nobody = lambda: np.full((n_blocks, words), -1, np.int32)
        self.writer, self.reader = nobody(), nobody()                   # a warp; -2: several
        self.written_in, self.read_in = nobody(), nobody()              # number of barriers before
        self.epoch = np.zeros(n_blocks, np.int32)

    def check(self, offset: np.ndarray, size: int, what: Any) -> None:
        if (offset < 0).any() or (offset + size > self.bytes.shape[1]).any():
            raise PTXError(f"shared access out of bounds: {size} bytes at {int(offset.max())} of {self.bytes.shape[1]}: {what}")
        if (offset % size).any():
            raise PTXError(f"misaligned shared access of {size} bytes: {what}")

    def note_read(self, block: np.ndarray, word: np.ndarray, warp: np.ndarray, what: Any) -> None:
        if (self.writer[block, word] == -1).any():
            raise PTXError(f"read of unwritten shared memory: {what}")
        now = self.epoch[block]
        if ((self.written_in[block, word] == now) & (self.writer[block, word] != warp)).any():
            raise PTXError(f"race: shared memory read after another warp wrote it, with no barrier between: {what}")
        again = (self.read_in[block, word] == now) & (self.reader[block, word] != warp)
        self.reader[block, word] = np.where(again, -2, warp)
        self.read_in[block, word] = now

    def note_write(self, block: np.ndarray, word: np.ndarray, warp: np.ndarray, what: Any) -> None:
        now = self.epoch[block]
        written = (self.written_in[block, word] == now) & (self.writer[block, word] != warp)
        read = (self.read_in[block, word] == now) & (self.reader[block, word] != warp)
        if (written | read).any():
            raise PTXError(f"race: shared memory written after another warp used it, with no barrier between: {what}")
        self.writer[block, word] = warp
        self.written_in[block, word] = now


class Spaces:
    """The memories of a batch of blocks."""

    def __init__(self, lanes: Lanes, regions: Regions, counters: Counters, counting: bool) -> None:
        module = lanes.module
        self.regions, self.counters, self.counting = regions, counters, counting
        self.shared = Shared(module, lanes.n_blocks)
        self.local = np.full((lanes.n, max(module.local_bytes, 8)), 0xFF, np.uint8)
        self.local_views = {size: self.local.view(raw) for size, raw in RAW.items()}

    # --- counting ---------------------------------------------------------------------------------

    def count_global(self, lanes: Lanes, i: Index, address: np.ndarray, size: int, store: bool) -> None:
        warp = lanes.warp[i].astype(np.int64)
        requests = len(np.unique(warp))
        sectors = len(np.unique(warp << 44 ^ address // SECTOR))
        places = len(np.unique(warp << 47 ^ address))       # lanes that want the same are served together
        name, c = ("store" if store else "load"), self.counters
        for field, n in (("requests", requests), ("sectors", sectors), ("bytes", size * places)):
            setattr(c, f"{name}_{field}", getattr(c, f"{name}_{field}") + n)
        c.widest = max(c.widest, size)

    def count_shared(self, lanes: Lanes, i: Index, offset: np.ndarray, size: int) -> None:
        """A bank serves one word at a time; lanes that want the same word share it."""
        warp = lanes.warp[i].astype(np.int64)
        words = max(1, size // 4)
        wanted = np.unique(np.concatenate([warp << 32 | offset // 4 + k for k in range(words)]))
        banks, depth = np.unique(wanted >> 32 << 5 | wanted & WARP - 1, return_counts=True)
        worst = np.zeros(lanes.n_warps, np.int64)
        np.maximum.at(worst, banks >> 5, depth)
        self.counters.shared_requests += words * int((worst > 0).sum())
        self.counters.shared_wavefronts += int(np.maximum(worst, words * (worst > 0)).sum())

    # --- one access -------------------------------------------------------------------------------

    def load(self, lanes: Lanes, i: Index, space: str, address: np.ndarray, size: int, n: int, what: Any) -> list[np.ndarray]:
        if space == "global":
            self.regions.check(address, size * n, what)
            if self.counting:
                self.count_global(lanes, i, address, size * n, False)
            first = (address - PAGE) // size
            return [MEMORY[size][first + k] for k in range(n)]
        if space == "local":
            first = self.local_place(address, size * n, what) // size
            rows = np.arange(lanes.n)[i]
            return [self.local_views[size][rows, first + k] for k in range(n)]
        block, first = self.shared_place(lanes, i, address, size * n, what, False)
        return [self.shared.views[size][block, first // size + k] for k in range(n)]

    def store(self, lanes: Lanes, i: Index, space: str, address: np.ndarray, values: list[np.ndarray], what: Any) -> None:
        size, n = values[0].dtype.itemsize, len(values)
        if space == "global":
            self.regions.check(address, size * n, what)
            if self.counting:
                self.count_global(lanes, i, address, size * n, True)
            first, target = (address - PAGE) // size, MEMORY[size]
            for k, value in enumerate(values):
                target[first + k] = value
        elif space == "local":
            first, rows = self.local_place(address, size * n, what) // size, np.arange(lanes.n)[i]
            for k, value in enumerate(values):
                self.local_views[size][rows, first + k] = value
        else:
            block, first = self.shared_place(lanes, i, address, size * n, what, True)
            for k, value in enumerate(values):
                self.shared.views[size][block, first // size + k] = value

    def local_place(self, address: np.ndarray, size: int, what: Any) -> np.ndarray:
        offset = np.where(address >= LOCAL_TAG, address - LOCAL_TAG, address)
        if (offset < 0).any() or (offset + size > self.local.shape[1]).any() or (offset % size).any():
            raise PTXError(f"local access out of bounds or misaligned: {what}")
        return offset

    def shared_place(self, lanes: Lanes, i: Index, address: np.ndarray, size: int, what: Any, store: bool
                     ) -> tuple[np.ndarray, np.ndarray]:
        offset = np.where(address >= SHARED_TAG, address - SHARED_TAG, address)
        self.shared.check(offset, size, what)
        if self.counting:
            self.count_shared(lanes, i, offset, size)
        block, warp = lanes.block[i], lanes.thread[i] // WARP
        note = self.shared.note_write if store else self.shared.note_read
        for k in range(max(1, size // 4)):
            note(block, offset // 4 + k, warp, what)
        return block, offset


# --- instructions ---------------------------------------------------------------------------------------

def address_reader(module: Module, text: str) -> Read:
    """The addresses of an operand `[base+offset]`, as int64."""
    base, offset = PLACE.fullmatch(text).groups()
    shift = np.int64(int(offset or 0))
    if base in module.shared or base in module.local:
        place = module.shared.get(base, module.local.get(base))
        return lambda lanes, i: np.full(lanes.count(i), place + shift, np.int64)
    width = module.widths.get(base, 8)
    read = reader(module, base, "s64" if width == 8 else "u32")
    return lambda lanes, i: np.broadcast_to(np.asarray(read(lanes, i)).astype(np.int64) + shift, (lanes.count(i),))


def space_of(ins: Instruction) -> str | None:
    found = next((part for part in ins.op[1:] if part.partition("::")[0] in SPACES), None)
    return None if found is None else "global" if found == "const" else found.partition("::")[0]


def space_at(address: np.ndarray, what: Any) -> str:
    """The memory that generic addresses are in, which must be one."""
    if (address >= LOCAL_TAG).all():
        return "local"
    if (address >= SHARED_TAG).all():
        return "shared"
    if (address < SHARED_TAG).all():
        return "global"
    raise PTXError(f"lanes of one instruction use different memories: {what}")


def vector_length(ins: Instruction) -> int:
    return next((int(part[1]) for part in ins.op if re.fullmatch(r"v\d", part)), 1)


def words(operand: Any) -> tuple[str, ...]:
    return operand if isinstance(operand, tuple) else (operand,)


def decode_load(module: Module, ins: Instruction) -> Step:
    if space_of(ins) == "param":
        return decode_param_load(module, ins)
    size, n, dtype = SIZES[ins.type], vector_length(ins), DTYPES[ins.type]
    place, space = address_reader(module, ins.args[1]), space_of(ins)
    write = [writer(module, name) for name in words(ins.args[0])]

    def step(lanes: Lanes, i: Index) -> None:
        address = place(lanes, i)
        loaded = lanes.spaces.load(lanes, i, space or space_at(address, ins), address, size, n, ins)
        for w, value in zip(write, loaded):
            w(lanes, i, value.view(dtype))
    return step


def decode_store(module: Module, ins: Instruction) -> Step:
    if space_of(ins) == "param":
        return decode_param_store(module, ins)
    raw, place, space = RAW[SIZES[ins.type]], address_reader(module, ins.args[0]), space_of(ins)
    read = [reader(module, text, ins.type) for text in words(ins.args[1])]

    def step(lanes: Lanes, i: Index) -> None:
        address, n = place(lanes, i), lanes.count(i)
        values = [np.broadcast_to(np.asarray(r(lanes, i)).view(raw), (n,)) for r in read]
        lanes.spaces.store(lanes, i, space or space_at(address, ins), address, values, ins)
    return step


def param_register(module: Module, text: str, size: int, scope: str) -> str:
    """A parameter of a call, or a part of one, is a register of its own."""
    base, offset = PLACE.fullmatch(text).groups()
    name = f"{scope}[{base.removeprefix(scope)}+{int(offset or 0)}]"
    module.widths.setdefault(name, size)
    return name


def decode_param_load(module: Module, ins: Instruction) -> Step:
    size = SIZES[ins.type]
    write = [writer(module, name) for name in words(ins.args[0])]
    if ins.function == "" and PLACE.fullmatch(ins.args[1])[1] in {name for name, _ in module.params}:
        name = PLACE.fullmatch(ins.args[1])[1]
        return lambda lanes, i: write[0](lanes, i, lanes.arguments[name].view(DTYPES[ins.type]))
    base, offset = PLACE.fullmatch(ins.args[1]).groups()
    read = [reader(module, param_register(module, f"[{base}+{int(offset or 0) + k * size}]", size, ins.function), ins.type)
            for k in range(len(write))]

    def step(lanes: Lanes, i: Index) -> None:
        for w, r in zip(write, read):
            w(lanes, i, np.copy(r(lanes, i)))
    return step


def decode_param_store(module: Module, ins: Instruction) -> Step:
    size = SIZES[ins.type]
    base, offset = PLACE.fullmatch(ins.args[0]).groups()
    read = [reader(module, text, ins.type) for text in words(ins.args[1])]
    write = [writer(module, param_register(module, f"[{base}+{int(offset or 0) + k * size}]", size, ins.function))
             for k in range(len(read))]

    def step(lanes: Lanes, i: Index) -> None:
        for w, r in zip(write, read):
            w(lanes, i, np.copy(r(lanes, i)))
    return step


def decode_cvta(module: Module, ins: Instruction) -> Step:
    """To a generic address: shared and local ones get their tag; or back, which they bear with."""
    name = ins.args[1]
    place = module.shared.get(name, module.local.get(name))
    read = (lambda lanes, i: np.int64(place)) if place is not None else reader(module, name, "s64")
    write, space = writer(module, ins.args[0]), space_of(ins)
    tag = {"shared": SHARED_TAG, "local": LOCAL_TAG}.get(space, 0)

    def step(lanes: Lanes, i: Index) -> None:
        address = np.asarray(read(lanes, i))
        write(lanes, i, np.where(address < SHARED_TAG, address + tag, address) if tag and "to" not in ins.op else address.copy())
    return step


def decode_nothing(module: Module, ins: Instruction) -> Step:
    """Fences and hints: here memory has one order."""
    return lambda lanes, i: None


DECODERS = {"ld": decode_load, "ldu": decode_load, "st": decode_store, "cvta": decode_cvta, "membar": decode_nothing,
            "fence": decode_nothing, "prefetch": decode_nothing, "nanosleep": decode_nothing}
