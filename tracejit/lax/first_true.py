"""Where a mask is true: positions written in parts, each of which begins where the counts of those before say."""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType
from tracejit.lax.kinds import Opaque, op_dataclass

PARTS, MANY = 8, 1 << 14        # of so many elements; fixed, though results would be the same with any number
WORD = 8                        # elements that are looked at together
BOOL, U8, I32, I64, U64 = (np.dtype(t) for t in ("?", "u1", "i4", "i8", "u8"))


@op_dataclass
class FirstTrue(Opaque):
    """The positions of the first `size` true elements in ascending order, and the operand's length in place of missing ones."""
    size: int
    accepts: ClassVar[str] = "b"
    dispatches: ClassVar[bool] = True

    def infer(self, mask):
        self.accepted(mask.dtype)
        return ArrayType((self.size,), I32)

    def eval(self, mask):
        found = np.flatnonzero(mask)[:self.size].astype(I32)
        return np.concatenate([found, np.full_like(found, mask.size, shape=self.size - found.size)])

    def jvp(self, ctx, primals, tangents): return bind(self, *primals), None

    def parts(self, types) -> int: return PARTS if types[0].size >= MANY else 1

    def scratch_bytes(self, types): return 8 * PARTS

    def call(self, b, ins, outs, types):
        n, parts = types[0].size, self.parts(types)

        def ends(f: Any) -> tuple:
            """Of a part: whole words, but for the last one's end."""
            chunk = -(-n // (parts * WORD)) * WORD
            first = f.min(f.mul(f.lane, chunk), n)
            return first, f.min(f.add(first, chunk), n)

        def count(f: Any, pointers: list, scratch: Any) -> None:
            f.store(number_of_true(f, pointers[0], *ends(f)), f.gep(scratch, f.mul(f.lane, 8)))

        def write(f: Any, pointers: list, scratch: Any) -> None:
            counts = [f.load(I64, f.gep(scratch, 8 * k)) for k in range(parts)]
            begins, total = [f.index(0)], f.index(0)
            for found in counts:
                total = f.add(total, found)
                begins.append(total)
            start, stop = (f.min(at(f, begins, f.add(f.lane, k)), self.size) for k in (0, 1))
            write_positions(f, pointers[0], pointers[1], ends(f), start, stop)

        def fill(f: Any, pointers: list, scratch: Any) -> None:
            total = f.index(0)
            for k in range(parts):
                total = f.add(total, f.load(I64, f.gep(scratch, 8 * k)))
            share = lambda k: f.div(f.mul(f.add(f.lane, k), self.size), parts)
            first, last, lanes = f.max(share(0), total), share(1), f.isa.lanes(I32)
            whole = f.sub(last, f.rem(f.max(f.sub(last, first), 0), lanes))
            for begin, end, step in ((first, whole, lanes), (whole, last, 1)):
                with f.loop(begin, end, step) as loop:
                    f.store(f.const(n, I32, step), f.gep(pointers[0], loop.index, I32))
        if not self.size:
            return
        b.lanes(parts, parts, [(ins[0], 0)], 0, count)
        b.lanes(parts, parts, [(ins[0], 0), (outs[0], 0)], 0, write)
        b.lanes(parts, parts, [(outs[0], 0)], 0, fill)


def at(f: Any, values: list, k: Any) -> Any:
    """values[k], k known at run time."""
    found = values[0]
    for i, value in enumerate(values[1:], 1):
        found = f.select(f.eq(k, i), value, found)
    return found


def number_of_true(f: Any, mask: Any, first: Any, last: Any) -> Any:
    lanes = f.isa.lanes(I32)
    whole = f.sub(last, f.rem(f.sub(last, first), lanes))
    with f.loop(first, whole, lanes, carries=[f.const(0, I32, lanes)]) as loop:
        loop.carry(f.add(loop.carries[0], f.convert(f.load(U8, f.gep(mask, loop.index), lanes), I32)))
    total = f.convert(f.reduce("add", loop.results[0]), I64)
    with f.loop(whole, last, carries=[total]) as loop:
        loop.carry(f.add(loop.carries[0], f.convert(f.load(U8, f.gep(mask, loop.index)), I64)))
    return loop.results[0]


def write_positions(f: Any, mask: Any, out: Any, ends: tuple, start: Any, stop: Any) -> None:
    """The positions of the true elements between `ends`, to out[start:stop]; what follows is another part's.

    While there is room for a word each position is stored, and the next one over it unless its element is true: no processor
    foresees which are.
    """
    first, last = ends
    whole = f.sub(last, f.rem(f.sub(last, first), WORD))
    word = lambda i: f.load(U64, f.gep(mask, i))
    put = lambda i, place: f.store(f.convert(i, I32), f.gep(out, place, I32))
    is_true = lambda i: f.convert(f.load(U8, f.gep(mask, i)), I64)

    def write_word(i: Any, place: Any) -> Any:
        for k in range(WORD):
            put(f.add(i, k), place)
            place = f.add(place, is_true(f.add(i, k)))
        return place

    def words(values: list) -> tuple:
        i, place = values
        return f.add(i, WORD), *f.cond(f.eq(word(i), 0), lambda: [place], lambda: [write_word(i, place)])

    def one(values: list) -> tuple:
        i, place = values
        f.when(f.ne(is_true(i), 0), lambda: put(i, place))
        return f.add(i, 1), f.add(place, is_true(i))
    room = lambda values: f.and_(f.lt(values[0], whole), f.le(f.add(values[1], WORD), stop))
    i, place = f.while_loop([first, start], room, words)
    f.while_loop([i, place], lambda values: f.and_(f.lt(values[0], last), f.lt(values[1], stop)), one)


def first_true(mask: Any, size: int) -> Any:
    """The positions of the first `size` true elements of a vector, int32; its length in place of missing ones.

    >>> print(first_true(np.array([False, True, True]), 4))
    [1 2 3 3]
    """
    return bind(FirstTrue(size), mask)
