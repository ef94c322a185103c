"""Products in the form that the back ends take. After this, a DotGeneral is f32, f64 or integer (or of 16-bit floats, where the
back end multiplies those), big enough for a library routine, and walks each of its axis groups with one stride; all
other products are multiplications and sums, which fuse with their neighbours."""
from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial, reduce

import numpy as np

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, Var, replay
from tracejit.ir.trace import bind, record_eqn, rewrite, sourced
from tracejit.ir.types import bfloat16
from tracejit.lax.broadcast import BroadcastInDim, Transpose
from tracejit.lax.conv import ConvGeneralDilated
from tracejit.lax.dot import DotGeneral
from tracejit.lax.window import Track, windows_of
from tracejit.lax.words import WordProduct
from tracejit.transforms.passes.conv_layout import as_product, features_last, is_stencil, stencil

dtype_of_name = {str(dtype): dtype for dtype in (np.dtype("int8"), np.dtype("int16"), bfloat16)}.__getitem__
HALVES = (np.dtype("float16"), bfloat16)
LEAST_WORK = 1 << 10  # multiply-adds above which a call saves more than it costs
SHORT = 4             # contracted elements
LEAST_WORDS = 16      # contracted elements of a product by the word
FEW = 4               # rows or columns for which a matrix of another dtype is not converted first


def merged_axes(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[int, int]]:
    """Axes of a dense array, in this order, as the fewest (size, stride) pairs that walk them."""
    out: list[tuple[int, int]] = []
    for a in axes:
        if shape[a] == 1:
            continue
        stride = math.prod(shape[a + 1:])
        if out and out[-1][1] == stride * shape[a]:
            out[-1] = out[-1][0] * shape[a], stride
        else:
            out.append((shape[a], stride))
    return out or [(1, 0)]


def is_plain(op: DotGeneral, x, y) -> bool:
    spec = op.spec(x.ndim, y.ndim)
    groups = [(x.shape, spec.free[0]), (y.shape, spec.free[1]), (x.shape, spec.contract[0]), (y.shape, spec.contract[1])]
    batch = [sum(t.shape[a] != 1 for a in axes) for t, axes in ((x, spec.batch[0]), (y, spec.batch[1]))]
    return all(len(merged_axes(*g)) == 1 for g in groups) and max(batch) <= 2


def lower_products(graph: Graph, halves: bool = False, words: Mapping[str, str] = {}) -> Graph:
    """`halves`: whether the back end multiplies 16-bit floats, with sums in f32. `words`: dtypes that it multiplies by the word,
    and what it wants in the words."""
    if not any(isinstance(eqn.op, (DotGeneral, ConvGeneralDilated)) for eqn in graph.eqns):
        return graph

    def dot_of(dtype: np.dtype):
        if str(dtype) in words:
            return partial(word_dot, element=dtype_of_name(words[str(dtype)]))
        return half_dot if halves and dtype in HALVES else lower_dot

    turned = turned_products(graph)
    operands: dict[Eqn, list] = dict.fromkeys(turned.values(), ())

    def apply(eqn: Eqn, inputs):
        if eqn in turned:
            with sourced(eqn.source):
                x, y = operands[turned[eqn]]
                op, x, y = exchanged(turned[eqn].op), as_var(y), as_var(x)
                return [dot_of(x.type.dtype)(op, x, y)]
        if eqn in operands:
            operands[eqn] = inputs
            return [None]
        dtype = eqn.inputs[0].type.dtype if eqn.inputs else None
        lower = dot_of(dtype) if isinstance(eqn.op, DotGeneral) else lower_conv if isinstance(eqn.op, ConvGeneralDilated) else None
        if lower is None:
            return record_eqn(eqn, inputs)
        if halves and lower is lower_conv and dtype in HALVES:
            lower = half_conv
        if lower is lower_conv and not halves and is_stencil(eqn.op, *inputs):
            lower = stencil
        with sourced(eqn.source):
            return [lower(eqn.op, *map(as_var, inputs))]
    return rewrite(lambda *args: replay(graph, args, apply), graph.in_types)


