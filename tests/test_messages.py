"""Each common mistake raises its own class, which names what is wrong, the user's line, and what to write instead."""
from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Hashable

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import errors, lax


def traced_after_the_end():
    kept = []
    tj.jit(lambda x: kept.append(x) or x)(1.)
    return kept[0]


def donated():
    x = jnp.ones(3)
    tj.jit(lambda x: x + 1, donate_argnums=0)(x)
    return x


def assign(x):
    x[0] = 1.
    return x


# error, what the message says, what it says to write, the mistake
MISTAKES = [
    # a traced value used as a Python value
    (errors.TracerBoolConversionError, "truth value", "lax.cond", lambda: tj.jit(lambda x: 1 if x > 0 else 2)(1.)),
    (errors.TracerBoolConversionError, "truth value", "jnp.where", lambda: tj.vmap(lambda x: x and x)(jnp.ones(2))),
    (errors.TracerBoolConversionError, "bool[]", "lax.while_loop",
     lambda: lax.fori_loop(0, 3, lambda i, c: c if c > 0 else -c, 1.)),
    (errors.TracerArrayConversionError, "NumPy array", "tracejit.numpy", lambda: tj.jit(lambda x: np.sin(x))(1.)),
    (errors.TracerHashError, "unhashable type: 'Tracer'", "x.shape", lambda: tj.jit(lambda x: {x: 1})(3)),
    (errors.TracerHashError, "cached function", "id(x)", lambda: tj.grad(lambda x: functools.cache(jnp.sum)(x))(jnp.ones(3))),
    (errors.TracerIntegerConversionError, "integer", "lax.fori_loop", lambda: tj.jit(lambda n: list(range(n)))(3)),
    (errors.TracerIntegerConversionError, "integer", "static_argnums", lambda: tj.jit(lambda n: jnp.zeros(n))(3)),
    (errors.TracerIntegerConversionError, "integer", "jnp.asarray", lambda: tj.jit(lambda n: [1, 2, 3][n])(1)),
    (errors.ConcretizationTypeError, "float()", "static", lambda: tj.jit(lambda x: float(x))(1.)),
    (errors.ConcretizationTypeError, "item()", "static", lambda: tj.jit(lambda x: x.item())(1.)),
    (errors.NonConcreteBooleanIndexError, "bool[3]", "jnp.where", lambda: tj.jit(lambda x: x[x > 0])(jnp.ones(3))),
    (errors.UnexpectedTracerError, "had returned", "return the value", lambda: traced_after_the_end() + 1),
    (errors.UnexpectedTracerError, "f32[]", "return the value", lambda: jnp.sin(traced_after_the_end())),
    # shapes and dtypes
    (errors.ShapeError, "4 columns, the second 5 rows", "x @ y.T", lambda: jnp.ones((3, 4)) @ jnp.ones((5, 4))),
    (errors.ShapeError, "(3, 4), (5,)", "[:, None]", lambda: jnp.ones((3, 4)) + jnp.ones(5)),
    (errors.ShapeError, "different shapes", "broadcast", lambda: lax.add(jnp.ones(3), jnp.ones(4))),
    (errors.DtypeError, "float32", "convert", lambda: lax.add(jnp.ones(3), jnp.ones(3, jnp.int32))),
    (errors.DtypeError, "'a'", "return", lambda: tj.jit(lambda x: "a")(1.)),
    (errors.DtypeError, "<class 'list'>", "jnp.sum(jnp.asarray(x))", lambda: jnp.sum([1., 2.])),
    (errors.DtypeError, "<class 'str'>", "an array", lambda: jnp.sin("a")),
    (errors.DtypeError, "'s' of type str", "static_argnums", lambda: tj.jit(lambda x: x)("s")),
    (errors.DtypeError, "float32[3]", "random.key(seed)", lambda: tj.random.normal(jnp.ones(3), (2,))),
    (errors.DtypeError, "got int", "random.key(seed)", lambda: tj.random.normal(0, (2,))),
    (errors.DtypeError, "indexer with type float64", "astype(int)", lambda: jnp.ones(3)[1.]),
    (errors.DtypeError, "indexer with type float32", "astype(int)", lambda: jnp.ones(3)[jnp.ones(2)]),
    (errors.DtypeError, "non-tuple sequence", "jnp.array(list)", lambda: jnp.ones(3)[[0, 1]]),
    (errors.AxisError, "1-dimensional, but 2", "None", lambda: jnp.ones(3)[0, 0]),
    (errors.AxisError, "1-dimensional, but 2", "None", lambda: jnp.ones(3).at[0, 0].set(1)),
    (errors.ShapeError, "(size 3) into shape (2, 2)", "-1", lambda: jnp.ones(3).reshape(2, 2)),
    (errors.ShapeError, "(3, 4), (5,)", "jnp.stack", lambda: jnp.concatenate([jnp.ones((3, 4)), jnp.ones(5)])),
    (errors.ShapeError, "rest is 1", "array_split", lambda: jnp.split(jnp.ones(4), 3)),
    (errors.ShapeError, "dimensions=(0,)", "x[0]", lambda: jnp.squeeze(jnp.ones(4), 0)),
    (errors.ShapeError, "permutation (0, 0)", "", lambda: jnp.transpose(jnp.ones((3, 4)), (0, 0))),
    (errors.ShapeError, "[..., n, n], got (3, 4)", "", lambda: jnp.linalg.cholesky(jnp.ones((3, 4)))),
    (errors.ShapeError, "a=(3, 3), b=(4, 1)", "", lambda: jnp.linalg.solve(jnp.eye(3), jnp.ones(4))),
    (errors.ConcretizationTypeError, "nonzero", "size=n", lambda: tj.jit(lambda x: jnp.where(x > 0))(jnp.ones(3))),
    (errors.AxisError, "axis 2", "-1 to 0", lambda: jnp.sum(jnp.ones(3), axis=2)),
    # derivatives
    (errors.LossError, "one scalar, got f32[3]", "jnp.sum", lambda: tj.grad(lambda x: x * 2)(jnp.ones(3))),
    (errors.LossError, "2 values", "jnp.mean", lambda: tj.grad(lambda x: (x, x))(1.)),
    (errors.DtypeError, "argument 0 is int32", "astype", lambda: tj.grad(lambda x: x * 2.)(1)),
    (errors.DtypeError, "at ['w']", "astype", lambda: tj.grad(lambda p: p["w"] * 2.)({"w": 1})),
    (errors.ShapeError, "got float32[3], but expected float32[]", "", lambda: tj.vjp(jnp.sin, 1.)[1](jnp.ones(3))),
    (errors.DtypeError, "got float64[1], but expected float32[1]", "astype",
     lambda: tj.vjp(jnp.sin, jnp.ones(1))[1](jnp.ones(1, jnp.float64))),
    (errors.TreeError, "structure", "", lambda: tj.vjp(jnp.sin, 1.)[1]((1., 2.))),
    (errors.ShapeError, "tangent", "", lambda: tj.jvp(jnp.sin, (1.,), (jnp.ones(2),))),
    # loops and branches
    (errors.CarryTypeError, "['a'] has type float32[3] but the corresponding output carry component has type int32[3]", "astype('float32')",
     lambda: lax.scan(lambda c, x: ({"a": c["a"].astype(jnp.int32)}, None), {"a": jnp.ones(3)}, jnp.arange(3))),
    (errors.CarryTypeError, "[1] has type float32[2] but the corresponding output carry component has type float32[1,2]", "shape",
     lambda: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1][None]), (0, jnp.ones(2)))),
    (errors.TreeError, "pair (carry, y)", "return carry, y", lambda: lax.scan(lambda c, x: c, 1., jnp.arange(3))),
    (errors.DtypeError, "boolean scalar", "", lambda: lax.while_loop(lambda c: c, lambda c: c + 1, 1.)),
    (errors.DtypeError, "true_fun has type float32[] but the corresponding output of false_fun has type float32[3]", "equal shapes",
     lambda: lax.cond(True, lambda: 1., lambda: jnp.ones(3))),
    (errors.TreeError, "different structures", "same pytree", lambda: lax.cond(True, lambda: 1., lambda: (1., 2))),
    (errors.ShapeError, "differ: 3, 4", "", lambda: lax.scan(lambda c, x: (c, x), 0., (jnp.ones(3), jnp.ones(4)))),
    (errors.ShapeError, "and the length differ: 3, 5", "", lambda: lax.scan(lambda c, x: (c, x), 0., jnp.ones(3), length=5)),
    # arguments
    (errors.StaticArgumentError, "not hashable: list", "tuple", lambda: tj.jit(lambda x, n: x, static_argnums=1)(1., [2])),
    (errors.StaticArgumentError, "'m'", "x, n", lambda: tj.jit(lambda x, n: x, static_argnames="m")),
    (errors.StaticArgumentError, "argument 5", "0 to 1", lambda: tj.jit(lambda x, n: x, static_argnums=5)),
    (errors.StaticArgumentError, "traced value", "static",
     lambda: tj.jit(lambda y: tj.jit(lambda x: x, static_argnums=0)(y))(1.)),
    (errors.DonatedArrayError, "deleted or donated", "do not donate", lambda: donated() + 1),
    (errors.DonatedArrayError, "deleted", "do not donate", lambda: np.asarray(donated())),
    (errors.ImmutableArrayError, "in-place", "x.at[0].set(value)", lambda: assign(jnp.ones(3))),
    (errors.ImmutableArrayError, "in-place", "x.at[0].set(value)", lambda: tj.jit(assign)(jnp.ones(3))),
    # vmap
    (errors.AxisError, "axis 3", "in_axes=None", lambda: tj.vmap(lambda x: x, in_axes=3)(jnp.ones(3))),
    (errors.ShapeError, "one axis had size 4: axis 0 of argument y of type float32[4]", "",
     lambda: tj.vmap(lambda x, y: x)(jnp.ones(3), jnp.ones(4))),
    (errors.AxisError, "differs from lane to lane", "out_axes", lambda: tj.vmap(lambda x: x, out_axes=None)(jnp.ones(3))),
    (errors.TreeError, "len(in_axes)=3, len(args)=1", "", lambda: tj.vmap(lambda x: x, in_axes=(0, 0, 0))(jnp.ones(3))),
    (errors.AxisNameError, "unbound axis name: 'i'", "axis_name", lambda: lax.psum(jnp.ones(3), "i")),
]


