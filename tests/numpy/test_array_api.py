"""tracejit.numpy as a namespace of the array API standard 2024.12: names, signatures, special values, against array-api-strict."""
from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import tracejit.numpy as jnp
from tracejit.config import config

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    strict = pytest.importorskip("array_api_strict")
    strict.set_array_api_strict_flags(api_version="2024.12")

ITS_OWN = {"Device", "ArrayAPIStrictFlags"}     # names that are not the standard's
FLOATS = [0.0, -0.0, 1, -1, 0.5, -1.5, 2.5, 3, np.inf, -np.inf, np.nan, 1e30, -2, 7]


@pytest.fixture(autouse=True)
def wide_defaults():
    """The standard's default dtypes are 64-bit ones."""
    with config.setting(enable_x64=True), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def members(namespace) -> dict:
    names = [n for n in namespace.__all__ if not n.startswith("_") and n not in ITS_OWN and "strict_flags" not in n]
    return {n: getattr(namespace, n) for n in names}


NAMESPACES = {"": (strict, jnp), "linalg": (strict.linalg, jnp.linalg), "fft": (strict.fft, jnp.fft)}
FUNCTIONS = [(part, name) for part, (theirs, _) in NAMESPACES.items() for name, x in members(theirs).items()
             if callable(x) and not inspect.isclass(x)]


@pytest.mark.parametrize("part", NAMESPACES)
def test_every_name_is_there(part):
    theirs, ours = NAMESPACES[part]
    assert [n for n in members(theirs) if not hasattr(ours, n)] == []


@pytest.mark.parametrize("part, name", FUNCTIONS)
def test_arguments_are_called_as_in_the_standard(part, name):
    theirs, ours = (inspect.signature(getattr(m, name)).parameters for m in NAMESPACES[part])
    kinds = {p.kind for p in ours.values()}
    for at, (word, wanted) in enumerate(theirs.items()):
        if wanted.kind in (wanted.POSITIONAL_ONLY, wanted.POSITIONAL_OR_KEYWORD) and wanted.VAR_POSITIONAL not in kinds:
            assert list(ours.values())[at].kind in (wanted.POSITIONAL_ONLY, wanted.POSITIONAL_OR_KEYWORD), word
        if wanted.kind in (wanted.KEYWORD_ONLY, wanted.POSITIONAL_OR_KEYWORD):
            assert word in ours or wanted.VAR_KEYWORD in kinds, word


def test_what_the_namespace_says_of_itself():
    info, theirs = jnp.__array_namespace_info__(), strict.__array_namespace_info__()
    assert jnp.__array_api_version__ == "2024.12" and jnp.ones(3).__array_namespace__(api_version="2024.12") is jnp
    assert set(info.capabilities()) >= {"boolean indexing", "data-dependent shapes", "max dimensions"}
    assert {k: str(np.dtype(v)) for k, v in info.default_dtypes().items()} == {
        "real floating": "float64", "complex floating": "complex128", "integral": "int64", "indexing": "int64"}
    for kind in (None, "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"):
        assert set(info.dtypes(kind=kind)) == set(theirs.dtypes(kind=kind))
    assert info.default_device() in info.devices()


