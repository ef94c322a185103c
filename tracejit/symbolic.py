"""Symbolic shapes: how `export` is told of sizes that are not known yet, and programs as texts with sizes left open.

A program is traced at several sizes. Its text must be the same but for numbers that are polynomials in the sizes: they are
found by interpolation, and more sizes are tried than that needs. A function whose program is another one at another size,
because Python branched on it, is refused.
"""
from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.errors import InconclusiveDimensionOperation, ShapeError
from tracejit.ir.dims import Dim, evaluated, fitted, simplest
from tracejit.ir.types import ArrayType, short_name
from tracejit.pytree import tree_flatten, unflatten
from tracejit.transforms.inspect import ShapeDtypeStruct
from tracejit.tree_util import broadcast_prefix

SAMPLES = (2, 3, 4, 5, 7, 8, 13, 16, 33, 64, 100, 257, 1000, 4099)     # sizes at which programs are traced
DEGREE = 3
NUMBER = re.compile(r"(?<![\w.])-?\d+")
NAME = re.compile(r"\b(?!mod\b|floordiv\b|max\b|min\b)[A-Za-z_]\w*")


class SymbolicScope:
    """Names of sizes that belong together, with constraints such as ``"b >= 8"`` or ``"mod(b, 2) == 0"``."""

    def __init__(self, constraints_str: Sequence[str] = ()):
        self.constraints = tuple(constraints_str)


def is_symbolic_dim(p: Any) -> bool:
    """Whether a size is symbolic.

    >>> [is_symbolic_dim(d) for d in symbolic_shape("b, 3")]
    [True, False]
    """
    return isinstance(p, Dim)


def symbolic_shape(shape_spec: str | None, *, constraints: Sequence[str] = (), scope: SymbolicScope | None = None,
                   like: Sequence[int] | None = None) -> tuple:
    """A shape as text, with names for sizes that are not known: sums and products of names and integers.

    ``_`` takes the size of ``like`` at its place, ``...`` all that are left. ValueError for anything else.

    >>> symbolic_shape("b, 2*h + 1, 3")
    (b, 2*h + 1, 3)
    >>> symbolic_shape("b, ...", like=(5, 6, 7))
    (b, 6, 7)
    """
    parts = [part.strip() for part in (shape_spec or "...").strip().strip("()").split(",") if part.strip()]
    if "..." in parts:
        at = parts.index("...")
        parts[at:at + 1] = ["_"] * (len(like or ()) - len(parts) + 1)
    if "_" in parts and len(parts) != len(like or ()):
        raise ValueError(f"symbolic_shape: {shape_spec!r} has placeholders and needs like=, a shape of as many sizes; it is {like}")
    known = (*constraints, *(scope.constraints if scope else ()))
    return tuple(like[i] if part == "_" else size_of(part, known) for i, part in enumerate(parts))


def size_of(text: str, constraints: Sequence[str]) -> Dim | int:
    size = evaluated(text, {name: Dim({(name,): 1}, constraints) for name in NAME.findall(text)})
    return simplest(size) if isinstance(size, Dim) else size


def symbolic_args_specs(args: Any, shapes_specs: Any, constraints: Sequence[str] = (), scope: SymbolicScope | None = None) -> Any:
    """The arguments as ShapeDtypeStructs with symbolic shapes; `shapes_specs` is one spec for all, or a tree prefix of specs.

    >>> symbolic_args_specs((np.ones((4, 3), np.float32),), "b, ...")
    (ShapeDtypeStruct(shape=(b, 3), dtype=float32),)
    """
    leaves, tree = tree_flatten(args)
    specs = broadcast_prefix(shapes_specs, args, is_leaf=lambda x: x is None)
    return unflatten(tree, [ShapeDtypeStruct(symbolic_shape(spec, constraints=constraints, scope=scope, like=np.shape(x)), x.dtype)
                            for x, spec in zip(leaves, specs, strict=True)])


# --- types and programs of unknown size ---------------------------------------------------------------------------------

