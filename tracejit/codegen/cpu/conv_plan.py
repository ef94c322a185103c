"""A convolution of any layout -> the numbers with which the native routine of conv.py computes it.

Every convolution is a clipped strided contraction over a tile of C:

    C[outer, m, n] = D[outer, m, n] + sum over l3, l2, l1, l0 of A[outer, m, l...] * B[outer, n, l...]

with `n` contiguous in B and C. The plan says which axes play which role. A dilated input is split
into phases, one call per residue of the output position, so that no zero is ever multiplied.
"""
from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from .conv_blocks import DEPTHWISE, DOT, LEVELS, OUTER, OUTER_PRODUCT, TASK_WORK, blocks_of_call, copy_bytes
from .gemm_text import Record
from .gemm_tile import Tile
from .isa import Isa

# All but the pointers are what `conv_calls` returns; steps and offsets in bytes.
CONV = Record(
    "*x", "*w", "*y", "*d", "*scratch", "*epilogue", "*ctx", "*kernels",
    "swapped", "kernel", "x_offset", "w_offset", "y_offset", "d_offset", "pitch",
    *(f"{what}{i}" for what in ("count", "a", "b", "c", "d") for i in OUTER),
    "rows", "a_m", "c_m", "d_m", "cols", "nr", "a_n", "b_n", "panel_step",
    *(f"{what}{i}" for what in ("size", "la", "lb", "limit", "mul", "tap", "low", "extent") for i in LEVELS),
    "pack", "pack_groups", "pack_group", "pack_n", *(f"{what}{i}" for what in ("pack", "pack_size") for i in OUTER),
    "copy", "copy_at", "copy_chunked", "row_pitch", "w_out", "w_low", "w_in", "w_step", "c_count", "c_step",
    *(f"r_count{i}" for i in OUTER), *(f"r_step{i}" for i in OUTER),
    "chunk", "outer_block", "panel_block", "panels_at_once", "row_blocks", "steps1", "fork",
    "parts", "parts_at", "y_items", "fold")

_PACKED_BYTES = 1 << 24
_MOST_PARTS = 16


@dataclass(frozen=True)
class Convolution:
    """What is to be computed, with shapes and element strides in the order of JAX's specs.

    x: (n, c, *space), w: (o, i, *space), y: (n, o, *space), up to three space axes;
    y[n, o, p] = sum over i, k of x[n, i, (p * stride + k * rhs_dilation - low) / lhs_dilation] * w[o, i, k].
    """

    x_shape: tuple[int, ...]
    x_strides: tuple[int, ...]
    w_shape: tuple[int, ...]
    w_strides: tuple[int, ...]
    y_shape: tuple[int, ...]
    y_strides: tuple[int, ...]
    window_strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    feature_groups: int = 1
    batch_groups: int = 1


@dataclass(frozen=True)
class _Space:
    """One space axis of one phase: x index = p * mul + k * tap - low."""

    outputs: int
    taps: int
    inputs: int
    mul: int
    tap: int
    low: int
    x: int
    w: int
    y: int
    w_start: int = 0
    y_start: int = 0

    @property
    def is_inside(self) -> bool:
        """Does every tap of every output hit the input?"""
        last = (self.outputs - 1) * self.mul + (self.taps - 1) * self.tap - self.low
        return self.low <= 0 and last < self.inputs

    @property
    def span(self) -> int:
        return (self.outputs - 1) * self.mul + (self.taps - 1) * self.tap + 1


@dataclass(frozen=True)
class _Axis:
    """An axis that is not a space axis: size, and strides in x, w and y (0: absent there)."""

    size: int
    x: int
    w: int
    y: int


@dataclass(frozen=True)
class _Level:
    """One axis of the sum. `bound` is the outer axis whose index shifts its range, if it is clipped."""

    size: int
    x: int
    w: int
    bound: int | None = None
    space: _Space | None = None


@dataclass(frozen=True)
class _Phase:
    n: _Axis
    group: _Axis
    o: _Axis
    i: _Axis
    space: tuple[_Space, _Space, _Space]
    part: _Axis = _Axis(1, 0, 0, 0)     # of the sum over i, each part with a result of its own


