"""Stable sorting as native code: numbers -> unsigned keys -> radix sort, byte by byte from the least significant.

Long lanes take one histogram pass and a pass per byte whose values differ; short lanes are sorted by insertion.
Items are planes of equal length that move together: the key, and where it came from if that matters.
"""
from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.ir.types import is_float, real_dtype

U8, U32, U64 = (np.dtype(t) for t in ("u1", "u4", "u8"))
I32, I64 = np.dtype("i4"), np.dtype("i8")
SHORT = 40        # lanes up to this length are sorted by insertion
FEW = 128         # up to so many largest are kept sorted while the lane is walked once
SLOTS = 256       # values of a digit


def unsigned(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"u{dtype.itemsize}")


def key_of(f: Any, bits: Any, dtype: np.dtype, total: bool = False, keep_zeros: bool = False) -> Any:
    """The memory bits of a number as an unsigned integer that orders as the numbers do.

    nan comes last; `keep_zeros` puts -0.0 before 0.0 instead of making them equal; `total` does that, with -nan first.
    """
    width = dtype.itemsize * 8
    sign = 1 << (width - 1)
    if dtype.kind == "i":
        return f.xor(bits, sign)
    if not is_float(dtype):
        return bits
    if not total:
        size = f.and_(bits, sign - 1)
        quiet_nan = int(np.asarray(np.nan, dtype).view(unsigned(dtype))) & (sign - 1)
        infinity = int(np.asarray(np.inf, dtype).view(unsigned(dtype)))
        bits = f.select(f.gt(size, infinity), f.const(quiet_nan, bits.dtype), bits)
        if not keep_zeros:
            bits = f.select(f.eq(size, 0), f.const(0, bits.dtype), bits)
    return f.select(f.ge(bits, sign), f.not_(bits), f.or_(bits, sign))


def bits_of_key(f: Any, key: Any, dtype: np.dtype) -> Any:
    """`key_of` undone."""
    sign = 1 << (dtype.itemsize * 8 - 1)
    if dtype.kind == "i":
        return f.xor(key, sign)
    if not is_float(dtype):
        return key
    return f.select(f.ge(key, sign), f.and_(key, sign - 1), f.not_(key))


@dataclass(frozen=True)
class Items:
    """What is sorted: the dtypes of the planes, and where in the first of them the key's bytes are."""
    planes: tuple[np.dtype, ...]
    first_byte: int
    n_bytes: int

    def key(self, f: Any, x: Any) -> Any:
        return f.shr_logical(x, 8 * self.first_byte) if self.first_byte else x

    def bytes(self, n: int) -> list[tuple[int, np.dtype]]:
        """Work areas for n items: the planes twice, and the histograms."""
        return [(n, p) for p in self.planes * 2] + [(SLOTS * self.n_bytes, I32)]


def alone(dtype: np.dtype) -> Items:
    """Keys of which only the order counts."""
    return Items((unsigned(dtype),), 0, dtype.itemsize)


def with_places(dtype: np.dtype) -> Items:
    """Keys that remember their places: packed into 64 bits where they fit."""
    return Items((U64,), 4, dtype.itemsize) if dtype.itemsize <= 4 else Items((U64, U32), 0, 8)


def packed(f: Any, items: Items, key: Any, place: Any) -> list:
    """An item of a key and its place."""
    if len(items.planes) == 2:
        return [key, f.convert(place, U32)]
    return [f.or_(f.shl(f.convert(key, U64), 32), f.convert(place, U64))]


def place_in(f: Any, items: Items, item: list) -> Any:
    """The place (i64) that an item remembers."""
    low = item[1] if len(items.planes) == 2 else f.convert(item[0], U32)
    return f.convert(low, I64)


