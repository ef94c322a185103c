"""Zones: boxes of a kernel's row axes inside which its conditions are known, so that code without them can run there.

A view that is made of pieces (roll, pad, concatenate, an update of a part) asks at each point in which piece it is.
Almost all points of a stencil are in one zone, where every question has one answer:

    where(j >= 1, x[j - 1], x[j + n - 1])      in the zone 1 <= j < n:  x[j - 1]
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from tracejit.codegen.kernels import Kernel
from tracejit.ir.loops import LOAD, WHERE, Axis, Expr, Index, Inside, Quotient, Remainder, in_order, postorder, zero

MOST_ZONES = 3
LEAST_SHARE = 8         # a zone holds at least one point in that many
MOST_NODES = 600        # larger kernels are written once only
MOST_CUTS = 5           # the longest intervals of each axis are considered

Box = dict[Axis, tuple[int, int]]   # axis -> first, behind the last


@dataclass(eq=False)
class Zone:
    """A box, and the kernel as it is inside."""
    box: Box
    kernel: Kernel


def zones_of(kernel: Kernel, vector: Axis | None, lanes: int) -> list[Zone]:
    """The zones of which code is worth having, in the order of the vector axis; none without conditions."""
    if vector is None or vector not in kernel.row_axes:
        return []
    nodes = in_order(kernel.roots)
    conditions = list(dict.fromkeys(c for e in nodes for c in conditions_of(e)))
    if not conditions or len(nodes) > MOST_NODES:
        return []
    total = math.prod(a.size for a in kernel.row_axes)
    boxes = [box for box in boxes_of(kernel.row_axes, conditions)
             if volume(box) * LEAST_SHARE >= total and inner(box[vector], lanes)]
    boxes.sort(key=volume, reverse=True)
    found = []
    for box in boxes[:MOST_ZONES]:
        known = sum(holds(c, box) is not None for c in conditions)
        if known:
            box[vector] = inner(box[vector], lanes)
            found.append(Zone(box, inside(kernel, box)))
    return sorted(found, key=lambda zone: zone.box[vector])


def conditions_of(e: Expr) -> tuple[Inside, ...]:
    return e.data[2] if e.kind == LOAD else e.data if e.kind == WHERE else ()


def boxes_of(axes: list[Axis], conditions: Iterable[Inside]) -> list[Box]:
    """All boxes between the places at which some condition changes."""
    intervals = [sorted(intervals_of(axis, conditions), key=lambda piece: piece[0] - piece[1])[:MOST_CUTS] for axis in axes]
    return [dict(zip(axes, pieces)) for pieces in itertools.islice(itertools.product(*intervals), 256)]


def intervals_of(axis: Axis, conditions: Iterable[Inside]) -> list[tuple[int, int]]:
    """The intervals of an axis between the places at which some condition changes."""
    cuts = sorted({0, axis.size, *(cut for c in conditions for cut in cuts_of(c, axis))})
    return list(zip(cuts[:-1], cuts[1:]))


def cuts_of(condition: Inside, axis: Axis) -> list[int]:
    """The ends of the interval of an axis in which a condition holds, whatever the other axes are."""
    c = condition.index.coefficient(axis)
    if not c:
        return []
    lo, hi = (condition.index - Index({axis: c})).range
    least, most = condition.lo - lo, condition.hi - 1 - hi      # what c * axis must lie between
    first, last = (-(-least // c), most // c) if c > 0 else (-(-most // c), least // c)
    return [cut for cut in (first, last + 1) if 0 < cut < axis.size]


def inner(interval: tuple[int, int], lanes: int) -> tuple[int, int] | None:
    """The whole vectors of an interval; None if there are few."""
    first, last = -(-interval[0] // lanes) * lanes, interval[1] // lanes * lanes
    return (first, last) if last - first >= 2 * lanes else None


def volume(box: Box) -> int:
    return math.prod(last - first for first, last in box.values())


# --- what is known in a box

def range_in(index: Index, box: Box) -> tuple[int, int]:
    """Smallest and largest value of an index in a box."""
    lo = hi = index.const
    for atom, c in index.terms:
        a, b = atom_range(atom, box)
        lo, hi = lo + min(c * a, c * b), hi + max(c * a, c * b)
    return lo, hi


def atom_range(atom, box: Box) -> tuple[int, int]:
    if isinstance(atom, Axis) and atom in box:
        return box[atom][0], box[atom][1] - 1
    if isinstance(atom, (Quotient, Remainder)):
        a, b = range_in(atom.of, box)
        if isinstance(atom, Quotient):
            return a // atom.by, b // atom.by
        if a // atom.by == b // atom.by:
            return a % atom.by, b % atom.by
    return atom.range


def holds(condition: Inside, box: Box) -> bool | None:
    """Whether a condition holds everywhere in a box, or nowhere; None: neither."""
    lo, hi = range_in(condition.index, box)
    if condition.lo <= lo and hi < condition.hi:
        return True
    return False if hi < condition.lo or lo >= condition.hi else None


def open_in(conditions: Iterable[Inside], box: Box) -> tuple[Inside, ...] | None:
    """The conditions that remain to be asked; None if one never holds."""
    answers = [(c, holds(c, box)) for c in conditions]
    return None if any(a is False for _, a in answers) else tuple(c for c, a in answers if a is None)


def inside(kernel: Kernel, box: Box) -> Kernel:
    """The kernel without the questions that a box answers."""
    memo: dict[Expr, Expr] = {}
    nodes: dict[Expr, Expr] = {}
    resolve = lambda e: resolved(chosen(e, box), box, memo, nodes)
    return replace(kernel, stages=[stage.mapped(resolve) for stage in kernel.stages])


def chosen(e: Expr, box: Box) -> Expr:
    """What an expression that chooses between others is in a box."""
    while e.kind == WHERE and not (asked := open_in(e.data, box)):
        e = e.args[1] if asked is None else e.args[0]
    return e


def resolved(root: Expr, box: Box, memo: dict[Expr, Expr], nodes: dict[Expr, Expr]) -> Expr:
    for e in postorder(root, memo):
        args = tuple(memo[a] for a in e.args)
        asked = open_in(conditions_of(e), box)
        if e.kind == LOAD and asked is None:
            made = zero(np.dtype(e.dtype))
        elif e.kind == LOAD:
            made = Expr(LOAD, (), (*e.data[:2], asked), e.dtype, e.cost)
        elif e.kind == WHERE and not asked:
            made = args[1] if asked is None else args[0]
        else:
            made = Expr(e.kind, args, asked if e.kind == WHERE else e.data, e.dtype, e.cost)
        memo[e] = nodes.setdefault(made, made)
    return memo[root]
