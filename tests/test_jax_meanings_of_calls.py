"""Calls of jit, vmap and derivatives that JAX refuses are refused for the same reason, in words that name the argument."""
from __future__ import annotations

import copy
import pickle
import re
from functools import partial

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.experimental import checkify, io_callback
from tracejit.flatten_util import ravel_pytree

F = np.float32
no_tangent = np.zeros((), tj.float0)
product = lambda x, y: x * y


def loss_by_numpy(x):
    return np.sin(x).sum()


REFUSED = [
    (TypeError, "Expected a callable value, got 3", lambda: tj.jit(3)),
    (TypeError, "Expected a function, got a generator function", lambda: tj.jit(lambda x: (yield x))),
    (TypeError, "staticmethod arguments are not supported", lambda: tj.jit(staticmethod(abs))),
    (ValueError, "'x', which can only be passed by position", lambda: tj.jit(lambda x, /: x, static_argnames="x")),
    (ValueError, "static_argnames and donate_argnames cannot intersect", lambda: tj.jit(product, static_argnames="x", donate_argnames="x")),
    (TypeError, "passed to the function at path rest[0]['a']", lambda: tj.jit(lambda x, *rest: x)(1, {"a": "s"})),
    (ValueError, "masked arrays are not supported", lambda: tj.jit(jnp.sin)(np.ma.array([1., 2.], mask=[True, False]))),
    (RuntimeError, "donated and passed as another argument", lambda: tj.jit(product, donate_argnums=0)(x := jnp.ones(3), x)),
    (RuntimeError, "No such compile option: 'misspelled'", lambda: tj.jit(jnp.sin, compiler_options={"misspelled": 1})),
    (ValueError, "cannot be True at the same time", lambda: tj.device_put(jnp.ones(2), may_alias=True, donate=True)),
    (TypeError, "Detected argument of Tracer type", lambda: tj.grad(tj.jit(jnp.sin).lower(1.).compile())(1.)),
    (TypeError, "does not match the input pytree", lambda: tj.jit(jnp.sin).lower(1.).compile()([1.])),
    (TypeError, "Argument 'x' compiled with float32[] and called with int32[]", lambda: tj.jit(lambda x: x).lower(F(1)).compile()(1)),
    (TypeError, "vmap in_axes must be an int, None, or", lambda: tj.vmap(jnp.sin, in_axes=False)),
    (TypeError, "vmap out_axes must be an int, None, or", lambda: tj.vmap(jnp.sin, out_axes=(jnp.ones(2),))),
    (TypeError, "but got {'a': 0}.", lambda: tj.vmap(lambda x: x, in_axes={"a": 0})),
    (ValueError, "at least one argument containing an array", lambda: tj.vmap(jnp.sin)({})),
    (ValueError, "(axis_name='i') but out_axes is None", lambda: tj.vmap(jnp.sin, out_axes=None, axis_name="i")(jnp.ones(2))),
    (ValueError, "most axes (2 of them) had size 2, e.g. axis 0 of argument x of type float32[2];\n"
     "  * one axis had size 1: axis 0 of kwargs['z'] of type float32[1]",
     lambda: tj.vmap(lambda x, y, z: x)(jnp.ones(2), jnp.ones(2), z=jnp.ones(1))),
    (TypeError, "requires at least 1 positional arguments", lambda: tj.grad(product)(x=1., y=1.)),
    (TypeError, "two-element tuple", lambda: tj.grad(lambda x: (x,), has_aux=True)(1.)),
    (TypeError, "two-element tuple", lambda: tj.vjp(jnp.sin, 1., has_aux=True)),
    (TypeError, "Gradient only defined for scalar-output functions", lambda: tj.grad(lambda x: (x, x))(1.)),
    (TypeError, "jacrev requires real-valued outputs", lambda: tj.jacrev(jnp.sin)(1 + 2j)),
    (TypeError, "must be tuples or lists; found float and tuple", lambda: tj.jvp(product, 0., (1.,))),
    (TypeError, "must have the same tree structure", lambda: tj.jvp(jnp.sin, (1.,), [1.])),
    (ValueError, "different primal and tangent shapes", lambda: tj.jvp(jnp.sin, (jnp.ones(3),), (1.,))),
    (ValueError, "unexpected JAX type", lambda: tj.vjp(jnp.sin, F(3))[1](np.float16(1))),
    (TypeError, "applied to product_of_two", lambda: tj.vjp(product_of_two, 1., 2.)[1](1., 1.)),
    (ValueError, "inconsistent with the original primal values", lambda: tj.linearize(jnp.sin, 1.)[1](1)),
    (TypeError, "linear_transpose only supports", lambda: tj.linear_transpose(lambda x: 2. * x, 1)),
    (TypeError, "cotangent type does not match", lambda: tj.linear_transpose(lambda x: x, 1.)(1j)),
    (TypeError, "lax.scan: f argument should be callable", lambda: lax.scan(3, 0, jnp.ones(2))),
    (TypeError, "lax.cond: true_fun and false_fun arguments", lambda: lax.cond(True, 1, 2)),
    (TypeError, "The input carry component c[1] has type float32[] but the corresponding output carry component has type bool[], so "
     "the dtypes do not match.", lambda: lax.while_loop(lambda c: True, lambda c: (c[0], c[0] > 0), (1., 2.))),
    (TypeError, "The input carry c is a tuple", lambda: lax.scan(lambda c, x: (c[0], x), (1., 2.), jnp.ones(3))),
    (TypeError, "got pytree PyTreeDef((*, *)).", lambda: lax.while_loop(lambda c: (c, c), lambda c: c, 1.)),
    (TypeError, "scan body output must be a pair", lambda: lax.scan(lambda c, x: c, 1., jnp.ones(3))),
    (ValueError, "`length` argument of 3 which disagrees with leading axis sizes [2].",
     lambda: lax.scan(lambda c, x: (c, x), 1., jnp.ones(2), length=3)),
    (ValueError, "different leading axis sizes: 2, 3.", lambda: lax.scan(lambda c, x: (c, x), 1., (jnp.ones(2), jnp.ones(3)))),
    (TypeError, "The `length` argument to".lower(), lambda: tj.jit(lambda n: lax.scan(lambda c, x: (c, x), 1., length=n))(3)),
    (TypeError, "The output of true_fun at path [1] has type int32[] but the corresponding output of false_fun has type float32[]",
     lambda: lax.cond(True, lambda: (1., 1), lambda: (1., 1.))),
    (TypeError, "true_fun output at path ['b'] is a tuple", lambda: lax.cond(True, lambda: {"b": (2,)}, lambda: {"b": 2})),
    (TypeError, "Pred type must be either boolean or number", lambda: lax.cond(1j, jnp.sin, jnp.cos, 1.)),
    (TypeError, "Pred must be a scalar", lambda: lax.cond((0.,), jnp.sin, jnp.cos, 1.)),
    (TypeError, "Branch index must be scalar", lambda: lax.switch(jnp.arange(2), [jnp.sin, jnp.cos], 1.)),
    (TypeError, "float0s do not support any operations", lambda: jnp.zeros(()) + no_tangent),
    (TypeError, "float0s do not support any operations", lambda: lax.add(no_tangent, jnp.zeros(()))),
    (TypeError, "Attempted boolean conversion of traced array with shape bool[].", lambda: tj.jit(lambda x: 1 if x > 0 else 0)(1)),
    (TypeError, "try using `x.astype(float)`", lambda: tj.jit(float)(1.)),
    (TypeError, "The __index__() method was called on traced array", lambda: tj.jit(hex)(1)),
    (TypeError, "Only scalar arrays can be converted to Python scalars", lambda: tj.jit(float)(jnp.ones(2))),
    (ValueError, "The truth value of an empty array is ambiguous", lambda: tj.jit(bool)(jnp.ones(0))),
    (TypeError, "The numpy.ndarray conversion", lambda: tj.grad(loss_by_numpy)(jnp.ones(3))),
    (TypeError, "The numpy.ndarray conversion", lambda: tj.grad(lambda x: tj.grad(lambda y: loss_by_numpy(x * y))(2.))(3.)),
    (TypeError, "The numpy.ndarray conversion", lambda: tj.jvp(np.sin, (jnp.ones(3),), (jnp.ones(3),))),
]