@dataclass(frozen=True)
class _Plan:
    """Which axes are outer, rows and columns, and in which order the sum is taken."""

    phase: _Phase
    outer: list[_Axis | _Space]
    rows: _Axis | _Space
    cols: _Axis | _Space
    unclipped: int | None  # the space axis whose input is padded rather than clipped
    first_space: int  # position of the first space axis in `outer`
    swapped: bool = False
    kernel: int = OUTER_PRODUCT


def _gcd_solution(a: int, b: int, modulus: int) -> int | None:
    """The smallest k >= 0 with a * k = b modulo `modulus`."""
    return next((k for k in range(modulus) if (a * k - b) % modulus == 0), None)


def _space_phases(outputs: int, taps: int, inputs: int, stride: int, low: int, spread: int, dilation: int,
                  strides: tuple[int, int, int]) -> list[_Space]:
    """Outputs p, p + period, ... meet the same taps and only real elements of the spread input."""
    x, w, y = strides
    period = spread // math.gcd(stride, spread)
    step = spread // math.gcd(dilation, spread)
    phases = []
    for p in range(min(period, outputs)):
        start = _gcd_solution(dilation, low - p * stride, spread)
        n_taps = 0 if start is None or start >= taps else -(-(taps - start) // step)
        start = start or 0
        phases.append(_Space(-(-(outputs - p) // period), n_taps, inputs, period * stride // spread,
                             dilation * step // spread, -((p * stride + start * dilation - low) // spread),
                             x, w * step, y * period, start * w, p * y))
    return phases


def _phases(conv: Convolution) -> list[_Phase]:
    missing = 3 - len(conv.window_strides)
    per_axis = [[_Space(1, 1, 1, 1, 1, 0, 0, 0, 0)]] * missing
    for a in range(3 - missing):
        per_axis.append(_space_phases(
            conv.y_shape[2 + a], conv.w_shape[2 + a], conv.x_shape[2 + a], conv.window_strides[a], conv.padding[a][0],
            conv.lhs_dilation[a], conv.rhs_dilation[a],
            (conv.x_strides[2 + a], conv.w_strides[2 + a], conv.y_strides[2 + a])))
    (xn, xc), (wo, wi), (yn, yo) = conv.x_strides[:2], conv.w_strides[:2], conv.y_strides[:2]
    groups = max(conv.feature_groups, conv.batch_groups)
    batch, inputs, outputs = conv.y_shape[0], conv.w_shape[1], conv.w_shape[0] // groups
    x_group = batch * xn if conv.batch_groups > 1 else inputs * xc
    return [_Phase(_Axis(batch, xn, 0, yn), _Axis(groups, x_group, outputs * wo, outputs * yo),
                   _Axis(outputs, 0, wo, yo), _Axis(inputs, xc, wi, 0), space)
            for space in itertools.product(*per_axis)]


def _fill(rows: int, tile: Tile) -> float:
    """Which part of the peak tiles of so many rows reach: few sums in flight wait for each other."""
    return min(1.0, rows / -(-rows // tile.mr) / 8) if rows else 1.0


def _mode(phase: _Phase, tile: Tile) -> str:
    """Which axes to use as rows and columns of the tiles; columns must be contiguous in y.

    depthwise: channels are columns, multiplied lane by lane (edge: the same pixel by pixel); pixels, batch, both: output features
    are columns and pixels of a line, batch entries or both as one axis are rows; planes: pixels of a line are columns and
    output features rows; dot: few output features are summed one by one over contiguous input
    features; single: one column, whatever the layout (slow).
    """
    n, group, o, width, lanes = phase.n, phase.group, phase.o, phase.space[2], tile.vector.lanes
    if group.size > 1 and (group.x, group.w, group.y) == (1, 1, 1):
        return "depthwise"
    if o.size <= lanes // 4 and phase.i.size and phase.i.x == 1 and phase.i.size % lanes == 0:
        return "dot"
    if o.y == 1 or o.size == 1:
        if n.size < 2 * tile.mr and (_is_one_axis(n, width) or phase.part.size > 1 and n.size == 1):
            return "both"
        return "batch" if _fill(n.size, tile) > 1.5 * _fill(width.outputs, tile) else "pixels"
    return "planes" if width.y == 1 and width.mul * width.x == 1 else "single"


def _is_one_axis(n: _Axis, width: _Space) -> bool:
    """Whether batch entries and pixels of a line follow each other with one step: in a kernel's gradient, features and taps."""
    return min(n.size, width.outputs) > 1 and (width.mul * width.x, width.y) == (n.size * n.x, n.size * n.y)


def _plan(phase: _Phase, mode: str) -> _Plan:
    n, group, o, (depth, height, width) = phase.n, phase.group, phase.o, phase.space
    single = _Axis(1, 0, 0, 0)
    parts = [phase.part] if phase.part.size > 1 else []

    def plan(outer: list[_Axis | _Space], rows, cols, unclipped: int | None, **how) -> _Plan:
        outer = [*parts, *outer]
        spaces = [k for k, axis in enumerate(outer) if isinstance(axis, _Space)]
        return _Plan(phase, outer + [single] * (len(OUTER) - len(outer)), rows, cols, unclipped, spaces[0], **how)
    if mode == "depthwise":
        return plan([n, o, depth, height], width, group, 2, kernel=DEPTHWISE)
    if mode == "edge":
        return plan([n, o, depth, height, width], single, group, None, kernel=DEPTHWISE)
    if mode == "batch":
        return plan([group, depth, height, width], n, o, None)
    if mode == "both":
        rows = replace(n, size=n.size * width.outputs) if n.size > 1 else width
        return plan([group, depth, height], rows, o, 2)
    if mode == "pixels":
        return plan([n, group, depth, height], width, o, 2)
    if mode == "planes":
        return plan([n, group, depth, height], o, width, 2, swapped=True)
    return plan([n, group, o, depth, height], width, single, 2, kernel=DOT if mode == "dot" else OUTER_PRODUCT)


def _needs_copy(plan: _Plan) -> bool:
    return plan.unclipped is not None and not plan.phase.space[plan.unclipped].is_inside and _has_taps(plan.phase)


def _has_taps(phase: _Phase) -> bool:
    return phase.i.size > 0 and all(space.taps > 0 for space in phase.space)


def _padded(phase: _Phase, tile: Tile, first: str) -> tuple[_Phase, dict[str, int]]:
    """The phase as it reads from a copy of x whose width is padded, and the members that describe the copy.

    Its outermost axis is the one called `first`, if that can be. Else the copy keeps the order of the axes: what is contiguous
    within a pixel stays so. (Of a line of one pixel, all features lie within it, whatever its step is said to be.)
    """
    depth, height, width = phase.space
    axes = {"part": (phase.part.size, phase.part.x), "n": (phase.n.size, phase.n.x),
            "group": (phase.group.size, phase.group.x), "i": (phase.i.size, phase.i.x),
            "depth": (depth.inputs, depth.x), "height": (height.inputs, height.x)}
    axes = {a: axis for a, axis in axes.items() if axis[0] != 1 or a == first}
    by_stride = sorted((a for a in axes if axes[a][0] != 1), key=lambda a: abs(axes[a][1]))
    inner, count, step = [], 1, 1
    for a in by_stride:
        size, stride = axes[a]
        is_within = abs(stride) < abs(width.x) or width.inputs == 1 and a in ("group", "i")
        if is_within and (not inner or stride == count * step):
            inner.append(a)
            step, count = (stride, size) if count == 1 else (step, count * size)
    strides, at = dict.fromkeys(("part", "n", "group", "i", "depth", "height"), 0), 1
    for a in inner:
        strides[a], at = at, at * axes[a][0]
    pitch = width.span * count + tile.vector.lanes
    outer = [first] * (first not in inner) + [a for a in reversed(by_stride) if a not in inner and a != first]
    outer += [a for a in axes if a not in inner and a not in outer]
    at = pitch
    for a in reversed(outer):
        strides[a], at = at, at * axes[a][0]
    outer = outer if first in outer else ["", *outer]
    axes[""] = (1, 0)
    outer += [""] * (5 - len(outer))
    copy = dict(copy=1, copy_chunked=int(first not in inner), row_pitch=pitch * tile.size, w_out=width.span,
                w_low=width.low, w_in=width.inputs, w_step=width.x * tile.size, c_count=count, c_step=step * tile.size)
    copy |= {f"r_count{i}": axes[a][0] for i, a in enumerate(outer)}
    copy |= {f"r_step{i}": axes[a][1] * tile.size for i, a in enumerate(outer)}
    space = (replace(depth, x=strides["depth"]), replace(height, x=strides["height"]),
             replace(width, inputs=width.span, x=count, low=0))
    return replace(phase, part=replace(phase.part, x=strides["part"]),
                   n=replace(phase.n, x=strides["n"]), group=replace(phase.group, x=strides["group"]),
                   i=replace(phase.i, x=strides["i"]), space=space), copy


def _levels(plan: _Plan, pack: bool, tile: Tile) -> tuple[list[_Level], list[_Level]]:
    """The axes of the sum, innermost first: two that make a long loop of small steps, then the rest.

    Second, the same axes as they lie in w, where a merged one is still two.
    """
    phase = plan.phase
    bounds = [None if a == plan.unclipped or s.is_inside else plan.first_space + a for a, s in enumerate(phase.space)]
    depth, height, width = (_Level(s.taps, s.tap * s.x, s.w, bound, s) for s, bound in zip(phase.space, bounds))
    features = _Level(phase.i.size, phase.i.x, phase.i.w)
    if plan.kernel == DOT:
        return _dot_levels([features, width, height, depth], tile.vector.lanes)
    for a, b in ((features, width), (width, features)):
        dense = a.size * a.x == b.x and (pack or a.size * a.w == b.w)
        if dense and a.bound is b.bound is None and min(a.size, b.size) > 1:
            return [replace(a, size=a.size * b.size), height, depth, _ONE], [a, b, height, depth, _ONE]
    if width.size == 1 or features.size >= 8 and abs(features.x) <= abs(width.x):
        inner, rest = features, [width, height, depth]
    else:
        inner, rest = width, [height, depth, features]
    rest.sort(key=lambda level: level.size == 1)
    if inner.size * rest[0].size < 64:
        rest.sort(key=lambda level: -level.size)
    return [inner, *rest], [inner, *rest, _ONE]


_ONE = _Level(1, 0, 0)


def _dot_levels(levels: list[_Level], lanes: int) -> tuple[list[_Level], list[_Level]]:
    """Input features by the register, together with the width where x is dense."""
    features, width, *rest = levels
    vectors = replace(features, size=features.size // lanes, x=lanes)
    if width.bound is None and width.x == features.size and width.size > 1:
        return [replace(vectors, size=vectors.size * width.size), *rest, _ONE], [*levels, _ONE]
    return [vectors, width, *rest], [*levels, _ONE]


def conv_calls(conv: Convolution, dtype: np.dtype, isa: Isa, d: str = "") -> tuple[list[dict[str, int]], int]:
    """The members of `CONV` but the pointers, one dict per call to make, and the scratch bytes for each call.

    `d` says what the pointer d is: "" nothing (null), "bias" one number per output feature, "y" an
    array laid out as y (y itself: accumulate). ValueError if a bias cannot be added because the
    pixels of a line, not the output features, are contiguous in y.
    """
    tile = Tile(isa, np.dtype(dtype))
    phases = [phase for phase in _phases(conv) if _outputs(phase)]
    if phases and not d:
        phases = _summed_in_parts(phases, tile)
    calls = [_call(part, mode, tile, d) for phase in phases for part, mode in _parts(phase, tile)]
    n_bytes = max((size for _, size in calls), default=0)
    if not phases or phases[0].part.size == 1:
        return [call for call, _ in calls], n_bytes
    part = phases[0].part
    calls = [call | {"parts": part.size, "parts_at": n_bytes, "y_items": part.y} for call, _ in calls]
    calls[-1]["fold"] = 1
    return calls, n_bytes + part.y * part.size * tile.size


def _summed_in_parts(phases: list[_Phase], tile: Tile) -> list[_Phase]:
    """The phases with a sum over many images (the gradient of a kernel) in parts, each added up on its own.

    What a part reads stays in the caches for all of its results, and tasks need not share out the few results.
    """
    n, o, i = phases[0].n, phases[0].o, phases[0].i
    results, n_taps = sum(map(_outputs, phases)), [math.prod(s.taps for s in p.space) for p in phases]
    read = n.size * math.prod(s.inputs for s in phases[0].space) + o.size * sum(n_taps)     # of a group of an image
    work = sum(_outputs(p) * taps for p, taps in zip(phases, n_taps))
    most = min(_MOST_PARTS, i.size * phases[0].group.size * read // (4 * results), i.size * work // TASK_WORK)
    parts = max((p for p in range(1, most + 1) if i.size % p == 0), default=1)
    group, each = phases[0].group, i.size // parts
    outermost = all(abs(i.x) > abs(s.x) for s in phases[0].space if s.inputs > 1)
    walked = [n.size, group.size, each, *(s.inputs for s in phases[0].space[:2])]
    dense = o.y == 1 or group.y == o.size == 1
    if parts == 1 or results == 1 or not dense or not outermost or sum(size != 1 for size in walked) >= len(OUTER) or \
            any(_mode(phase, tile) in ("dot", "single") for phase in phases):
        return phases
    part = _Axis(parts, each * i.x, each * i.w, results)
    return [replace(phase, part=part, i=replace(i, size=each)) for phase in phases]


def _outputs(phase: _Phase) -> int:
    return phase.n.size * phase.group.size * phase.o.size * math.prod(s.outputs for s in phase.space)


def _parts(phase: _Phase, tile: Tile) -> list[tuple[_Phase, str]]:
    """The phase and its mode; depthwise also its inside and its two edges, where that saves the padded copy."""
    mode, width = _mode(phase, tile), phase.space[2]
    first = max(0, -(-width.low // width.mul))
    last = min(width.outputs, (width.inputs - 1 + width.low - (width.taps - 1) * width.tap) // width.mul + 1)
    if mode != "depthwise" or phase.part.size > 1 or width.is_inside or not _has_taps(phase) or \
             4 * (last - first) < 3 * width.outputs:
        return [(phase, mode)]
    cuts = ((first, last, "depthwise"), (0, first, "edge"), (last, width.outputs, "edge"))
    return [(replace(phase, space=(*phase.space[:2], _outputs_between(width, start, stop))), mode)
            for start, stop, mode in cuts if start < stop]


def _outputs_between(space: _Space, start: int, stop: int) -> _Space:
    return replace(space, outputs=stop - start, low=space.low - start * space.mul, y_start=space.y_start + start * space.y)


def _call(phase: _Phase, mode: str, tile: Tile, d: str) -> tuple[dict[str, int], int]:
    copy: dict[str, int] = {}
    plan = _plan(phase, mode)
    if _needs_copy(plan):
        first = next((name for name in ("part", "n") if plan.outer[0] is getattr(phase, name)), "group")
        padded, copy = _padded(phase, tile, first)
        plan = _plan(padded, mode)
    pack = _is_packed(plan, tile)
    levels, in_w = _levels(plan, pack, tile)
    call = _offsets(plan, tile.size) | _tile_members(plan, tile) | _outer_members(plan, tile.size)
    call |= _level_members(levels, plan.swapped, tile.size) | _d_members(plan, call, d, tile.size)
    if pack:
        call |= _pack_members(plan, in_w, tile)
    packed = call["pack_groups"] * -(-call["cols"] // call["nr"]) * call["panel_step"] if pack else 0
    per_image = copy_bytes(copy) if copy else 0
    call |= blocks_of_call(call, tile, per_image, bool(copy.get("copy_chunked"))) | copy
    images = call["chunk"] if copy.get("copy_chunked") else 1
    return call | {"copy_at": packed}, packed + images * per_image + 4096


def _offsets(plan: _Plan, size: int) -> dict[str, int]:
    space = plan.phase.space
    return {"x_offset": -size * sum(s.low * s.x for s in space), "w_offset": size * sum(s.w_start for s in space),
            "y_offset": size * sum(s.y_start for s in space)}


def _steps(axis: _Axis | _Space) -> tuple[int, int, int, int]:
    """Size, and steps in x, w and y of an outer axis, rows or columns."""
    if isinstance(axis, _Space):
        return axis.outputs, axis.mul * axis.x, 0, axis.y
    return axis.size, axis.x, axis.w, axis.y


def _tile_members(plan: _Plan, tile: Tile) -> dict[str, int]:
    rows, row_x, row_w, row_y = _steps(plan.rows)
    cols = _steps(plan.cols)[0]
    return {"rows": rows, "a_m": (row_w if plan.swapped else row_x) * tile.size, "c_m": row_y * tile.size,
            "pitch": max(1, row_y) if rows > 1 or plan.kernel != DEPTHWISE else cols, "cols": cols, "nr": _nr(plan, tile),
            "a_n": tile.size if plan.kernel == DEPTHWISE else 0, "panel_step": _nr(plan, tile) * tile.size,
            "swapped": int(plan.swapped), "kernel": plan.kernel}


def _nr(plan: _Plan, tile: Tile) -> int:
    return 1 if plan.kernel == DOT else tile.nr


def _outer_members(plan: _Plan, size: int) -> dict[str, int]:
    members = {}
    for i, axis in enumerate(plan.outer):
        count, x, w, y = _steps(axis)
        a, b = (w, x) if plan.swapped else (x, w)
        members |= {f"count{i}": count, f"a{i}": a * size, f"b{i}": b * size, f"c{i}": y * size}
    return members


def _level_members(levels: list[_Level], swapped: bool, size: int) -> dict[str, int]:
    members = {}
    for i, level in enumerate(levels):
        a, b = (level.w, level.x) if swapped else (level.x, level.w)
        members |= {f"size{i}": level.size, f"la{i}": a * size, f"lb{i}": b * size}
        if level.bound is None:
            members |= {f"limit{i}": 0, f"mul{i}": 0, f"tap{i}": 1, f"low{i}": 0, f"extent{i}": level.size}
        else:
            space = level.space
            members |= {f"limit{i}": level.bound, f"mul{i}": space.mul, f"tap{i}": space.tap, f"low{i}": space.low,
                        f"extent{i}": space.inputs}
    return members


def _d_members(plan: _Plan, call: dict[str, int], d: str, size: int) -> dict[str, int]:
    if d == "y":
        return {"d_offset": call["y_offset"], "d_m": call["c_m"]} | {f"d{i}": call[f"c{i}"] for i in OUTER}
    if d == "bias" and plan.swapped:
        raise ValueError("a bias can be added only where the output features are contiguous in y")
    features = plan.phase.o.size
    steps = [features if axis is plan.phase.group else int(axis is plan.phase.o) for axis in plan.outer]
    return {"d_offset": 0, "d_m": 0} | {f"d{i}": step * size for i, step in enumerate(steps)}


def _is_packed(plan: _Plan, tile: Tile) -> bool:
    """Repack w in panels where it is read often, or must be because its columns are not contiguous."""
    phase = plan.phase
    if plan.kernel == DOT:
        return _has_taps(phase)
    if plan.swapped or plan.kernel == DEPTHWISE or plan.cols is not phase.o or phase.o.size == 1 or not _has_taps(phase):
        return False
    taps = phase.i.size * math.prod(s.taps for s in phase.space)
    often = phase.n.size * math.prod(s.outputs for s in phase.space) >= 8 * tile.mr
    return phase.o.w != 1 or phase.part.size == 1 and often and taps * phase.o.size * phase.group.size * tile.size <= _PACKED_BYTES


def _pack_members(plan: _Plan, in_w: list[_Level], tile: Tile) -> dict[str, int]:
    """The copy of w: panel after panel of one group, group after group; for dot kernels feature after feature."""
    size, line, o, groups = tile.size, _nr(plan, tile) * tile.size, plan.phase.o, plan.phase.group
    taps = math.prod(level.size for level in in_w)
    panel = (taps + tile.vector.lanes) * line
    group = -(-o.size // _nr(plan, tile)) * panel
    members = {"pack": 1, "pack_groups": groups.size, "pack_group": groups.w * size, "pack_n": o.w * size,
               "panel_step": panel}
    if plan.kernel == DOT:
        members |= {"pack_groups": groups.size * o.size, "pack_group": o.w * size, "pack_n": 0}
    for i, level in enumerate(in_w):
        members |= {f"pack{i}": level.w * size, f"pack_size{i}": level.size}
    steps = {id(groups): group, id(o): panel}
    members |= {f"b{i}": steps.get(id(axis), 0) for i, axis in enumerate(plan.outer)}
    step = line * (tile.vector.lanes if plan.kernel == DOT else 1)
    for i, level in enumerate(_levels(plan, True, tile)[0]):
        members[f"lb{i}"] = step
        step *= level.size
    return members
