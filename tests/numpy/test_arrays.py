"""Operators and methods of arrays and traced values, ufunc objects, vectorize, the array API, jit and derivatives."""
import operator

import numpy as np
import pytest
from oracle import assert_same, floats, ints, jax_numpy, narrow

import tracejit as tj
import tracejit.numpy as jnp

X, Y = floats(3, 4, low=0.5), floats(3, 4, low=0.5)
OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("other", [2, 2.5, Y, np.float32(3), ints(3, 4, low=1)], ids=["int", "float", "array", "scalar", "ints"])
def test_operators(name, other):
    f = getattr(operator, name)
    x = jnp.asarray(X)
    device_other = jnp.asarray(other) if isinstance(other, np.ndarray) else other
    expected = f(X, other)
    assert_same(f(x, device_other), expected, rtol=1e-4)
    assert_same(tj.jit(f)(x, device_other), expected, rtol=1e-4)
    if not isinstance(other, np.ndarray):
        assert_same(tj.jit(lambda v: f(v, other))(x), expected, rtol=1e-4)
        assert_same(f(other, x), f(other, X), rtol=1e-4)
        assert_same(tj.jit(lambda v: f(other, v))(x), f(other, X), rtol=1e-4)
    if jax_numpy is not None:
        theirs = f(jax_numpy.asarray(X), jax_numpy.asarray(other) if isinstance(other, np.ndarray) else other)
        assert f(x, device_other).dtype == theirs.dtype


@pytest.mark.parametrize("name", ["and_", "or_", "xor", "lshift", "rshift", "mod", "floordiv", "pow"])
def test_integer_operators(name):
    a, b = ints(5, low=0), ints(5, low=1, high=5)
    f = getattr(operator, name)
    assert_same(f(jnp.asarray(a), jnp.asarray(b)), f(a, b))
    assert_same(f(jnp.asarray(a), 3), f(a, 3))
    assert_same(f(3, jnp.asarray(b)), f(3, b))
    assert (f(jnp.asarray(a), 3)).dtype == np.int32


def test_unary_operators_and_matmul():
    x = jnp.asarray(X)
    assert_same([-x, +x, abs(-x), divmod(x, 2), round(x, 1)], [-X, X, X, divmod(X, 2), np.round(X, 1)])
    a = ints(3)
    assert_same(~jnp.asarray(a), ~a)
    assert_same(x @ x.T, X @ X.T, rtol=1e-4)
    assert_same(X @ x.T, X @ X.T, rtol=1e-4)
    assert_same(Y + x, Y + X)
    assert type(Y + x) is type(x)


def test_lists_are_refused():
    with pytest.raises(TypeError):
        jnp.ones(2) + [1, 2]
    with pytest.raises(TypeError):
        [1, 2] * jnp.ones(2)


def test_numbers_are_not_baked_into_compiled_operators():
    x = jnp.asarray(X)
    for n in (2, 3, 0, 1, 5):
        assert_same([x ** n, x + n, x * n], [X ** n, X + n, X * n], rtol=1e-4)
    assert_same([jnp.arange(4) ** n for n in (2, 3)], [np.arange(4) ** n for n in (2, 3)])
    with pytest.raises(TypeError):
        jnp.arange(3) ** -1


METHODS = [("sum", ()), ("sum", (0,)), ("mean", (1,)), ("max", ()), ("min", (0,)), ("prod", ()), ("std", ()), ("var", (0,)), ("all", ()), ("any", (0,)),
           ("argmax", (1,)), ("argmin", ()), ("cumsum", (0,)), ("cumprod", (1,)), ("argsort", (0,)), ("reshape", (4, 3)), ("reshape", ((2, 6),)),
           ("ravel", ()), ("flatten", ()), ("transpose", ()), ("transpose", (1, 0)), ("transpose", ((1, 0),)), ("swapaxes", (0, 1)), ("squeeze", ()),
           ("clip", (1, 2)), ("round", (1,)), ("dot", (Y.T,)), ("repeat", (2,)), ("take", (np.array([0, 5]),)), ("diagonal", ()), ("trace", ()), ("ptp", ()),
           ("astype", ("int32",)), ("conj", ()), ("copy", ()), ("nonzero", ()), ("compress", (np.array([True, False, True]), 0)), ("item", (2,)), ("tolist", ())]


