"""The native convolution against a loop over taps in float64: layouts, strides, paddings, dilations, groups."""
from __future__ import annotations

import ctypes
import itertools

import gemm_harness as native
import numpy as np
import pytest

LAYOUTS = {"NHWC": ("nhwc", "hwio", "nhwc"), "NCHW": ("nchw", "oihw", "nchw"), "mixed": ("nchw", "hwoi", "nhwc"),
           "odd": ("hwcn", "iowh", "nwho"), "gradient": ("chwn", "ihwo", "hwno")}


def random(shape, dtype, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def in_layout(shape, spec, order, dtype, seed=0) -> np.ndarray:
    """A view with axes in `spec` order of an array that lies in memory in `order`."""
    sizes = dict(zip(spec, shape))
    return random([sizes[a] for a in order], dtype, seed).transpose([order.index(a) for a in spec])


def spread(x, dilation, padding) -> np.ndarray:
    """Zeros between and around; a negative padding crops."""
    shape = [*x.shape[:2], *((max(0, (n - 1) * d + 1)) for n, d in zip(x.shape[2:], dilation))]
    wide = np.zeros(shape)
    wide[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = x
    wide = np.pad(wide, [(0, 0), (0, 0), *((max(0, low), max(0, high)) for low, high in padding)])
    cut = [slice(max(0, -low), n - max(0, -high)) for (low, high), n in zip(padding, wide.shape[2:])]
    return wide[(slice(None), slice(None), *cut)]


def reference(x, w, stride, padding, lhs_dilation, rhs_dilation, feature_groups=1, batch_groups=1) -> np.ndarray:
    x, w = spread(x.astype(float), lhs_dilation, padding), w.astype(float)
    out = [max(0, (n - (k - 1) * d - 1) // s + 1) for n, k, d, s in zip(x.shape[2:], w.shape[2:], rhs_dilation, stride)]
    groups = feature_groups * batch_groups
    parts = []
    for g in range(groups):
        xs = np.split(x, groups, 0 if batch_groups > 1 else 1)[g]
        ws = np.split(w, groups, 0)[g]
        y = np.zeros((xs.shape[0], ws.shape[0], *out))
        for tap in itertools.product(*(range(k) for k in w.shape[2:])):
            cut = [slice(k * d, k * d + s * (n - 1) + 1, s) for k, d, s, n in zip(tap, rhs_dilation, stride, out)]
            if min(out):
                y += np.einsum("nc...,oc->no...", xs[(..., *cut)], ws[(..., *tap)])
        parts.append(y)
    return np.concatenate(parts, 1)


def run(x_shape, w_shape, layout="NHWC", dtype="<f4", isa="native", stride=(1, 1), padding=((0, 0), (0, 0)), lhs_dilation=(1, 1),
        rhs_dilation=(1, 1), feature_groups=1, batch_groups=1, kind="", epilogue=0):
    """Native result and reference."""
    orders = LAYOUTS[layout]
    x, w = in_layout(x_shape, "nchw", orders[0], dtype, 1), in_layout(w_shape, "oihw", orders[1], dtype, 2)
    want = reference(x, w, stride, padding, lhs_dilation, rhs_dilation, feature_groups, batch_groups)
    y = in_layout(want.shape, "nohw" if "o" in orders[2] else "nchw", orders[2], dtype, 3)
    d = None
    if kind == "bias":
        d = random(want.shape[1], dtype, 4)
        want = want + d[:, None, None]
    elif kind == "y":
        d = y
        want = want + y
    else:
        y[...] = np.nan
    native.conv(x, w, y, d, kind, isa, epilogue, window_strides=stride, padding=padding, lhs_dilation=lhs_dilation,
                rhs_dilation=rhs_dilation, feature_groups=feature_groups, batch_groups=batch_groups)
    return y, want


def check(got, want) -> None:
    size = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=size * 200 * np.finfo(got.dtype).eps)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("isa", ("avx512", "avx2", "baseline"))
def test_layouts(layout, isa):
    for dtype in ("<f4", "<f8"):
        check(*run((2, 5, 9, 11), (7, 5, 3, 3), layout, dtype, isa, padding=((1, 1), (1, 1))))
        check(*run((3, 16, 6, 40), (40, 16, 2, 3), layout, dtype, isa, padding=((0, 1), (2, 0))))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (2, 0)), ((-1, 1), (2, -2)), ((4, 4), (5, 6))])
