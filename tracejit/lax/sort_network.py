"""Many short lanes sorted at once, one in each lane of vector registers, by a network of exchanges (Batcher's merge exchange).

The order of the exchanges depends on the length alone, so each is a minimum and a maximum of two vectors.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tracejit.ir.types import is_float
from tracejit.lax.radix import (I64, U32, U64, Strided, bits_of_key, key_of, load_bits, packed, place_in, rewrite_zeros,
                                unsigned, with_places)
from tracejit.lax.shares import Shares

WIDTH = 64          # bytes of a vector of keys, on every processor
LONGEST = 2048      # longer lanes are sorted by digits, in fewer steps


def key_dtype(dtype: np.dtype, places: bool) -> np.dtype:
    """What is exchanged: keys, or keys of 32 bits above the places where they were."""
    return U64 if places or dtype.itemsize > 4 else U32


def suits(where: Strided, dtypes: list[np.dtype], num_keys: int) -> bool:
    """Whether there are enough short lanes side by side."""
    places = len(dtypes) > 1
    lanes = WIDTH // key_dtype(dtypes[0], places).itemsize
    return num_keys == 1 and 1 < where.n <= LONGEST and not any(dtype.kind == "c" for dtype in dtypes) and \
        not (places and dtypes[0].itemsize > 4) and \
        (where.outer >= lanes // 2 if where.inner == 1 else where.inner >= lanes)


def groups_of(where: Strided, dtypes: list[np.dtype]) -> Shares:
    """The groups of lanes, with a work area for the keys."""
    key = key_dtype(dtypes[0], len(dtypes) > 1)
    lanes = WIDTH // key.itemsize
    count = -(-where.outer // lanes) if where.inner == 1 else where.outer * -(-where.inner // lanes)
    return Shares.of(count, [(where.n * lanes, key)])


class Group:
    """As many neighbouring lanes as a vector of keys has; the last group may repeat some of the one before."""

    def __init__(self, f: Any, where: Strided, lanes: int):
        self.f, self.where, self.lanes = f, where, lanes
        across = -(-where.inner // lanes)
        self.outer = f.div(f.lane, across)
        self.first = f.min(f.mul(f.rem(f.lane, across), lanes), max(where.inner - lanes, 0))

    def base(self, k: int | Any) -> Any:
        """Where the first element of the k-th lane is."""
        f, where = self.f, self.where
        if where.inner == 1:
            return f.mul(f.min(f.add(f.mul(f.lane, self.lanes), k), where.outer - 1), where.n)
        return f.add(f.add(f.mul(self.outer, where.n * where.inner), self.first), k)

    def place(self, array: Any, k: int | Any, i: Any, dtype: np.dtype) -> Any:
        """The address of element i of the k-th lane."""
        return self.f.gep(array, self.f.add(self.base(k), self.f.mul(i, self.where.inner)), dtype)

    def get(self, source: Any, dtype: np.dtype, use: Callable[[Any, Any], None]) -> None:
        """use(i, vector) for the i-th elements of all lanes."""
        f = self.f

        def square(at: Any, mask: Any, count: int) -> None:
            rows = [f.load(dtype, self.place(source, k, at, dtype), self.lanes, mask=mask) for k in range(self.lanes)]
            for e, x in enumerate(f.turned(rows)[:count]):
                use(f.add(at, e), x)
        if self.where.inner == 1:
            return self.squares(square)
        with f.loop(0, self.where.n) as loop:
            use(loop.index, f.load(dtype, self.place(source, 0, loop.index, dtype), self.lanes))

    def put(self, value_at: Callable[[Any], Any], target: Any, dtype: np.dtype) -> None:
        """The opposite of `get`."""
        f = self.f

        def square(at: Any, mask: Any, count: int) -> None:
            columns = [value_at(f.add(at, e)) for e in range(count)]
            for k, x in enumerate(f.turned(columns + columns[:1] * (self.lanes - count))):
                f.store(x, self.place(target, k, at, dtype), mask=mask)
        if self.where.inner == 1:
            return self.squares(square)
        with f.loop(0, self.where.n) as loop:
            f.store(value_at(loop.index), self.place(target, 0, loop.index, dtype))

    def squares(self, square: Callable[[Any, Any, int], None]) -> None:
        """square(first element, mask, elements): as many elements as there are lanes; the last squares may overlap."""
        f, lanes, n = self.f, self.lanes, self.where.n
        if n < lanes:
            return square(f.const(0, I64), f.lane_mask(f.const(n, I64), lanes), n)
        with f.loop(0, -(-n // lanes)) as loop:
            square(f.min(f.mul(loop.index, lanes), n - lanes), None, lanes)


class Keys:
    """The keys of a group in a work area, element i of all lanes next to each other."""

    def __init__(self, f: Any, area: Any, dtype: np.dtype, n: int):
        self.f, self.area, self.dtype, self.n, self.lanes = f, area, dtype, n, WIDTH // dtype.itemsize

    def at(self, i: int | Any) -> Any:
        return self.f.gep(self.area, self.f.mul(i, self.lanes), self.dtype)

    def load(self, i: int | Any) -> Any:
        return self.f.load(self.dtype, self.at(i), self.lanes)

    def store(self, i: int | Any, keys: Any) -> None:
        self.f.store(keys, self.at(i))

    def sort(self) -> None:
        f = self.f
        for block, remainder, distance in exchanges(self.n):
            end = self.n - distance
            with f.loop(remainder, end, 2 * block) as blocks:
                with f.loop(blocks.index, f.min(f.add(blocks.index, block), end)) as loop:
                    self.exchange(loop.index, f.add(loop.index, distance))

    def exchange(self, i: Any, j: Any) -> None:
        f, x, y = self.f, self.load(i), self.load(j)
        if self.dtype.itemsize < 8 or f.isa.has_avx512:
            self.store(i, f.min(x, y))
            return self.store(j, f.max(x, y))
        change = f.select(f.lt(x, y), f.const(0, self.dtype), f.xor(x, y))      # a store of a selection would be a masked store
        self.store(i, f.xor(x, change))
        self.store(j, f.xor(y, change))


def exchanges(n: int) -> Iterator[tuple[int, int, int]]:
    """(p, r, d): exchange i and i + d for each i below n - d with i & p == r (Knuth, The Art of Computer Programming 3, 5.2.2M)."""
    top = 1 << (n - 1).bit_length() - 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            yield p, r, d
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1


def emit(f: Any, where: Strided, sources: list, targets: list, area: Any, dtypes: list[np.dtype]) -> None:
    """Sort the lanes of group f.lane by the first array."""
    if len(dtypes) == 1:
        sort_values(f, where, *sources, *targets, area, *dtypes)
    else:
        sort_with(f, where, sources, targets, area, dtypes)


def sort_values(f: Any, where: Strided, source: Any, target: Any, area: Any, dtype: np.dtype) -> None:
    """Sort the numbers of the lanes of group f.lane."""
    own = unsigned(dtype)
    keys = Keys(f, area, key_dtype(dtype, False), where.n)
    group = Group(f, where, keys.lanes)
    group.get(source, own, lambda i, x: keys.store(i, f.convert(key_of(f, x, dtype, keep_zeros=True), keys.dtype)))
    keys.sort()
    group.put(lambda i: bits_of_key(f, f.convert(keys.load(i), own), dtype), target, own)
    if is_float(dtype):
        restore_zeros(f, group, keys, source, target, dtype)


def restore_zeros(f: Any, group: Group, keys: Keys, source: Any, target: Any, dtype: np.dtype) -> None:
    """-0.0 and 0.0 are equal: where there may be both, give the zeros the order that they had."""
    where, own, ones = group.where, unsigned(dtype), (1 << dtype.itemsize * 8) - 1
    with f.loop(1, where.n, carries=[f.const(0, keys.dtype, keys.lanes)]) as loop:     # the two keys have no bit in common
        loop.carry(f.max(loop.carries[0], f.xor(keys.load(f.sub(loop.index, 1)), keys.load(loop.index))))

    def rewrite() -> None:
        with f.loop(0, group.lanes) as lane:
            x, y = (f.gep(p, group.base(lane.index), own) for p in (source, target))
            with f.loop(0, where.n, carries=[f.const(0, I64)]) as loop:
                key = key_of(f, load_bits(f, where, x, loop.index, dtype), dtype, keep_zeros=True)
                loop.carry(f.add(loop.carries[0], f.convert(f.lt(key, ones >> 1), I64)))
            rewrite_zeros(f, where, loop.results[0], x, y, own)
    f.when(f.any(f.eq(loop.results[0], ones)), rewrite)


def sort_with(f: Any, where: Strided, sources: list, targets: list, area: Any, dtypes: list[np.dtype]) -> None:
    """Put the numbers of several arrays in the order of the first's."""
    own, items = unsigned(dtypes[0]), with_places(dtypes[0])
    keys = Keys(f, area, U64, where.n)
    group = Group(f, where, keys.lanes)
    group.get(sources[0], own, lambda i, x: keys.store(i, *packed(f, items, key_of(f, x, dtypes[0]), i)))
    keys.sort()
    lanes = group.base(f.iota(group.lanes, I64))

    def number_at(source: Any, own: np.dtype, i: Any) -> Any:
        place = place_in(f, items, [keys.load(i)])
        return f.gather(own, source, f.add(lanes, f.mul(place, where.inner)))
    for source, target, dtype in zip(sources, targets, dtypes):
        own = unsigned(dtype)
        group.put(functools.partial(number_at, source, own), target, own)