def values_of(dtype: str) -> np.ndarray:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return np.array([True, False, True])
    if kind in "iu":
        return np.array([0, 1, 2, 3, 5, 7, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype)
    return np.array(FLOATS, dtype) if kind == "f" else np.array([1 + 2j, -0.5j, -3, 0.25 - 1j], dtype)


def assert_same(ours, theirs, zeros: bool = True):
    """Equal dtypes, shapes and values to a few units in the last place, infinities, nan and signs of zeros included."""
    ours, theirs = np.asarray(ours), np.asarray(theirs._array if hasattr(theirs, "_array") else theirs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    if ours.dtype.kind not in "fc":
        return np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=16 * np.finfo(ours.dtype).eps, atol=0 if ours.dtype.kind == "f" else 1e-15)
    if zeros and ours.dtype.kind == "f":
        here = (ours == 0) & (theirs == 0)
        np.testing.assert_array_equal(np.signbit(ours[here]), np.signbit(theirs[here]))
    return None


def both(call, *arrays):
    """(ours, theirs) of a call of the namespace on arrays; None where the standard does not define it."""
    try:
        theirs = call(strict, *[strict.asarray(x) if isinstance(x, np.ndarray) else x for x in arrays])
    except (TypeError, ValueError):
        return None
    return call(jnp, *[jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in arrays]), theirs


def elementwise(n: int) -> list[str]:
    module = inspect.getmodule(strict.sin)
    found = [name for name in members(strict) if getattr(module, name, None) is getattr(strict, name) and name in vars(module)]
    count = lambda f: [p.kind for p in inspect.signature(f).parameters.values()].count(inspect.Parameter.POSITIONAL_ONLY)
    return [name for name in found if getattr(strict, name).__module__ == module.__name__ and count(getattr(strict, name)) == n]


ZEROS_MAY_DIFFER = {"sign", "maximum", "minimum"}    # of either sign by the standard


@pytest.mark.parametrize("name", elementwise(1))
def test_functions_of_one_array(name):
    for dtype in ("float32", "float64", "int32", "uint8", "bool", "complex128"):
        pair = both(lambda xp, x: getattr(xp, name)(x), values_of(dtype))
        if pair:
            assert_same(*pair, zeros=name not in ZEROS_MAY_DIFFER)


def paired(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    x = values_of(dtype)
    a, b = (v.ravel() for v in np.meshgrid(x, x, indexing="ij"))
    if np.dtype(dtype).kind in "iu":    # where integers are defined
        b = np.where(b == 0, 1, b) if name in ("floor_divide", "remainder") else b
        b = b % 3 if name == "pow" or "shift" in name else b
    return a, b.astype(a.dtype)


@pytest.mark.parametrize("name", elementwise(2))
def test_functions_of_two_arrays(name):
    for dtype in ("float64", "int32", "uint8", "bool"):
        pair = both(lambda xp, a, b: getattr(xp, name)(a, b), *paired(name, dtype))
        if pair:
            assert_same(*pair, zeros=name not in ZEROS_MAY_DIFFER)


NUMERIC = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize("a", NUMERIC)
def test_types_promote_as_in_the_standard(a):
    for b in NUMERIC:
        try:
            wanted = strict.result_type(getattr(strict, a), getattr(strict, b))
        except TypeError:
            continue
        assert str(np.dtype(jnp.result_type(getattr(jnp, a), getattr(jnp, b)))) == wanted._np_dtype.name
    for number in (1, 1.5, 1j):
        pair = both(lambda xp, x, s: x + s, np.ones(2, a), number)
        if pair:
            assert_same(*pair)


X, Y = np.arange(24.0).reshape(2, 3, 4) % 7, np.arange(12, dtype="i4").reshape(3, 4) % 5
SQUARE, SYMMETRIC = np.array([[2.0, 1, 0], [1, 3, 1], [0.5, 1, 4]]), np.array([[2.0, 1], [1, 3]])
CALLS = {
    "sums": [lambda xp: xp.sum(xp.asarray(Y)), lambda xp: xp.sum(xp.asarray(Y, dtype=xp.int8), axis=1),
             lambda xp: xp.sum(xp.asarray(Y, dtype=xp.uint8)), lambda xp: xp.sum(xp.asarray(X, dtype=xp.float32), axis=(0, 2), keepdims=True),
             lambda xp: xp.prod(xp.asarray(Y), axis=0, dtype=xp.float64), lambda xp: xp.sum(xp.zeros((0, 3)), axis=0)],
    "statistics": [lambda xp: xp.mean(xp.asarray(X), axis=-1), lambda xp: xp.std(xp.asarray(X), correction=1.0),
                   lambda xp: xp.var(xp.asarray(X), axis=(0, 1), keepdims=True), lambda xp: xp.max(xp.asarray(Y), axis=0),
                   lambda xp: xp.min(xp.asarray(X), axis=(1, 2))],
    "running folds": [lambda xp: xp.cumulative_sum(xp.asarray(Y), axis=1, include_initial=True),
                      lambda xp: xp.cumulative_sum(xp.asarray(Y, dtype=xp.int8), axis=0),
                      lambda xp: xp.cumulative_prod(xp.asarray(X), axis=-1)],
    "truth": [lambda xp: xp.all(xp.asarray(Y), axis=0), lambda xp: xp.any(xp.asarray(X), axis=(0, 1), keepdims=True),
              lambda xp: xp.all(xp.zeros((0, 2), dtype=xp.bool), axis=0)],
    "searching": [lambda xp: xp.argmax(xp.asarray(X), axis=1, keepdims=True), lambda xp: xp.argmin(xp.asarray(Y)),
                  lambda xp: xp.nonzero(xp.asarray(Y)), lambda xp: xp.count_nonzero(xp.asarray(Y), axis=1),
                  lambda xp: xp.searchsorted(xp.asarray([1.0, 2, 5]), xp.asarray([0.0, 2, 6]), side="right"),
                  lambda xp: xp.where(xp.asarray(Y) > 2, xp.asarray(Y), 0)],
    "sorting": [lambda xp: xp.sort(xp.asarray(X), axis=1, descending=True), lambda xp: xp.argsort(xp.asarray(Y), descending=True),
                lambda xp: xp.argsort(xp.asarray(Y), axis=0, stable=True)],
    "sets": [lambda xp: xp.unique_all(xp.asarray(Y)), lambda xp: xp.unique_counts(xp.asarray(X)),
             lambda xp: xp.unique_inverse(xp.asarray(Y)), lambda xp: xp.unique_values(xp.asarray(X))],
    "shapes": [lambda xp: xp.reshape(xp.asarray(X), (4, -1)), lambda xp: xp.permute_dims(xp.asarray(X), (2, 0, 1)),
               lambda xp: xp.moveaxis(xp.asarray(X), 0, -1), lambda xp: xp.flip(xp.asarray(X), axis=(0, 2)),
               lambda xp: xp.roll(xp.asarray(X), (1, -2), axis=(0, 1)), lambda xp: xp.roll(xp.asarray(Y), 3),
               lambda xp: xp.expand_dims(xp.asarray(Y), axis=-2), lambda xp: xp.squeeze(xp.ones((1, 2, 1)), axis=(0, 2)),
               lambda xp: xp.concat([xp.asarray(X[0]), xp.ones((1, 4))], axis=0), lambda xp: xp.concat([xp.asarray(Y)] * 2, axis=None),
               lambda xp: xp.stack([xp.asarray(Y)] * 2, axis=-1), lambda xp: xp.unstack(xp.asarray(Y), axis=1),
               lambda xp: xp.repeat(xp.asarray(Y), 2, axis=1), lambda xp: xp.tile(xp.asarray(Y), (2, 1, 2)),
               lambda xp: xp.broadcast_arrays(xp.ones((3, 1)), xp.asarray(Y)), lambda xp: xp.broadcast_to(xp.ones(3), (2, 3))],
    "indexing": [lambda xp: xp.take(xp.asarray(X), xp.asarray([0, 2]), axis=1), lambda xp: xp.asarray(X)[..., 1, ::-2],
                 lambda xp: xp.take_along_axis(xp.asarray(Y), xp.asarray([[0], [1], [3]]), axis=1),
                 lambda xp: xp.asarray(X)[xp.asarray(X) > 3], lambda xp: xp.diff(xp.asarray(Y), axis=0, n=2),
                 lambda xp: xp.diff(xp.asarray(Y), prepend=xp.zeros((3, 1), dtype=xp.int32))],
    "creation": [lambda xp: xp.arange(3), lambda xp: xp.arange(1.0, 2.0, 0.3), lambda xp: xp.linspace(0, 1, 5, endpoint=False),
                 lambda xp: xp.eye(3, 4, k=-1), lambda xp: xp.full((2,), 3), lambda xp: xp.full_like(xp.asarray(Y), 7),
                 lambda xp: xp.zeros((2, 0)), lambda xp: xp.tril(xp.asarray(X), k=1), lambda xp: xp.triu(xp.asarray(X), k=-1),
                 lambda xp: xp.meshgrid(xp.arange(3), xp.arange(2), indexing="ij"), lambda xp: xp.asarray([1, 2.5]),
                 lambda xp: xp.asarray([True, False]), lambda xp: xp.empty_like(xp.asarray(Y)) * 0, lambda xp: xp.ones((), dtype=xp.uint16)],
    "dtypes": [lambda xp: xp.astype(xp.asarray(X), xp.int32), lambda xp: xp.astype(xp.asarray(Y), xp.bool),
               lambda xp: xp.can_cast(xp.int8, xp.int32), lambda xp: xp.can_cast(xp.asarray(X), xp.float32),
               lambda xp: xp.isdtype(xp.int8, ("signed integer", "bool")), lambda xp: float(xp.finfo(xp.float32).eps),
               lambda xp: xp.iinfo(xp.uint8).max],
    "products": [lambda xp: xp.matmul(xp.asarray(X), xp.asarray(X[0].T)), lambda xp: xp.tensordot(xp.asarray(X), xp.asarray(Y), axes=2),
                 lambda xp: xp.vecdot(xp.asarray([1 + 2j, 3]), xp.asarray([2j, 1])), lambda xp: xp.matrix_transpose(xp.asarray(X)),
                 lambda xp: xp.linalg.cross(xp.asarray([1.0, 2, 3]), xp.asarray([3.0, 1, 2])),
                 lambda xp: xp.linalg.outer(xp.arange(3), xp.arange(2)), lambda xp: xp.vecdot(xp.asarray(X), xp.asarray(X), axis=-2)],
    "linear algebra": [lambda xp: xp.linalg.det(xp.asarray(SQUARE)), lambda xp: xp.linalg.inv(xp.asarray(SQUARE)),
                       lambda xp: xp.linalg.solve(xp.asarray(SQUARE), xp.ones(3)), lambda xp: xp.linalg.cholesky(xp.asarray(SYMMETRIC)),
                       lambda xp: xp.linalg.eigvalsh(xp.asarray(SYMMETRIC)), lambda xp: xp.linalg.svdvals(xp.asarray(SQUARE)),
                       lambda xp: xp.linalg.matrix_rank(xp.asarray(SQUARE)), lambda xp: xp.linalg.matrix_power(xp.asarray(SQUARE), -2),
                       lambda xp: xp.linalg.slogdet(xp.asarray(SQUARE)), lambda xp: xp.linalg.pinv(xp.asarray(SQUARE[:2])),
                       lambda xp: xp.linalg.vector_norm(xp.asarray(X), axis=(0, 2), ord=3),
                       lambda xp: xp.linalg.matrix_norm(xp.asarray(X), ord="nuc", keepdims=True),
                       lambda xp: xp.linalg.trace(xp.asarray(X), offset=1), lambda xp: xp.linalg.diagonal(xp.asarray(X), offset=-1)],
    "Fourier": [lambda xp: xp.fft.fft(xp.asarray(SQUARE + 1j), n=4, norm="ortho"), lambda xp: xp.fft.rfft(xp.asarray(X), axis=1),
                lambda xp: xp.fft.irfft(xp.asarray(SQUARE + 1j), n=5), lambda xp: xp.fft.fftn(xp.asarray(X + 0j), axes=(0, 2)),
                lambda xp: xp.fft.hfft(xp.asarray(SQUARE + 1j)), lambda xp: xp.fft.fftfreq(5, d=0.5),
                lambda xp: xp.fft.fftshift(xp.asarray(X), axes=1), lambda xp: xp.fft.rfft(xp.asarray(SQUARE, dtype=xp.float32))],
    "operators": [lambda xp: 2 ** xp.asarray(Y), lambda xp: -xp.asarray(X) // 2.0, lambda xp: xp.asarray(Y) % -3,
                  lambda xp: ~xp.asarray(Y), lambda xp: xp.asarray(Y) << 2, lambda xp: 3 - xp.asarray(Y), lambda xp: abs(-xp.asarray(X)),
                  lambda xp: xp.asarray(Y) @ xp.asarray(Y).T, lambda xp: xp.asarray(X).mT, lambda xp: float(xp.asarray(2.5)),
                  lambda xp: int(xp.asarray(3)), lambda xp: complex(xp.asarray(1j)), lambda xp: bool(xp.asarray(True))],
}


@pytest.mark.parametrize("group", CALLS)
def test_calls_give_what_the_standard_says(group):
    for call in CALLS[group]:
        ours, theirs = call(jnp), call(strict)
        if isinstance(theirs, (tuple, list)):
            assert len(ours) == len(theirs) and getattr(ours, "_fields", None) == getattr(theirs, "_fields", None)
        for a, b in zip(ours, theirs) if isinstance(theirs, (tuple, list)) else [(ours, theirs)]:
            a, b = np.asarray(a), np.asarray(b._array if hasattr(b, "_array") else b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape), inspect.getsource(call)
            np.testing.assert_allclose(a, b, rtol=1e-5 if a.dtype == np.complex64 else 1e-12, atol=1e-13)
