"""Convolutions of every arrangement -> the one op `ConvGeneralDilated`, whose two gradients are the same op again.

    out[n, o, p] = sum over c, k of x[n, c, p * stride + k * rhs_dilation - low] * w[o, c, k]

where x has lhs_dilation - 1 zeros between its elements, and zeros all around.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.errors import DtypeError, ShapeError, called_by_program
from tracejit.ir.trace import bind
from tracejit.ir.types import ArrayType, requested_dtype, promote, type_of
from tracejit.lax.conv_dimensions import (ConvDimensionNumbers, ConvGeneralDilatedDimensionNumbers,
                                          conv_dimension_numbers, conv_transpose_padding)
from tracejit.lax.dot import PrecisionLike, accumulator, canonicalize_precision, dot_general
from tracejit.lax.convert import convert_element_type
from tracejit.lax.kinds import Contraction, is_linear, op_dataclass
from tracejit.lax.padding import (Pads, dilated_size, ints_of, padtype_to_pads, pairs_of, spread_and_pad, window_count,
                                  windows)
from tracejit.lax.shape import broadcast_in_dim, reshape, rev, transpose


def split_axis(x: Any, axis: int, outer: int) -> Any:
    """Axis of size outer * n -> two axes (outer, n)."""
    shape = type_of(x).shape
    return reshape(x, (*shape[:axis], outer, shape[axis] // outer, *shape[axis + 1:]))


def merge_axis(x: Any, source: int, target: int) -> Any:
    """Axis `source` becomes the outer part of axis `target` (numbered as in the result)."""
    order = [a for a in range(type_of(x).ndim) if a != source]
    order.insert(target, source)
    x = transpose(x, order)
    shape = type_of(x).shape
    return reshape(x, (*shape[:target], shape[target] * shape[target + 1], *shape[target + 2:]))


@op_dataclass
class ConvGeneralDilated(Contraction):
    """Slides a kernel over the spatial axes: sum over input features and kernel positions of x * w."""
    window_strides: tuple[int, ...]
    padding: Pads
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    dimension_numbers: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    feature_group_count: int = 1
    batch_group_count: int = 1
    precision: Any = None
    preferred: np.dtype | None = None

    def sizes(self, x: ArrayType, w: ArrayType) -> tuple[list[int], list[int], list[int]]:
        """Per spatial axis: the dilated input, the dilated kernel, the result."""
        lhs, rhs, _ = self.dimension_numbers
        spread = [dilated_size(x.shape[a], d) for a, d in zip(lhs[2:], self.lhs_dilation)]
        kernel = [dilated_size(w.shape[a], d) for a, d in zip(rhs[2:], self.rhs_dilation)]
        out = [window_count(n + low + high, k, s)
               for n, k, s, (low, high) in zip(spread, kernel, self.window_strides, self.padding)]
        return spread, kernel, out

    def flops(self, x: ArrayType, w: ArrayType) -> float:
        """Multiplications and additions, those with padding included."""
        return 2.0 * self.infer(x, w).size * w.size / max(w.shape[self.dimension_numbers[1][0]], 1)

    def infer(self, x: ArrayType, w: ArrayType) -> ArrayType:
        check_conv(self, x, w)
        lhs, rhs, out = self.dimension_numbers
        shape = [0] * x.ndim
        sizes = (x.shape[lhs[0]] // self.batch_group_count, w.shape[rhs[0]], *self.sizes(x, w)[2])
        for axis, size in zip(out, sizes):
            shape[axis] = size
        weak = self.preferred is None and x.weak_type and w.weak_type
        return ArrayType(tuple(shape), self.preferred or x.dtype, weak)

    def eval(self, x, w):
        lhs, rhs, out = self.dimension_numbers
        result = self.preferred or x.dtype
        acc = np.promote_types(accumulator(x.dtype), accumulator(result)) if self.preferred else accumulator(x.dtype)
        x, w = np.transpose(x, lhs).astype(acc), np.transpose(w, rhs).astype(acc)
        x = spread_and_pad(x, 0, (1, 1, *self.lhs_dilation), ((0, 0), (0, 0), *self.padding))
        patches = windows(x, (1, 1, *w.shape[2:]), (1, 1, *self.window_strides), (1, 1, *self.rhs_dilation))
        over_batch = self.batch_group_count > 1
        groups = self.batch_group_count if over_batch else self.feature_group_count
        space = list(range(2, w.ndim))
        axes = ([1, *(a + w.ndim for a in space)], [1, *space])
        of_group = zip(np.split(patches, groups, 0 if over_batch else 1), np.split(w, groups, 0))
        products = [np.tensordot(p, k, axes) for p, k in of_group]  # (n, spatial..., 1, 1, out feature of the group)
        joined = np.concatenate(products, -1).reshape(patches.shape[0] // (groups if over_batch else 1),
                                                      *patches.shape[2:w.ndim], w.shape[0])
        return np.transpose(np.moveaxis(joined, -1, 1), np.argsort(out)).astype(result)

    def transpose(self, ctx, ct, x, w):
        known = w if is_linear(x) else x
        ct = convert_element_type(ct, promote([(ct.dtype, False), (known.dtype, False)])[0])
        known = convert_element_type(known, ct.dtype)
        if is_linear(x):
            return convert_element_type(self.input_cotangent(ct, x.type, known), x.dtype), None
        return None, convert_element_type(self.kernel_cotangent(ct, known, w.type), w.dtype)

    def input_cotangent(self, ct, x: ArrayType, w):
        """Spread the cotangent by the stride and slide the reversed kernel over it, features swapped.

        The tap of x at spread position i * lhs_dilation + low is p * stride + k * rhs_dilation.
        """
        lhs, rhs, out = self.dimension_numbers
        groups = max(self.feature_group_count, self.batch_group_count)
        wanted = (x, type_of(w), type_of(ct))
        if groups > 1:
            w = merge_axis(split_axis(w, rhs[0], groups), rhs[0], rhs[1])
        op = dataclasses.replace(
            self, window_strides=self.lhs_dilation, lhs_dilation=self.window_strides,
            padding=self.input_cotangent_padding(*wanted), preferred=None,
            dimension_numbers=(out, (rhs[1], rhs[0], *rhs[2:]), lhs), feature_group_count=groups, batch_group_count=1)
        back = bind(op, ct, rev(w, rhs[2:]))
        if self.batch_group_count > 1:
            back = merge_axis(split_axis(back, lhs[1], groups), lhs[1], lhs[0])
        return back

    def input_cotangent_padding(self, x: ArrayType, w: ArrayType, ct: ArrayType) -> Pads:
        lhs, _, out = self.dimension_numbers
        lows = [k - 1 - low for k, (low, _) in zip(self.sizes(x, w)[1], self.padding)]
        return tuple(
            (low, (n - 1) * d + k - dilated_size(p, s) - low) if n else (0, k - 1 - dilated_size(p, s))
            for low, n, d, k, p, s in zip(
                lows, [x.shape[a] for a in lhs[2:]], self.lhs_dilation, self.sizes(x, w)[1],
                [ct.shape[a] for a in out[2:]], self.window_strides))

    def kernel_cotangent(self, ct, x, w: ArrayType):
        """Slide the stride-spread cotangent over the input: batch and features change places."""
        lhs, rhs, out = self.dimension_numbers
        t = type_of(ct)
        taps = [dilated_size(t.shape[a], s) for a, s in zip(out[2:], self.window_strides)]
        padding = tuple((low, (w.shape[a] - 1) * d + tap - n - low) if w.shape[a] else (0, tap - 1 - n)
                        for (low, _), a, d, tap, n in zip(self.padding, rhs[2:], self.rhs_dilation, taps,
                                                          self.sizes(type_of(x), w)[0]))
        swap = lambda spec: (spec[1], spec[0], *spec[2:])
        op = dataclasses.replace(
            self, window_strides=self.rhs_dilation, rhs_dilation=self.window_strides, padding=padding, preferred=None,
            dimension_numbers=(swap(lhs), swap(out), swap(rhs)),
            feature_group_count=self.batch_group_count, batch_group_count=self.feature_group_count)
        return bind(op, x, ct)

    def batch(self, ctx, args, batched):
        """The batch axis joins the batch of x, the out features of w, or the groups of both."""
        x, w = args
        lhs, rhs, out = self.dimension_numbers
        if not batched[1]:
            return self.batch_input(ctx, x, w), True
        groups = max(self.feature_group_count, self.batch_group_count)
        over_batch = self.batch_group_count > 1
        if batched[0]:
            x = merge_axis(x, 0, lhs[0] if over_batch else lhs[1])
            w = merge_axis(w, 0, rhs[0])
            many = "batch_group_count" if over_batch else "feature_group_count"
            y = bind(dataclasses.replace(self, **{many: groups * ctx.size}), x, w)
            return self.front(split_axis(y, out[1], ctx.size), out[1]), True
        if groups > 1:  # groups stay outermost: (group, lane, feature of the group)
            w = merge_axis(split_axis(w, rhs[0] + 1, groups), 0, rhs[0] + 1)
            w = merge_axis(w, rhs[0], rhs[0])
            y = split_axis(bind(self, x, w), out[1], groups)
            y = self.front(split_axis(y, out[1] + 1, ctx.size), out[1] + 1)
            return reshape(y, (ctx.size, *self.infer_unbatched(type_of(x), args[1]).shape)), True
        y = bind(self, x, merge_axis(w, 0, rhs[0]))
        return self.front(split_axis(y, out[1], ctx.size), out[1]), True

    def batch_input(self, ctx, x, w):
        lhs, _, out = self.dimension_numbers
        if self.batch_group_count == 1:
            y = bind(self, merge_axis(x, 0, lhs[0]), w)
            return self.front(split_axis(y, out[0], ctx.size), out[0])
        x = merge_axis(split_axis(x, lhs[0] + 1, self.batch_group_count), 0, lhs[0] + 1)
        y = bind(self, merge_axis(x, lhs[0], lhs[0]), w)
        return self.front(split_axis(y, out[0], ctx.size), out[0])

    def front(self, x, axis: int):
        return transpose(x, (axis, *(a for a in range(type_of(x).ndim) if a != axis)))

    def infer_unbatched(self, x: ArrayType, w) -> ArrayType:
        t = type_of(w)
        return self.infer(x, t.update(shape=t.shape[1:]))


def check_conv(op: ConvGeneralDilated, x: ArrayType, w: ArrayType) -> None:
    lhs, rhs, _ = op.dimension_numbers
    if x.dtype != w.dtype:
        raise DtypeError(f"convolution: operands have different dtypes: {x} and {w}",
                         fix="convert one of them with lax.convert_element_type")
    fgc, bgc = op.feature_group_count, op.batch_group_count
    features, inputs, outputs, batch = x.shape[lhs[1]], w.shape[rhs[1]], w.shape[rhs[0]], x.shape[lhs[0]]
    if fgc < 1 or bgc < 1 or (fgc > 1 and bgc > 1):
        raise ShapeError(f"convolution: feature_group_count={fgc} and batch_group_count={bgc} must be positive, "
                         "and at most one of them above 1")
    if inputs * fgc != features:
        raise ShapeError(f"convolution: {x} has {features} features (axis {lhs[1]}) but kernel {w} takes {inputs}"
                         + (f" (axis {rhs[1]}) in each of {fgc} groups" if fgc > 1 else f" (axis {rhs[1]})"),
                         fix=f"give the kernel {features // fgc} input features, or check dimension_numbers")
    if outputs % fgc or outputs % bgc:
        raise ShapeError(f"convolution: {outputs} output features of kernel {w} (axis {rhs[0]}) do not divide into "
                         f"{max(fgc, bgc)} groups")
    if batch % bgc:
        raise ShapeError(f"convolution: batch size {batch} of {x} (axis {lhs[0]}) does not divide into {bgc} groups")
    for axis, n, (low, high) in zip(lhs[2:], op.sizes(x, w)[0], op.padding):
        if n + low + high < 0:
            raise ShapeError(f"convolution: padding {(low, high)} cuts more than the {n} elements of axis {axis} of "
                             f"{x}", fix="pad with larger numbers")


def conv_general_dilated(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: str | Sequence[tuple[int, int]],
                         lhs_dilation: Sequence[int] | None = None, rhs_dilation: Sequence[int] | None = None,
                         dimension_numbers: ConvGeneralDilatedDimensionNumbers = None, feature_group_count: int = 1,
                         batch_group_count: int = 1, precision: PrecisionLike = None,
                         preferred_element_type: Any = None, out_sharding: Any = None):
    """Convolution (as neural networks have it: the kernel is not reversed) over any number of spatial axes.

    lhs: batch, features and n spatial axes. rhs: out features, in features / feature_group_count, n spatial axes.
    `dimension_numbers` names the axes by three strings over N C (lhs, out), O I (rhs) and any letters for space;
    None is ("NCHW", "OIHW", "NCHW"). `padding` is 'SAME', 'VALID', 'SAME_LOWER' or n (low, high) pairs, which may be
    negative. `lhs_dilation` spreads the input (fractional stride), `rhs_dilation` the kernel (atrous convolution).
    Raises ShapeError where sizes do not fit.

    >>> import numpy as np
    >>> x, w = np.ones((1, 8, 8, 2), "float32"), np.ones((3, 3, 2, 5), "float32")
    >>> conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (1, 4, 4, 5)
    """
    x, w = type_of(lhs), type_of(rhs)
    dims = conv_dimension_numbers(x.shape, w.shape, dimension_numbers)
    rank = x.ndim - 2
    strides = ints_of(window_strides, rank, "convolution: window_strides")
    spread = ints_of(lhs_dilation, rank, "convolution: lhs_dilation")
    holes = ints_of(rhs_dilation, rank, "convolution: rhs_dilation")
    if isinstance(padding, str):
        if any(d != 1 for d in spread):
            raise ValueError("conv_general_dilated: padding by name is not defined for a dilated input (lhs_dilation); "
                             "give (low, high) pairs, or use lax.conv_transpose")
        kernel = [dilated_size(w.shape[a], d) for a, d in zip(dims.rhs_spec[2:], holes)]
        padding = padtype_to_pads([x.shape[a] for a in dims.lhs_spec[2:]], kernel, strides, padding)
    preferred = None if preferred_element_type is None else requested_dtype(preferred_element_type, called_by_program())
    op = ConvGeneralDilated(strides, pairs_of(padding, rank, "convolution"), spread, holes, tuple(dims),
                            int(feature_group_count), int(batch_group_count), canonicalize_precision(precision), preferred)
    return bind(op, lhs, rhs)


def conv(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: str, precision: PrecisionLike = None,
         preferred_element_type: Any = None):
    """Convolution of lhs (batch, features, spatial...) with rhs (out features, in features, spatial...).

    >>> import numpy as np
    >>> conv(np.ones((1, 1, 4, 4), "float32"), np.ones((1, 1, 3, 3), "float32"), (1, 1), "VALID").shape
    (1, 1, 2, 2)
    """
    return conv_general_dilated(lhs, rhs, window_strides, padding, precision=precision,
                                preferred_element_type=preferred_element_type)


def conv_with_general_padding(lhs: Any, rhs: Any, window_strides: Sequence[int],
                              padding: str | Sequence[tuple[int, int]], lhs_dilation: Sequence[int] | None,
                              rhs_dilation: Sequence[int] | None, precision: PrecisionLike = None,
                              preferred_element_type: Any = None):
    """`conv` with explicit padding and dilations."""
    return conv_general_dilated(lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, precision=precision,
                                preferred_element_type=preferred_element_type)


_CHANNELS_LAST = {2: ("NC", "IO", "NC"), 3: ("NHC", "HIO", "NHC"), 4: ("NHWC", "HWIO", "NHWC"),
                  5: ("NHWDC", "HWDIO", "NHWDC")}


def conv_transpose(lhs: Any, rhs: Any, strides: Sequence[int], padding: str | Sequence[tuple[int, int]],
                   rhs_dilation: Sequence[int] | None = None,
                   dimension_numbers: ConvGeneralDilatedDimensionNumbers = None, transpose_kernel: bool = False,
                   precision: PrecisionLike = None, preferred_element_type: Any = None,
                   use_consistent_padding: bool = False):
    """Fractionally strided convolution: the shape that a strided convolution is undone by.

    'SAME' and 'VALID' name the padding of the convolution that is undone; so do explicit pairs with
    `use_consistent_padding`, else they pad the spread input. `transpose_kernel` reverses the kernel in space and swaps
    its features, which makes this the gradient of a convolution with that kernel. The default layout is channels last.

    >>> import numpy as np
    >>> x, w = np.ones((1, 4, 4, 3), "float32"), np.ones((3, 3, 3, 2), "float32")
    >>> conv_transpose(x, w, (2, 2), "SAME").shape
    (1, 8, 8, 2)
    """
    ndim = type_of(lhs).ndim
    if dimension_numbers is None:
        if ndim not in _CHANNELS_LAST:
            raise ShapeError(f"conv_transpose: no default dimension_numbers for {type_of(lhs)}", fix="give them")
        dimension_numbers = _CHANNELS_LAST[ndim]
    dims = conv_dimension_numbers(type_of(lhs).shape, type_of(rhs).shape, dimension_numbers)
    holes = ints_of(rhs_dilation, ndim - 2, "conv_transpose: rhs_dilation")
    if use_consistent_padding or padding in ("SAME", "VALID"):
        kernel = [dilated_size(type_of(rhs).shape[a], d) for a, d in zip(dims.rhs_spec[2:], holes)]
        modes = [padding] * len(kernel) if isinstance(padding, str) else padding
        padding = [conv_transpose_padding(k, s, mode) for k, s, mode in zip(kernel, strides, modes, strict=True)]
    if transpose_kernel:
        order = list(range(ndim))
        a, b = dims.rhs_spec[:2]
        order[a], order[b] = b, a
        rhs = transpose(rev(rhs, dims.rhs_spec[2:]), order)
    return conv_general_dilated(lhs, rhs, (1,) * (ndim - 2), padding, strides, holes, dims, precision=precision,
                                preferred_element_type=preferred_element_type)


def conv_general_dilated_patches(lhs: Any, filter_shape: Sequence[int], window_strides: Sequence[int],
                                 padding: str | Sequence[tuple[int, int]], lhs_dilation: Sequence[int] | None = None,
                                 rhs_dilation: Sequence[int] | None = None,
                                 dimension_numbers: ConvGeneralDilatedDimensionNumbers = None,
                                 precision: PrecisionLike = None, preferred_element_type: Any = None):
    """What each position of the kernel sees: the result's features are (feature, kernel position) pairs.

    >>> import numpy as np
    >>> conv_general_dilated_patches(np.ones((1, 2, 4, 4), "float32"), (3, 3), (1, 1), "VALID").shape
    (1, 18, 2, 2)
    """
    t, filter_shape = type_of(lhs), tuple(int(n) for n in filter_shape)
    dims = conv_dimension_numbers(t.shape, (1, 1, *filter_shape), dimension_numbers)
    taps, features = math.prod(filter_shape), t.shape[dims.lhs_spec[1]]
    one_hot = broadcast_in_dim(np.eye(taps, dtype=t.dtype), (features, taps, taps), (1, 2))
    kernel = reshape(one_hot, (features * taps, 1, *filter_shape))
    kernel = transpose(kernel, np.argsort(dims.rhs_spec))
    return conv_general_dilated(lhs, kernel, window_strides, padding, lhs_dilation, rhs_dilation, dims,
                                feature_group_count=features, precision=precision,
                                preferred_element_type=preferred_element_type)


def conv_general_dilated_local(lhs: Any, rhs: Any, window_strides: Sequence[int],
                               padding: str | Sequence[tuple[int, int]], filter_shape: Sequence[int],
                               lhs_dilation: Sequence[int] | None = None, rhs_dilation: Sequence[int] | None = None,
                               dimension_numbers: ConvGeneralDilatedDimensionNumbers = None,
                               precision: PrecisionLike = None):
    """A convolution whose kernel differs at every output position (a locally connected layer).

    rhs has the output's spatial axes, and for in features the (feature, kernel position) pairs of
    `conv_general_dilated_patches`.

    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 4, 4), "float32"), np.ones((5, 18, 2, 2), "float32")
    >>> conv_general_dilated_local(x, w, (1, 1), "VALID", (3, 3)).shape
    (1, 5, 2, 2)
    """
    patches = conv_general_dilated_patches(lhs, filter_shape, window_strides, padding, lhs_dilation, rhs_dilation,
                                           dimension_numbers)
    shape = (1, 1, *filter_shape)
    dims = conv_dimension_numbers(type_of(lhs).shape, shape, dimension_numbers)
    space = sorted(zip(dims.out_spec[2:], dims.rhs_spec[2:]))
    numbers = (((dims.out_spec[1],), (dims.rhs_spec[1],)), tuple(zip(*space)) or ((), ()))
    out = dot_general(patches, rhs, numbers, precision)  # axes: space in out's order, batch, out features
    rank = len(space)
    order = [a for a, _ in space] + [dims.out_spec[0], dims.out_spec[1]]
    return transpose(out, np.argsort(order)) if rank else out


__all__ = ["ConvDimensionNumbers", "ConvGeneralDilated", "conv", "conv_general_dilated", "conv_general_dilated_local",
           "conv_general_dilated_patches", "conv_transpose", "conv_with_general_padding"]