def turned_products(graph: Graph) -> dict[Eqn, Eqn]:
    """Transposes of products that nobody else reads, where the other order of the operands gives them at once."""
    uses = Counter(x for eqn in graph.eqns for x in eqn.inputs if isinstance(x, Var))
    uses.update(r for r in graph.results if isinstance(r, Var))
    made = {eqn.outputs[0]: eqn for eqn in graph.eqns if isinstance(eqn.op, DotGeneral)}
    found = {}
    for eqn in graph.eqns:
        product = made.get(eqn.inputs[0]) if isinstance(eqn.op, Transpose) else None
        if product is not None and uses[eqn.inputs[0]] == 1:
            spec = product.op.spec(*(x.type.ndim for x in product.inputs))
            nb, m, n = len(spec.batch[0]), len(spec.free[0]), len(spec.free[1])
            if eqn.op.permutation == (*range(nb), *range(nb + m, nb + m + n), *range(nb, nb + m)):
                found[eqn] = product
    return found


def exchanged(op: DotGeneral) -> DotGeneral:
    return dataclasses.replace(op, contract=op.contract[::-1], batch_axes=op.batch_axes[::-1])


def as_var(x):
    return x if isinstance(x, Var) else lax.broadcast_in_dim(x, (), ())


def lower_dot(op: DotGeneral, x, y):
    for side, v in enumerate((x, y)):
        if repeated_batches(op, side, v):
            return product_with_repeated(op, x, y, side)
    out = op.infer(x.type, y.type)
    if x.type.dtype in HALVES:
        wide = np.promote_types(np.float32, out.dtype) if out.dtype not in HALVES else np.dtype("float32")
        return cast(converted_dot(op, x, y, wide), out.dtype)
    if out.dtype != x.type.dtype:
        return converted_dot(op, x, y, out.dtype)
    spec = op.spec(x.type.ndim, y.type.ndim)
    size = lambda t, axes: math.prod(t.shape[a] for a in axes)
    k = size(x.type, spec.contract[0])
    outputs = size(x.type, spec.free[0]) * size(y.type, spec.free[1])
    work = k * outputs
    if outputs == 1 and k:      # inner products are folds of memory, which fuse with what is around them
        return sum_of_products(spec, x, y)
    if x.type.dtype.kind == "c" and work > LEAST_WORK:
        return complex_product(lambda u, v: lower_dot(DotGeneral(op.contract, op.batch_axes), u, v), x, y)
    if x.type.dtype.kind not in "fiu" or work <= LEAST_WORK or k <= SHORT:
        return sum_of_products(spec, x, y)
    op, x, y = through_transposes(op, x, y)
    return bind(op, x, y) if is_plain(op, x.type, y.type) else canonical(op, x, y)


def outputs_of(op: DotGeneral, x, y) -> list[int]:
    """How many rows x and y have, in a batch entry."""
    return [math.prod(v.type.shape[a] for a in axes) for v, axes in zip((x, y), op.spec(x.type.ndim, y.type.ndim).free)]


def are_lines(op: DotGeneral, x, y) -> bool:
    """Whether what is contracted lies side by side in both operands."""
    return all(axes == tuple(range(v.type.ndim - len(axes), v.type.ndim)) for v, axes in zip((x, y), op.contract))


def line_products(op: DotGeneral, x, y):
    """Each line of one operand times each of the few lines of the other, which are walked inside, while it is in the cache."""
    (few, many), spec = outputs_of(op, x, y), op.spec(x.type.ndim, y.type.ndim)
    if few >= many:
        return sum_of_products(spec, x, y)
    nb, ni, nj = len(spec.batch[0]), len(spec.free[0]), len(spec.free[1])
    turned = sum_of_products(exchanged(op).spec(y.type.ndim, x.type.ndim), y, x)
    return lax.transpose(turned, (*range(nb), *range(nb + nj, nb + nj + ni), *range(nb, nb + nj)))


def is_fold(op: DotGeneral, x, y) -> bool:
    """Whether few rows or columns meet a matrix that a fused sum can read in vectors: along what is contracted in both, or along
    its own outputs."""
    m, n = outputs_of(op, x, y)
    side = int(m <= n)
    in_vectors = are_lines(op, x, y) or (x, y)[side].type.ndim - 1 not in op.contract[side]
    return min(m, n) == 1 or min(m, n) <= FEW and in_vectors


