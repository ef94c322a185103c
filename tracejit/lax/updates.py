"""Many updates of a scatter -> shares for the threads, such that each element is still combined in one fixed order.

By parts: eight parts of the updates (fewer where they are few), each with a result of its own, which are added up in order.
By columns: windows with long rows are cut across; each share walks all updates and writes its own columns.
"""
from __future__ import annotations

from typing import Any

import numpy as np

MOST_SHARES = 8                 # how much of it is used depends on shapes alone, so that bits do not depend on threads
MANY_STEPS = 1 << 15            # of writing one element or one vector, from which more than one thread pays
OWN_BYTES = 1 << 20             # a part's own result stays in a private cache
LEAST_COLUMNS = 1024            # bytes, that one share writes of a row
I64 = np.dtype("i8")


def pitch(operand: Any) -> int:
    return -(-operand.nbytes // 64) * 64


def steps_of(op: Any, types: Any) -> int:
    """How many elements, or vectors of 64 bytes where windows have rows, are combined one after another."""
    operand, _, updates = types
    n, far, wide = op.window_nest(operand.shape, updates.shape)[-1]
    vector = 64 // operand.dtype.itemsize if far == wide == 1 else 1
    return updates.size // n * -(-n // vector) if n else 0


def parts_of(op: Any, types: Any) -> int:
    """In how many parts updates are combined; 0: in one, without a result of its own. Results of all parts are cleared, read
    and added up, which should be a fraction of the work."""
    operand, _, updates = types
    axes, steps = op.windows.batch_axes(updates.ndim), steps_of(op, types)
    if op.indices_batching or not axes or not operand.size or operand.nbytes > OWN_BYTES or steps < MANY_STEPS:
        return 0
    parts = min(MOST_SHARES, updates.shape[axes[0]], steps // (12 * pitch(operand) // 64))
    return 1 << parts.bit_length() - 1 if parts > 1 else 0


def by_parts(op: Any, b: Any, target: Any, where: Any, source: Any, types: Any) -> None:
    (operand, _, updates), parts = types, parts_of(op, types)
    n, dtype = updates.shape[op.windows.batch_axes(updates.ndim)[0]], operand.dtype
    own = lambda f, scratch, k: f.gep(scratch, f.mul(f.index(k), pitch(operand)))

    def combine(f: Any, pointers: list, scratch: Any) -> None:
        area = own(f, scratch, f.lane)
        with f.loop(0, operand.size) as loop:
            f.store(f.const(op.neutral(dtype), dtype), f.gep(area, loop.index, dtype))
        ends = [f.div(f.mul(f.add(f.lane, k), n), parts) for k in (0, 1)]
        op.write_all(f, area, *pointers, types, ends)

    def add_up(f: Any, pointers: list, scratch: Any) -> None:
        first, last = columns_of(f, operand.size, MOST_SHARES, dtype)
        lanes = f.isa.lanes(dtype)
        stop = f.sub(last, f.rem(f.sub(last, first), lanes))
        for begin, end, step in ((first, stop, lanes), (stop, last, 1)):
            with f.loop(begin, end, step) as loop:
                place = f.gep(pointers[0], loop.index, dtype)
                total = f.load(dtype, place, step)
                for k in range(parts):
                    total = op.combine(f, total, f.load(dtype, f.gep(own(f, scratch, k), loop.index, dtype), step))
                f.store(total, place)
    b.lanes(parts, parts, [(where, 0), (source, 0)], 0, combine)
    b.lanes(MOST_SHARES, MOST_SHARES, [(target, 0)], 0, add_up)


def columns_of(f: Any, n: int, shares: int, dtype: np.dtype) -> tuple:
    """(first, last) of n neighbours for the share f.lane: whole cache lines but for the last one's."""
    chunk = chunk_of(n, shares, dtype)
    first = f.min(f.mul(f.lane, chunk), n)
    return first, f.min(f.add(first, chunk), n)


def chunk_of(n: int, shares: int, dtype: np.dtype) -> int:
    line = max(1, 64 // dtype.itemsize)
    return -(-n // (shares * line)) * line


def column_shares(op: Any, types: Any) -> int:
    """In how many shares the rows of windows are cut; 1: they are not."""
    operand, _, updates = types
    n, far, wide = op.window_nest(operand.shape, updates.shape)[-1]
    if not far == wide == 1 or steps_of(op, types) < MANY_STEPS:
        return 1
    shares = max(1, min(MOST_SHARES, n * operand.dtype.itemsize // LEAST_COLUMNS))
    return -(-n // chunk_of(n, shares, operand.dtype))


def by_columns(op: Any, b: Any, target: Any, where: Any, source: Any, types: Any) -> None:
    operand, _, updates = types
    shares, n = column_shares(op, types), op.window_nest(operand.shape, updates.shape)[-1][0]
    chunk = chunk_of(n, shares, operand.dtype)

    def write(f: Any, pointers: list, scratch: Any) -> None:
        """Loops of known length take a half of the time of others; the last share may have other ones."""
        first, rest = f.mul(f.lane, chunk), n - (shares - 1) * chunk
        target, where, source = pointers
        ends = [f.gep(p, first, operand.dtype) for p in (target, source)]
        some = lambda count: lambda: op.write_all(f, ends[0], where, ends[1], types, columns=count)
        f.cond(f.lt(f.lane, shares - 1), some(chunk), some(rest)) if rest < chunk else some(chunk)()
    b.lanes(shares, shares, [(target, 0), (where, 0), (source, 0)], 0, write)
