"""Where 64-bit dtypes are switched off, naming one is warned of at the line that does; what uses wide arrays goes on."""
from __future__ import annotations

import warnings

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.config import config

x = jnp.ones(4)
key = tj.random.key(0)
NAMING = {
    "zeros": lambda: jnp.zeros(3, "float64"), "array": lambda: jnp.array([1.], np.float64), "scalar": lambda: jnp.int64(3),
    "astype": lambda: x.astype("int64"), "view": lambda: x.view("int64"), "sum": lambda: jnp.sum(x, dtype="float64"),
    "cumsum": lambda: jnp.cumsum(x, dtype="float64"), "arange": lambda: jnp.arange(3, dtype="uint64"),
    "linspace": lambda: jnp.linspace(0, 1, 3, dtype="float64"), "full_like": lambda: jnp.full_like(x, 2, "complex128"),
    "dot": lambda: jnp.dot(x, x, preferred_element_type="float64"), "under jit": lambda: tj.jit(lambda x: x.astype("float64"))(x),
    "convert": lambda: lax.convert_element_type(x, "float64"), "iota": lambda: lax.iota("int64", 3),
    "normal": lambda: tj.random.normal(key, (2,), "float64"), "randint": lambda: tj.random.randint(key, (2,), 0, 9, "int64"),
}
NOT_NAMING = {
    "a NumPy array": lambda: jnp.array(np.ones(2)), "Python's float": lambda: jnp.array([1.], float),
    "float32": lambda: jnp.zeros(3, "float32"), "an update": lambda: jnp.ones(2).at[0].set(1),
    "norm": lambda: jnp.linalg.norm(x), "softmax": lambda: tj.nn.softmax(x), "sort": lambda: jnp.argsort(x),
    "gradient": lambda: tj.grad(lambda x: jnp.sum(x[jnp.arange(3)] ** 2))(x), "percentile": lambda: jnp.percentile(x, 50),
    "scan": lambda: lax.scan(lambda c, i: (c + x[i], c), 0., jnp.arange(4))[0], "histogram": lambda: jnp.histogram(x)[0],
}


@pytest.mark.parametrize("name", NAMING)
def test_naming_a_wide_dtype_warns(name):
    with tj.enable_x64(False), pytest.warns(UserWarning, match="Explicitly requested dtype .* will be truncated") as seen:
        assert NAMING[name]().dtype.itemsize <= 8
    assert {w.filename for w in seen} == {__file__}


@pytest.mark.parametrize("name", NOT_NAMING)
def test_no_warning_where_none_is_named(name):
    with tj.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        NOT_NAMING[name]()


@pytest.mark.parametrize("name", NAMING)
def test_no_warning_where_wide_dtypes_are_kept(name):
    assert NAMING[name]() is not None


def test_the_setting_says_what_happens():
    with config.setting(enable_x64=False, explicit_x64_dtypes="error"), pytest.raises(ValueError, match="is not available"):
        jnp.zeros(2, "float64")


def test_an_array_is_no_dtype():
    with pytest.raises(ValueError, match="dtype=x.dtype"):
        jnp.zeros(2, x)


@pytest.mark.parametrize("f", [lambda y: y**2, lambda y: y.at[0].set(1.) * y, lambda y: jnp.sin(y) * x, lambda y: y @ y,
                               lambda y: tj.nn.softmax(y) * y, lambda y: jnp.where(y > 0, y, 0), lambda y: jnp.std(y)])
@pytest.mark.filterwarnings("ignore:Explicitly requested")
def test_derivatives_of_arrays_from_before(f):
    y = jnp.arange(4, dtype="float64")
    expected = tj.grad(lambda y: jnp.sum(f(y)))(y)
    with tj.enable_x64(False):
        found = tj.grad(lambda y: jnp.sum(f(y)))(y)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)
