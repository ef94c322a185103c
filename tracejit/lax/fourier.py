"""Discrete Fourier transforms as native code: Stockham passes of small radices, Bluestein's chirps for large primes.

    n numbers, read as s x (m*r)  --butterflies of r, times roots of one-->  s*r x m          one pass per factor r of n

Real and imaginary parts lie in separate arrays, so every pass is vector code along s. Several rows or columns are
transformed together, side by side; then s starts at their number.
"""
from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np


I64 = np.dtype("i8")
LARGEST_RADIX = 31
SIDE_BY_SIDE = 4096     # several longer ones would not fit the cache: they are done one at a time, or see long_fourier.py
MOST_CONSTANTS = 16384  # longer filters are computed at run time
SMALL_TABLE = 2048      # more roots than this are products of two tables' entries


def factors_of(n: int, width: int = 1) -> list[int] | None:
    """Radices whose product is n, powers of two first; None if a prime factor is too large.

    8 makes for fewer passes than 4, but the first pass over a sequence alone is scalar code, which has too few registers.
    """
    twos = (n & -n).bit_length() - 1
    fours = min(-twos % 3, twos // 2) if width > 1 else twos // 2
    eights = (twos - 2 * fours) // 3
    found, r = [8] * eights + [4] * fours + [2] * (twos - 3 * eights - 2 * fours), 3
    n >>= twos
    while n > 1:
        if n % r == 0:
            found.append(r)
            n //= r
        else:
            r += 2
            if r > LARGEST_RADIX:
                return None
    return found


def chirp_size(n: int) -> int:
    """The length that Bluestein's algorithm works at: a power of two, or three times one."""
    power = 1 << (2 * n - 2).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= max(2 * n - 1, 192) else power


def chirp(n: int, sign: int) -> np.ndarray:
    """exp(sign pi i k k / n)."""
    return np.exp(sign * 1j * np.pi / n * (np.arange(n, dtype=np.int64)**2 % (2 * n)))


def chirp_filter(n: int, sign: int) -> np.ndarray:
    """The transform of the conjugate chirp, wrapped around, by its length."""
    size, wave = chirp_size(n), chirp(n, -sign)
    wrapped = np.zeros(size, complex)
    wrapped[:n], wrapped[size - n + 1:] = wave, wave[:0:-1]
    return np.fft.fft(wrapped) / size if sign < 0 else np.fft.ifft(wrapped)


@functools.lru_cache(maxsize=64)
def chirp_tables(n: int, sign: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The chirp and its filter, where they are small enough to be constants of the program."""
    return (chirp(n, sign), chirp_filter(n, sign)) if chirp_size(n) <= MOST_CONSTANTS else None


def work_length(n: int) -> int:
    """The most numbers that a transform of length n holds in one work area."""
    return max(n + 1, n if factors_of(n) is not None else chirp_size(n))


@dataclass(frozen=True)
class Planar:
    """Complex numbers with separate parts."""
    re: Any
    im: Any
    dtype: np.dtype

    def load(self, f: Any, i: Any, lanes: int) -> tuple:
        return tuple(f.load(self.dtype, f.gep(p, i, self.dtype), lanes) for p in (self.re, self.im))

    def store(self, f: Any, i: Any, x: tuple) -> None:
        for p, part in zip((self.re, self.im), x):
            f.store(part, f.gep(p, i, self.dtype))


def constants(f: Any, x: np.ndarray, dtype: np.dtype) -> Planar:
    """Complex numbers as a table of the program."""
    return Planar(*[f.module.table(np.ascontiguousarray(part).astype(dtype)) for part in (x.real, x.imag)], dtype)


def times(f: Any, x: tuple, y: tuple) -> tuple:
    (a, b), (c, d) = x, y
    return f.mad(a, c, f.neg(f.mul(b, d))), f.mad(a, d, f.mul(b, c))


def plus(f: Any, x: tuple, y: tuple) -> tuple:
    return f.add(x[0], y[0]), f.add(x[1], y[1])


def minus(f: Any, x: tuple, y: tuple) -> tuple:
    return f.sub(x[0], y[0]), f.sub(x[1], y[1])


def times_i(f: Any, x: tuple, sign: int) -> tuple:
    """sign * i * x."""
    return (f.neg(x[1]), x[0]) if sign > 0 else (x[1], f.neg(x[0]))


class Roots:
    """exp(2 pi i k / n) for 0 <= k < n, from constant tables."""

    def __init__(self, f: Any, n: int, dtype: np.dtype):
        self.f, self.dtype = f, dtype
        self.low_bits = n.bit_length() // 2 if n > SMALL_TABLE else 0
        low = 1 << self.low_bits if self.low_bits else n
        self.low = self.tables(np.arange(low) / n)
        self.high = self.tables(np.arange(-(-n // low)) * (low / n)) if self.low_bits else None

    def tables(self, turns: np.ndarray) -> list:
        return [self.f.module.table(part(2 * np.pi * turns).astype(self.dtype)) for part in (np.cos, np.sin)]

    def entry(self, tables: list, k: Any) -> tuple:
        return tuple(self.f.load(self.dtype, self.f.gep(t, k, self.dtype), invariant=True) for t in tables)

    def at(self, k: Any, sign: int) -> tuple:
        """exp(sign 2 pi i k / n)."""
        f = self.f
        if self.high is None:
            re, im = self.entry(self.low, k)
        else:
            high = self.entry(self.high, f.shr_logical(k, self.low_bits))
            re, im = times(f, self.entry(self.low, f.and_(k, (1 << self.low_bits) - 1)), high)
        return re, im if sign > 0 else f.neg(im)


def eighth(f: Any, x: tuple, sign: int) -> tuple:
    """exp(sign 2 pi i / 8) x."""
    return tuple(f.mul(part, math.sqrt(0.5)) for part in plus(f, x, times_i(f, x, sign)))


def butterfly(f: Any, x: list[tuple], sign: int) -> list[tuple]:
    """The transform of a few numbers, written out."""
    r = len(x)
    if r == 2:
        return [plus(f, *x), minus(f, *x)]
    if r == 4:
        even, odd = [plus(f, x[0], x[2]), minus(f, x[0], x[2])], [plus(f, x[1], x[3]), minus(f, x[1], x[3])]
        (a, b), (c, d) = even, (odd[0], times_i(f, odd[1], sign))
        return [plus(f, a, c), plus(f, b, d), minus(f, a, c), minus(f, b, d)]
    if r == 8:
        even, odd = butterfly(f, x[::2], sign), butterfly(f, x[1::2], sign)
        turned = [odd[0], eighth(f, odd[1], sign), times_i(f, odd[2], sign), times_i(f, eighth(f, odd[3], sign), sign)]
        return [plus(f, a, b) for a, b in zip(even, turned)] + [minus(f, a, b) for a, b in zip(even, turned)]
    pairs = [(plus(f, x[k], x[r - k]), minus(f, x[k], x[r - k])) for k in range(1, r // 2 + 1)]
    total = x[0]
    for both, _ in pairs:
        total = plus(f, total, both)
    outs = [total] + [total] * (r - 1)
    for j in range(1, r // 2 + 1):
        even, odd = x[0], None
        for k, (both, apart) in enumerate(pairs, 1):
            turn = 2 * math.pi * (j * k % r) / r
            even = tuple(f.mad(v, math.cos(turn), total) for v, total in zip(both, even))
            odd = tuple(f.mul(v, math.sin(turn)) if odd is None else f.mad(v, math.sin(turn), odd[i]) for i, v in enumerate(apart))
        turned = times_i(f, odd, sign)
        outs[j], outs[r - j] = plus(f, even, turned), minus(f, even, turned)
    return outs


def run_passes(f: Any, n: int, width: int, front: Planar, back: Planar, sign: int) -> tuple[Planar, Planar]:
    """Transform `width` sequences of n numbers, number i of sequence w at i * width + w; (result, the other area)."""
    places = [(front, back)[k % 2] for k in range(len(factors_of(n, width)) + 2)]
    passes(f, n, width, sign, front.dtype, places[:-1])
    return places[-2], places[-1]


def passes(f: Any, n: int, width: int, sign: int, dtype: np.dtype, places: list) -> None:
    """As `run_passes`, from the first of the places through all of them."""
    roots, rest, s = Roots(f, n, dtype), n, width
    for r, (source, target) in zip(factors_of(n, width), itertools.pairwise(places), strict=True):
        rest //= r
        one_pass(f, source, target, r, rest, s, n, sign, roots)
        s *= r


def one_pass(f: Any, source: Any, target: Any, r: int, m: int, s: int, n: int, sign: int, roots: Roots) -> None:
    lanes = f.isa.lanes(roots.dtype)
    whole = s - s % lanes
    with f.loop(0, m) as outer:
        p = outer.index
        turns = [roots.at(f.mul(p, j * (n // (m * r))), sign) for j in range(1, r)] if m > 1 else []

        def at(q: Any, lanes: int) -> None:
            x = [source.load(f, f.add(q, f.mul(f.add(p, m * k), s)), lanes) for k in range(r)]
            y = butterfly(f, x, sign)
            for j, value in enumerate(y):
                if j and turns:
                    value = times(f, value, tuple(f.splat(part, lanes) for part in turns[j - 1]))
                target.store(f, f.add(q, f.mul(f.add(f.mul(p, r), j), s)), value)
        if whole:
            with f.loop(0, whole, lanes) as inner:
                at(inner.index, lanes)
        if whole < s:
            with f.loop(whole, s) as inner:
                at(inner.index, 1)


def each(f: Any, count: int, dtype: np.dtype, do: Any) -> None:
    """do(i, lanes) for runs of `lanes` places that together are 0 ... count - 1."""
    lanes = f.isa.lanes(dtype)
    whole = count - count % lanes
    if whole:
        with f.loop(0, whole, lanes) as loop:
            do(loop.index, lanes)
    if whole < count:
        with f.loop(whole, count) as loop:
            do(loop.index, 1)


def unmixed(f: Any, x: tuple, y: tuple, turn: tuple, to_spectrum: bool) -> tuple:
    """A number of one spectrum from two of the other, `Transform.halves`."""
    y = (y[0], f.neg(y[1]))
    even, odd = plus(f, x, y), minus(f, x, y)
    value = plus(f, even, times(f, times_i(f, odd, -1 if to_spectrum else 1), turn))
    return tuple(f.mul(v, 0.5) for v in value) if to_spectrum else value


class Transform:
    """`width` transforms of length n side by side, in three work areas of `work_length(n) * width` complex numbers."""

    def __init__(self, f: Any, n: int, width: int, sign: int, dtype: np.dtype, areas: list):
        self.f, self.n, self.width, self.sign, self.dtype = f, n, width, sign, dtype
        size = work_length(n) * width
        self.front, self.back, self.spare = (Planar(a, f.gep(a, size, dtype), dtype) for a in areas)

    def run(self) -> None:
        """Transform what is in `front`, to `front`."""
        if factors_of(self.n) is None:
            return self.bluestein()
        self.front, self.back = run_passes(self.f, self.n, self.width, self.front, self.back, self.sign)

    def bluestein(self) -> None:
        """out[k] = w[k] sum over j of (x[j] w[j]) / w[k-j], w[k] = exp(sign pi i k k / n): a cyclic convolution."""
        f, n, width, size = self.f, self.n, self.width, chirp_size(self.n)
        chirp, filter_ = self.chirp_and_filter(size)
        self.scale_rows(self.front, self.back, n, chirp)
        self.clear(self.back, n * width, size * width)
        front, back = run_passes(f, size, width, self.back, self.front, self.sign)
        self.scale_rows(front, front, size, filter_)
        front, back = run_passes(f, size, width, front, back, -self.sign)
        self.scale_rows(front, back, n, chirp)
        self.front, self.back = back, front

    def chirp_and_filter(self, size: int) -> tuple:
        """Functions of a place."""
        f, n = self.f, self.n
        if tables := chirp_tables(n, self.sign):
            both = [constants(f, x, self.dtype) for x in tables]
            return tuple(lambda k, table=table: table.load(f, k, 1) for table in both)
        chirps = Roots(f, 2 * n, self.dtype)
        chirp = lambda k, sign: chirps.at(f.rem(f.mul(k, k), 2 * n), sign)
        spectrum = self.chirp_spectrum(chirp, size)
        return lambda k: chirp(k, self.sign), lambda k: tuple(f.mul(v, 1 / size) for v in spectrum.load(f, k, 1))

    def chirp_spectrum(self, chirp: Any, size: int) -> Planar:
        """The transform of the conjugate chirp, wrapped around; `back` is free to work in."""
        f = self.f
        self.clear(self.spare, 0, size)
        with f.loop(0, self.n) as loop:
            k, w = loop.index, chirp(loop.index, -self.sign)
            self.spare.store(f, k, w)
            f.when(f.gt(k, 0), lambda: self.spare.store(f, f.sub(size, k), w))
        found, _ = run_passes(f, size, 1, self.spare, self.back, self.sign)
        if found is not self.spare:
            each(f, size, self.dtype, lambda i, lanes: self.spare.store(f, i, found.load(f, i, lanes)))
        return self.spare

    def clear(self, area: Planar, start: int, stop: int) -> None:
        f = self.f
        zero = f.const(0, self.dtype)
        with f.loop(start, stop) as loop:
            area.store(f, loop.index, (zero, zero))

    def scale_rows(self, source: Planar, target: Planar, n: int, factor: Any) -> None:
        """target[k] = source[k] * factor(k) for all sequences."""
        f = self.f
        with f.loop(0, n) as loop:
            by, first = factor(loop.index), f.mul(loop.index, self.width)

            def scale(i: Any, lanes: int) -> None:
                at = f.add(first, i)
                target.store(f, at, times(f, source.load(f, at, lanes), tuple(f.splat(v, lanes) for v in by)))
            each(f, self.width, self.dtype, scale)

    # --- half spectra of real sequences: n = 2h real numbers are h complex ones

    def halves(self, to_spectrum: bool) -> None:
        """h numbers z = x[0::2] + i x[1::2], transformed, to the spectrum of x (h + 1 numbers); or from it to z's."""
        f, h, width = self.f, self.n, self.width
        roots = Roots(f, 2 * h, self.dtype)
        with f.loop(0, h + (1 if to_spectrum else 0)) as loop:
            k = loop.index
            mirror = f.sub(h, k)
            places = (f.select(f.eq(k, h), f.const(0, I64), k), f.select(f.eq(k, 0), f.const(0, I64), mirror)) \
                if to_spectrum else (k, mirror)
            turn = roots.at(k, -1 if to_spectrum else 1)

            def unmix(i: Any, lanes: int) -> None:
                x, y = (self.front.load(f, f.add(f.mul(at, width), i), lanes) for at in places)
                if not to_spectrum:  # the first and the last frequency are real, whatever is given
                    keep = f.splat(f.select(f.eq(k, 0), f.const(0, self.dtype), f.const(1, self.dtype)), lanes)
                    x, y = (x[0], f.mul(x[1], keep)), (y[0], f.mul(y[1], keep))
                value = unmixed(f, x, y, tuple(f.splat(v, lanes) for v in turn), to_spectrum)
                self.back.store(f, f.add(f.mul(k, width), i), value)
            each(f, width, self.dtype, unmix)
        self.front, self.back = self.back, self.front

    def mirrored(self) -> None:
        """The whole spectrum of n (odd) real numbers from its first half."""
        f, n, width = self.f, self.n, self.width
        with f.loop(0, n // 2 + 1) as loop, f.loop(0, width) as inner:
            k, i = loop.index, inner.index
            re, im = self.front.load(f, f.add(f.mul(k, width), i), 1)
            im = f.select(f.eq(k, 0), f.const(0, self.dtype), im)
            self.front.store(f, f.add(f.mul(k, width), i), (re, im))
            f.when(f.gt(k, 0), lambda: self.front.store(f, f.add(f.mul(f.sub(n, k), width), i), (re, f.neg(im))))


@dataclass(frozen=True)
class Sequences:
    """Sequences along one axis of a dense array of `outer` x length x `inner` numbers; `group` of them side by side."""
    outer: int
    inner: int
    group: int

    @staticmethod
    def of(outer: int, inner: int, n: int, lanes: int) -> Sequences:
        together = lanes if inner * outer >= lanes // 2 and n <= SIDE_BY_SIDE else 1
        return Sequences(outer, inner, together)

    @property
    def n_groups(self) -> int:
        return self.outer * -(-self.inner // self.group) if self.inner > 1 else -(-self.outer // self.group)

    def move(self, f: Any, area: Planar, array: Any, dtype: np.dtype, count: int, length: int, load: bool,
             scale: float = 1.0) -> None:
        """The first `count` numbers of this group's sequences of `length` numbers, into a work area or out of it."""
        if self.inner == 1 and self.group == 1:
            return self.run_of_row(f, area, f.gep(array, f.mul(f.lane, length), dtype), dtype, count, load, scale)
        if self.inner == 1:
            return self.rows(f, area, array, dtype, count, length, load, scale)
        per_outer = -(-self.inner // self.group)
        outer, first = f.div(f.lane, per_outer), f.mul(f.rem(f.lane, per_outer), self.group)
        base = f.gep(array, f.add(f.mul(outer, length * self.inner), first), dtype)
        left = f.sub(self.inner, first)
        mask = f.lane_mask(left, self.group) if self.inner % self.group else None
        with f.loop(0, count) as loop:
            at, here = f.mul(loop.index, self.group), f.gep(base, f.mul(loop.index, self.inner), dtype)
            exchange(f, area, at, here, dtype, self.group, load, scale, mask)

    def run_of_row(self, f: Any, area: Planar, base: Any, dtype: np.dtype, count: int, load: bool,
                   scale: float) -> None:
        each(f, count, area.dtype,
             lambda i, lanes: exchange(f, area, i, f.gep(base, i, dtype), dtype, lanes, load, scale))

    def rows(self, f: Any, area: Planar, array: Any, dtype: np.dtype, count: int, length: int, load: bool,
             scale: float) -> None:
        """Rows side by side, in squares turned in registers; beyond the last row the last is repeated."""
        first = f.mul(f.lane, self.group)
        starts = [f.mul(f.min(f.add(first, k), self.outer - 1), length) for k in range(self.group)]

        def square(at: Any, columns: int) -> None:
            places = [f.gep(array, f.add(start, at), dtype) for start in starts]
            mask = f.lane_mask(f.const(columns, I64), self.group) if columns < self.group else None
            to_or_from_rows(f, area, f.mul(at, self.group), places, dtype, columns, load, scale, mask)
        whole = count - count % self.group
        if whole:
            with f.loop(0, whole, self.group) as loop:
                square(loop.index, self.group)
        if whole < count:
            square(f.const(whole, I64), count - whole)


def to_or_from_rows(f: Any, area: Planar, at: Any, places: list, dtype: np.dtype, columns: int, load: bool,
                    scale: float, mask: Any) -> None:
    """The numbers at `places` and behind them, a row of a square each, which is a column in the work area."""
    lanes, real = len(places), dtype.kind != "c"
    here = [f.add(at, k * lanes) for k in range(columns)]
    if load:
        found = [f.load(dtype, p, lanes, mask=mask, other=None if mask is None else f.const(0, dtype)) for p in places]
        re = f.turned(found if real else [x.re for x in found])
        im = [f.const(0, dtype, lanes)] * lanes if real else f.turned([x.im for x in found])
        for k, *x in zip(here, re, im):
            area.store(f, k, tuple(x))
        return
    found = [area.load(f, k, lanes) for k in here]
    found = [tuple(v if scale == 1 else f.mul(v, scale) for v in x) for x in found]
    found += found[:1] * (lanes - columns)
    re = f.turned([x[0] for x in found])
    im = re if real else f.turned([x[1] for x in found])
    for p, a, b in zip(places, re, im):
        f.store(a if real else f.complex(a, b), p, mask=mask)


def exchange(f: Any, area: Planar, at: Any, place: Any, dtype: np.dtype, lanes: int, load: bool, scale: float,
             mask: Any = None) -> None:
    """Some consecutive numbers between a work area and an array, which may be real."""
    if load:
        x = f.load(dtype, place, lanes, mask=mask, other=None if mask is None else f.const(0, dtype))
        parts = (x.re, x.im) if dtype.kind == "c" else (x, f.splat(f.const(0, dtype), lanes))
        return area.store(f, at, parts)
    re, im = (v if scale == 1 else f.mul(v, scale) for v in area.load(f, at, lanes))
    f.store(f.complex(re, im) if dtype.kind == "c" else re, place, mask=mask)
