"""Errors whose class and text programs written for JAX look for, and edges that its own tests probe."""
import io

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax

ONES = np.ones((3, 2, 2))


def scatter(shape, indices, updates, *numbers, **more):
    f = lambda x, y: lax.scatter(jnp.broadcast_to(x, shape), np.zeros(indices, np.int32), jnp.broadcast_to(y, updates),
                                 lax.ScatterDimensionNumbers(*numbers, **more))
    return tj.eval_shape(f, np.int32(1), np.int32(1))


def gather(shape, indices, sizes, *numbers, **more):
    f = lambda x: lax.gather(jnp.broadcast_to(x, shape), np.zeros(indices, np.int32), lax.GatherDimensionNumbers(*numbers, **more), sizes)
    return tj.eval_shape(f, np.int32(1))


MASK = jnp.ones(10, int)
ERRORS = [
    (lambda: jnp.tensordot(ONES, np.ones(2), axes=([0], [0, 1])), TypeError, "requires axes lists to have equal length"),
    (lambda: jnp.tensordot(ONES, np.ones(2), axes=("a", "b")), TypeError, "both axes lists to be either ints, tuples or lists"),
    (lambda: jnp.tensordot(ONES, np.ones(2), axes="a"), TypeError, "must be an int, a pair of ints, or a pair of lists"),
    (lambda: jnp.trace(ONES, axis1=1, axis2=-2), ValueError, "axis1 and axis2 can not be same"),
    (lambda: jnp.expand_dims(ONES, [4, -1]), ValueError, "repeated axis"),
    (lambda: jnp.size(ONES, (1, -2)), ValueError, "repeated axis"),
    (lambda: jnp.interp(0.0, np.arange(3.0), np.arange(3.0), left="a"), ValueError, "string value of `left` is 'extrapolate'"),
    (lambda: jnp.interp(0.0, np.arange(3.0), np.arange(3.0), right="a"), ValueError, "string value of `right` is"),
    (lambda: jnp.interp(1j, 1j * np.arange(3.0), np.arange(3.0)), ValueError, "^jnp.interp: complex x values not supported"),
    (lambda: jnp.array([0, -2**63 - 1]), OverflowError, "Python int too large"),
    (lambda: jnp.array([0.0, None]), ValueError, "None is not a valid value for jnp.array"),
    (lambda: jnp.tri(4, k=2**33), OverflowError, "Python int"),
    (lambda: tj.jit(jnp.tri)(3, M=3, k=0), TypeError, "Shapes must be 1D sequences of concrete values of integer type"),
    (lambda: jnp.zeros(1.0), TypeError, "Shapes must be 1D sequences of concrete values of integer type"),
    (lambda: tj.jit(lambda i: jnp.split(jnp.zeros(4), i))(2), TypeError, "Abstract tracer value encountered where concrete"),
    (lambda: tj.jit(lambda i: jnp.split(jnp.zeros(4), [2, i]))(2), TypeError, "Abstract tracer value encountered"),
    (lambda: lax.split(np.arange(5), [-1]), ValueError, "Sizes passed to split must be nonnegative"),
    (lambda: lax.split(np.arange(5), [6]), ValueError, "Sum of sizes 6 must be equal"),
    (lambda: lax.broadcast_in_dim(np.ones(2), (2, 2), (0, 1)), TypeError, "broadcast_dimensions must have length equal to"),
    (lambda: lax.broadcast_in_dim(np.ones((2, 2)), (2,), (0, 1)), TypeError, "must have equal or higher rank to the operand"),
    (lambda: lax.broadcast_in_dim(np.ones(2), (2, 3), (2,)), TypeError, "broadcast_dimensions must be a subset of output"),
    (lambda: lax.broadcast_in_dim(np.ones(2), (3,), (0,)), TypeError, "operand dimension sizes must either be 1, or be equal"),
    (lambda: lax.squeeze(np.ones((1, 2)), (0, 0)), ValueError, "dimensions are not unique"),
    (lambda: lax.squeeze(np.ones((1, 2)), (1,)), ValueError, "cannot select an axis to squeeze out"),
    (lambda: lax.pad(np.zeros(2), np.zeros(2), [(0, 0, 0)]), ValueError, "padding_value must be a scalar"),
    (lambda: lax.pad(np.zeros(2), 0.0, [(0, 1, -1)]), ValueError, "interior padding in padding_config must be nonnegative"),
    (lambda: lax.pad(np.zeros(2), 0.0, [(-3, 0, 0)]), ValueError, "Dimension size after padding is not at least 0"),
    (lambda: lax.reduce_window(np.ones(1), 0.0, lax.add, (0,), (1,), "VALID"), TypeError, "must have every element be"),
    (lambda: tj.eval_shape(lambda x: lax.top_k(x, 9), tj.ShapeDtypeStruct((2**31 + 1,), "int8")), ValueError, "will overflow"),
    (lambda: jnp.sum(jnp.zeros(10), where=MASK), ValueError, "jnp.sum: where must be None or a boolean array"),
    (lambda: jnp.max(jnp.zeros(10), where=MASK, initial=0), ValueError, "jnp.max: where must be None or a boolean array"),
    (lambda: jnp.nanmean(jnp.zeros(10), where=MASK), ValueError, "jnp.nanmean: where must be None or a boolean array"),
    (lambda: jnp.all(jnp.zeros(10), where=MASK), ValueError, "jnp.all: where must be None or a boolean array"),
    (lambda: tj.jit(tj.nn.one_hot)(3, 5), TypeError, "in jax.nn.one_hot argument `num_classes`"),
    (lambda: tj.jit(jnp.arange)(3), TypeError, "It arose in the jnp.arange argument 'stop'"),
    (lambda: tj.jit(lambda a: jnp.arange(a, 3))(0), TypeError, "It arose in the jnp.arange argument 'start'"),
    (lambda: tj.jit(lambda a, b: jnp.mgrid[a:b])(0, 2), TypeError, "slice start of jnp.mgrid"),
    (lambda: tj.jit(lambda a, b: jnp.r_[a:b])(0, 2), TypeError, "slice start of jnp.r_"),
    (lambda: tj.jit(lambda x: x.tobytes())(ONES), TypeError, r"The tobytes\(\) method was called on traced array"),
    (lambda: tj.jit(lambda a: jnp.choose(a, [a, a]))(np.arange(2)), TypeError, "because jnp.choose was jit-compiled with mode='raise'"),
    (lambda: jnp.take(jnp.ones((2, 0)), jnp.array([0]), axis=1), IndexError, "non-empty jnp.take"),
    (lambda: jnp.corrcoef(np.arange(5), dtype=int), ValueError, "corrcoef: dtype must be a subclass of float or complex"),
    (lambda: jnp.broadcast_to(ONES, (2, 2)), ValueError, "Cannot broadcast to shape with fewer dimensions"),
    (lambda: scatter((64, 48), (32, 1), (65, 32), (0,), (1,), (1,)), TypeError, "Bounds of the window dimensions"),
    (lambda: scatter((64, 48), (32, 1), (64, 31), (1,), (0,), (1,)), TypeError, "Bounds of the scatter dimensions"),
    (lambda: scatter((6, 5), (3, 2), (3, 6, 5), (2, 1), (), (0, 1)), TypeError, "update_window_dims in scatter op must be sorted"),
    (lambda: scatter((6, 5), (3, 2), (3, 6), (1,), (7,), (0, 1)), TypeError, "Invalid inserted_window_dims set in scatter op"),
    (lambda: scatter((6, 5), (3, 2), (3, 6, 5), (1, 2), (), (0, 0)), TypeError, "scatter_dims_to_operand_dims in scatter op must not"),
    (lambda: scatter((6, 5), (3, 2), (3, 6), (1,), (), (0, 1)), TypeError, "Scatter op has window of size 1; doesn't match operand"),
    (lambda: scatter((6, 5), (3, 1), (3, 5), (1,), (), (1,), operand_batching_dims=(0,)), TypeError, "requires equal numbers of"),
    (lambda: gather((6, 5), (3, 2), (1, 5), (1,), (0, 0), (0, 1)), TypeError, "collapsed_slice_dims in gather op must not repeat"),
    (lambda: gather((6, 5), (3, 2), (1, 5), (4,), (0,), (0, 1)), TypeError, "Offset dimension 0 in gather op is out of bounds"),
    (lambda: gather((6, 5), (3, 2), (1, 5), (1,), (0,), (0, 9)), TypeError, "Invalid start_index_map"),
    (lambda: gather((6, 5), (3, 2), (1, 5), (1,), (0,), (0,)), TypeError, "Gather op has 1 elements in start_index_map and the bound"),
    (lambda: jnp.fft.fft(ONES, axis=[1, 1]), ValueError, r"jax.numpy.fft.fft does not support multiple axes. .* Got axis = \[1, 1\]"),
    (lambda: jnp.fft.fftn(ONES, axes=[1, 1]), ValueError, "jax.numpy.fft.fftn does not support repeated axes"),
    (lambda: jnp.fft.rfft2(ONES, axes=[0]), ValueError, r"jax.numpy.fft.rfft2 only supports 2 axes. Got axes = \[0\]."),
    (lambda: jnp.vectorize(jnp.dot, signature="(n),(n)->(),()")(np.ones(2), np.ones(2)), TypeError, "output must be a tuple"),
    (lambda: jnp.vectorize(jnp.dot, signature="(n),(n)->(k)")(np.ones(2), np.ones(2)), ValueError, r"output shape \(\) does not match"),
    (lambda: tj.jit(jnp.asarray)(np.ma.array([1, 2], mask=[True, False])), ValueError, "numpy masked arrays are not supported"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_error(number):
    call, kind, text = ERRORS[number]
    with pytest.raises(kind, match=text):
        call()


def test_rounding_to_more_places_than_a_number_has_keeps_it():
    x = np.linspace(-3, 3, 7, dtype=np.float32)
    np.testing.assert_array_equal(jnp.round(x, 1000), x)
    np.testing.assert_array_equal(jnp.round(x.astype(np.float16), 60), x.astype(np.float16))


def test_diagonals_far_off():
    np.testing.assert_array_equal(jnp.eye(4, k=2**100), np.zeros((4, 4)))
    np.testing.assert_array_equal(jnp.eye(2, 3, k=-2**100), np.zeros((2, 3)))


def test_padding_by_a_function_of_vectors_and_weak_types():
    def ends(vector, width, axis, kwargs):
        return vector.at[:width[0]].set(7).at[-width[1]:].set(7)

    def ends_of_numpy(vector, width, axis, kwargs):
        vector[:width[0]] = vector[-width[1]:] = 7

    x = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(jnp.pad(x, 1, ends), np.pad(x, 1, ends_of_numpy))
    assert jnp.pad(jnp.array(1.0)[None], 1).weak_type


@pytest.mark.parametrize("bins", [[np.array([0, 1, 3, 5]), np.array([0, 2, 6])], [2, np.array([0, 2, 6])]])
def test_histograms_whose_axes_have_other_numbers_of_bins(bins):
    x, y = np.array([0, 1, 2, 4]), np.array([1, 5, 2, 0])
    for mine, theirs in zip(jnp.histogram2d(x, y, bins), np.histogram2d(x, y, bins), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_interpolation_between_points_that_coincide_has_a_finite_gradient():
    x = np.exp(np.linspace(-90, -20, 100)).astype(np.float32)
    slopes = tj.grad(lambda z: jnp.interp(z, z, jnp.ones_like(z)).sum())(x)
    assert np.isfinite(slopes).all()


def test_object_arrays_are_loaded_as_they_are():
    file = io.BytesIO()
    jnp.save(file, np.array([1, None]))
    file.seek(0)
    assert jnp.load(file, allow_pickle=True).tolist() == [1, None]


@pytest.mark.parametrize("subscripts", ["aab,bcc->ac", "ab,b", "aa", "ab,ab,c->c"])
def test_einsum_of_booleans(subscripts):
    sizes = {"a": 2, "b": 3, "c": 4}
    rng = np.random.default_rng(0)
    xs = [rng.integers(0, 2, [sizes[c] for c in term]).astype(bool) for term in subscripts.split("->")[0].split(",")]
    np.testing.assert_array_equal(jnp.einsum(subscripts, *xs), np.einsum(subscripts, *xs))
