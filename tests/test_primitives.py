"""Primitives that a program defines, functions that transformations are stacked on, and what libraries read of traces."""
from __future__ import annotations

import sys

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.api_util import flatten_fun, flatten_fun_nokwargs
from tracejit.core import ShapedArray
from tracejit.experimental import hijax, layout
from tracejit.extend import linear_util
from tracejit.extend.core import (Primitive, find_top_trace, get_opaque_trace_state, jaxpr_as_fun, mapped_aval,
                                  set_current_trace, subjaxprs, take_current_trace, unmapped_aval)
from tracejit.interpreters import ad, batching, mlir, partial_eval
from tracejit.test_util import check_grads


def elementwise(name: str, f) -> Primitive:
    """A primitive of one result that is compiled to f."""
    p = Primitive(name)
    p.def_impl(f)
    p.def_abstract_eval(lambda *types: ShapedArray(np.broadcast_shapes(*[t.shape for t in types]), types[0].dtype))
    mlir.register_lowering(p, mlir.lower_fun(f, multiple_results=False))
    return p


@pytest.fixture
def scaled() -> Primitive:
    """x -> 3 x, linear."""
    p = elementwise("scaled", lambda x: x * 3)
    ad.deflinear(p, lambda ct: [p.bind(ct)])
    batching.defvectorized(p)
    return p


@pytest.fixture
def product() -> Primitive:
    """x, y -> x y, linear in each."""
    p = elementwise("product", lambda x, y: x * y)
    ad.defbilinear(p, lambda ct, x, y: p.bind(ct, y), lambda ct, x, y: p.bind(x, ct))
    batching.defbroadcasting(p)
    return p


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "complex64"])
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 3)])
def test_a_primitive_runs_jits_and_vmaps(scaled: Primitive, shape: tuple, dtype: str) -> None:
    x = jnp.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)
    for out in (scaled.bind(x), tj.jit(scaled.bind)(x), tj.vmap(scaled.bind)(x) if shape else scaled.bind(x)):
        assert out.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(out), np.asarray(x) * np.asarray(3, out.dtype))


def test_rules_give_derivatives_of_every_order(scaled: Primitive, product: Primitive) -> None:
    f = lambda x, y: jnp.sin(scaled.bind(x)) * product.bind(x, y)
    x, y = jnp.asarray([0.3, -1.2]), jnp.asarray([0.7, 2.0])
    check_grads(f, (x, y), order=2)
    check_grads(tj.jit(f), (x, y), order=2)
    want = tj.grad(lambda x, y: jnp.sum(jnp.sin(3 * x) * x * y), (0, 1))(x, y)
    for got in (tj.grad(lambda x, y: jnp.sum(f(x, y)), (0, 1))(x, y), tj.vmap(tj.grad(f, (0, 1)))(x, y)):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_defjvp_skips_operands_without_tangents() -> None:
    p = elementwise("power", lambda x, y: x ** y)
    ad.defjvp(p, lambda t, x, y: t * y * x ** (y - 1), None)
    np.testing.assert_allclose(tj.grad(p.bind)(2.0, 3.0), 12.0)
    assert tj.grad(p.bind, 1)(2.0, 3.0) == 0


def test_several_results_and_static_parameters() -> None:
    p = Primitive("powers")
    p.multiple_results = True
    p.def_impl(lambda x, exponents: [x ** n for n in exponents])
    p.def_abstract_eval(lambda x, exponents: [ShapedArray(x.shape, x.dtype) for _ in exponents])
    ad.primitive_jvps[p] = lambda primals, tangents, exponents: (
        p.bind(*primals, exponents=exponents), [n * primals[0] ** (n - 1) * tangents[0] for n in exponents])
    batching.primitive_batchers[p] = lambda args, axes, exponents: (p.bind(*args, exponents=exponents), [axes[0]] * len(exponents))
    f = lambda x: sum(p.bind(x, exponents=(1, 3)))
    np.testing.assert_allclose(tj.jit(tj.vmap(tj.value_and_grad(f)))(jnp.asarray([2.0, 3.0])), [[10, 30], [13, 28]])
    assert tj.make_jaxpr(f)(1.0).eqns[0].params == {"exponents": (1, 3)}
    assert tj.make_jaxpr(f)(1.0).eqns[0].primitive is p


