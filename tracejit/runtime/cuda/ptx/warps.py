"""Instructions in which the lanes of a warp see each other's values: shuffles, votes, the mask of who is here."""
from __future__ import annotations

import numpy as np

from tracejit.runtime.cuda.ptx.lanes import ALL, WARP, Index, Lanes, Step, reader, writer
from tracejit.runtime.cuda.ptx.parse import Instruction, Module, PTXError


def bits_by_warp(lanes: Lanes, chosen: np.ndarray) -> np.ndarray:
    """A mask of 32 lanes per warp, of the threads with these numbers."""
    mask = np.zeros(lanes.n_warps * WARP, bool)
    mask[lanes.warp[chosen] * WARP + lanes.lane[chosen]] = True
    return np.packbits(mask.reshape(-1, WARP), axis=1, bitorder="little").view(np.uint32)[:, 0]


def numbers(lanes: Lanes, i: Index) -> np.ndarray:
    return np.arange(lanes.n) if i is ALL else i


def decode_shuffle(module: Module, ins: Instruction) -> Step:
    mode = ins.op[2]
    target, _, inside = ins.args[0].partition("|")
    value, by, clamp = (reader(module, text, t) for text, t in zip(ins.args[1:], ("b32", "s32", "u32")))
    write, write_inside = writer(module, target), writer(module, inside) if inside else None

    def step(lanes: Lanes, i: Index) -> None:
        lane, warp = lanes.lane[i], lanes.warp[i]
        how = [np.asarray(read(lanes, i)).astype(np.int64) for read in (by, clamp)]
        source, ok = source_lane(mode, lane, *how)
        everyone = np.zeros((lanes.n_warps, WARP), np.uint32)
        here = np.zeros((lanes.n_warps, WARP), bool)
        everyone[warp, lane], here[warp, lane] = value(lanes, i), True
        if not here[warp, source].all():
            raise PTXError(f"a shuffle reads a lane that does not take part: {ins}")
        write(lanes, i, everyone[warp, source])
        if write_inside:
            write_inside(lanes, i, ok)
    return step


def source_lane(mode: str, lane: np.ndarray, by: np.ndarray, clamp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the lane that each reads, whether it is inside of its segment: else it reads itself)."""
    segment, bound = clamp >> 8 & 31, clamp & 31
    lowest, highest = lane & segment, lane & segment | bound & ~segment
    if mode == "up":
        wanted, ok = lane - by, lane - by >= highest
    elif mode == "idx":
        wanted = lowest | by & 31 & ~segment
        ok = wanted <= highest
    else:
        wanted = lane ^ by if mode == "bfly" else lane + by
        ok = wanted <= highest
    return np.where(ok, wanted, lane), ok


def decode_vote(module: Module, ins: Instruction) -> Step:
    mode, write, holds = ins.op[2], writer(module, ins.args[0]), reader(module, ins.args[1], "pred")

    def step(lanes: Lanes, i: Index) -> None:
        here = numbers(lanes, i)
        yes, all_here = bits_by_warp(lanes, here[np.broadcast_to(holds(lanes, i), here.shape)]), bits_by_warp(lanes, here)
        found = {"ballot": yes, "any": yes != 0, "all": yes == all_here, "uni": (yes == 0) | (yes == all_here)}[mode]
        write(lanes, i, found[lanes.warp[i]])
    return step


def decode_active_mask(module: Module, ins: Instruction) -> Step:
    write = writer(module, ins.args[0])
    return lambda lanes, i: write(lanes, i, bits_by_warp(lanes, numbers(lanes, i))[lanes.warp[i]])


DECODERS = {"shfl": decode_shuffle, "vote": decode_vote}
SINGLE_DECODERS = {"activemask": decode_active_mask}