def at_sizes(shape: Sequence, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(d.value(sizes) if isinstance(d, Dim) else d for d in shape)


@dataclass(frozen=True)
class SymbolicType:
    """The type of an array of symbolic shape."""
    shape: tuple
    dtype: np.dtype
    weak_type: bool = False

    def at(self, sizes: Mapping[str, int]) -> ArrayType:
        return ArrayType(at_sizes(self.shape, sizes), self.dtype, self.weak_type)

    def __repr__(self) -> str:
        return f"{short_name(self.dtype)}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class OpenProgram:
    """A program's text with Dims in the place of numbers that depend on sizes."""
    pieces: tuple[str | Dim, ...]
    constraints: tuple[str, ...]

    def text(self, sizes: Mapping[str, int]) -> str:
        return "".join(piece if isinstance(piece, str) else str(piece.value(sizes)) for piece in self.pieces)

    def sizes_of(self, types: Sequence[SymbolicType], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """The sizes that the names have where the types have these shapes; ShapeError if there are none."""
        pairs = [pair for t, shape in zip(types, shapes, strict=True) for pair in zip(t.shape, shape, strict=True)]
        sizes: dict[str, int] = {}
        while found := next((s for s in (solved_for(d, n, sizes) for d, n in pairs if isinstance(d, Dim)) if s), None):
            sizes |= found
        for d, n in pairs:
            if isinstance(d, Dim) and d.names - set(sizes):
                raise ShapeError(f"the sizes {sorted(d.names - set(sizes))} of {d} do not follow from the arguments' shapes")
            if (d.value(sizes) if isinstance(d, Dim) else d) != n:
                raise ShapeError(f"an axis has size {n}, where {d} is expected" + (f" with {sizes}" if sizes else ""))
        broken = [c for c in self.constraints if not evaluated(c, sizes)]
        if broken or min(sizes.values(), default=1) < 1:
            raise ShapeError(f"the sizes {sizes} do not satisfy {', '.join(broken) or 'size >= 1'}")
        return sizes


def solved_for(d: Dim, n: int, sizes: Mapping[str, int]) -> dict[str, int] | None:
    """The size of the one name in d that is not known, where d = n is linear in it."""
    unknown = d.names - set(sizes)
    if len(unknown) != 1:
        return None
    name, = unknown
    at = [sum(c * np.prod([{**sizes, name: x}[v] for v in m], dtype=object) for m, c in d.terms.items()) for x in (0, 1, 2)]
    if at[2] - at[1] != at[1] - at[0] or at[1] == at[0] or (n - at[0]) % (at[1] - at[0]):
        return None
    return {name: int((n - at[0]) / (at[1] - at[0]))}


def sample_points(names: set[str], constraints: Sequence[str]) -> list[dict[str, int]]:
    """Sizes to trace at: twice as many points as a polynomial has coefficients, that satisfy the constraints."""
    order = sorted(names)
    coefficients = sum(len(list(itertools.combinations_with_replacement(order, d))) for d in range(DEGREE + 1))
    draw, points = random.Random(0), []
    for _ in range(100 * coefficients):
        point = dict(zip(order, draw.choices(SAMPLES, k=len(order))))
        if point not in points and all(evaluated(c, point) for c in constraints):
            points.append(point)
        if len(points) == min(2 * coefficients + 2, len(SAMPLES) ** len(order)):
            return points
    if len(points) > coefficients:
        return points
    raise ValueError(f"export: too few of the sizes {SAMPLES} satisfy {', '.join(constraints)}")


def open_program(points: Sequence[Mapping[str, int]], texts: Sequence[str], constraints: Sequence[str]) -> OpenProgram:
    """The program of which these are the texts at these sizes."""
    literals, numbers = [NUMBER.split(t) for t in texts], [NUMBER.findall(t) for t in texts]
    if any(other != literals[0] for other in literals):
        differs = next(p for p, other in zip(points, literals) if other != literals[0])
        raise inconclusive(f"at the sizes {differs} it is another program than at {points[0]}")
    pieces: list[str | Dim] = [literals[0][0]]
    for literal, column in zip(literals[0][1:], zip(*numbers)):
        pieces += [column[0] if len(set(column)) == 1 else size_from(points, list(map(int, column))), literal]
    return OpenProgram(tuple(pieces), tuple(constraints))


def size_from(points: Sequence[Mapping[str, int]], values: Sequence[int]) -> Dim:
    found = fitted(points, values, DEGREE)
    if found is None:
        raise inconclusive(f"it contains a number that is no polynomial in them: {values[0]} for {points[0]}, "
                           f"{values[1]} for {points[1]}")
    return found


def open_type(points: Sequence[Mapping[str, int]], types: Sequence[ArrayType]) -> SymbolicType:
    shape = tuple(column[0] if len(set(column)) == 1 else size_from(points, column) for column in zip(*[t.shape for t in types]))
    return SymbolicType(shape, types[0].dtype, types[0].weak_type)


def inconclusive(why: str) -> InconclusiveDimensionOperation:
    return InconclusiveDimensionOperation(f"export: the program depends on sizes that are left open: {why}",
                                          fix="export it once for each size, or constrain the sizes: symbolic_shape(..., "
                                          "constraints=['mod(b, 2) == 0'])")