@pytest.mark.parametrize("table", [batching.axis_primitive_batchers, batching.fancy_primitive_batchers])
def test_batching_rules_that_ask_for_the_axis(table: dict) -> None:
    p = elementwise("mean_of_lanes", lambda x: x)

    def rule(*args):
        size, name = (args[0].size, args[0].name) if table is batching.fancy_primitive_batchers else args[:2]
        (x,), (axis,) = args[-2:]
        assert (size, name) == (4, "lanes")
        return jnp.sum(x, axis) / size, None
    table[p] = rule
    out = tj.vmap(p.bind, in_axes=1, out_axes=None, axis_name="lanes")(jnp.arange(8.0).reshape(2, 4))
    np.testing.assert_allclose(out, [1.5, 5.5])


def test_arrays_that_a_function_makes_are_its_own() -> None:
    """A program that asks which array it holds finds one for each call, and closures over them have one constant for each."""
    def f(x):
        a, b = jnp.zeros(3), jnp.zeros(3)
        assert a is not b
        made = tj.make_jaxpr(lambda y: y + a * b)(x)
        assert len(made.consts) == 2
        return jnp.sum(x + a + b)
    assert tj.jit(f)(2.0) == 6.0
    assert str(tj.jit(f).lower(2.0).as_text()).count("full") <= 1


def test_a_jvp_tracer_depends_on_the_direction() -> None:
    """What is constant in the differentiated function has no tangent, also under jit: libraries give it back as None."""
    found = []

    def f(x, y):
        k = jnp.ones(2) * 2
        values = (x, y, x + 1, k, x > 0, tj.lax.stop_gradient(x), x.astype(int), x * 0, jnp.where(x > 0, k, 0.0), y * k + jnp.sin(x))
        found.append([isinstance(v, ad.JVPTracer) for v in values])
        tj.jvp(lambda z: found.append([isinstance(v, ad.JVPTracer) for v in (z, z * x, x.at[0].set(z[0]), k)]) or z, (k,), (k,))
        return x
    x = jnp.ones(2)
    tj.jit(lambda y: tj.jvp(lambda x: f(x, y), (x,), (x,)))(x)
    assert found == [[True, True, True, False], [True, False, True, False, False, False, False, True, False, True]][::-1]


def test_missing_rules_are_named() -> None:
    p = Primitive("bare")
    with pytest.raises(NotImplementedError, match="Evaluation rule for 'bare'"):
        p.bind(1.0)
    with pytest.raises(NotImplementedError, match="'bare' cannot be compiled"):
        tj.jit(p.bind)(1.0)
    p.def_impl(lambda x: x + 1)
    with pytest.raises(NotImplementedError, match="Differentiation rule for 'bare'"):
        tj.grad(p.bind)(1.0)
    with pytest.raises(NotImplementedError, match="Batching rule for 'bare'"):
        tj.vmap(p.bind)(jnp.ones(2))
    ad.primitive_jvps[p] = lambda primals, tangents: (p.bind(*primals), p.bind(*tangents))
    with pytest.raises(NotImplementedError, match=r"Transpose rule .* for 'bare'"):
        tj.grad(p.bind)(1.0)
    mlir.register_lowering(p, lambda ctx, x: mlir.ir_constant(x))
    with pytest.raises(NotImplementedError, match="MLIR"):
        tj.jit(p.bind)(2.0)
    p.def_abstract_eval(lambda x: ShapedArray((7,), x.dtype))
    mlir.register_lowering(p, mlir.lower_fun(lambda x: x, multiple_results=False))
    with pytest.raises(tj.errors.ShapeError, match=r"f32\[7\]"):
        tj.jit(p.bind)(2.0)


