"""Runs a Program for a grid: picks which lanes go on, lowest block of code first, so that lanes that parted meet again."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.runtime.cuda.ptx.lanes import ALL, DTYPES, RAW, WARP, Index, Lanes
from tracejit.runtime.cuda.ptx.memory import Counters, Regions, Spaces
from tracejit.runtime.cuda.ptx.parse import SIZES, PTXError
from tracejit.runtime.cuda.ptx.program import Block, Program
from tracejit.runtime.cuda.ptx.warps import bits_by_warp, numbers

LANES_AT_ONCE = 1 << 16


def launch(program: Program, grid: Sequence[int], threads: int, arguments: Sequence[Any], regions: Sequence[tuple[int, int]],
           counters: Counters, counting: bool = False) -> None:
    """Run a kernel: `regions` are the (address, bytes) that it may touch. PTXError for what is undefined on a device."""
    grid = (*grid, 1, 1)[:3]
    module = program.module
    if len(arguments) != len(module.params):
        raise PTXError(f"{module.entry} takes {len(module.params)} arguments, got {len(arguments)}")
    given = {name: argument(value, t, name) for value, (name, t) in zip(arguments, module.params)}
    constants = [(a.ctypes.data, a.nbytes) for a in module.constants.values()]
    allowed = Regions([*regions, *constants])
    n_blocks = grid[0] * grid[1] * grid[2]
    at_once = max(1, LANES_AT_ONCE // threads)
    counters.launches += 1
    for first in range(0, n_blocks, at_once):
        lanes = Lanes(module, np.arange(first, min(n_blocks, first + at_once)), grid, threads)
        lanes.arguments, lanes.spaces = given, Spaces(lanes, allowed, counters, counting)
        Run(program, lanes, counters).run()


def argument(value: Any, t: str, name: str) -> np.ndarray:
    """The bits of an argument; a NumPy scalar must have the width of the parameter."""
    if isinstance(value, np.generic) and value.dtype.itemsize != SIZES[t]:
        raise PTXError(f"{name} is a {t}, got {value.dtype}")
    raw = RAW[SIZES[t]]
    return np.array(value).view(raw) if isinstance(value, np.generic) else np.array(value, DTYPES[t]).view(raw)


class Run:
    """The lanes of some blocks on their way through a program.

    As long as all of them that are left stand at the same block of code, that block is `place`; else it is None, and
    `place_of` says where each is.
    """

    def __init__(self, program: Program, lanes: Lanes, counters: Counters) -> None:
        self.program, self.lanes, self.counters = program, lanes, counters
        self.place: int | None = program.start
        self.place_of = np.full(lanes.n, program.start)
        self.alive = np.ones(lanes.n, bool)
        self.everyone: Index = ALL                          # who is alive
        self.at_barrier = np.zeros(lanes.n, bool)
        self.held = np.zeros(lanes.n, bool)                 # waits for other lanes of the warp
        self.callers: dict[str, np.ndarray] = {}            # function -> the block that each lane returns to

    def run(self) -> None:
        while self.lanes.count(self.everyone):
            if self.place is None:
                self.go_on_apart()
            else:
                self.run_block(self.place, self.everyone)

    def run_block(self, number: int, who: Index) -> None:
        block = self.program.blocks[number]
        for step in block.steps:
            step(self.lanes, who)
        self.counters.instructions += (len(block.steps) + 1) * -(-self.lanes.count(who) // WARP)
        getattr(self, "end_" + block.ending if block.ending else "end")(block, number, who)

    # --- where lanes are --------------------------------------------------------------------------

    def go(self, who: Index, place: int) -> None:
        if self.place is not None:
            self.place = place
        else:
            self.place_of[who] = place

    def part(self, who: Index, places: np.ndarray) -> None:
        """Each lane goes to a place of its own."""
        if self.place is not None and len(places) and (places == places[0]).all():
            self.place = int(places[0])
            return
        self.place_of[who] = places
        self.place = None

    def leave(self, who: np.ndarray) -> None:
        self.alive[who] = False
        self.everyone = np.flatnonzero(self.alive)

    def go_on_apart(self) -> None:
        ready = self.alive & ~self.at_barrier & ~self.held
        if not ready.any():
            self.release()
            return
        place = int(self.place_of[ready].min())
        who = np.flatnonzero(ready & (self.place_of == place))
        if len(who) == self.lanes.count(self.everyone):
            self.place, who = place, self.everyone
        self.run_block(place, who)

    # --- how blocks end ---------------------------------------------------------------------------

    def end(self, block: Block, number: int, who: Index) -> None:
        self.go(who, number + 1)

    def end_jump(self, block: Block, number: int, who: Index) -> None:
        if block.condition is None:
            self.go(who, block.target)
            return
        self.part(who, np.where(block.condition(self.lanes, who), block.target, number + 1))

    def end_exit(self, block: Block, number: int, who: Index) -> None:
        here = numbers(self.lanes, who)
        gone = np.ones(len(here), bool) if block.condition is None else block.condition(self.lanes, who)
        self.go(who, number + 1)
        if gone.any():
            self.leave(here[gone])

    def end_trap(self, block: Block, number: int, who: Index) -> None:
        raise PTXError(f"the kernel trapped: {block.text}")

    def end_call(self, block: Block, number: int, who: Index) -> None:
        here = numbers(self.lanes, who)
        called = here if block.condition is None else here[block.condition(self.lanes, who)]
        if len(called) < len(here):
            raise PTXError(f"a call under a condition: {block.text}")
        block.step(self.lanes, who)
        self.callers.setdefault(block.callee, np.zeros(self.lanes.n, np.int64))[who] = number
        self.go(who, block.target)

    def end_back(self, block: Block, number: int, who: Index) -> None:
        here = numbers(self.lanes, who)
        done = np.ones(len(here), bool) if block.condition is None else block.condition(self.lanes, who)
        callers = self.callers[block.scope][who]
        for caller in np.unique(callers[done]):
            mine = done & (callers == caller)
            self.program.blocks[caller].after(self.lanes, who if mine.all() else here[mine])
        self.part(who, np.where(done, callers + 1, number + 1))

    def end_barrier(self, block: Block, number: int, who: Index) -> None:
        if self.place is None:
            self.at_barrier[who] = True
            return
        self.open_barrier(np.unique(self.lanes.block[who]))
        self.place = number + 1

    def open_barrier(self, blocks: np.ndarray) -> None:
        self.lanes.spaces.shared.epoch[blocks] += 1
        self.counters.barriers += len(blocks)

    def end_together(self, block: Block, number: int, who: Index) -> None:
        """Run it with the lanes whose partners are all here; the others wait for them."""
        here = numbers(self.lanes, who)
        if self.place is None:
            complete = self.complete(here, block.mask(self.lanes, who))
            self.held[here[~complete]] = True
            here = here[complete]
            if not len(here):
                return
            self.held &= ~np.isin(self.lanes.warp, self.lanes.warp[here])
        block.step(self.lanes, who if self.place is not None else here)
        self.go(who if self.place is not None else here, number + 1)

    def complete(self, here: np.ndarray, mask: Any) -> np.ndarray:
        """For each lane that is here: are all living lanes of its warp that the mask names?"""
        warp = self.lanes.warp[here]
        missing = bits_by_warp(self.lanes, np.flatnonzero(self.alive)) & ~bits_by_warp(self.lanes, here)
        return np.asarray(mask) & missing[warp] == 0

    def release(self) -> None:
        """Nobody can go on: open the barriers where all lanes of a block wait, or let those held try again."""
        opened = False
        for k in np.unique(self.lanes.block[self.at_barrier]):
            members = (self.lanes.block == k) & self.alive
            if self.at_barrier[members].all():
                places = np.unique(self.place_of[members])
                if len(places) > 1:
                    raise PTXError("lanes of a block wait at different barriers")
                self.at_barrier[members] = False
                self.place_of[members] += 1
                self.open_barrier(np.array([k]))
                opened = True
        if not opened:
            self.retry_held()

    def retry_held(self) -> None:
        stuck = self.held & self.alive
        places = np.unique(self.place_of[stuck])
        for place in places:
            here = np.flatnonzero(stuck & (self.place_of == place))
            block = self.program.blocks[place]
            if self.complete(here, block.mask(self.lanes, here)).any():
                self.held[here] = False
                return
        raise PTXError(f"deadlock: {int(stuck.sum())} lanes wait for their warp, {int(self.at_barrier.sum())} at a barrier")
