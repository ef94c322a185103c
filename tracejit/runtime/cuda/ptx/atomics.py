"""atom and red: read, change and write one word, lane after lane in the order of their numbers."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit.runtime.cuda.ptx.lanes import DTYPES, Index, Lanes, Step, reader, writer
from tracejit.runtime.cuda.ptx.memory import MEMORY, PAGE, SHARED_TAG, address_reader, space_at, space_of
from tracejit.runtime.cuda.ptx.parse import SIZES, Instruction, Module

CHANGES: dict[str, Callable[..., Any]] = {
    "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "exch": lambda old, new: new, "inc": lambda old, top: np.where(old >= top, 0, old + 1).astype(old.dtype),
    "dec": lambda old, top: np.where((old == 0) | (old > top), top, old - 1).astype(old.dtype),
    "cas": lambda old, compare, new: np.where(old == compare, new, old)}


def decode_atomic(module: Module, ins: Instruction) -> Step:
    returns = ins.op[0] == "atom"
    kind = next(part for part in ins.op if part in CHANGES)
    size, dtype = SIZES[ins.type], DTYPES[ins.type]
    place = address_reader(module, ins.args[returns])
    operands = [reader(module, text, ins.type) for text in ins.args[1 + returns:]]
    write = writer(module, ins.args[0]) if returns else None

    def step(lanes: Lanes, i: Index) -> None:
        address, n = place(lanes, i), lanes.count(i)
        memory, where = words_at(lanes, i, space_of(ins) or space_at(address, ins), address, size, ins)
        values = [np.broadcast_to(r(lanes, i), (n,)) for r in operands]
        old = in_order(memory, where, values, CHANGES[kind], dtype)
        if write:
            write(lanes, i, old)
    return step


def words_at(lanes: Lanes, i: Index, space: str, address: np.ndarray, size: int, what: Any) -> tuple[np.ndarray, np.ndarray]:
    """(a flat array of words, the index in it for each lane)."""
    if space == "global":
        lanes.spaces.regions.check(address, size, what)
        return MEMORY[size], (address - PAGE) // size
    offset = np.where(address >= SHARED_TAG, address - SHARED_TAG, address)
    shared = lanes.spaces.shared
    shared.check(offset, size, what)
    view = shared.views[size]
    return view.reshape(-1), lanes.block[i] * view.shape[1] + offset // size


def in_order(memory: np.ndarray, where: np.ndarray, values: list[np.ndarray], change: Callable[..., Any], dtype: np.dtype
             ) -> np.ndarray:
    """What each lane found. Rounds of lanes with different words: the k-th lane of a word belongs to round k."""
    order = np.argsort(where, kind="stable")
    ranked = where[order]
    first = np.r_[True, ranked[1:] != ranked[:-1]] if len(ranked) else np.zeros(0, bool)
    starts = np.flatnonzero(first)
    turn = np.arange(len(where)) - np.repeat(starts, np.diff(np.r_[starts, len(where)]))
    old = np.empty(len(where), dtype)
    by_turn = np.argsort(turn, kind="stable")
    for chosen in np.split(by_turn, np.searchsorted(turn[by_turn], np.arange(1, turn.max(initial=0) + 1))):
        lanes = order[chosen]
        found = memory[where[lanes]].view(dtype)
        old[lanes] = found
        with np.errstate(all="ignore"):
            new = change(found, *[v[lanes] for v in values])
        memory[where[lanes]] = np.ascontiguousarray(new, dtype).view(memory.dtype)
    return old


DECODERS = {"atom": decode_atomic, "red": decode_atomic}
