"""One long lane, sorted by all threads: a stable radix sort whose passes are cut into parts of consecutive items.

A pass counts the digits of each part, finds where the items of each digit of each part begin, and moves them there. A part
is walked at two places at once, each with counts of its own: what is counted twice in a row has to wait for itself.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.ir.types import is_float
from tracejit.lax.radix import (I32, I64, U32, U64, Items, Strided, alone, bits_of_key, columns_of, key_of, load_bits,
                                packed, place_in, restore_zeros, unsigned, with_places)
from tracejit.lax.shares import WithinLane

LONG = 1 << 16      # shorter lanes are sorted by one thread
PARTS, STREAMS = 8, 2
DIGIT_BITS = 8      # the lines that a pass writes to stay in the first cache
SLOTS = 1 << DIGIT_BITS

At = Callable[[Any, list, Any, int], Any]       # (builder, pointers, index, lanes)


def is_long(where: Strided) -> bool:
    return where.lanes == 1 and where.n >= LONG


def value_areas(dtype: np.dtype, n: int) -> list[tuple[int, np.dtype]]:
    """Work areas of `sort_values`."""
    return [(n, unsigned(dtype)), (n, unsigned(dtype)), (PARTS * STREAMS * SLOTS, I32)]


def place_areas(n: int) -> list[tuple[int, np.dtype]]:
    """Work areas of `sort_places` and `sort_pairs`."""
    return [(n, U64), (n, U32), (n, U64), (n, U32), (PARTS * STREAMS * SLOTS, I32), (n, U32)]


def in_parts(b: Any, n: int, pointers: Sequence[Any], lanes: int, emit: At, repeatable: bool = False) -> None:
    """emit(f, pointers, i, lanes) for vectors of indices, and with one lane for what is left, in parallel.

    What may be done twice is done for the last vector of a part whose length is no multiple: `repeatable`.
    """
    parts = 1 if isinstance(b, WithinLane) else PARTS
    overlapping = repeatable and n >= parts * lanes

    def part(f: Any, own: list, scratch: Any) -> None:
        first, last = (f.div(f.mul(f.add(f.lane, k), n), parts) for k in (0, 1))
        if overlapping:
            with f.loop(first, last, lanes) as loop:
                emit(f, own, f.min(loop.index, f.sub(last, lanes)), lanes)
            return
        middle = f.sub(last, f.rem(f.sub(last, first), lanes))
        for start, stop, step in ((first, middle, lanes), (middle, last, 1))[:1 if lanes == 1 else 2]:
            with f.loop(start, stop, step) as loop:
                emit(f, own, loop.index, step)
    b.lanes(parts, parts, [(p, 0) for p in pointers], 0, part)


class LongLane:
    """n items in work areas: their planes, as much again, and the counts, by part and digit."""

    def __init__(self, b: Any, items: Items, n: int, areas: list):
        self.b, self.items, self.n, k = b, items, n, len(items.planes)
        self.front, self.back, self.counts = areas[:k], areas[k:2 * k], areas[2 * k]

    def digits(self) -> range:
        """The lowest bit of each digit of the key."""
        first = 8 * self.items.first_byte
        return range(first, first + 8 * self.items.n_bytes, DIGIT_BITS)

    def load(self, f: Any, planes: Sequence[Any], i: Any, lanes: int = 1) -> list:
        return [f.load(t, f.gep(p, i, t), lanes) for p, t in zip(planes, self.items.planes)]

    def store(self, f: Any, item: list, planes: Sequence[Any], i: Any) -> None:
        for x, p, t in zip(item, planes, self.items.planes):
            f.store(x, f.gep(p, i, t))

    def sort(self, sources: list, lanes: int, item_at: At) -> list:
        """Put item_at(f, sources, i, lanes) in every place i, and sort; where the sorted planes are."""
        k = len(self.front)
        in_parts(self.b, self.n, [*self.front, *sources], lanes,
                 lambda f, p, i, step: self.store(f, item_at(f, p[k:], i, step), p, i))
        state = [*self.front, *self.back]
        for digit in self.digits():
            state = self.one_pass(digit, state[:k], state[k:])
        return state[:k]

    def one_pass(self, digit: int, source: list, target: list) -> list:
        """(where the items are now, the other area): items whose digits are all equal stay."""
        self.count(digit, source)

        def move() -> list:
            self.move(digit, source, target)
            return [*target, *source]
        return self.b.cond(self.find_starts(), move, lambda: [*source, *target])

    def each_item(self, pointers: list, visit: Callable[[Any, list, Any, Any], None], clear: bool = False) -> None:
        """visit(f, pointers, counts, i) for each item, two streams in turns, the parts in parallel."""
        def part(f: Any, own: list, scratch: Any) -> None:
            first, last = (f.div(f.mul(f.add(f.lane, k), self.n), PARTS) for k in (0, 1))
            tables = [f.gep(own[0], f.mul(f.add(f.mul(f.lane, STREAMS), k), SLOTS), I32) for k in range(STREAMS)]
            if clear:
                with f.loop(0, STREAMS * SLOTS) as loop:
                    f.store(f.const(0, I32), f.gep(tables[0], loop.index, I32))
            half = f.div(f.sub(last, first), STREAMS)
            with f.loop(0, half) as loop:
                for k, counts in enumerate(tables):
                    visit(f, own[1:], counts, f.add(loop.index, f.add(first, f.mul(half, k))))
            with f.loop(f.add(first, f.mul(half, STREAMS)), last) as loop:
                visit(f, own[1:], tables[-1], loop.index)
        self.b.lanes(PARTS, PARTS, [(p, 0) for p in (self.counts, *pointers)], 0, part)

    def place_of_count(self, f: Any, counts: Any, digit: int, x: Any) -> Any:
        return f.gep(counts, f.convert(f.and_(f.shr_logical(x, digit), SLOTS - 1), I64), I32)

    def count(self, digit: int, source: list) -> None:
        key = self.items.planes[0]

        def visit(f: Any, p: list, counts: Any, i: Any) -> None:
            place = self.place_of_count(f, counts, digit, f.load(key, f.gep(p[0], i, key)))
            f.store(f.add(f.load(I32, place), 1), place)
        self.each_item(source[:1], visit, clear=True)

    def find_starts(self) -> Any:
        """Replace the counts by where their items begin; whether there is more than one value of the digit."""
        b = self.b
        with b.loop(0, SLOTS, carries=[b.const(0, I32)] * 2) as loop:
            (begin, most), total = loop.carries, loop.carries[0]
            for table in range(PARTS * STREAMS):
                place = b.gep(self.counts, b.add(loop.index, table * SLOTS), I32)
                count = b.load(I32, place)
                b.store(total, place)
                total = b.add(total, count)
            loop.carry(total, b.max(most, b.sub(total, begin)))
        return b.lt(loop.results[1], self.n)

    def move(self, digit: int, source: list, target: list) -> None:
        k = len(source)

        def visit(f: Any, p: list, starts: Any, i: Any) -> None:
            item = self.load(f, p[:k], i)
            place = self.place_of_count(f, starts, digit, item[0])
            to = f.load(I32, place)
            f.store(f.add(to, 1), place)
            self.store(f, item, p[k:], f.convert(to, I64))
        self.each_item([*source, *target], visit)


def sort_values(b: Any, n: int, source: Any, target: Any, areas: list, dtype: np.dtype) -> None:
    """Sort the numbers of one array."""
    own, lanes = unsigned(dtype), b.isa.lanes(unsigned(dtype))
    bits_at = lambda f, p, i, step: f.load(own, f.gep(p, i, own), step)
    keys, = LongLane(b, alone(dtype), n, areas).sort(
        [source], lanes, lambda f, p, i, step: [key_of(f, bits_at(f, p[0], i, step), dtype, keep_zeros=True)])
    in_parts(b, n, [keys, target], lanes, lambda f, p, i, step: f.store(
        bits_of_key(f, bits_at(f, p[0], i, step), dtype), f.gep(p[1], i, own)))
    if is_float(dtype):
        restore_zeros(b, Strided(n, 1, 1), keys, source, target, own)


def sort_pairs(b: Any, n: int, ins: list, outs: list, areas: list, dtypes: list[np.dtype]) -> None:
    """Sort pairs of an integer key and a number, of up to 32 bits each: they move together."""
    items, lanes = with_places(dtypes[0]), b.isa.lanes(U64)
    owns = [unsigned(d) for d in dtypes]

    def item_at(f: Any, p: list, i: Any, step: int) -> list:
        key, number = (f.load(own, f.gep(q, i, own), step) for q, own in zip(p, owns))
        return packed(f, items, key_of(f, key, dtypes[0]), number)

    def write(f: Any, p: list, i: Any, step: int) -> None:
        item = f.load(U64, f.gep(p[0], i, U64), step)
        key, number = f.convert(f.shr_logical(item, 32), owns[0]), f.convert(item, owns[1])
        f.store(bits_of_key(f, key, dtypes[0]), f.gep(p[1], i, owns[0]))
        f.store(number, f.gep(p[2], i, owns[1]))
    planes = LongLane(b, items, n, [areas[0], areas[2], areas[4]]).sort(ins, lanes, item_at)
    in_parts(b, n, [*planes, *outs], lanes, write)


def makes_pairs(dtypes: list[np.dtype], num_keys: int) -> bool:
    """Whether `sort_pairs` does it: the bits of a float are more than its place in the order, those of an integer are not."""
    return len(dtypes) == 2 and num_keys == 1 and dtypes[0].kind in "iub" and max(d.itemsize for d in dtypes) <= 4


def sort_places(b: Any, n: int, sources: list, areas: list, dtypes: list[np.dtype], total: bool = False,
                descending: bool = False) -> tuple[Items, list]:
    """Sort by key columns, the last first; the sorted items, which remember their places."""
    found: tuple[Items, list] | None = None
    for operand, part, dtype in reversed(columns_of(dtypes)):
        items, whole = with_places(dtype), dtypes[operand]
        before = [] if found is None else [keep_places(b, n, *found, areas[5])]
        own = areas[:5] if len(items.planes) == 2 else [areas[0], areas[2], areas[4]]

        def key_at(f: Any, p: Any, place: Any, step: int, whole=whole, part=part, dtype=dtype) -> Any:
            key = key_of(f, load_bits(f, Strided(n, 1, 1), p, place, whole, part, step), dtype, total)
            return f.not_(key) if descending else key
        lanes = 1 if before or whole.kind == "c" else b.isa.lanes(U64)
        found = items, LongLane(b, items, n, own).sort([sources[operand], *before], lanes, item_of(items, key_at))
    return found


def item_of(items: Items, key_at: At) -> At:
    """The item at i: the key at that place, or at the place that was i-th before."""
    def item_at(f: Any, p: list, i: Any, step: int) -> list:
        if len(p) == 1:
            return packed(f, items, key_at(f, p[0], i, step), f.add(f.splat(i, step), f.iota(step, I64)))
        place = f.convert(f.load(U32, f.gep(p[1], i, U32)), I64)
        return packed(f, items, key_at(f, p[0], place, step), place)
    return item_at


def keep_places(b: Any, n: int, items: Items, planes: list, area: Any) -> Any:
    """The places of sorted items, copied out of the way of the next sort."""
    def copy(f: Any, p: list, i: Any, step: int) -> None:
        item = [f.load(t, f.gep(q, i, t)) for q, t in zip(p, items.planes)]
        f.store(f.convert(place_in(f, items, item), U32), f.gep(p[-1], i, U32))
    in_parts(b, n, [*planes, area], 1, copy)
    return area


def take_sorted(b: Any, count: int, items: Items, planes: list, source: Any, target: Any, dtype: np.dtype) -> None:
    """target[i] = source[place of sorted item i] for the first `count` items."""
    in_parts(b, count, [*planes, source, target], 1, lambda f, p, i, step: take_one(f, items, p, i, dtype))


def take_one(f: Any, items: Items, p: list, i: Any, dtype: np.dtype) -> None:
    """As `take_sorted`, of pointers to the planes, the source and the target."""
    item = [f.load(t, f.gep(q, i, t)) for q, t in zip(p, items.planes)]
    f.store(f.load(dtype, f.gep(p[-2], place_in(f, items, item), dtype)), f.gep(p[-1], i, dtype))


def take_keys(b: Any, count: int, items: Items, planes: list, source: Any, target: Any, dtype: np.dtype,
              total: bool = False, descending: bool = False) -> None:
    """`take_sorted` of the only key: made of the sorted keys, except where a key does not tell its number (zeros, nan)."""
    own, sign = unsigned(dtype), 1 << (8 * dtype.itemsize - 1)

    def write(f: Any, p: list, i: Any, step: int) -> None:
        key = f.convert(items.key(f, f.load(items.planes[0], f.gep(p[0], i, items.planes[0]), step)), own)
        bits = bits_of_key(f, f.not_(key) if descending else key, dtype)
        f.store(bits, f.gep(p[-1], i, own))
        if is_float(dtype) and not total:
            infinity = int(np.asarray(np.inf, dtype).view(own))
            unclear = f.or_(f.eq(bits, 0), f.gt(f.and_(bits, sign - 1), infinity))
            f.when(f.any(unclear), lambda: again(f, p, i, step))

    def again(f: Any, p: list, i: Any, step: int) -> None:
        with f.loop(i, f.add(i, step)) as loop:
            take_one(f, items, p, loop.index, dtype)
    in_parts(b, count, [*planes, source, target], b.isa.lanes(items.planes[0]), write)


def store_places(b: Any, count: int, items: Items, planes: list, target: Any) -> None:
    def store(f: Any, p: list, i: Any, step: int) -> None:
        item = [f.load(t, f.gep(q, i, t)) for q, t in zip(p, items.planes)]
        f.store(f.convert(place_in(f, items, item), I32), f.gep(p[-1], i, I32))
    in_parts(b, count, [*planes, target], 1, store)