@pytest.mark.parametrize("name,args", METHODS, ids=str)
def test_methods(name, args):
    expected = getattr(X, name)(*args) if name != "ptp" else np.ptp(X)
    device_args = [jnp.asarray(narrow(a)) if isinstance(a, np.ndarray) else a for a in args]
    actual = getattr(jnp.asarray(X), name)(*device_args)
    if name == "tolist":
        assert actual == expected
        return
    assert_same(actual, expected, rtol=1e-4)
    if name not in ("nonzero", "compress", "item"):
        assert_same(tj.jit(lambda v: getattr(v, name)(*args if name != "take" else device_args))(jnp.asarray(X)), expected, rtol=1e-4)


def test_properties():
    x = jnp.asarray(X)
    assert_same([x.T, x.mT, x.real, x.imag], [X.T, X.T, X, X * 0])
    assert (x.shape, x.ndim, x.size, x.dtype, x.itemsize, x.nbytes, len(x)) == ((3, 4), 2, 12, np.float32, 4, 48, 3)
    assert_same(list(x), list(X))
    assert_same(tj.jit(lambda v: list(v))(x), list(X))
    assert 5 in jnp.array([1, 5]) and 7 not in jnp.array([1, 5])
    assert x.at[0].set(1).shape == (3, 4)
    assert float(x[0, 0]) == X[0, 0] and int(jnp.array(3)) == 3 and bool(jnp.array(True)) and list(range(5))[jnp.array(2)] == 2
    with pytest.raises(TypeError):
        hash(x)


def test_view():
    assert_same(jnp.array([1.0, -2.0]).view("int32"), np.array([1.0, -2.0], np.float32).view("int32"))
    assert_same(jnp.array([[1, 2]], dtype="int32").view("uint8"), np.array([[1, 2]], np.int32).view("uint8"))
    assert_same(jnp.array([1, 2, 3, 4], dtype="uint8").view("uint16"), np.array([1, 2, 3, 4], np.uint8).view("uint16"))
    assert_same(jnp.array([1 + 2j]).view("float32"), np.array([1 + 2j], np.complex64).view("float32"))


# --- traced values -----------------------------------------------------------------------------------

def test_traced_values_refuse_python_conversions():
    def uses(convert):
        return tj.jit(lambda v: convert(v) and v)
    for convert, error in ((bool, TypeError), (int, TypeError), (float, TypeError), (np.asarray, TypeError), (lambda v: [1, 2][v], TypeError)):
        with pytest.raises(error):
            uses(convert)(jnp.array(1))
    with pytest.raises(IndexError):
        tj.jit(lambda v, m: v[m])(jnp.arange(3), jnp.array([True, False, True]))
    with pytest.raises(IndexError):
        tj.jit(lambda v, i: v[i:i + 1])(jnp.arange(3), 1)
    assert_same(tj.jit(lambda v, m: v.at[m].set(0))(jnp.arange(3), jnp.array([True, False, True])), np.array([0, 1, 0]))


def test_values_are_known_under_grad():
    assert float(tj.grad(lambda v: v * 2 if v > 1 else v * 3)(2.0)) == 2.0


INDEXING_GRADIENTS = [lambda x: x[1], lambda x: x[:, 1:3], lambda x: x[::-1, ::2], lambda x: x[jnp.array([0, 0, 2])], lambda x: x[jnp.array([0, 2]), :, None],
                      lambda x: x[jnp.array([[0], [1]]), jnp.array([1, 3])], lambda x: x.at[0].set(5.0), lambda x: x.at[jnp.array([0, 0])].add(x[1:] * 2),
                      lambda x: x.at[:, 1].multiply(3.0), lambda x: x.at[1, 1:].set(x[0, :3] ** 2), lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1),
                      lambda x: jnp.where(x > 1, x ** 2, 0), lambda x: jnp.sort(x, 1), lambda x: jnp.pad(x, 1, mode="reflect"), lambda x: jnp.cumsum(x, 1),
                      lambda x: jnp.concatenate([x, x * 2]), lambda x: jnp.einsum("ij,kj->ik", x, x), lambda x: jnp.tile(x, (2, 1)), lambda x: jnp.std(x, 0),
                      lambda x: jnp.sinc(x), lambda x: jnp.logaddexp(x, x.T[:3, :3].sum()), lambda x: jnp.max(x, 1), lambda x: jnp.median(x, 0),
                      lambda x: jnp.roll(x, 1, 0), lambda x: jnp.var(x), lambda x: jnp.prod(x, 1), lambda x: jnp.linspace(x[0], x[1], 4), lambda x: jnp.kron(x, x),
                      lambda x: jnp.interp(x, jnp.array([0.0, 1, 2, 4]), jnp.array([0.0, 2, 1, 5])), lambda x: jnp.power(x, 2.5), lambda x: x ** 3, lambda x: jnp.hypot(x, 2.0),
                      lambda x: jnp.clip(x, 1, 2), lambda x: jnp.tril(x), lambda x: jnp.repeat(x, 2, 1), lambda x: jnp.polyval(x[:, 0], x), lambda x: jnp.convolve(x[0], x[1])]