def test_lowering_rules_hand_their_operands_on() -> None:
    """Rules that call lower_fun or emit_python_callback, or return operands, need no MLIR."""
    p, seen = elementwise("ruled", lambda x: x + 1), []
    mlir.register_lowering(p, lambda ctx, x: mlir.lower_fun(lambda x: x * 2, multiple_results=False)(ctx, x))
    assert tj.jit(p.bind)(3.0) == 6.0
    mlir.register_lowering(p, lambda ctx, x: (x,))
    assert tj.jit(p.bind)(3.0) == 3.0

    def by_callback(ctx, x):
        assert [t.shape for t in (*ctx.avals_in, *ctx.avals_out)] == [(3,), (3,)]
        outs, _, kept = mlir.emit_python_callback(ctx, lambda x: (seen.append(len(x)) or np.sin(x),), None, [x], ctx.avals_in,
                                                  ctx.avals_out, has_side_effect=False)
        ctx.module_context.add_keepalive(kept)
        return outs
    mlir.register_lowering(p, by_callback)
    x = np.float32([0.1, 2.0, -3.0])
    np.testing.assert_allclose(tj.jit(p.bind)(x), np.sin(x), rtol=1e-6)
    assert seen == [3]


def test_programs_are_walked_over() -> None:
    """An interpreter of programs, as libraries write them."""
    made = tj.make_jaxpr(lambda x, y: jnp.sin(x) * y + np.float32(2))(1.0, jnp.ones(2))

    def run(jaxpr, consts, *args):
        env = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, args))
        read = lambda v: v.val if isinstance(v, tj.core.Literal) else env[v]
        for eqn in jaxpr.eqns:
            outs = eqn.primitive.bind(*map(read, eqn.invars), **eqn.params)
            env.update(zip(eqn.outvars, outs if eqn.primitive.multiple_results else [outs]))
        return [read(v) for v in jaxpr.outvars]
    args = jnp.asarray(0.5), jnp.asarray([1.0, 2.0])
    want = [np.sin(0.5) * np.asarray([1.0, 2.0]) + 2]
    np.testing.assert_allclose(run(made.jaxpr, made.consts, *args), want, rtol=1e-6)
    np.testing.assert_allclose(jaxpr_as_fun(made)(*args), want, rtol=1e-6)
    assert [str(e.primitive) for e in made.eqns][0] == "sin"


def test_captured_values_are_constvars() -> None:
    table = jnp.arange(3.0)
    made = tj.make_jaxpr(lambda x: x + table)(jnp.zeros(3))
    assert (len(made.jaxpr.constvars), len(made.jaxpr.invars)) == (1, 1)
    loop = tj.make_jaxpr(lambda x: tj.lax.scan(lambda c, y: (c + y, c), 0.0, x))(jnp.zeros(3))
    assert len(subjaxprs(loop.jaxpr)) == 1


def test_partial_eval_computes_what_is_known() -> None:
    shape = ShapedArray((2,), np.dtype("float32"))
    fun = linear_util.wrap_init(lambda a, x: [a + 1, a * x, 5.0])
    pvals = [partial_eval.PartialVal.known(jnp.asarray(2.0)), partial_eval.PartialVal.unknown(shape)]
    program, outs, consts = partial_eval.trace_to_jaxpr_nounits(fun, pvals)
    assert [o.is_known() for o in outs] == [True, False, True]
    assert (outs[0].get_known(), outs[1].get_aval().shape, outs[2].get_known()) == (3.0, (2,), 5.0)
    np.testing.assert_allclose(tj.core.eval_jaxpr(program, consts, jnp.ones(2))[0], [2, 2])
    _, outs, _ = partial_eval.trace_to_jaxpr_nounits(fun, pvals, instantiate=True)
    assert not any(o.is_known() for o in outs)


