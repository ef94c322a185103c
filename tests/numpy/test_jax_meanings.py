"""Functions of numpy whose meaning is JAX's where NumPy's is another or where there is none."""
from __future__ import annotations

import warnings

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax


def test_stack_is_a_function_of_lax():
    x, y = np.arange(2, dtype=np.int32), np.arange(3, 5, dtype=np.int32)
    for axis in (0, 1):
        assert np.array_equal(lax.stack([x, y], axis=axis), np.stack([x, y], axis))


def test_every_name_that_the_package_lists_exists():
    assert [name for name in dir(tj) if not hasattr(tj, name)] == []


def test_whole_steps_are_hit_exactly():
    assert np.array_equal(jnp.linspace(0, 25, 6), np.float32([0, 5, 10, 15, 20, 25]))
    assert np.array_equal(jnp.linspace(0, 49, 50), np.arange(50, dtype=np.float32))
    assert jnp.linspace(-1, 1, 99)[49] == 0
    assert np.array_equal(jnp.histogram(np.array([1, 2, 3, 10, 11, 15, 19, 25]), 5, (0, 25))[0], [3, 0, 2, 2, 1])
    assert np.isfinite(jnp.linspace(-3.3e38, 3.3e38, 4)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("num", [0, 1, 2, 7])
@pytest.mark.parametrize("endpoint", [False, True])
def test_linspace(dtype, num, endpoint):
    out = jnp.linspace(-1, 3, num, endpoint=endpoint, dtype=dtype)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, np.linspace(-1, 3, num, endpoint=endpoint, dtype=dtype), rtol=2e-3, atol=2e-3)


def test_fromfunction_calls_with_single_indices():
    seen = []

    def f(i, j):
        seen.append(i.shape)
        return i + 10 * j

    i, j = np.indices((2, 3))
    assert np.array_equal(jnp.fromfunction(f, (2, 3), dtype=int), i + 10 * j) and seen == [()]
    rows = jnp.fromfunction(lambda i: i * jnp.arange(3), (2,))
    assert np.array_equal(rows, np.outer(np.arange(2), np.arange(3)))


def test_piecewise_with_a_condition_per_function():
    x = np.arange(-2, 3)
    functions = [lambda v: v * 0, lambda v: v * 10, lambda v: v * 100]
    assert np.array_equal(jnp.piecewise(x, np.array([False, True, False]), functions), x * 10)
    assert np.array_equal(jnp.piecewise(x, [True, False], [lambda v: v + 1, 7]), x + 1)
    assert np.array_equal(jnp.piecewise(x, x < 0, [lambda v: -v, 5]), np.where(x < 0, -x, 5))


def test_roots_with_leading_zeros():
    def roots(*p):
        return np.asarray(tj.jit(lambda p: jnp.roots(p, strip_zeros=False))(np.float32(p)))

    np.testing.assert_allclose(roots(0, 1, 2), [-2, complex(np.nan, np.nan)])
    assert np.isnan(roots(0, 0, 0)).all()
    out = roots(0, 0, 1, -3, 2, 0)
    np.testing.assert_allclose(np.sort(out[:3].real), [0, 1, 2], atol=1e-5)
    assert np.isnan(out[3:]).all()


def test_sums_of_stacks_of_polynomials():
    a, b = np.array([[1, 2]]), np.array([[3, 4], [5, 6]])
    assert np.array_equal(jnp.polyadd(a, b), [[3, 4], [6, 8]])
    assert np.array_equal(jnp.polysub(b, a), [[3, 4], [4, 4]])


def test_directives_of_rows_and_columns():
    x, y = np.array([1, 2, 3]), np.array([4, 5, 6])
    assert np.array_equal(jnp.r_["r", x, y], [[1, 2, 3, 4, 5, 6]])
    assert np.array_equal(jnp.r_["c", x, y], np.arange(1, 7)[:, None])
    assert np.array_equal(jnp.c_["r", x, y], np.stack([x, y], 1))
    with pytest.raises(ValueError, match="could not understand directive"):
        jnp.r_["row", x]


