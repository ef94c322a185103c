"""Errors whose class and text programs written for JAX look for, and edges that its own tests probe."""
import io

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp

ONES = np.ones((3, 2, 2))
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