@pytest.mark.parametrize("error, what, fix, mistake", MISTAKES,
                         ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(MISTAKES)])
def test_mistake(error, what, fix, mistake):
    with pytest.raises(error) as caught:
        mistake()
    message = str(caught.value)
    assert type(caught.value) is error and what in message
    assert re.search(r"\n  at .*test_messages\.py:\d+", message), "the user's line"
    if fix:
        assert fix in message[message.index("fix:"):]


def test_tracebacks_show_only_the_users_frames():
    try:
        tj.jit(lambda x: lax.scan(lambda c, _: (c if c > 0 else c, None), x, None, length=2))(1.)
    except errors.TracerBoolConversionError as error:
        files = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    assert files == {__file__}


def test_traced_values_are_not_hashable() -> None:
    """Libraries ask before they make a value a key: numpyro's enumeration of discrete variables does."""
    seen = []
    tj.jit(lambda x: seen.append(isinstance(x, Hashable)) or x)(1.0)
    tj.vmap(lambda x: seen.append(isinstance(x, Hashable)) or x)(jnp.ones(2))
    assert seen == [False, False] and not isinstance(jnp.ones(2), Hashable)


def test_traced_values_print_their_type():
    seen = []
    tj.jit(lambda x: seen.append(f"{x} {x!r}") or x)(jnp.ones((2, 3)))
    assert seen == ["Traced<f32[2,3]> Traced<f32[2,3]>"]
    with pytest.raises(AttributeError, match="'Tracer' object has no attribute 'foo'"):
        tj.jit(lambda x: x.foo)(1.)


def test_mistakes_outside_of_traces():
    with pytest.raises(TypeError, match="unhashable"):
        hash(jnp.ones(3))
    with pytest.raises(ValueError, match="truth value of an array with more than one element"):
        bool(jnp.ones(3))
    with pytest.raises(TypeError, match="0-d"):
        iter(jnp.ones(()))
    with pytest.raises(TypeError, match="str"):
        tj.jit(lambda x: x)("abc")