def test_functions_of_trees_as_functions_of_leaves() -> None:
    leaves, tree = tj.tree.flatten(((1, {"b": 2}), {"c": 3}))
    flat, out_tree = flatten_fun(linear_util.wrap_init(lambda a, b, c: (a, [b["b"] + c])), tree)
    with pytest.raises(linear_util.StoreException):
        out_tree()
    assert flat.call_wrapped(*leaves) == [1, 5]
    assert out_tree() == tj.tree.structure((0, [0]))
    leaves, tree = tj.tree.flatten((1, (2, 3)))
    flat, out_tree = flatten_fun_nokwargs(linear_util.wrap_init(lambda a, b: {"x": a - b[1]}), tree)
    assert flat.call_wrapped(*leaves) == [-2]


def test_transformations_stack() -> None:
    @linear_util.transformation
    def doubled(x):
        out = yield (2 * x,), {}
        yield out + 1

    @linear_util.transformation_with_aux
    def counted(scale, x):
        out = yield (scale * x,), {}
        yield out, ("ran", x)
    fun, aux = counted(doubled(linear_util.wrap_init(lambda x, y: x + y, {"y": 5})), 10)
    assert fun.call_wrapped(1) == 26
    assert aux() == ("ran", 1)
    assert "lambda" in repr(fun)


def test_traces_are_told_apart() -> None:
    seen = []
    tj.jit(lambda x: seen.append(get_opaque_trace_state()) or tj.grad(lambda y: seen.append(get_opaque_trace_state()) or y)(x))(1.0)
    assert len({*seen, get_opaque_trace_state()}) == 3
    assert find_top_trace([]) is None
    assert tj.jit(lambda x: x * (find_top_trace([x]) is x._trace.main))(1.0) == 1
    assert tj.core.trace_state_clean()

    def inside(x):
        assert not tj.core.trace_state_clean()
        with take_current_trace() as trace:
            known = jnp.sum(jnp.ones(3))
            with set_current_trace(trace):
                return x * float(known)
    assert tj.jit(inside)(2.0) == 6


def test_types_of_lanes() -> None:
    t = ShapedArray((2, 3), np.dtype("float32"), sharding=None)
    assert mapped_aval(3, 1, t).shape == (2,)
    assert unmapped_aval(5, -1, t).shape == (2, 3, 5)
    assert unmapped_aval(5, None, t) is mapped_aval(5, None, t) is t


def test_high_level_types_are_refused_when_used() -> None:
    class Boxed(hijax.MutableHiType):
        pass

    class Unbox(hijax.HiPrimitive):
        pass
    with pytest.raises(NotImplementedError, match="Boxed"):
        Boxed()
    with pytest.raises(NotImplementedError, match="unbox"):
        Unbox("unbox").bind(1.0)
    assert not isinstance(jnp.ones(2), tj.Ref)
    layout.Layout((0, 1))
    with pytest.raises(NotImplementedError, match="row-major"):
        layout.Layout((1, 0))


def test_excluded_files_are_not_the_users() -> None:
    tj.traceback_util.register_exclusion(__file__)
    try:
        assert tj.errors.user_source().file != __file__
        assert not tj.traceback_util.include_frame(sys._getframe())
    finally:
        tj.traceback_util._exclude_paths.remove(__file__)
    assert tj.errors.user_source().file == __file__
    assert tj.traceback_util.include_frame(sys._getframe())


def test_keys_are_arrays_with_a_type() -> None:
    keys = tj.random.split(tj.random.key(0), 3)
    assert isinstance(keys, tj.Array) and isinstance(keys, jnp.ndarray)
    assert repr(tj.typeof(keys)) == "key<fry>[3]"
    assert tj.jit(lambda k: jnp.zeros(()) + isinstance(k, tj.Array))(keys) == 1
    assert tj.tree.map(jnp.shape, keys) == (3,)