def product_of_two(x, y):
    return x * y


@pytest.mark.parametrize(("error", "words", "call"), REFUSED, ids=[words[:40] for _, words, _ in REFUSED])
def test_refused(error, words, call):
    with pytest.raises(error, match=re.escape(words)):
        call()


def test_numpy_reads_what_is_not_differentiated():
    table = jnp.arange(3.)

    def f(x):
        whole, fixed = np.asarray(x.astype(int)), np.asarray(lax.stop_gradient(x))
        return x * np.asarray(table).sum() + whole + fixed
    assert tj.grad(f)(2.) == 3


def test_arguments_by_name_are_donated():
    f = tj.jit(lambda a, b, c: (a + b, c * 2), static_argnums=0, donate_argnames=("b", "c"))
    for _ in range(3):
        b, c = jnp.ones(2), jnp.ones(3)
        f(1, b=b, c=c)
        assert b.is_deleted() and c.is_deleted()
    x = jnp.ones(2)
    tj.jit(lambda x: x + 1, donate_argnums=0)(x=x)
    assert x.is_deleted()
    (args, kwargs) = tj.jit(lambda b, c: c, donate_argnums=(0, 1)).lower(1., c={"k": 1.}).args_info
    assert args[0].donated and kwargs["c"]["k"].donated