class Lane:
    """n items in work areas as `Items.bytes` asks for; `sort` returns where the sorted planes are."""

    def __init__(self, f: Any, items: Items, n: int, areas: list):
        self.f, self.items, self.n = f, items, n
        k = len(items.planes)
        self.front, self.back, self.counts = areas[:k], areas[k:2 * k], areas[2 * k]

    def load(self, planes: list, i: Any) -> list:
        return [self.f.load(t, self.f.gep(p, i, t)) for p, t in zip(planes, self.items.planes)]

    def store(self, item: list, planes: list, i: Any) -> None:
        for x, p, t in zip(item, planes, self.items.planes):
            self.f.store(x, self.f.gep(p, i, t))

    def fill(self, item_at: Any, few: bool = False) -> list:
        """Put item_at(i) in every place, and sort; `few` are sorted by insertion, and need no second area."""
        f, radix = self.f, self.n > SHORT and not few
        if radix:
            with f.loop(0, SLOTS * self.items.n_bytes) as loop:
                f.store(f.const(0, I32), f.gep(self.counts, loop.index, I32))
        with f.loop(0, self.n) as loop:
            item = item_at(loop.index)
            self.store(item, self.front, loop.index)
            for digit in range(self.items.n_bytes if radix else 0):
                place = self.count_at(digit, item[0])
                f.store(f.add(f.load(I32, place), 1), place)
        return self.by_digits() if radix else self.by_insertion()

    def digit_of(self, digit: int, x: Any) -> Any:
        f = self.f
        return f.convert(f.and_(f.shr_logical(x, 8 * (self.items.first_byte + digit)), 255), I64)

    def count_at(self, digit: int, x: Any) -> Any:
        return self.f.gep(self.counts, self.f.add(self.digit_of(digit, x), digit * SLOTS), I32)

    def by_digits(self) -> list:
        k = len(self.front)
        state = [*self.front, *self.back]
        for digit in range(self.items.n_bytes):
            state = self.pass_if_needed(digit, state[:k], state[k:])
        return state[:k]

    def pass_if_needed(self, digit: int, source: list, target: list) -> list:
        """(where the items are now, the other area): items whose digits are all equal stay."""
        f = self.f
        one = f.load(self.items.planes[0], source[0])

        def move() -> list:
            self.one_pass(digit, source, target)
            return [*target, *source]
        return f.cond(f.ne(f.load(I32, self.count_at(digit, one)), self.n), move, lambda: [*source, *target])

    def one_pass(self, digit: int, source: list, target: list) -> None:
        """Move the items to where the counts of smaller digits say."""
        f = self.f
        with f.loop(0, SLOTS, carries=[f.const(0, I32)]) as loop:
            place = f.gep(self.counts, f.add(loop.index, digit * SLOTS), I32)
            count = f.load(I32, place)
            f.store(loop.carries[0], place)
            loop.carry(f.add(loop.carries[0], count))
        with f.loop(0, self.n) as loop:
            item = self.load(source, loop.index)
            place = self.count_at(digit, item[0])
            to = f.load(I32, place)
            f.store(f.add(to, 1), place)
            self.store(item, target, f.convert(to, I64))

    def by_insertion(self) -> list:
        with self.f.loop(1, self.n) as loop:
            self.move_down(loop.index, self.load(self.front, loop.index))
        return self.front

    def move_down(self, hole: Any, item: list) -> None:
        """Put an item in its order among those before a hole, which is filled."""
        f, planes = self.f, self.front
        key = self.items.key(f, item[0])

        def larger_before(state: list) -> Any:
            at = f.max(f.sub(state[0], 1), 0)
            before = self.items.key(f, self.load(planes[:1], at)[0])
            return f.and_(f.gt(state[0], 0), f.gt(before, key))

        def shift(state: list) -> list:
            at = f.sub(state[0], 1)
            self.store(self.load(planes, at), planes, state[0])
            return [at]
        hole, = f.while_loop([hole], larger_before, shift)
        self.store(item, planes, hole)

    def worst_key(self) -> Any:
        """The last key of a lane that is kept sorted, as 64 bits."""
        return self.items.key(self.f, self.load(self.front[:1], self.f.index(self.n - 1))[0])

    def insert(self, item: list) -> None:
        """Put a better item in the place of the last."""
        self.move_down(self.f.index(self.n - 1), item)


@dataclass(frozen=True)
class Strided:
    """Lanes along one axis of dense arrays: element i of a lane is `i * inner` elements after its first."""
    n: int
    outer: int
    inner: int

    @property
    def lanes(self) -> int:
        return self.outer * self.inner

    def base(self, f: Any, p: Any, dtype: np.dtype, n: int | None = None) -> Any:
        """The first element of the current lane, in an array whose axis has n elements."""
        outer, inner = f.div(f.lane, self.inner), f.rem(f.lane, self.inner)
        return f.gep(p, f.add(f.mul(outer, (self.n if n is None else n) * self.inner), inner), dtype)

    def at(self, f: Any, base: Any, i: Any, dtype: np.dtype) -> Any:
        return f.gep(base, f.mul(i, self.inner), dtype)


