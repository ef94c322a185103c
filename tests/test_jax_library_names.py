"""What libraries written for JAX reach for beside its functions: primitives by name, parts of programs, modules of its native half."""
from __future__ import annotations

import functools
import inspect
import subprocess
import sys

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import core, custom_derivatives, lax
from tracejit.api_util import infer_argnums_and_argnames, safe_map
from tracejit.interpreters import xla
from tracejit.test_util import check_close


def inverted(f):
    """f backwards, equation by equation, as distrax and JAX's tutorial on interpreters do it."""
    inverse = {lax.exp_p: lax.log_p, lax.tanh_p: lax.atanh_p, lax.neg_p: lax.neg_p}

    def run(y):
        jaxpr = tj.make_jaxpr(f)(y).jaxpr
        env = {jaxpr.outvars[0]: y}
        for eqn in reversed(jaxpr.eqns):
            assert not eqn.primitive.call_primitive
            env[eqn.invars[0]] = inverse[eqn.primitive].bind(env[eqn.outvars[0]])
        return env[jaxpr.invars[0]]
    return run


def test_primitives_by_name_tell_equations_apart_and_apply_again() -> None:
    y = tj.jit(inverted(lambda x: jnp.tanh(-jnp.exp(x))))(jnp.float32(-0.5))
    np.testing.assert_allclose(y, np.log(np.arctanh(0.5)), rtol=1e-5)
    assert lax.reduce_sum_p.name == "reduce_sum" and not lax.sin_p.multiple_results


@pytest.mark.parametrize("name", ["elementwise_p", "no_such_op_p", "view_p"])
def test_what_groups_ops_is_no_primitive(name: str) -> None:
    with pytest.raises(AttributeError):
        getattr(lax, name)


def test_values_of_registered_classes_are_arguments() -> None:
    class Celsius:
        def __init__(self, degrees):
            self.degrees = degrees
    core.pytype_aval_mappings[Celsius] = lambda x: core.ShapedArray((), np.dtype("float32"))
    xla.canonicalize_dtype_handlers[Celsius] = lambda x: np.float32(x.degrees)
    try:
        assert tj.jit(lambda x: lax.add(x, x))(Celsius(20.0)) == 40.0
    finally:
        del core.pytype_aval_mappings[Celsius], xla.canonicalize_dtype_handlers[Celsius]


def test_small_functions_of_internal_modules() -> None:
    assert core.concrete_or_error(None, 3) == 3 and core.no_effects == frozenset()
    with pytest.raises(tj.errors.ConcretizationTypeError, match="the size"):
        tj.jit(lambda n: core.concrete_or_error(int, n, "It is the size."))(3)
    assert tj.extend.core.primal_dtype_to_tangent_dtype("int32") == tj.dtypes.float0
    signature = inspect.signature(lambda x, y, *, z: x)
    assert infer_argnums_and_argnames(signature, None, ("y", "z")) == ((1,), ("y", "z"))
    assert safe_map(max, [1, 5], [3, 4]) == [3, 5]
    with pytest.raises(AssertionError):
        safe_map(max, [1], [2, 3])
    check_close({"a": jnp.ones(3)}, {"a": np.ones(3) + 1e-7})
    check_close(jnp.ones(1), jnp.full(1, 1.05), atol={"float32": 0.1})
    for tolerances in ({}, {"atol": {"float64": 0.1}}):
        with pytest.raises(AssertionError):
            check_close(jnp.ones(1), jnp.full(1, 1.05), **tolerances)


def test_modules_of_the_native_half() -> None:
    program = """
import tracejit; tracejit.install_as_jax()
import jax, jaxlib
from jaxlib._jax import PjitFunction
from jaxlib import xla_client
assert isinstance(jax.jit(abs), PjitFunction) and "PjitFunction" in str(type(jax.jit(abs)))
assert isinstance(jax.devices()[0], xla_client.Device) and jaxlib.__version__ == jax.__version__
assert jax._src.xla_bridge.get_backend().platform == "cpu" and jax.interpreters.mlir.lower_fun
assert not hasattr(jax._src, "no_such_module")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_jax_loads_its_modules() -> None:
    program = """
import sys, tracejit; tracejit.install_as_jax()
import jax
assert sys.modules["jax.tree_util"] is jax.tree_util and sys.modules["jax.numpy.linalg"] is jax.numpy.linalg
import jax.nn.initializers
assert sys.modules["jax.nn.initializers"] is jax.nn.initializers is tracejit.nn.initializers
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_absent_platform_is_an_unknown_backend() -> None:
    with pytest.raises(RuntimeError, match="Unknown backend tpu"):
        tj.devices("tpu")