def repeated_batches(op: DotGeneral, side: int, v: Var) -> list[int]:
    """Which pairs of batch axes read the same array again and again, of an operand that is repeated along such axes only."""
    made = v.eqn if isinstance(v, Var) else None
    if made is None or not isinstance(made.op, BroadcastInDim) or not isinstance(made.inputs[0], Var):
        return []
    dims = made.op.dimensions
    added = {*range(v.type.ndim)} - {*dims}
    if made.inputs[0].type.shape != tuple(v.type.shape[d] for d in dims) or not added <= {*op.batch_axes[side]}:
        return []
    return [k for k, axis in enumerate(op.batch_axes[side]) if axis in added]


def product_with_repeated(op: DotGeneral, x, y, side: int):
    """Products with one matrix for all batches are one product: the batches are further rows of the other operand."""
    same, other = (x, y)[side], (x, y)[1 - side]
    again, dims = repeated_batches(op, side, same), same.eqn.op.dimensions
    pairs = [k for k in range(len(op.batch_axes[0])) if k not in again]
    batch = tuple(op.batch_axes[1 - side][k] for k in pairs), tuple(dims.index(op.batch_axes[side][k]) for k in pairs)
    contract = op.contract[1 - side], tuple(dims.index(a) for a in op.contract[side])
    out = lower_dot(dataclasses.replace(op, contract=contract, batch_axes=batch), other, same.eqn.inputs[0])
    spec = op.spec(x.type.ndim, y.type.ndim)
    rows = [a for a in range(other.type.ndim) if a not in batch[0] and a not in contract[0]]
    place = {("batch", k): i for i, k in enumerate(pairs)}
    place |= {("row", a): len(pairs) + i for i, a in enumerate(rows)}
    place |= {("column", a): len(pairs) + len(rows) + i for i, a in enumerate(spec.free[side])}
    place |= {("batch", k): place["row", op.batch_axes[1 - side][k]] for k in again}
    kinds = ("column", "row") if side == 0 else ("row", "column")
    order = [("batch", k) for k in range(len(op.batch_axes[0]))] + \
        [(kind, a) for kind, axes in zip(kinds, spec.free) for a in axes]
    return lax.transpose(out, tuple(place[label] for label in order))


def converted_dot(op: DotGeneral, x, y, dtype: np.dtype):
    """The product of the operands converted to `dtype`; a matrix of which each element is used a few times only is
    converted as it is read, rather than to a matrix in memory."""
    spec = op.spec(x.type.ndim, y.type.ndim)
    is_narrow = is_fold(op, x, y)
    x, y = cast(x, dtype), cast(y, dtype)
    if is_narrow:
        return line_products(op, x, y) if are_lines(op, x, y) else sum_of_products(spec, x, y)
    return lower_dot(DotGeneral(op.contract, op.batch_axes), x, y)


def half_dot(op: DotGeneral, x, y):
    """A product of 16-bit floats as it is, if it is worth a library's routine."""
    spec = op.spec(x.type.ndim, y.type.ndim)
    size = lambda t, axes: math.prod(t.shape[a] for a in axes)
    k = size(x.type, spec.contract[0])
    work = k * size(x.type, spec.free[0]) * size(y.type, spec.free[1])
    if work <= LEAST_WORK or k <= SHORT or op.infer(x.type, y.type).dtype not in (x.type.dtype, np.dtype("float32")):
        return lower_dot(op, x, y)
    op, x, y = through_transposes(op, x, y)
    return bind(op, x, y) if is_plain(op, x.type, y.type) else canonical(op, x, y)