def load_bits(f: Any, where: Strided, base: Any, i: Any, dtype: np.dtype, part: int = 0, lanes: int = 1) -> Any:
    """The memory bits of a number (or of neighbours in a dense lane), or of a complex number's part."""
    if dtype.kind != "c":
        return f.load(unsigned(dtype), where.at(f, base, i, unsigned(dtype)), lanes)
    own = unsigned(real_dtype(dtype))
    return f.load(own, f.gep(base, f.add(f.mul(i, 2 * where.inner), part), own))


def columns_of(dtypes: list[np.dtype]) -> list[tuple[int, int, np.dtype]]:
    """(operand, part, dtype) of each key column, the most significant first."""
    return [(k, part, real_dtype(d)) for k, d in enumerate(dtypes) for part in range(2 if d.kind == "c" else 1)]


def sort_values(f: Any, where: Strided, source: Any, target: Any, areas: list, dtype: np.dtype) -> None:
    """Sort the numbers of one lane of one array."""
    lane = Lane(f, alone(dtype), where.n, areas)
    source, target = where.base(f, source, dtype), where.base(f, target, dtype)
    own = unsigned(dtype)
    sorted_keys, = lane.fill(lambda i: [key_of(f, load_bits(f, where, source, i, dtype), dtype, keep_zeros=True)])
    with f.loop(0, where.n) as loop:
        bits = bits_of_key(f, f.load(own, f.gep(sorted_keys, loop.index, own)), dtype)
        f.store(bits, where.at(f, target, loop.index, own))
    if is_float(dtype):
        restore_zeros(f, where, sorted_keys, source, target, own)


def first_at_least(f: Any, keys: Any, n: int, least: int, dtype: np.dtype) -> Any:
    """Where the first of n sorted keys is that is not below `least`; n if there is none."""
    def halve(state: list) -> list:
        middle = f.shr_logical(f.add(*state), 1)
        below = f.lt(f.load(dtype, f.gep(keys, middle, dtype)), least)
        return [f.select(below, f.add(middle, 1), state[0]), f.select(below, state[1], middle)]
    return f.while_loop([f.const(0, I64), f.const(n, I64)], lambda state: f.lt(*state), halve)[0]


def restore_zeros(f: Any, where: Strided, keys: Any, source: Any, target: Any, own: np.dtype) -> None:
    """-0.0 and 0.0 are equal: if there are both, give the zeros among the sorted the order that they had."""
    sign = 1 << (own.itemsize * 8 - 1)
    first, middle, end = (first_at_least(f, keys, where.n, sign + k, own) for k in (-1, 0, 1))
    f.when(f.and_(f.lt(first, middle), f.lt(middle, end)), lambda: rewrite_zeros(f, where, first, source, target, own))


def rewrite_zeros(f: Any, where: Strided, first: Any, source: Any, target: Any, own: np.dtype) -> None:
    """The zeros of a lane as they come, to where the first of them belongs and after it."""
    sign = 1 << (own.itemsize * 8 - 1)
    with f.loop(0, where.n, carries=[first]) as loop:
        bits = f.load(own, where.at(f, source, loop.index, own))
        zero = f.eq(f.and_(bits, sign - 1), 0)
        f.when(zero, lambda: f.store(bits, where.at(f, target, loop.carries[0], own)))
        loop.carry(f.add(loop.carries[0], f.convert(zero, I64)))


def sort_places(f: Any, where: Strided, sources: list, areas: list, dtypes: list[np.dtype], total: bool = False,
                descending: bool = False) -> tuple[Items, list]:
    """Sort one lane by key columns, the last first; the sorted items, which remember their places."""
    found: tuple[Items, list] | None = None
    for operand, part, dtype in reversed(columns_of(dtypes)):
        before = found and kept_places(f, where, *found, areas[5])
        base, whole = where.base(f, sources[operand], dtypes[operand]), dtypes[operand]
        key_at = functools.partial(key_of_place, f, where, base, whole, part, dtype, total, descending)
        found = sort_column(f, where.n, with_places(dtype), areas, key_at, before)
    return found


