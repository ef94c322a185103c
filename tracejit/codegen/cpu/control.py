"""Structured control flow (loop, while, cond) -> basic blocks with phis."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .memory import Memory
from .value import AnyValue, ComplexValue, Value, type_text


def _flatten(values: Sequence[AnyValue]) -> list[Value]:
    return [p for v in values for p in ((v.re, v.im) if isinstance(v, ComplexValue) else (v,))]


def _unflatten(flat: Sequence[Value], like: Sequence[AnyValue]) -> list[AnyValue]:
    parts = iter(flat)
    return [ComplexValue(next(parts), next(parts)) if isinstance(v, ComplexValue) else next(parts) for v in like]


def _as_list(values) -> list[AnyValue]:
    if values is None:
        return []
    return list(values) if isinstance(values, (list, tuple)) else [values]


class Loop:
    """A counted loop being built: unpacks as (index, carries); `results` holds the carries after it."""

    def __init__(self, index: Value, carries: list[AnyValue]):
        self.index, self.carries = index, carries
        self.results: list[AnyValue] = carries
        self.next_carries: list[AnyValue] | None = None if carries else []

    def __iter__(self):
        return iter((self.index, self.carries))

    def carry(self, *values: AnyValue) -> None:
        """The carries of the next iteration; to be called once in the body if there are any."""
        self.next_carries = list(values)

    def check(self) -> None:
        """The end of the body."""
        if self.next_carries is None:
            raise ValueError("the body of a loop with carries must call loop.carry(...)")


class Control(Memory):
    """Blocks nest; what was computed before a construct may be used in and after it,
    what was computed inside leaves it only as its result."""

    # ---- free form ----

    def label(self, name: str) -> None:
        """Start the block `name`. Earlier values are not known to reach it, so none is reused."""
        for scope in self._scopes:
            scope.clear()
        self._start(name)

    def _start(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self.block = name

    def br(self, target: str) -> None:
        self.effect(f"br label %{target}")

    def condbr(self, cond: Value, then: str, other: str) -> None:
        self.effect(f"br {cond.text}, label %{then}, label %{other}")

    def phi(self, incoming: Sequence[tuple[AnyValue, str]]) -> AnyValue:
        """The value that comes with the predecessor block: [(value, block), ...]."""
        first = incoming[0][0]
        if isinstance(first, ComplexValue):
            return ComplexValue(self.phi([(v.re, n) for v, n in incoming]), self.phi([(v.im, n) for v, n in incoming]))
        arms = ", ".join(f"[ {v.name}, %{n} ]" for v, n in incoming)
        return self.impure(f"phi {type_text(first.dtype, first.lanes)} {arms}", first.dtype, first.lanes)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is computed inside is not reused after it."""
        self._scopes.append({})
        try:
            yield
        finally:
            self._scopes.pop()

    # ---- loops ----

    def _open_phis(self, inits: Sequence[Value]) -> tuple[list[Value], int]:
        """Names for phis whose second arm is known only later, and where to put their lines."""
        names = [Value(f"%{self.fresh()}", v.dtype, v.lanes) for v in inits]
        self._lines.append("")
        return names, len(self._lines) - 1

    def _close_phis(self, place: int, phis, inits, before: str, nexts, latch: str) -> None:
        for phi, value in zip(phis, nexts, strict=True):
            if (value.dtype, value.lanes) != (phi.dtype, phi.lanes):
                raise TypeError(f"carry enters as {phi.text} and returns as {value.text}")
        self._lines[place] = "\n".join(
            f"  {phi.name} = phi {type_text(phi.dtype, phi.lanes)} "
            f"[ {init.name}, %{before} ], [ {value.name}, %{latch} ]"
            for phi, init, value in zip(phis, inits, nexts)
        )

    @contextmanager
    def loop(
        self,
        start: int | Value,
        stop: int | Value,
        step: int | Value = 1,
        carries: Sequence[AnyValue] = (),
    ) -> Iterator[Loop]:
        """for index in range(start, stop, step), step > 0, i64:

            with b.loop(0, n, carries=[total]) as loop:
                i, (total,) = loop
                loop.carry(b.add(total, ...))
            (total,) = loop.results
        """
        start, stop, step = self.index(start), self.index(stop), self.index(step)
        if None not in (start.const, stop.const, step.const) and start.const < stop.const <= start.const + step.const:
            with self.single_trip(start, carries) as loop:
                yield loop
            return
        stem = self.fresh("loop")
        body, done = f"{stem}.body", f"{stem}.done"
        runs = self.lt(start, stop) if None in (start.const, stop.const) else start.const < stop.const
        before = self.block
        inits = [start, *_flatten(carries)]
        if runs is True:
            self.br(body)
        elif runs is False:
            self.condbr(self.const(False, "?"), body, done)
        else:
            self.condbr(runs, body, done)
        self._start(body)
        with self.scope():
            phis, place = self._open_phis(inits)
            loop = Loop(phis[0], _unflatten(phis[1:], carries))
            yield loop
            loop.check()
            following = self.impure(f"add nsw {phis[0].text}, {step.name}", start.dtype)
            again = self.lt(following, stop)
            latch = self.block
            nexts = [following, *_flatten(loop.next_carries)]
            self._close_phis(place, phis, inits, before, nexts, latch)
            self.condbr(again, body, done)
        self._start(done)
        arms = [] if runs is True else [(before, inits[1:])]
        loop.results = _unflatten(self._merge([*arms, (latch, nexts[1:])]), carries)

    @contextmanager
    def single_trip(self, index: Value, carries: Sequence[AnyValue]) -> Iterator[Loop]:
        """A loop of one trip as plain code: nests over axes of one element are common, and LLVM takes long for them."""
        loop = Loop(index, list(carries))
        yield loop
        loop.check()
        loop.results = loop.next_carries

    def _merge(self, arms: list[tuple[str, list[Value]]]) -> list[Value]:
        if len(arms) == 1:  # a single predecessor dominates: its names are good as they are
            return arms[0][1]
        return [self.phi([(values[k], block) for block, values in arms]) for k in range(len(arms[0][1]))]

    def while_loop(
        self,
        carries: Sequence[AnyValue],
        cond: Callable[[list[AnyValue]], Value],
        body: Callable[[list[AnyValue]], Sequence[AnyValue]],
    ) -> list[AnyValue]:
        """Repeat carries = body(carries) while the scalar bool cond(carries); the final carries."""
        stem = self.fresh("while")
        head, inside, done = f"{stem}.head", f"{stem}.body", f"{stem}.done"
        inits, before = _flatten(carries), self.block
        self.br(head)
        self._start(head)
        self._scopes.append({})
        phis, place = self._open_phis(inits)
        current = _unflatten(phis, carries)
        self.condbr(cond(current), inside, done)
        self._start(inside)
        with self.scope():
            nexts = _flatten(_as_list(body(current)))
            self._close_phis(place, phis, inits, before, nexts, self.block)
            self.br(head)
        self._scopes.pop()
        self._start(done)
        return current

    def repeat(
        self,
        carries: Sequence[AnyValue],
        alive: Callable[[list[AnyValue], Any], Value],
        body: Callable[[list[AnyValue], Any], Sequence[AnyValue]],
        enter: Callable[[], Any],
    ) -> list[AnyValue]:
        """A while loop with its test at the end of each trip. What enter() gives before the first trip is known to all:
        to body(carries, given) and to alive(carries, given), which knows None the first time."""
        stem = self.fresh("repeat")
        first, inside, done = f"{stem}.first", f"{stem}.body", f"{stem}.done"
        inits = _flatten(carries)
        runs, before = alive(list(carries), None), self.block
        self.condbr(runs, first, done)
        self._start(first)
        with self.scope():
            given, entered = enter(), self.block
            self.br(inside)
            self._start(inside)
            with self.scope():
                phis, place = self._open_phis(inits)
                following = _as_list(body(_unflatten(phis, carries), given))
                again, nexts, latch = alive(following, given), _flatten(following), self.block
                self._close_phis(place, phis, inits, entered, nexts, latch)
                self.condbr(again, inside, done)
        self._start(done)
        return _unflatten(self._merge([(before, inits), (latch, nexts)]), carries)

    # ---- branches ----

    def cond(
        self, pred: Value, then: Callable[[], Sequence[AnyValue]], other: Callable[[], Sequence[AnyValue]]
    ) -> list[AnyValue]:
        """The values of then() if the scalar bool `pred`, else those of other(); only one runs."""
        stem = self.fresh("if")
        yes, no, done = f"{stem}.then", f"{stem}.else", f"{stem}.done"
        self.condbr(pred, yes, no)
        arms, shapes = [], None
        for name, build in ((yes, then), (no, other)):
            self._start(name)
            with self.scope():
                values = _as_list(build())
            shapes = shapes or values
            arms.append((self.block, _flatten(values)))
            self.br(done)
        self._start(done)
        if [(v.dtype, v.lanes) for v in arms[0][1]] != [(v.dtype, v.lanes) for v in arms[1][1]]:
            raise TypeError(f"branches differ: {arms[0][1]} and {arms[1][1]}")
        return _unflatten(self._merge(arms), shapes or [])

    def when(self, pred: Value, then: Callable[[], object]) -> None:
        """Run then() for its effects if the scalar bool `pred`."""
        def run() -> None:
            then()

        self.cond(pred, run, lambda: None)