def word_dot(op: DotGeneral, x, y, element: np.dtype):
    """A product of numbers of 8 or 16 bits by the word, where sums in 32 bits are as exact as is asked for."""
    op, x, y = through_transposes(op, x, y)
    spec, out = op.spec(x.type.ndim, y.type.ndim), op.infer(x.type, y.type)
    size = lambda t, axes: math.prod(t.shape[a] for a in axes)
    nb, k = size(x.type, spec.batch[0]), size(x.type, spec.contract[0])
    m, n = size(x.type, spec.free[0]), size(y.type, spec.free[1])
    sums = np.dtype("int32" if element.kind == "i" else "float32")
    enough = out.dtype in (*HALVES, sums) if sums.kind == "f" else out.dtype.kind in "iu" and out.dtype.itemsize <= 4
    if not enough or n == 1 or m < FEW or m * n * k <= LEAST_WORK or k < LEAST_WORDS:
        return lower_dot(op, x, y)
    x, y = cast(x, element), cast(y, element)
    x = lax.reshape(lax.transpose(x, spec.batch[0] + spec.free[0] + spec.contract[0]), (nb, m, k))
    in_rows = y.type.ndim - 1 in spec.contract[1]
    order = (spec.free[1], spec.contract[1]) if in_rows else (spec.contract[1], spec.free[1])
    y = lax.reshape(lax.transpose(y, spec.batch[1] + order[0] + order[1]), (nb, n, k) if in_rows else (nb, k, n))
    per = 4 // element.itemsize
    x, y = filled(x, 2, per), filled(y, 2 if in_rows else 1, per)
    if not in_rows:
        y = in_words(y, per)
    product = bind(WordProduct(((2,), (2 if in_rows else 1,)), ((0,), (0,)), None, sums, element), x, y)
    return cast(lax.reshape(product, out.shape), out.dtype)


def filled(x, axis: int, per: int):
    """x with zeros behind an axis up to a multiple of `per`."""
    missing = -x.type.shape[axis] % per
    return lax.pad(x, np.zeros((), x.type.dtype), [(0, missing * (a == axis), 0) for a in range(x.type.ndim)]) if missing else x