def test_bits_read_as_signed_and_unsigned_in_one_kernel():
    x = np.float32([1.5, -2.25, 0, np.inf])
    both = tj.jit(lambda x: (lax.reduce_precision(x, 4, 4), lax.nextafter(x, 2 * x)))(x)
    assert np.array_equal(both[0], lax.reduce_precision(x, 4, 4))
    assert np.array_equal(both[1], np.nextafter(x, 2 * x))


@pytest.mark.parametrize("endpoint", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_linspace_begins_and_ends_exactly(dtype, endpoint):
    ends = np.random.default_rng(0).uniform(-5, 5, (2, 40)).astype(dtype)
    for num in (2, 3, 7, 64):
        values = np.asarray(jnp.linspace(*ends, num, endpoint=endpoint))
        np.testing.assert_array_equal(values[0], ends[0])
        if endpoint:
            np.testing.assert_array_equal(values[-1], ends[1])


def test_one_size_is_a_shape():
    assert np.array_equal(lax.full(2, 3), [3, 3]) and lax.full(0, 3).shape == (0,)
    assert lax.empty(3, jnp.float32).shape == (3,)
    assert lax.full_like(jnp.ones((2, 2)), 5, shape=np.int64(3)).shape == (3,)


def test_arguments_of_lax_out_of_range():
    x = np.ones(4, np.float32)
    with pytest.raises(ValueError, match="axis 2"):
        lax.associative_scan(jnp.add, x, axis=2)
    for widths in ((0, 7), (5, -1)):
        with pytest.raises(ValueError, match="reduce_precision"):
            lax.reduce_precision(x, *widths)
    with pytest.raises(ValueError, match="at least one case"):
        lax.select_n(x > 0)
    assert lax.reshape(x, 4).shape == (4,)
    assert np.isnan(lax.polygamma(np.float32([0.5, -1]), np.float32([3, 1]))).all()


def test_gather_promises_that_indices_are_inside_unless_told_otherwise():
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    numbers = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
    at = np.array([[0], [5]], np.int32)
    assert not np.isnan(lax.gather(x, at, numbers, (1, 2))).any()
    assert np.isnan(lax.gather(x, at, numbers, (1, 2), mode="fill")[1]).all()


@pytest.mark.parametrize("transform", [tj.grad, tj.value_and_grad, tj.vmap, tj.jit, tj.jacfwd, tj.jacrev, tj.hessian, tj.make_jaxpr])
def test_what_is_transformed_must_be_a_function(transform):
    with pytest.raises(TypeError, match="function|callable"):
        transform(3)


def test_matrix_rank_of_vectors_and_with_a_limit():
    assert jnp.linalg.matrix_rank(np.ones(4)) == 1 and jnp.linalg.matrix_rank(np.zeros(4)) == 0 and jnp.linalg.matrix_rank(2.) == 1
    m = np.diag([4., 1., .1])
    for tol in (.05, .5, 2.):
        assert jnp.linalg.matrix_rank(m, tol=tol) == np.linalg.matrix_rank(m, tol=tol)
        assert jnp.linalg.matrix_rank(m, rtol=tol) == np.linalg.matrix_rank(m, tol=tol)     # absolute in JAX


def test_fourier_transforms_of_nothing():
    x = np.zeros((3, 0), np.float32)
    for name in ("fft", "ifft", "fftn", "ifft2"):
        out = getattr(jnp.fft, name)(x)
        assert out.shape == (3, 0) and out.dtype == np.complex64
    assert jnp.fft.irfft(x).shape == (3, 0) and jnp.fft.irfft(x).dtype == np.float32
    for refused in (lambda: jnp.fft.rfft(x), lambda: jnp.fft.fft(x, n=0), lambda: jnp.fft.fft(np.ones((3, 4)), n=0)):
        with pytest.raises(ValueError, match="empty"):
            refused()


def test_updates_refuse_modes_that_do_not_exist():
    for index in (0, np.array([1, 2]), slice(1, 3)):
        with pytest.raises(ValueError, match="foo"):
            jnp.ones(4).at[index].set(2., mode="foo")


def test_take_reads_booleans_as_0_and_1():
    x = np.float32([3, 1, 2])
    for at in (np.array([True, False]), True, [False, True, True]):
        assert np.array_equal(jnp.take(x, jnp.asarray(at)), np.take(x, np.asarray(at).astype(int)))
    assert np.array_equal(tj.jit(jnp.take)(x, np.array([True, False])), x[[1, 0]])


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest", "inverted_cdf"])
def test_quantiles_outside_of_0_to_1_are_the_extremes(method):
    x = np.array([[3, 1, 2], [9, 7, 8]], np.float32)
    assert np.array_equal(jnp.quantile(x, np.float32([-0.5, 1.5]), axis=1, method=method), [[1, 7], [3, 9]])
    assert np.array_equal(jnp.nanpercentile(x, np.float32([-5, 300]), method=method), [1, 9])
    assert np.isnan(jnp.quantile(x, np.nan, method=method))


def test_variance_in_a_dtype_that_is_asked_for():
    x = np.float32([0, 1, 2, 3])
    for v, function in ((jnp.var, np.var), (jnp.std, np.std), (jnp.nanvar, np.var), (jnp.nanstd, np.std)):
        assert v(x, dtype=np.complex64).dtype == np.complex64 and np.isclose(v(x, dtype=np.complex64), function(x))
        assert np.isnan(v(x, ddof=4)) and np.isnan(v(x, ddof=5))
        z = (x + 1j * x[::-1]).astype(np.complex64)
        assert v(z).dtype == np.float32 and np.isclose(v(z), function(z))
    assert jnp.var(x.astype(int), dtype=int) == 1 and jnp.var(x.astype(int), dtype=int).weak_type


COMPLEX = np.complex64([1 + 2j, 3])


@pytest.mark.parametrize("cast", [lambda z: lax.convert_element_type(z, np.float32), lambda z: jnp.asarray(z, float), lambda z: jnp.sum(z, dtype=float),
                                  lambda z: jnp.mean(z, dtype=float), lambda z: jnp.array(z, np.int32), lambda z: jnp.zeros(2).at[:].set(z)])
def test_complex_numbers_made_real_are_warned_of(cast):
    jnp.sum(np.zeros(2), dtype=float)
    with pytest.warns(np.exceptions.ComplexWarning), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", FutureWarning)
        cast(jnp.asarray(COMPLEX))


def test_complex_numbers_made_real_on_purpose():
    z = jnp.asarray(COMPLEX)
    assert np.array_equal(z.astype(float), COMPLEX.real) and np.array_equal(jnp.complex64([0j, 1j]).astype(bool), [False, True])
    assert np.array_equal(tj.grad(lambda x: jnp.abs(x * z).sum())(np.float32([1, 1])), np.abs(COMPLEX))
    for cast in (lambda: jnp.full(2, 1j, dtype=float), lambda: jnp.array([1j, 2], dtype=float), lambda: lax.convert_element_type(1j, float)):
        with pytest.raises(TypeError, match="real part"):
            cast()


@pytest.mark.parametrize("call", [
    lambda x: lax.concatenate([x, x], -1), lambda x: lax.reduce_sum(x, (-1,)), lambda x: lax.reduce_max(x, (-1,)), lambda x: lax.rev(x, (-1,)),
    lambda x: lax.argmax(x, -1, int), lambda x: lax.argmin(x, -1, int), lambda x: lax.reduce(x, 0., lax.add, (-1,)),
    lambda x: lax.dot_general(x, x, (((-1,), (-1,)), ((), ()))), lambda x: lax.broadcasted_iota(int, (2, 3), -1),
    *[lambda x, f=f: f(x, -1) for f in (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp)]])
def test_most_functions_of_lax_do_not_count_axes_from_the_end(call):
    with pytest.raises(TypeError, match="axis -1.*\n.*\n.*from 0 to 1") as caught:
        call(np.ones((3, 4), np.float32))
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("call", [
    lambda x: lax.convert_element_type(x, None), lambda x: lax.full((-1,), 0.), lambda x: lax.broadcast(x, (-1,)), lambda x: lax.iota(int, -1),
    lambda x: lax.reduce(x, x[0], lax.add, (0,)), lambda x: lax.abs(np.ones(2, np.uint8)), lambda x: lax.cummax(x > 0), lambda x: lax.cummin(x > 0)])
def test_arguments_that_lax_refuses(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(np.ones((3, 4), np.float32))
    assert isinstance(caught.value, tj.errors.TracejitError)


def test_a_selection_by_any_integer():
    for dtype in (np.int8, np.uint8, np.int64):
        assert np.array_equal(lax.select_n(np.array([0, 2, 1], dtype), *[np.full(3, k) for k in (5, 6, 7)]), [5, 7, 6])


def test_running_folds_asked_for_booleans_say_what_is_not_0():
    n, x = jnp.arange(3), jnp.float32([1.5, 2.5, -1])
    for got, want in ((jnp.cumsum(n, dtype=bool), [False, True, True]), (jnp.cumprod(x, dtype=bool), [True] * 3),
                      (jnp.nancumsum(n, dtype=bool), [False, True, True]), (jnp.cumulative_prod(n, dtype=bool), [False] * 3)):
        assert got.dtype == bool and got.tolist() == want
    assert jnp.cumsum(n > 0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_means_have_the_integer_dtype_that_is_asked_for(dtype):
    x = jnp.float32([1.5, 2.5, 4])
    assert jnp.mean(x, dtype=dtype).dtype == jnp.nanmean(x, dtype=dtype).dtype == dtype
    assert jnp.mean(x, dtype=dtype) == 2  # of 1, 2, 4
    variance = jnp.var(x, dtype=dtype)
    assert variance.dtype == np.float32 and variance == 1  # of -1, 0, 2, in integers


def test_a_variance_without_degrees_of_freedom_is_nan():
    x = jnp.float32([1.5, 2.5, -1])
    for f in (jnp.var, jnp.std, jnp.nanvar, jnp.nanstd):
        assert np.isnan(f(x, ddof=3)) and np.isnan(f(x, ddof=5)) and np.isnan(f(x, ddof=1, where=x > 2))
        np.testing.assert_allclose(f(x, ddof=1), getattr(np, f.__name__)(np.asarray(x), ddof=1), rtol=1e-6)
        assert f(x, dtype=complex).dtype == np.complex64 and f(x + 1j).dtype == np.float32
    batch = tj.vmap(lambda r: jnp.var(r, ddof=1, where=r > 2))(jnp.float32([[1, 3, 5], [1, 3, 0]]))
    assert batch[0] == 2 and np.isnan(batch[1])
    assert np.isfinite(tj.grad(lambda x: jnp.nanvar(x, ddof=1))(jnp.float32([1, np.nan, 3]))).all()


def test_what_setdiff1d_lacks_is_0():
    assert jnp.setdiff1d(jnp.arange(4), jnp.arange(2), size=4).tolist() == [2, 3, 0, 0]


def test_fmax_and_fmin_order_complex_numbers_by_their_parts():
    x, y = np.complex64([1 + 2j, np.nan, 3, 2 + 1j]), np.complex64([1 + 1j, 2, np.nan, 2 + 5j])
    assert np.array_equal(jnp.fmax(x, y), np.fmax(x, y)) and np.array_equal(jnp.fmin(x, y), np.fmin(x, y))


def test_ldexp_takes_booleans():
    assert jnp.ldexp(jnp.float32([1.5, 2]), True).tolist() == [3, 4]


def test_arctan2_of_complex_numbers():
    x, y = np.complex64([1.5 + 1j, -1 + 1j]), np.complex64([1.5, -1])
    want = -1j * np.log((y + 1j * x) / np.sqrt(x * x + y * y))
    np.testing.assert_allclose(jnp.arctan2(x, y), want, rtol=1e-5)
    slope = tj.jit(tj.grad(lambda t: lax.atan2(t + 0j, np.complex64(2 + 1j)).real))(np.float32(0.5))
    np.testing.assert_allclose(slope, ((2 + 1j) / (0.5 ** 2 + (2 + 1j) ** 2)).real, rtol=1e-5)


def test_softmax_and_logsumexp_take_lists_of_axes():
    x = np.float32([[1, 2, 3], [4, 5, 7]])
    for f in (tj.nn.softmax, tj.nn.log_softmax, tj.nn.logsumexp, tj.scipy.special.logsumexp):
        assert np.array_equal(f(x, axis=[0, 1]), f(x, axis=(0, 1))) and np.array_equal(f(x, [0]), f(x, 0))


def test_nothing_lands_in_an_empty_array():
    at, empty = jnp.array([0, 1]), jnp.zeros((0, 3))
    for out in (empty.at[at].set(1.), empty.at[at].add(1.), tj.jit(lambda x, at: x.at[at].max(2.))(empty, at)):
        assert out.shape == (0, 3) and out.dtype == np.float32
    assert tj.ops.segment_sum(jnp.ones(3), jnp.array([-1, -1, -1])).shape == (0,)
    assert tj.vmap(lambda s: tj.ops.segment_max(jnp.ones(3), s, 0))(jnp.zeros((2, 3), int)).shape == (2, 0)
    assert tj.grad(lambda x: tj.ops.segment_sum(x, jnp.zeros(3, int), 0).sum())(jnp.ones(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("mixed", [
    lambda x, i: x.at[0].set(i[0]), lambda x, i: x.at[i].add(i), lambda x, i: jnp.array([x[0], i[0]]), lambda x, i: jnp.result_type(x, i),
    lambda x, i: jnp.promote_types("int32", "float32"), lambda x, i: jnp.logical_and(x, i)])
def test_strict_promotion_is_asked_for_everywhere(mixed):
    x, i = jnp.arange(4.), jnp.arange(4)
    mixed(x, i)
    with tj.numpy_dtype_promotion("strict"):
        with pytest.raises(ValueError, match="strict"):
            mixed(x, i)
        assert x.at[0].set(1)[0] == 1 and jnp.array([x[0], 2])[1] == 2 and jnp.result_type(x, 1) == jnp.promote_types(x.dtype, "float32")
        assert jnp.logical_and(x, x).sum() == 3


def test_functions_of_narrow_integers_are_float32_also_with_x64():
    with tj.enable_x64(True):
        for f in (jnp.sin, jnp.sqrt, jnp.mean, jnp.var, lambda x: jnp.quantile(x, 0.5)):
            assert [f(np.arange(4).astype(t)).dtype for t in ("bool", "int8", "uint32", "int64")] == ["float32"] * 3 + ["float64"]
        assert jnp.sin(1).dtype == "float64" and jnp.mean(jnp.arange(3)).dtype == "float64"


def test_complex_numbers_are_clamped_by_their_order():
    z = np.array([2.9 - 0.3j, 6.7 + 1.2j, 1.3 + 1j], np.complex64)
    low, high = np.complex64(2 + 1.2j), np.complex64(3.3 + 1j)
    np.testing.assert_array_equal(lax.clamp(low, z, high), np.array([2.9 - 0.3j, 3.3 + 1j, 2 + 1.2j], np.complex64))
    np.testing.assert_array_equal(tj.grad(lambda z: lax.clamp(low, z, high).real.sum())(z), [1, 0, 0])


@pytest.mark.parametrize("use", [lambda x: x.at[0].get(mode="bad"), lambda x: x.at[0].set(1, mode="bad")])
def test_unknown_modes_are_refused(use):
    with pytest.raises(ValueError, match='Unknown gather mode "bad"'):
        use(jnp.arange(3.0))