def test_numbers_among_residuals_stay_pythons() -> None:
    @tj.custom_vjp
    def scaled(x):
        return x * 3

    def bwd(residuals, ct):
        x, whole, times, by = residuals
        assert whole is True and type(times) is int and type(by) is float
        return (ct * times * by + 0 * x,)
    scaled.defvjp(lambda x: (scaled(x), (x, True, 2, 1.5)), bwd)
    assert tj.grad(scaled)(1.0) == tj.jit(tj.grad(scaled))(1.0) == 3
    np.testing.assert_array_equal(tj.vmap(tj.grad(scaled))(jnp.ones(2)), [3, 3])


def test_truncated_numpy_scalars_are_strong() -> None:
    with tj.enable_x64(False):
        assert (np.int64(2) * jnp.int8(3)).dtype == "int32"
        assert tj.jit(lambda x: np.float64(2) * x)(jnp.bfloat16(3)).dtype == "float32"
    assert (np.int64(2) * jnp.int8(3)).dtype == "int8"


def test_compile_time_evaluation_leaves_traced_values_alone() -> None:
    @tj.jit
    def f(x):
        with tj.ensure_compile_time_eval():
            n = int(jnp.sum(jnp.arange(4)))
            m = float(tj.jit(lambda y: jnp.max(y) * 2)(jnp.arange(3.0)))
            return jnp.sin(x) * n + m
    np.testing.assert_allclose(f(0.5), np.sin(0.5) * 6 + 4, rtol=1e-6)
    np.testing.assert_allclose(tj.grad(f)(0.5), np.cos(0.5) * 6, rtol=1e-6)
    np.testing.assert_allclose(tj.vmap(f)(jnp.ones(2)), np.sin([1, 1]) * 6 + 4, rtol=1e-6)


def test_a_custom_jvp_function_is_transposed() -> None:
    @tj.custom_jvp
    def product(x, y):
        return 3 * x * y

    @product.defjvp
    def rule(primals, tangents):
        return product(*primals), 3 * (tangents[0] * primals[1] + primals[0] * tangents[1])
    transposed = lambda ct: tj.linear_transpose(lambda x: product(x, jnp.arange(3.0)) + x, jnp.ones(3))(ct)[0]
    for f in (transposed, tj.jit(transposed)):
        np.testing.assert_allclose(f(jnp.ones(3)), [1, 4, 7])


def test_eval_shape_passes_structs_on() -> None:
    struct = tj.ShapeDtypeStruct((2,), "float32")
    assert tj.eval_shape(lambda x: (struct, x), 1) == (struct, tj.ShapeDtypeStruct((), "int32", weak_type=True))


def test_trees_with_unhashable_parts_are_hashable() -> None:
    class Tagged:
        def __init__(self, x, tags):
            self.x, self.tags = x, tags
    tj.tree_util.register_pytree_node(Tagged, lambda t: ((t.x,), t.tags), lambda tags, xs: Tagged(*xs, tags))
    one, same, other = (tj.tree.structure(Tagged(0, tags)) for tags in (["a"], ["a"], ["b"]))
    assert one == same != other and hash(one) == hash(same)
    f = tj.jit(lambda t: Tagged(t.x + len(t.tags), t.tags))
    assert [f(Tagged(1, tags)).x for tags in (["a"], ["a", "b"], ["a"])] == [2, 3, 2]


def test_modules_of_extend_come_with_it() -> None:
    assert tj.extend.core.valid_jaxtype(np.ones(2)) and not tj.extend.core.valid_jaxtype("a")
    assert tj.extend.linear_util.wrap_init(abs).call_wrapped(-1) == 1


def test_dtypes_and_values_have_a_dtype() -> None:
    for x in (np.dtype("int32"), "int32", np.int32, jnp.int32, np.int32(1), np.zeros(2, "int32"), 3, jnp.asarray(3), int):
        assert tj.lax.dtype(x) == np.dtype("int32"), x
    assert tj.lax.dtype(tj.random.key(0)) == tj.lax.dtype(tj.random.key(0).dtype)
    with pytest.raises(TypeError):
        tj.lax.dtype([1])
