"""Cells, whose value changes, and how a function that reads and writes them is traced as one of values.

What a cell holds depends on the trace that asks. A value that a trace reads of a cell from outside is a captured value, read
again whenever the program runs. A value that it writes there is a further result, which who runs the program writes back:

    def f(x): cell.value += x     is traced as     def f(cell_value, x): return cell_value + x
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tracejit.errors import OuterWriteError, wraps
from tracejit.ir.trace import Builder, Place, current_builder
from tracejit.ir.types import ArrayType


class Cell(Place):
    """A place for one array. `home` is the trace in which it was made, None outside of any."""

    __slots__ = ("type", "stored", "home", "is_written", "__weakref__")

    def __init__(self, value: Any):
        self.type: ArrayType = value.type
        self.stored: Any = None
        self.is_written = False
        self.home = current_builder()
        if self.home is None:
            self.stored = value
        else:
            self.home.cells[self] = value

    def read(self) -> Any:
        """The value, in the innermost trace."""
        builder = current_builder()
        if builder is None:
            return self.known()
        if self not in builder.cells:
            builder.cells[self] = builder.capture(self)
        return builder.cells[self]

    def write(self, value: Any) -> None:
        builder, self.is_written = current_builder(), True
        if builder is None:
            self.known()
            self.stored = value
            return
        builder.cells[self] = value
        if self.home is not builder and self not in builder.own_cells:
            builder.written[self] = None

    def known(self) -> Any:
        if self.home is not None:
            raise OuterWriteError("a ref was used after the function that made it had returned",
                                  fix="return its value, ref[...], or make the ref outside of the function")
        return self.stored

    def value_around(self, stack: Sequence[Builder]) -> Any:
        """The value in the innermost of these traces that has one of its own."""
        return next((b.cells[self] for b in reversed(stack) if self in b.cells), self.stored)


@dataclass(frozen=True)
class CellType:
    """The type of a cell as an argument: in the trace it is a new cell of the class, made by `enter`."""
    cls: type
    type: ArrayType
    weak_type = False

    def enter(self, value: Any) -> Cell:
        return self.cls(value)


def cells_in(values: Sequence) -> list[Cell]:
    return [x for x in values if isinstance(x, Cell)]


def read_all(values: Sequence) -> list:
    """The values, with what they hold in place of cells."""
    return [x.read() if isinstance(x, Cell) else x for x in values]


def write_all(cells: Sequence[Cell], values: Sequence) -> None:
    for cell, value in zip(cells, values, strict=True):
        cell.write(value)


@contextlib.contextmanager
def holding(cells: Sequence[Cell], values: Sequence) -> Iterator[None]:
    """Inside, in the innermost trace, the cells hold these values, and what is written to them stays inside."""
    builder = current_builder()
    before, own = builder.cells, builder.own_cells
    builder.cells, builder.own_cells = {**before, **dict(zip(cells, values, strict=True))}, own | set(cells)
    try:
        yield
    finally:
        for cell in cells:
            del builder.cells[cell]
        builder.cells.update({c: before[c] for c in cells if c in before})
        builder.own_cells = own


def of_values(f: Callable, cells: Sequence[Cell]) -> Callable:
    """f(*args), which writes cells, as a function (values of the cells, *args) -> (their new values, result)."""
    def pure(values: Sequence, *args: Any) -> tuple[list, Any]:
        with holding(cells, values):
            out = f(*args)
            return read_all(cells), out
    return pure


def discharging(rewrite: Callable) -> Callable:
    """For a function that traces its arguments: where one of them writes cells, rewrite(call, cells, *args) calls it with
    functions of their values."""
    def decorate(fun: Callable) -> Callable:
        @wraps(fun)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return fun(*args, **kwargs)
            except OuterWriteError as error:
                cells = error.cells
                if not cells:
                    raise
            return rewrite(call, cells, *args, **kwargs)
        return call
    return decorate