def in_words(y, per: int):
    """(batch, k, n) -> (batch, k / per, n), `per` elements that follow each other along k in each word."""
    b, k, n = y.type.shape
    bits = lax.bitcast_convert_type(y, np.dtype(f"uint{32 // per}"))
    lines = lax.reshape(bits, (b, k // per, per, n))
    words = [cast(lax.squeeze(lax.slice_in_dim(lines, i, i + 1, axis=2), (2,)), np.dtype("uint32")) for i in range(per)]
    return reduce(lax.bitwise_or, [lax.shift_left(w, np.uint32(32 // per * i)) if i else w for i, w in enumerate(words)])


def half_conv(op: ConvGeneralDilated, x, w):
    """A convolution of 16-bit floats as it is, if its result is one too."""
    is_kept = op.infer(x.type, w.type).dtype == x.type.dtype and x.type.ndim <= 5
    return features_last(dataclasses.replace(op, preferred=None), x, w) if is_kept else lower_conv(op, x, w)


def lower_conv(op: ConvGeneralDilated, x, w):
    out, dtype = op.infer(x.type, w.type), x.type.dtype
    work = dataclasses.replace(op, preferred=None)
    if dtype in HALVES:
        wide = np.dtype("float32") if out.dtype in HALVES else np.promote_types(np.float32, out.dtype)
        return cast(lower_conv(work, cast(x, wide), cast(w, wide)), out.dtype)
    if out.dtype != dtype:
        return lower_conv(work, cast(x, out.dtype), cast(w, out.dtype))
    product = as_product(work, x, w, lower_dot)
    if product is not None:
        return product
    if dtype.kind == "c":
        return complex_product(lambda u, v: lower_conv(work, u, v), x, w)
    if dtype.kind == "f" and x.type.ndim <= 5:
        return features_last(work, x, w)
    return window_sums(op, x, w)


def window_sums(op: ConvGeneralDilated, x, w):
    """A convolution of integers, or over more than three axes: windows times kernel, summed."""
    lhs, rhs, out = op.dimension_numbers
    n_space, over_batch = len(lhs) - 2, op.batch_group_count > 1
    out_shape = op.infer(x.type, w.type).shape
    groups = max(op.batch_group_count, op.feature_group_count)
    x, w = lax.transpose(x, lhs), lax.transpose(w, rhs)
    sizes = w.type.shape[2:]
    counts = [out_shape[a] for a in out[2:]]
    tracks = [Track(d, n_space + 2 + d, counts[d], op.window_strides[d], op.rhs_dilation[d], -op.padding[d][0],
                    op.lhs_dilation[d]) for d in range(n_space)]
    patches = windows_of(x, np.zeros((), x.type.dtype), tracks, sizes)        # (*sizes, n, c, *space)
    patches = lax.transpose(patches, (*range(n_space, patches.type.ndim), *range(n_space)))
    n, c, *space = patches.type.shape[:n_space + 2]
    side = (groups, n // groups, c) if over_batch else (n, groups, c // groups)
    patches = lax.reshape(patches, (*side, *space, *sizes))
    if over_batch:
        patches = lax.transpose(patches, (1, 0, *range(2, patches.type.ndim)))
    kernel = lax.reshape(w, (groups, w.type.shape[0] // groups, *w.type.shape[1:]))
    at = 3 + n_space
    dims = ((2, *range(at, at + n_space)), (2, *range(3, 3 + n_space)))
    product = lower_dot(DotGeneral(dims, ((1,), (0,))), patches, kernel)        # (group, n, *space, out per group)
    product = lax.transpose(product, (1, 0, 2 + n_space, *range(2, 2 + n_space)))
    shape = product.type.shape
    product = lax.reshape(product, (shape[0], shape[1] * shape[2], *shape[3:]))
    return lax.transpose(product, tuple(np.argsort(out)))


def cast(x, dtype):
    return lax.convert_element_type(x, dtype)


def complex_product(dot, x, y):
    """(a + bi)(c + di) with four real products."""
    a, b, c, d = lax.real(x), lax.imag(x), lax.real(y), lax.imag(y)
    return lax.complex(lax.sub(dot(a, c), dot(b, d)), lax.add(dot(a, d), dot(b, c)))


def sum_of_products(spec, x, y):
    """out[batch, i, j] = sum over k of x[batch, i, k] * y[batch, j, k], as broadcasts, a product and a sum."""
    (xb, yb), (xc, yc), (xf, yf) = spec
    shape = tuple(x.type.shape[a] for a in xb + xf) + tuple(y.type.shape[a] for a in yf) + tuple(x.type.shape[a] for a in xc)
    nb, ni, nj, nk = len(xb), len(xf), len(yf), len(xc)
    place = lambda axes, at: dict(zip(axes, at))
    x_at = place(xb, range(nb)) | place(xf, range(nb, nb + ni)) | place(xc, range(nb + ni + nj, len(shape)))
    y_at = place(yb, range(nb)) | place(yf, range(nb + ni, nb + ni + nj)) | place(yc, range(nb + ni + nj, len(shape)))
    spread = lambda v, at: lax.broadcast_in_dim(v, shape, [at[d] for d in range(v.type.ndim)])
    if x.type.dtype == np.dtype(bool):
        return lax.reduce_or(lax.bitwise_and(spread(x, x_at), spread(y, y_at)), tuple(range(nb + ni + nj, len(shape))))
    product = lax.mul(spread(x, x_at), spread(y, y_at))
    return lax.reduce_sum(product, tuple(range(nb + ni + nj, len(shape)))) if nk else product


def through_transposes(op: DotGeneral, x, y):
    """Contract a transposed operand's source over its own axes instead, where the result's axes keep their order."""
    sides = [x, y]
    contract, batch = list(op.contract), list(op.batch_axes)
    for side in (0, 1):
        made = sides[side].eqn
        if made is None or not isinstance(made.op, Transpose) or not isinstance(made.inputs[0], Var):
            continue
        order = made.op.permutation
        taken = {*contract[side], *batch[side]}
        free = [order[a] for a in range(len(order)) if a not in taken]
        if free == sorted(free):
            sides[side] = made.inputs[0]
            contract[side] = tuple(order[a] for a in contract[side])
            batch[side] = tuple(order[a] for a in batch[side])
    return DotGeneral(tuple(contract), tuple(batch), op.precision, op.preferred), *sides


def canonical(op: DotGeneral, x, y):
    """Copy operands to (batch, rows, columns) order, multiply as matrices, and shape the result."""
    spec = op.spec(x.type.ndim, y.type.ndim)
    out = op.infer(x.type, y.type)
    size = lambda t, axes: math.prod(t.shape[a] for a in axes)
    nb, k = size(x.type, spec.batch[0]), size(x.type, spec.contract[0])
    m, n = size(x.type, spec.free[0]), size(y.type, spec.free[1])
    a = lax.reshape(lax.transpose(x, spec.batch[0] + spec.free[0] + spec.contract[0]), (nb, m, k))
    b = lax.reshape(lax.transpose(y, spec.batch[1] + spec.contract[1] + spec.free[1]), (nb, k, n))
    return lax.reshape(bind(DotGeneral(((2,), (1,)), ((0,), (0,)), op.precision, op.preferred), a, b), out.shape)