def test_donated_memory_that_fits_no_result():
    with pytest.warns(UserWarning, match=re.escape("donated buffers were not usable: int32[2]")):
        tj.jit(lambda x, y: x + y.sum(), donate_argnums=(0, 1))(jnp.ones(2), jnp.arange(2))


def test_float0_is_an_argument_of_jit():
    f = tj.jit(lambda x, t: (x + t.shape[0], t))
    for n in (3, 3, 4):
        y, t = f(1., np.zeros(n, tj.float0))
        assert y == n + 1 and t.dtype == tj.float0 and t.shape == (n,)
    _, pull = tj.vjp(lambda x, y: x + y, 2, 1)
    assert [t.dtype for t in tj.jit(pull)(no_tangent)] == [tj.float0] * 2


def test_words_about_transformed_functions():
    def f(x):
        """Halves."""
        return x / 2
    assert tj.vmap(f).__doc__.startswith("Vectorized version of f") and tj.vmap(f).__doc__.endswith("\n\nHalves.")
    assert tj.grad(f, argnums=(0,)).__doc__.startswith("Gradient of f with respect to positional argument(s) (0,)")
    assert tj.vmap(partial(f)).__doc__ and tj.grad(lambda x: x).__doc__ is None

    class Silent:
        def __call__(self): ...
        def __repr__(self):
            raise ValueError
    assert repr(tj.jit(Silent())) == "<PjitFunction>"


def test_cache_size_counts_compiled_signatures():
    f = tj.jit(lambda x: x + 1)
    sizes = [f._cache_size()]
    for x in (jnp.ones(2), np.ones(2, F), jnp.ones(3), jnp.ones(2)):
        f(x)
        sizes.append(f._cache_size())
    f.clear_cache()
    assert sizes == [0, 1, 1, 2, 2] and f._cache_size() == 0


def test_stages_know_the_arguments_as_they_are_passed():
    lowered = tj.jit(lambda x, y: x).lower(1., y=2)
    assert lowered.in_tree == lowered.compile().in_tree == tj.tree.structure(((0,), {"y": 0}))


# --- values that escape ------------------------------------------------------------------------