class Squarer:
    """A callable whose name is no string, as fields of modules may be."""
    __name__ = 3
    __annotations__ = None      # as objects are whose attributes are all computed

    def __call__(self, x):
        return x * x


@pytest.mark.parametrize("transform", [tj.jit, tj.grad, tj.vmap, tj.checkpoint, tj.value_and_grad, tj.jacfwd, tj.make_jaxpr, tj.pmap])
def test_a_name_that_is_no_string_is_not_copied(transform) -> None:
    assert callable(transform(Squarer()))
    assert tj.grad(Squarer())(3.0) == 6.0


def test_a_jitted_function_shows_its_signature() -> None:
    def f(x, *, y=1):
        return x + y
    for follow in (True, False):
        assert inspect.signature(tj.jit(f, static_argnames="y"), follow_wrapped=follow) == inspect.signature(f)


def test_static_arguments_told_by_number_and_by_name_are_each_themselves() -> None:
    """A wrapper with the signature of what it wraps, as flax makes them: b is an array where it comes by position."""
    @functools.wraps(lambda scope, a, b: None)
    def wrapper(static, *args, **kwargs):
        return args[1] * 2 if static == "twice" else kwargs["b"]
    f = tj.jit(wrapper, static_argnums=(0,), static_argnames=("b",))
    np.testing.assert_array_equal(f("twice", jnp.ones(2), jnp.ones(2)), [2, 2])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "int64", "complex64", "complex128", "bool"])
def test_complex_dtype_of_a_dtype(dtype: str) -> None:
    assert tj.dtypes.to_complex_dtype(dtype) == np.result_type(dtype, np.complex64)


def test_zero_tangents_of_a_tree() -> None:
    zeros = custom_derivatives.zero_from_primal({"a": jnp.ones((2, 0), jnp.float16), "b": 2.0})
    assert zeros["a"].shape == (2, 0) and zeros["a"].dtype == jnp.float16 and zeros["b"] == 0
    symbolic = custom_derivatives.zero_from_primal(jnp.ones(3), symbolic_zeros=True)
    assert isinstance(symbolic, custom_derivatives.SymbolicZero) and symbolic.shape == (3,)


def test_keys_are_already_of_their_dtype() -> None:
    keys = tj.random.split(tj.random.key(1), 2)
    for same in (jnp.astype(keys, keys.dtype), jnp.astype(keys, keys.dtype, copy=True), tj.jit(lambda k: jnp.astype(k, k.dtype))(keys)):
        np.testing.assert_array_equal(tj.random.key_data(same), tj.random.key_data(keys))
    with pytest.raises(TypeError):
        jnp.astype(1.0, keys.dtype)
    assert issubclass(tj.dtypes.prng_key, np.generic) and tj.dtypes.issubdtype(keys.dtype, tj.dtypes.prng_key)
    assert jnp.isclose(keys, keys[::-1]).tolist() == [False, False] and jnp.allclose(keys, keys)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
def test_weak_floats_beside_numpy_integers_stay_weak(dtype: str, shape: tuple[int, ...]) -> None:
    n = np.ones(shape, dtype)
    for out in (jnp.sqrt(4.0) * n, tj.jit(lambda: jnp.sqrt(4.0) * n)()):
        assert out.shape == shape and out.dtype == jnp.float32 and out.weak_type
        np.testing.assert_array_equal(out, 2.0 * n)


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_old_streams_of_random_bits(n: int) -> None:
    """The words of two independent lists of counters, against the block function on each pair."""
    def block(key, high, low):
        from tracejit.random.threefry import threefry2x32
        return [int(x) for x in threefry2x32(key, np.uint32(high), np.uint32(low))]
    key, half = jnp.array([3, 5], jnp.uint32), (n + 1) // 2
    pairs = [block(key, i, i + half if i + half < n else 0) for i in range(half)]
    want = ([a for a, _ in pairs] + [b for _, b in pairs])[:n]
    with tj.config.setting(threefry_partitionable=False):
        assert tj.random.bits(key, (n,)).tolist() == want
        assert tj.random.bits(key, (2 * n,), jnp.uint16).tolist() == [w >> s & 0xFFFF for w in want for s in (0, 16)]
        assert tj.random.split(key, 3).shape == (3, 2)


def test_axes_may_be_any_iterable() -> None:
    x = jnp.arange(6.0).reshape(2, 3)
    assert jnp.expand_dims(x, range(2)).shape == (1, 1, 2, 3) and jnp.sum(x, axis=range(2)) == 15
    np.testing.assert_array_equal(jnp.roll(x, 1, axis=range(2)), np.roll(x, 1, axis=(0, 1)))