def key_of_place(f: Any, where: Strided, base: Any, whole: np.dtype, part: int, dtype: np.dtype, total: bool,
                 descending: bool, place: Any) -> Any:
    key = key_of(f, load_bits(f, where, base, place, whole, part), dtype, total)
    return f.not_(key) if descending else key


def sort_column(f: Any, n: int, items: Items, areas: list, key_at: Any, before: Any) -> tuple[Items, list]:
    """Sort the places 0 ... n-1, or those listed in `before`, by the keys found there."""
    lane = Lane(f, items, n, areas[:5] if len(items.planes) == 2 else [areas[0], areas[2], areas[4]])

    def item_at(i: Any) -> list:
        place = i if before is None else f.convert(f.load(U32, f.gep(before, i, U32)), I64)
        return packed(f, items, key_at(place), place)
    return items, lane.fill(item_at)


def select_largest(f: Any, where: Strided, source: Any, areas: list, dtype: np.dtype, k: int) -> tuple[Items, list]:
    """The items of the k largest numbers of a lane, in order: the best so far stay sorted; few numbers enter."""
    items, base = with_places(dtype), where.base(f, source, dtype)
    planes = [areas[0]] if len(items.planes) == 1 else areas[:2]
    best = Lane(f, items, k, [*planes, *planes, areas[4]])
    key_at = functools.partial(key_of_place, f, where, base, dtype, 0, dtype, True, True)
    best.fill(lambda i: packed(f, items, key_at(i), i), few=True)
    own, lanes = unsigned(dtype), f.isa.lanes(dtype) if where.inner == 1 else 1

    def enter(i: Any) -> None:
        key = key_at(i)
        f.when(f.lt(f.convert(key, U64), best.worst_key()), lambda: best.insert(packed(f, items, key, i)))

    def block(start: Any) -> None:
        keys = key_of(f, f.load(own, f.gep(base, start, own), lanes), dtype, total=True)
        better = f.lt(f.convert(f.not_(keys), U64), f.splat(best.worst_key(), lanes))

        def each() -> None:
            with f.loop(start, f.add(start, lanes)) as loop:
                enter(loop.index)
        f.when(f.any(better), each)
    blocks = (where.n - k) // lanes if lanes > 1 else 0
    with f.loop(0, blocks) as loop:
        block(f.add(f.mul(loop.index, lanes), k))
    with f.loop(k + blocks * lanes, where.n) as loop:
        enter(loop.index)
    return items, planes


def kept_places(f: Any, where: Strided, items: Items, planes: list, area: Any) -> Any:
    """The places of sorted items, copied out of the way of the next sort."""
    with f.loop(0, where.n) as loop:
        item = [f.load(t, f.gep(p, loop.index, t)) for p, t in zip(planes, items.planes)]
        f.store(f.convert(place_in(f, items, item), U32), f.gep(area, loop.index, U32))
    return area


def place_areas(n: int) -> list[tuple[int, np.dtype]]:
    """Work areas of `sort_places`."""
    return [(n, U64), (n, U32), (n, U64), (n, U32), (SLOTS * 8, I32), (n, U32)]


def take_sorted(f: Any, where: Strided, items: Items, planes: list, source: Any, target: Any, dtype: np.dtype,
                count: int) -> None:
    """target[i] = source[place of sorted item i] for the first `count` items of a lane."""
    source, target = where.base(f, source, dtype), where.base(f, target, dtype, count)
    with f.loop(0, count) as loop:
        item = [f.load(t, f.gep(p, loop.index, t)) for p, t in zip(planes, items.planes)]
        x = f.load(dtype, where.at(f, source, place_in(f, items, item), dtype))
        f.store(x, where.at(f, target, loop.index, dtype))


def store_places(f: Any, where: Strided, items: Items, planes: list, target: Any, count: int) -> None:
    target = where.base(f, target, I32, count)
    with f.loop(0, count) as loop:
        item = [f.load(t, f.gep(p, loop.index, t)) for p, t in zip(planes, items.planes)]
        f.store(f.convert(place_in(f, items, item), I32), where.at(f, target, loop.index, I32))