def test_escaped_values_are_named_where_they_are_used():
    escaped = []
    tj.jit(lambda x: (escaped.append(x + 1), x)[1])(np.ones((4, 3), np.int32))
    words = r"Encountered an unexpected tracer: a traced value with type int32\[4,3\] .* created on line .*test_jax_meanings"
    for use in (lambda x: x + 1, jnp.sin, tj.jit(lambda x: x), lambda x: tj.jit(lambda y: y + x)(1)):
        with pytest.raises(tj.errors.UnexpectedTracerError, match=words):
            use(escaped[0])
    assert escaped[0].shape == (4, 3)


@pytest.mark.parametrize("transform", [tj.jit, tj.grad, tj.value_and_grad])
def test_traced_values_cannot_be_pickled(transform):
    with pytest.raises(tj.errors.ConcretizationTypeError, match=r"traced array with shape float32\[\] was pickled"):
        transform(lambda x: pickle.dumps(x))(1.)
    assert transform(lambda x: copy.deepcopy([x])[0])(1.) is not None


def test_unravelling_trees_of_one_form_is_one_static_argument():
    traced = []

    @partial(tj.jit, static_argnums=0)
    def total(unravel, flat):
        traced.append(1)
        return unravel(flat)["a"].sum()
    for n in (1., 2.):
        flat, unravel = ravel_pytree({"a": jnp.full(3, n)})
        assert total(unravel, flat) == 3 * n
    assert traced == [1]


@pytest.mark.parametrize("transform", [tj.jit, tj.vmap, lambda f: tj.jit(tj.vmap(f)), lambda f: tj.vmap(tj.grad(f))])
def test_failed_checks_of_compiled_code_are_value_errors(transform):
    def positive(x):
        checkify.check(jnp.all(x > 0), "must be positive: {}", x)
        return x * x
    with pytest.raises(ValueError, match=r"must be positive: -1.0 \(`check` failed\)") as raised:
        transform(positive)(np.float32([-1.]) if transform is not tj.jit else -1.)
    assert isinstance(raised.value, checkify.JaxRuntimeError) and isinstance(raised.value, tj.errors.JaxRuntimeError)


LANES = np.ones(3, F)
LANE = tj.ShapeDtypeStruct((), F)


@pytest.mark.parametrize("kind, words, call", [
    (ValueError, "Pure callbacks do not support JVP", lambda: tj.grad(lambda x: tj.pure_callback(np.sin, LANE, x))(1.)),
    (ValueError, "IO callbacks do not support JVP", lambda: tj.grad(lambda x: io_callback(np.sin, LANE, x))(1.)),
    (ValueError, "Cannot `vmap` ordered IO callback",
     lambda: tj.vmap(lambda x: io_callback(np.sin, LANE, x, ordered=True))(LANES)),
    (NotImplementedError, "vmap is only supported for the pure_callback primitive when vmap_method is one of 'sequential'",
     lambda: tj.vmap(lambda x: tj.pure_callback(np.sin, LANE, x))(LANES)),
    (TypeError, "must be callable, but got an object of type <class 'int'>", lambda: tj.debug.callback(1)),
    (ValueError, "Unused arguments to `debug.print`", lambda: tj.debug.print("{}", 1, x=2)),
])
def test_callbacks_that_are_refused(kind, words, call):
    with pytest.raises(kind, match=words):
        call()


def test_wide_arrays_meet_narrow_ones_when_x64_is_off():
    with tj.enable_x64(True):
        x = jnp.arange(3., dtype=float)
    with tj.enable_x64(False):
        assert x.dtype == np.float64 and (x + x).dtype == jnp.sin(x).dtype == np.float64
        for f in (lambda x: x + 1, lambda x: x * np.float64(2), lambda x: x + jnp.ones(3), lambda x: jnp.where(x > 1, x, 0)):
            for found in (f(x), tj.jit(f)(x), tj.vmap(f)(x[None])[0]):
                assert found.dtype == np.float32 and (found == f(np.arange(3.))).all()