@pytest.mark.parametrize("number", range(len(INDEXING_GRADIENTS)))
def test_gradients_by_differences(number):
    f = INDEXING_GRADIENTS[number]
    x = np.random.default_rng(number).uniform(0.6, 2.9, (3, 4))
    weights = np.random.default_rng(1).normal(size=np.shape(f(jnp.asarray(x))))
    loss = lambda v: jnp.sum(f(v) * weights)
    direction = np.random.default_rng(2).normal(size=x.shape)
    slope = float(np.sum(np.asarray(tj.grad(loss)(jnp.asarray(x))) * direction))
    h = 1e-6
    expected = (float(loss(jnp.asarray(x + h * direction))) - float(loss(jnp.asarray(x - h * direction)))) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)
    assert_same(tj.jit(f)(jnp.asarray(x)), np.asarray(f(jnp.asarray(x))), rtol=1e-12)
    both = tj.vmap(f)(jnp.stack([x, x[::-1]]))
    assert_same(both[1], np.asarray(f(jnp.asarray(x[::-1].copy()))), rtol=1e-12)


def test_gradients_are_free_of_nan():
    assert float(tj.grad(lambda v: jnp.where(v > 0, jnp.sqrt(jnp.where(v > 0, v, 1.0)), 0.0))(0.0)) == 0.0
    assert_same(tj.grad(lambda v: jnp.sinc(v).sum())(jnp.zeros(2)), np.zeros(2))
    np.testing.assert_allclose(tj.grad(tj.grad(jnp.sinc))(0.0), -np.pi ** 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(tj.grad(tj.grad(lambda v: jnp.logaddexp(v, 0.0)))(0.0), 0.25, rtol=1e-6)
    assert np.isfinite(tj.grad(lambda v: jnp.logaddexp(v, -jnp.inf))(1.0))


# --- ufuncs and functions of functions ---------------------------------------------------------------

UFUNCS = ["add", "multiply", "maximum", "minimum", "logaddexp", "logaddexp2", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or",
          "logical_xor", "subtract"]


@pytest.mark.parametrize("name", UFUNCS)
def test_ufunc_methods(name):
    x = ints(3, 5, low=0) if "bit" in name else floats(3, 5)
    mine, theirs = getattr(jnp, name), getattr(np, name)
    assert isinstance(mine, jnp.ufunc) and mine.nin == 2 and mine.nout == 1
    for axis in (0, 1):
        assert_same(mine.reduce(jnp.asarray(x), axis), theirs.reduce(x, axis), rtol=1e-4)
        assert_same(mine.accumulate(jnp.asarray(x), axis), theirs.accumulate(x, axis), rtol=1e-4)
    assert_same(mine.outer(jnp.asarray(x[0]), jnp.asarray(x)), theirs.outer(x[0], x), rtol=1e-4)
    index = np.array([0, 3, 1])
    assert_same(mine.reduceat(jnp.asarray(x), jnp.asarray(index), axis=1), theirs.reduceat(x, index, axis=1), rtol=1e-4)
    if name in ("add", "multiply", "subtract", "maximum", "minimum"):
        expected = x.copy()
        theirs.at(expected, ([0, 0], [1, 1]), np.float32(2))
        assert_same(mine.at(jnp.asarray(x), (jnp.array([0, 0]), jnp.array([1, 1])), 2, inplace=False), expected)


def test_frompyfunc_and_vectorize():
    f = jnp.frompyfunc(lambda a, b: a * 10 + b, 2, 1)
    x = np.array([1, 2, 3], np.int32)
    assert_same([f(x, 1), f.reduce(x), f.accumulate(x), f.outer(x, x)], [x * 10 + 1, 123, np.array([1, 12, 123]), x[:, None] * 10 + x])
    assert_same(f.at(jnp.asarray(x), jnp.array([0, 0]), jnp.array([5, 6]), inplace=False), np.array([156, 2, 3]))
    dot = jnp.vectorize(lambda a, b: jnp.sum(a * b), signature="(n),(n)->()")
    assert_same(dot(X, Y[0]), np.sum(X * Y[0], -1), rtol=1e-5)
    both = jnp.vectorize(lambda a: (a.sum(), a * 2), signature="(n)->(),(n)")
    assert_same(both(jnp.asarray(X)), [X.sum(-1), X * 2], rtol=1e-5)
    power = jnp.vectorize(lambda a, n: a ** n, excluded={1})
    assert_same(power(jnp.asarray(X), 2), X ** 2)
    assert_same(jnp.vectorize(lambda a, b: a + b)(jnp.ones((2, 1)), jnp.arange(3)), np.ones((2, 1)) + np.arange(3))
    for bad in (lambda: jnp.vectorize(lambda a: a, signature="(n->(n)"), lambda: dot(X, Y[:, :3])):
        with pytest.raises(ValueError):
            bad()


def test_apply_functions():
    for axis in (0, 1, -1):
        assert_same(jnp.apply_along_axis(lambda v: v.sum(), axis, X), np.apply_along_axis(lambda v: v.sum(), axis, X), rtol=1e-5)
        assert_same(jnp.apply_along_axis(lambda v: v[:2] * 2, axis, X), np.apply_along_axis(lambda v: v[:2] * 2, axis, X), rtol=1e-5)
    assert_same(jnp.apply_over_axes(jnp.sum, X, [0, 1]), np.apply_over_axes(np.sum, X, [0, 1]), rtol=1e-5)


def test_array_api_namespace():
    info = jnp.__array_namespace_info__()
    assert jnp.__array_api_version__ == "2024.12" and jnp.ones(2).__array_namespace__() is jnp
    assert info.default_dtypes()["real floating"] == np.float32 and "float64" in info.dtypes(kind="real floating")
    assert info.capabilities()["boolean indexing"] and info.default_device() in info.devices()


def test_every_public_name_of_jax_numpy_is_here():
    jax_numpy = pytest.importorskip("jax.numpy")
    public = lambda module: {n for n in dir(module) if not n.startswith("_")}
    missing = {n for n in public(jax_numpy) if not hasattr(jnp, n)}
    assert not missing, missing
    for part in ("linalg", "fft"):
        assert not {n for n in public(getattr(jax_numpy, part)) if not hasattr(getattr(jnp, part), n)}


def test_signatures_are_jaxs():
    import inspect
    jax_numpy = pytest.importorskip("jax.numpy")
    odd = []
    for name in dir(jax_numpy):
        mine, theirs = getattr(jnp, name, None), getattr(jax_numpy, name)
        if name.startswith("_") or not inspect.isfunction(mine) or not callable(theirs):
            continue
        try:
            expected = [p.name for p in inspect.signature(theirs).parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        except (TypeError, ValueError):
            continue
        own = inspect.signature(mine).parameters
        odd += [(name, p) for p in expected if p not in own and not any(q.kind is q.VAR_KEYWORD for q in own.values())]
    assert not odd, odd


def test_settings_of_promotion():
    from tracejit.config import config
    a, b = jnp.ones((2, 3)), jnp.ones(3)
    with config.setting(numpy_rank_promotion="raise"):
        for f in (lambda: a + b, lambda: jnp.hypot(a, b), lambda: tj.jit(jnp.add)(a, b)):
            with pytest.raises(ValueError, match="numpy_rank_promotion"):
                f()
    with config.setting(numpy_dtype_promotion="strict"):
        for f in (lambda: a + jnp.arange(3), lambda: jnp.arange(3) + 1.5, lambda: a * 1j, lambda: jnp.arange(3) + True):
            with pytest.raises(TypeError, match="strict"):
                f()
        for f in (lambda: a + 1, lambda: jnp.add(1, 2.5), lambda: jnp.arange(3) / 2, lambda: jnp.mean(jnp.arange(3))):
            assert f().dtype == np.float32
    with config.setting(enable_x64=True):
        assert jnp.arange(3).dtype == np.int64 and jnp.sin(jnp.arange(3)).dtype == np.float64 and jnp.int_ is jnp.int64
    with config.setting(enable_x64=False):
        assert jnp.asarray(np.ones(3)).dtype == np.float32
        with pytest.warns(UserWarning, match="float64 is not available"):
            assert jnp.ones(2, "float64").dtype == np.float32


def test_pickles():
    import copy
    import pickle
    for x in (jnp.add, jnp.sin, jnp.float32, jnp.mean, jnp.logaddexp):
        assert pickle.loads(pickle.dumps(x)) is x and copy.deepcopy(x) is x


def test_sizes_of_what_only_says_them():
    struct = tj.ShapeDtypeStruct((2, 3), "float32")
    assert (jnp.shape(struct), jnp.ndim(struct), jnp.size(struct), jnp.size(struct, 1)) == ((2, 3), 2, 6, 3)
    with pytest.warns(DeprecationWarning, match="no array"):
        assert jnp.shape(None) == ()
