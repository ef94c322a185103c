"""Products and convolutions in every arrangement: against their defining sums, written out, and their gradients."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax
from tracejit.errors import DtypeError, ShapeError

RNG = np.random.default_rng(0)
SIZES = {"N": 4, "C": 4, "H": 6, "W": 5, "O": 6}
CHANNELS_FIRST, CHANNELS_LAST, MIXED = ("NCHW", "OIHW", "NCHW"), ("NHWC", "HWIO", "NHWC"), ("HNWC", "OWIH", "CWHN")
ONE = (1, 1)


def normal(*size: int) -> np.ndarray:
    return RNG.normal(size=size)


def convolved(x, w, strides, pads, spread, holes, feature_groups=1, batch_groups=1) -> np.ndarray:
    """The defining sum, for NCHW and OIHW, one output element at a time."""
    (n, _, *space), (o, i, *taps) = x.shape, w.shape
    reach = [(k - 1) * d + 1 for k, d in zip(taps, holes)]
    full = [(m - 1) * s + 1 + low + high for m, s, (low, high) in zip(space, spread, pads)]
    counts = [max(0, (f - r) // s + 1) for f, r, s in zip(full, reach, strides)]
    out = np.zeros((n // batch_groups, o, *counts))
    for at in np.ndindex(*out.shape):
        b, f, *p = at
        batch = b + (f * batch_groups // o) * (n // batch_groups)
        first = (f * feature_groups // o) * i
        for ch, *k in np.ndindex(i, *taps):
            place = [q * s + t * d - low for q, s, t, d, (low, _) in zip(p, strides, k, holes, pads)]
            if all(v % s == 0 and 0 <= v // s < m for v, s, m in zip(place, spread, space)):
                out[at] += x[(batch, first + ch, *[v // s for v, s in zip(place, spread)])] * w[(f, ch, *k)]
    return out


def moved(x, source: str, target: str) -> np.ndarray:
    return np.transpose(x, [source.index(letter) for letter in target])


CASES = [dict(window_strides=s, padding=p, lhs_dilation=ld, rhs_dilation=rd)
         for s, p, ld, rd in [
             (ONE, ((0, 0), (0, 0)), ONE, ONE), ((2, 1), ((1, 1), (0, 2)), ONE, ONE), (ONE, ((1, 0), (0, 1)), (2, 1), ONE),
             ((1, 2), ((2, 1), (2, 2)), ONE, (2, 3)), ((3, 2), ((-1, 2), (1, -2)), ONE, ONE),
             ((2, 3), ((3, -2), (-1, 4)), (2, 3), (2, 1))]]
GROUPS = [dict(feature_group_count=f, batch_group_count=b) for f, b in ((1, 1), (2, 1), (4, 1), (1, 2))]


def operands(case: dict, layout=CHANNELS_FIRST) -> tuple[np.ndarray, np.ndarray]:
    kernel = {"O": SIZES["O"], "I": 4 // case["feature_group_count"], "H": 3, "W": 2}
    if case["feature_group_count"] == 4:
        kernel["O"] = 8
    return normal(*[SIZES[k] for k in layout[0]]), normal(*[kernel[k] for k in layout[1]])


@pytest.mark.parametrize("space, taps, holes, pads", [
    ((19,), (5,), (1,), ((2, 2),)), ((7, 17), (3, 3), (1, 1), ((1, 1), (1, 1))), ((6, 21), (2, 3), (2, 3), ((0, 2), (3, 1))),
    ((3, 4, 16), (1, 2, 3), (1, 1, 1), ((0, 0), (1, 0), (1, 1)))], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_channel_alone_in_planes(channels, space, taps, holes, pads):
    x, w = normal(2, channels, *space), normal(channels, 1, *taps)
    ones = (1,) * len(space)
    f = lambda x, w: lax.conv_general_dilated(x, w, ones, pads, rhs_dilation=holes, feature_group_count=channels)
    expected = convolved(x, w, ones, pads, ones, holes, feature_groups=channels)
    np.testing.assert_allclose(tj.jit(f)(x, w), expected, rtol=1e-10, atol=1e-12)
    ct = normal(*expected.shape)
    for ours, y, i in zip(tj.jit(lambda x, w: tj.vjp(f, x, w)[1](ct))(x, w), (x, w), (0, 1)):
        step = normal(*y.shape)      # linear in each operand
        moved_by = convolved(*[step if k == i else z for k, z in enumerate((x, w))], ones, pads, ones, holes, feature_groups=channels)
        np.testing.assert_allclose(np.vdot(ours, step), np.vdot(ct, moved_by), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n, c, o, space", [(3, 8, 5, (7, 9)), (1, 6, 4, (11,)), (4, 16, 16, (1, 5)), (2, 3, 50, (2, 2))])
def test_one_tap_with_features_first(n, c, o, space):
    x, w, ones = normal(n, c, *space), normal(o, c, *(1,) * len(space)), (1,) * len(space)
    ours = tj.jit(lambda x, w: lax.conv_general_dilated(x, w, ones, "VALID"))(x, w)
    np.testing.assert_allclose(ours, convolved(x, w, ones, [(0, 0)] * len(space), ones, ones), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", [CHANNELS_FIRST, CHANNELS_LAST], ids=str)
@pytest.mark.parametrize("groups, inputs, outputs", [(3, 1, 1), (17, 1, 1), (2, 3, 2), (1, 16, 3), (1, 32, 2)])
@pytest.mark.parametrize("space, taps", [((1, 1), (3, 3)), ((1, 1), (1, 2)), ((3, 1), (2, 2))])
def test_padded_lines_of_one_pixel(space, taps, groups, inputs, outputs, layout):
    """The step from pixel to pixel is anything there: it must not tell where features lie."""
    x, w, pads = normal(2, groups * inputs, *space)[:1], normal(groups * outputs, inputs, *taps), [(k - 1, k - 1) for k in taps]
    given = [moved(a, plain, there) for a, plain, there in zip((x, w), CHANNELS_FIRST, layout)]
    out = tj.jit(lambda x, w: lax.conv_general_dilated(x, w, ONE, pads, dimension_numbers=layout, feature_group_count=groups))(*given)
    np.testing.assert_allclose(moved(out, layout[2], "NCHW"), convolved(x, w, ONE, pads, ONE, ONE, groups), atol=1e-12)


@pytest.mark.parametrize("case", [c | g for c, g in itertools.product(CASES, GROUPS)], ids=str)
def test_convolution_is_its_sum_and_linear_in_both(case):
    x, w = operands(case)
    out, pullback = tj.vjp(lambda x, w: lax.conv_general_dilated(x, w, **case), x, w)
    named = dict(strides=case["window_strides"], pads=case["padding"], spread=case["lhs_dilation"], holes=case["rhs_dilation"],
                 feature_groups=case["feature_group_count"], batch_groups=case["batch_group_count"])
    wanted = convolved(x, w, **named)
    np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-12)
    ct, dx, dw = normal(*wanted.shape), normal(*x.shape), normal(*w.shape)
    ct_x, ct_w = map(np.asarray, pullback(ct))
    np.testing.assert_allclose(np.sum(ct_x * dx), np.sum(ct * convolved(dx, w, **named)), rtol=1e-10)
    np.testing.assert_allclose(np.sum(ct_w * dw), np.sum(ct * convolved(x, dw, **named)), rtol=1e-10)


@pytest.mark.parametrize("groups", GROUPS, ids=str)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
def test_vmap_is_a_loop(groups, axes):
    case = CASES[3] | groups
    x, w = operands(case)
    xs = np.stack([x, normal(*x.shape)]) if axes[0] == 0 else x
    ws = np.stack([w, normal(*w.shape)]) if axes[1] == 0 else w
    f = lambda x, w: lax.conv_general_dilated(x, w, **case)
    found = np.asarray(tj.vmap(f, in_axes=axes)(xs, ws))
    for k in range(2):
        wanted = f(xs[k] if axes[0] == 0 else x, ws[k] if axes[1] == 0 else w)
        np.testing.assert_allclose(found[k], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", [CHANNELS_LAST, MIXED], ids=str)
def test_layouts_name_axes(layout):
    case = CASES[1] | GROUPS[1]
    x, w = operands(case, layout)
    found = lax.conv_general_dilated(x, w, **case, dimension_numbers=layout)
    spatial = [c for c in layout[1] if c not in "OI"]  # window numbers follow the kernel's letters
    first = "NC" + "".join(spatial), "OI" + "".join(spatial)
    wanted = lax.conv_general_dilated(moved(x, layout[0], first[0]), moved(w, layout[1], first[1]), **case)
    np.testing.assert_allclose(moved(np.asarray(found), layout[2], first[0]), wanted, rtol=1e-12, atol=1e-12)


def test_padding_by_name():
    assert lax.padtype_to_pads((10, 9), (3, 4), (1, 2), "SAME") == [(1, 1), (1, 2)]
    assert lax.padtype_to_pads((10, 9), (3, 4), (1, 2), "same_lower") == [(1, 1), (2, 1)]
    assert lax.padtype_to_pads((10, 9), (3, 4), (1, 2), lax.PaddingType.VALID) == [(0, 0), (0, 0)]
    x, w = normal(1, 4, 6, 5), normal(6, 4, 3, 2)
    for name, pads in (("SAME", ((0, 1), (0, 1))), ("SAME_LOWER", ((1, 0), (1, 0))), ("VALID", ((0, 0), (0, 0)))):
        named, explicit = (lax.conv_general_dilated(x, w, (2, 2), p) for p in (name, pads))
        np.testing.assert_array_equal(named, explicit)
    with pytest.raises(RuntimeError, match="Unrecognized padding type"):
        lax.conv(x, w, ONE, "FULL")
    with pytest.raises(ValueError, match="conv_transpose"):
        lax.conv_general_dilated(x, w, ONE, "SAME", lhs_dilation=(2, 2))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_transpose_with_the_transposed_kernel_is_the_gradient(padding, stride):
    x, w = normal(2, 3 * stride, 2 * stride, 3), normal(3, 2, 3, 5)
    conv = lambda x: lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=CHANNELS_LAST)
    y, pullback = tj.vjp(conv, x)
    ct = normal(*y.shape)
    found = lax.conv_transpose(ct, w, (stride, stride), padding, dimension_numbers=CHANNELS_LAST, transpose_kernel=True)
    wanted, = pullback(ct)
    if found.shape == wanted.shape:
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert padding == "VALID" or found.shape == wanted.shape
    assert found.shape == lax.conv_transpose_shape_tuple(ct.shape, (3, 2, 5, 3), (stride, stride), padding, CHANNELS_LAST)


def test_patches_and_local_convolution():
    x, w = normal(2, 3, 6, 5), normal(4, 3, 3, 2)
    patches = lax.conv_general_dilated_patches(x, (3, 2), (2, 1), ((1, 0), (0, 1)))
    wanted = np.asarray(lax.conv_general_dilated(x, w, (2, 1), ((1, 0), (0, 1))))
    np.testing.assert_allclose(np.einsum("nkhw,ok->nohw", np.asarray(patches), w.reshape(4, -1)), wanted, rtol=1e-12)
    everywhere = np.broadcast_to(w.reshape(4, -1, 1, 1), (4, 18, *wanted.shape[2:]))
    local = lax.conv_general_dilated_local(x, everywhere, (2, 1), ((1, 0), (0, 1)), (3, 2))
    np.testing.assert_allclose(local, wanted, rtol=1e-12)


def test_sums_of_halves_are_rounded_once():
    x = np.ones((1, 1, 4096), np.float16)
    assert float(np.asarray(lax.conv_general_dilated(x, x, (1,), "VALID")).item()) == 4096
    total = lax.dot(x[0, 0], x[0, 0], preferred_element_type=np.float32)
    assert total.dtype == np.float32 and float(total) == 4096


@pytest.mark.parametrize("call, error, message", [
    (lambda x, w: lax.conv(x, w[:, :3], ONE, "VALID"), ShapeError, r"has 4 features \(axis 1\) but kernel .* takes 3 \(axis 1\)"),
    (lambda x, w: lax.conv(x, w.astype(np.float32), ONE, "VALID"), DtypeError, "different dtypes"),
    (lambda x, w: lax.conv(x[0], w, ONE, "VALID"), ShapeError, "same number of axes"),
    (lambda x, w: lax.conv_general_dilated(x, w, (1,), "VALID"), ShapeError, "1 entries for 2 axes"),
    (lambda x, w: lax.conv_general_dilated(x, w, ONE, ((1, 1),)), ShapeError, "1 pairs of padding for 2 axes"),
    (lambda x, w: lax.conv_general_dilated(x, w, ONE, ((-9, 1), (0, 0))), ShapeError, "cuts more than the 6 elements"),
    (lambda x, w: lax.conv_general_dilated(x, w, ONE, "VALID", feature_group_count=2), ShapeError, "in each of 2 groups"),
    (lambda x, w: lax.conv_general_dilated(x, w, ONE, "VALID", dimension_numbers=("NHWC", "HWIO")), ShapeError, "three strings"),
    (lambda x, w: lax.conv_general_dilated(x, w, ONE, "VALID", dimension_numbers=("NHHC", "HWIO", "NHWC")), ShapeError, "twice"),
])
def test_errors_of_convolutions(call, error, message):
    with pytest.raises(error, match=message):
        call(normal(4, 4, 6, 5), normal(6, 4, 3, 2))


# --- products -----------------------------------------------------------------------------------------------------

DOTS = [("bij,bjk->bik", (((2,), (1,)), ((0,), (0,)))), ("ijab,abk->ijk", (((2, 3), (0, 1)), ((), ()))),
        ("abij,jaik->aibk", (((3,), (0,)), ((0, 2), (1, 2)))), ("ij,kl->ijkl", (((), ()), ((), ()))),
        ("ijk,kij->ijk", (((), ()), ((0, 1, 2), (1, 2, 0))))]


@pytest.mark.parametrize("spec, numbers", DOTS, ids=[s for s, _ in DOTS])
def test_dot_general_is_einsum(spec, numbers):
    size = dict(zip("abijkl", (2, 3, 4, 5, 6, 2)))
    x, y = (normal(*[size[c] for c in part]) for part in spec.split("->")[0].split(","))
    f = lambda x, y: lax.dot_general(x, y, numbers)
    wanted = np.einsum(spec, x, y)
    np.testing.assert_allclose(f(x, y), wanted, rtol=1e-12, atol=1e-12)
    ct, dx, dy = normal(*wanted.shape), normal(*x.shape), normal(*y.shape)
    ct_x, ct_y = map(np.asarray, tj.vjp(f, x, y)[1](ct))
    np.testing.assert_allclose(np.sum(ct_x * dx), np.sum(ct * np.einsum(spec, dx, y)), rtol=1e-10)
    np.testing.assert_allclose(np.sum(ct_y * dy), np.sum(ct * np.einsum(spec, x, dy)), rtol=1e-10)
    for axes in ((0, 0), (0, None), (None, 0)):
        xs, ys = (np.stack([v, v + 1]) if a == 0 else v for v, a in zip((x, y), axes))
        found = np.asarray(tj.vmap(f, in_axes=axes)(xs, ys))
        for k in range(2):
            one = np.einsum(spec, xs[k] if axes[0] == 0 else x, ys[k] if axes[1] == 0 else y)
            np.testing.assert_allclose(found[k], one, rtol=1e-12, atol=1e-12)


def test_products_with_a_literal():
    x = np.arange(3, dtype="f4")
    for f in (lambda x: lax.dot_general(np.float32(2), x, (((), ()), ((), ()))), lambda x: lax.dot_general(x, np.float32(2), (((), ()), ((), ())))):
        assert np.array_equal(tj.jit(f)(x), 2 * x)


def test_dtypes_of_products():
    half, small = np.ones((2, 3), np.float16), np.ones((3, 2), np.int8)
    assert lax.dot(half, small).dtype == np.float16
    assert lax.dot(small.T, small).dtype == np.int8
    wide = lax.dot(np.full((1, 300), 100, np.int8), np.full((300, 1), 100, np.int8), preferred_element_type=np.int32)
    assert int(np.asarray(wide).item()) == 3_000_000


@pytest.mark.parametrize("call, message", [
    (lambda x, y: lax.dot(x, y.T), "axis 1 of x is 4, axis 0 of y is 5.*\n.*\n.*did you mean x @ y.T"),
    (lambda x, y: lax.dot(x, np.ones((7, 9))), "make axis 1 of x and axis 0 of y equally long"),
    (lambda x, y: lax.dot(x[None], y), "one or two axes"),
    (lambda x, y: lax.dot_general(x, y, (((5,), (0,)), ((), ()))), "axis 5 is out of range for lhs"),
    (lambda x, y: lax.dot_general(x, y, (((1,), (0,)), ((0,), ()))), "1 batch axes of lhs"),
    (lambda x, y: lax.dot_general(x, x, (((1,), (1,)), ((1,), (1,)))), "named twice"),
    (lambda x, y: lax.batch_matmul(x, y), "leading axes"),
])
def test_errors_of_products(call, message):
    with pytest.raises(ShapeError, match=message):
        call(normal(3, 4), normal(4, 5)[None] if "batch_matmul" in call.__code__.co_names else normal(4, 5))


def test_precision_names():
    from_names = [lax.dot(np.eye(2), np.eye(2), precision=p) for p in (None, "highest", lax.Precision.HIGH, ("high", "default"),
                                                                      "F64_F64_F64", lax.DotAlgorithmPreset.F32_F32_F32)]
    assert all((np.asarray(x) == np.eye(2)).all() for x in from_names)
    with pytest.raises(ValueError, match="precision must be"):
        lax.dot(np.eye(2), np.eye(2), precision="exact")


def test_ragged_products_are_products_by_group():
    x, w, sizes = normal(7, 3), normal(4, 3, 2), np.int32([2, 0, 3, 1])
    group = np.repeat(np.arange(4), sizes)
    wanted = np.vstack([np.einsum("ik,ikn->in", x[:6], w[group]), np.zeros((1, 2))])
    found, pullback = tj.vjp(lambda x, w: lax.ragged_dot(x, w, sizes), x, w)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    ct = normal(7, 2)
    ct_x, ct_w = map(np.asarray, pullback(ct))
    np.testing.assert_allclose(ct_x[:6], np.einsum("in,ikn->ik", ct[:6], w[group]), rtol=1e-12)
    np.testing.assert_allclose(ct_w[2], x[2:5].T @ ct[2:5], rtol=1e-12)
    with pytest.raises(ShapeError, match="one k x n matrix and one size per group"):
        lax.ragged_dot(x, w, sizes[:3])