@pytest.mark.parametrize("lhs_dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("rhs_dilation", [(1, 1), (3, 2)])
def test_strides_paddings_dilations(layout, stride, padding, lhs_dilation, rhs_dilation):
    check(*run((2, 3, 8, 9), (4, 3, 3, 2), layout, stride=stride, padding=padding, lhs_dilation=lhs_dilation,
               rhs_dilation=rhs_dilation))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("isa", ("avx512", "avx2"))
@pytest.mark.parametrize("channels, groups, out", [(6, 2, 8), (20, 20, 20), (20, 20, 40), (36, 12, 12)])
def test_feature_groups(layout, isa, channels, groups, out):
    for stride in ((1, 1), (2, 2)):
        check(*run((2, channels, 7, 8), (out, channels // groups, 3, 3), layout, isa=isa, stride=stride,
                   padding=((1, 1), (1, 1)), feature_groups=groups))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups, out", [(2, 6), (6, 6)])
def test_batch_groups(layout, groups, out):
    check(*run((12, 5, 7, 8), (out, 5, 3, 3), layout, padding=((1, 1), (1, 1)), batch_groups=groups))


@pytest.mark.parametrize("layout", ("NHWC", "mixed"))
@pytest.mark.parametrize("x_shape, w_shape, options", [
    ((3, 5, 9, 9), (7, 5, 3, 3), dict(padding=((1, 1), (1, 1)))),
    ((3, 20, 6, 6), (20, 1, 3, 3), dict(padding=((1, 1), (1, 1)), feature_groups=20)),
    ((40, 6, 4, 4), (9, 6, 4, 4), dict()),
])
@pytest.mark.parametrize("kind", ("bias", "y"))
def test_something_is_added(layout, x_shape, w_shape, options, kind):
    check(*run(x_shape, w_shape, layout, kind=kind, **options))


@pytest.mark.parametrize("layout", ("NHWC", "mixed"))
@pytest.mark.parametrize("isa", ("avx512", "avx2"))
@pytest.mark.parametrize("kind", ("", "bias", "y"))
def test_few_output_features(layout, isa, kind):
    for options in (dict(padding=((2, 1), (1, 1))), dict(lhs_dilation=(2, 2), rhs_dilation=(1, 2)), dict(stride=(1, 2))):
        check(*run((2, 32, 9, 11), (2, 32, 3, 3), layout, isa=isa, kind=kind, **options))
    check(*run((2, 64, 9, 11), (2, 32, 3, 3), layout, isa=isa, kind=kind, feature_groups=2))


@pytest.mark.parametrize("isa", ("avx512", "avx2", "baseline"))
def test_long_sums_in_parts(isa):
    """Gradients of kernels: features and taps are rows together or apart, of strided and dilated convolutions too."""
    same = dict(layout="gradient", isa=isa, padding=((1, 1), (1, 1)))
    for features in (1, 3, 16, 40):
        check(*run((features, 12, 40, 50), (20, 12, 40, 50), **same))
    for groups in (40, 4, 8):
        check(*run((40, 12, 40, 50), (40, 12, 40, 50), batch_groups=groups, **same))
    check(*run((40, 12, 40, 50), (40, 12, 20, 25), batch_groups=40, rhs_dilation=(2, 2), **same))
    check(*run((3, 12, 60, 80), (20, 12, 30, 40), rhs_dilation=(2, 2), **same))
    check(*run((8, 12, 60, 80), (20, 12, 55, 71), stride=(2, 2), **same))
    check(*run((8, 12, 30, 40), (20, 12, 60, 80), lhs_dilation=(2, 2), **same))


def test_bias_with_empty_phases_and_windows_outside():
    check(*run((2, 3, 4, 5), (6, 3, 1, 1), kind="bias", lhs_dilation=(2, 3), padding=((1, 1), (0, 2))))
    check(*run((2, 3, 2, 2), (6, 3, 2, 2), kind="bias", padding=((5, 5), (6, 4))))


def test_bias_is_refused_where_it_would_lie_across():
    with pytest.raises(ValueError, match="bias"):
        run((2, 3, 8, 8), (4, 3, 3, 3), "NCHW", kind="bias")


@pytest.mark.parametrize("layout", ("NHWC", "NCHW"))
@pytest.mark.parametrize("isa", ("avx512", "avx2"))
def test_gradient_of_the_kernel(layout, isa):
    """Batch and features change places, the cotangent is the kernel."""
    for n, c, o, hw, k in [(4, 20, 24, 8, 3), (5, 1, 32, 9, 5), (3, 3, 40, 10, 3), (2, 64, 70, 5, 1)]:
        x, w = (in_layout((size, n, hw, hw), "cnhw", layout.lower(), "<f4", size) for size in (c, o))
        y = np.full((k, k, c, o) if layout == "NHWC" else (o, c, k, k), np.nan, np.float32)
        y = y.transpose((2, 3, 0, 1) if layout == "NHWC" else (1, 0, 2, 3))
        pads = ((k // 2, k // 2),) * 2
        want = reference(x, w, (1, 1), pads, (1, 1), (1, 1))
        native.conv(x, w, y, isa=isa, window_strides=(1, 1), padding=pads, lhs_dilation=(1, 1), rhs_dilation=(1, 1))
        check(y, want)


@pytest.mark.parametrize("n_space", (1, 3))
def test_one_and_three_space_axes(n_space):
    x, w = random((2, 3, *(7, 6, 8)[:n_space]), "<f4", 1), random((5, 3, *(3, 2, 3)[:n_space]), "<f4", 2)
    x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    pads, ones, twos = ((1, 2),) * n_space, (1,) * n_space, (2,) * n_space
    for stride, spread_by in ((ones, ones), (twos, ones), (ones, twos)):
        want = reference(x, w, stride, pads, spread_by, ones)
        y = np.moveaxis(np.full((2, *want.shape[2:], 5), np.nan, np.float32), -1, 1)
        native.conv(x, w, y, window_strides=stride, padding=pads, lhs_dilation=spread_by, rhs_dilation=ones)
        check(y, want)


def test_empty_sizes():
    for x_shape, w_shape in [((0, 3, 4, 4), (5, 3, 2, 2)), ((2, 0, 4, 4), (5, 0, 2, 2)), ((2, 3, 1, 1), (5, 3, 2, 2)),
                             ((2, 3, 4, 4), (0, 3, 2, 2))]:
        check(*run(x_shape, w_shape))


@pytest.mark.parametrize("x_shape, w_shape, options", [
    ((5, 5, 9, 9), (70, 5, 3, 3), dict(padding=((1, 1), (1, 1)))),
    ((3, 20, 6, 6), (20, 1, 3, 3), dict(padding=((1, 1), (1, 1)), feature_groups=20)),
    ((2, 4, 6, 6), (20, 2, 3, 3), dict(lhs_dilation=(2, 2), feature_groups=2)),
    ((40, 6, 4, 4), (9, 6, 4, 4), dict()),
    ((8, 12, 60, 80), (20, 12, 60, 80), dict(padding=((1, 1), (1, 1)), layout="gradient")),
])
def test_epilogue_sees_each_element_once_and_finished(x_shape, w_shape, options):
    seen, blocks = {}, []

    @ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 5)
    def double(ctx, block, row, col, rows, cols, pitch):
        memory = (ctypes.c_float * ((rows - 1) * pitch + cols)).from_address(block)
        blocks.append(ctx)
        for i, j in itertools.product(range(rows), range(cols)):
            seen[(row + i) * pitch + col + j] = seen.get((row + i) * pitch + col + j, 0) + 1
            memory[i * pitch + j] *= 2

    y, want = run(x_shape, w_shape, epilogue=ctypes.cast(double, ctypes.c_void_p).value, **options)
    assert set(blocks) == {77} and set(seen.values()) == {1} and sorted(seen) == list(range(y.size))
    check(y, 2 * want)


def test_large_enough_to_be_cut_up():
    check(*run((9, 20, 30, 31), (70, 20, 3, 3), padding=((1, 1), (1, 1)), stride=(1, 2)))
    check(*run((2, 130, 12, 13), (150, 130, 3, 3), padding=((1, 1), (1, 1))))
