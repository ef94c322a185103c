"""Maps Python functions of scalars, vectors or cores to functions of whole arrays, by vmap."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.errors import ShapeError
from tracejit.numpy.manipulation import expand_dims
from tracejit.numpy.promotion import Array, ArrayLike, as_array, broadcast_shape, canonical_axis, check_arraylike
from tracejit.numpy.ufuncs import ufunc
from tracejit.transforms.vmap import vmap

_NAME = r"\w+"
_CORE = rf"\((?:{_NAME}(?:,{_NAME})*)?\)"
_SIGNATURE = re.compile(rf"^{_CORE}(?:,{_CORE})*->{_CORE}(?:,{_CORE})*$")

Core = tuple[str, ...]


def _parse(signature: str) -> tuple[list[Core], list[Core]]:
    """ "(m,n),(n)->(m)" as the names of the core axes of arguments and results."""
    text = signature.replace(" ", "")
    if not _SIGNATURE.match(text):
        raise ValueError(f"not a valid gufunc signature: {signature}")
    cores = lambda part: [tuple(re.findall(_NAME, c)) for c in re.findall(_CORE, part)]
    left, _, right = text.partition("->")
    return cores(left), cores(right)


def _check_cores(sizes: dict[str, int], core: Core, shape: tuple[int, ...], what: str) -> None:
    if len(shape) < len(core):
        raise ValueError(
            f"input with shape {shape} does not have enough dimensions for all core dimensions {core} {what}"
        )
    for name, size in zip(core, shape[len(shape) - len(core) :], strict=True):
        if name.isdigit() and int(name) != size or sizes.setdefault(name, size) != size:
            raise ValueError(f"inconsistent size for core dimension {name!r}: {size} vs {sizes.get(name, name)} {what}")


def vectorize(
    pyfunc: Callable, *, excluded: Collection[int | str] = frozenset(), signature: str | None = None
) -> Callable:
    """pyfunc over arrays that broadcast together, by vmap; a signature "(n),(n)->()" names axes it takes whole.

    Arguments whose position or name is in `excluded` are passed as they are.

    >>> jnp.vectorize(lambda a, b: a @ b, signature="(n),(n)->()")(jnp.ones((4, 3)), jnp.ones(3))
    Array([3., 3., 3., 3.], dtype=float32)
    """
    if any(not isinstance(e, (int, str)) for e in excluded):
        raise TypeError(
            f"jax.numpy.vectorize can only exclude integer or string arguments, but excluded={set(excluded)!r}"
        )
    if any(isinstance(e, int) and e < 0 for e in excluded):
        raise ValueError(f"excluded={excluded!r} contains negative numbers")
    cores = None if signature is None else _parse(signature)

    @functools.wraps(pyfunc)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        names = [k for k in kwargs if k not in excluded]
        places = [i for i in range(len(args)) if i not in excluded and args[i] is not None]
        flat = [args[i] for i in places] + [kwargs[k] for k in names]
        check_arraylike("vectorize", *flat)

        def on_cores(*values: Any) -> Any:
            full = list(args)
            for i, v in zip(places, values[: len(places)], strict=True):
                full[i] = v
            return pyfunc(*full, **{**kwargs, **dict(zip(names, values[len(places) :], strict=True))})

        return _over_batch(on_cores, [as_array(x) for x in flat], cores)

    return wrapped


def _over_batch(f: Callable, args: list[Array], cores: tuple[list[Core], list[Core]] | None) -> Any:
    inputs = [()] * len(args) if cores is None else cores[0]
    if len(inputs) != len(args):
        raise TypeError(f"wrong number of positional arguments: expected {len(inputs)}, got {len(args)}")
    sizes: dict[str, int] = {}
    for core, x in zip(inputs, args, strict=True):
        _check_cores(sizes, core, x.shape, "on vectorized function with signature")
    leads = [x.shape[: x.ndim - len(core)] for core, x in zip(inputs, args, strict=True)]
    batch = broadcast_shape("vectorize", leads)
    checked = f if cores is None else _checked_results(f, cores[1], sizes)
    levels, thin = [], []
    for x, lead in zip(args, leads, strict=True):
        missing = len(batch) - len(lead)
        own = [i >= missing and (lead[i - missing] == batch[i]) for i in range(len(batch))]
        drop = tuple(i - missing for i in range(missing, len(batch)) if not own[i])
        thin.append(lax.squeeze(x, drop) if drop else x)
        levels.append(own)
    for i in reversed(range(len(batch))):
        checked = vmap(checked, in_axes=tuple(0 if own[i] else None for own in levels), axis_size=batch[i])
    return checked(*thin)


def _checked_results(f: Callable, outputs: list[Core], sizes: dict[str, int]) -> Callable:
    def run(*args: Any) -> Any:
        out = f(*args)
        results = out if isinstance(out, (tuple, list)) else (out,)
        if len(outputs) != len(results):
            if not isinstance(out, (tuple, list)):
                raise TypeError(f"output must be a tuple when multiple outputs are expected, got: {out!r}")
            raise TypeError(f"wrong number of output arguments: expected {len(outputs)}, got {len(results)}")
        known = dict(sizes)
        for core, r in zip(outputs, results, strict=True):
            if np.ndim(r) != len(core):
                raise ShapeError(f"output shape {np.shape(r)} does not match core dimensions {core}")
            _check_cores(known, core, np.shape(r), "of an output")
        return tuple(out) if isinstance(out, list) else out

    return run


def apply_along_axis(func1d: Callable, axis: int, arr: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """func1d of every vector along an axis; its result takes the axis's place.

    >>> jnp.apply_along_axis(jnp.sum, 1, jnp.array([[1, 2], [3, 4]]))
    Array([3, 7], dtype=int32)
    """
    check_arraylike("apply_along_axis", arr)
    x = as_array(arr)
    axis = canonical_axis(axis, x.ndim)
    f = lambda v: func1d(v, *args, **kwargs)
    for i in range(1, x.ndim - axis):
        f = vmap(f, in_axes=i, out_axes=-1)
    for _ in range(axis):
        f = vmap(f, in_axes=0, out_axes=0)
    return f(x)


def apply_over_axes(func: Callable, a: ArrayLike, axes: Any) -> Array:
    """func(a, axis) for each axis in turn, with reduced axes kept at length 1.

    >>> jnp.apply_over_axes(jnp.sum, jnp.ones((2, 3)), [0, 1])
    Array([[6.]], dtype=float32)
    """
    check_arraylike("apply_over_axes", a)
    x = as_array(a)
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        out = func(x, axis=axis)
        if out.ndim == x.ndim - 1:
            out = expand_dims(out, axis)
        elif out.ndim != x.ndim:
            raise ValueError("function is not returning an array of the correct shape")
        x = out
    return x


def frompyfunc(func: Callable, /, nin: int, nout: int, *, identity: Any = None) -> ufunc:
    """A ufunc of a function of scalars: elementwise, and with reduce, accumulate, reduceat, outer and at.

    >>> jnp.frompyfunc(lambda x, y: x * 10 + y, 2, 1).accumulate(jnp.array([1, 2, 3]))
    Array([  1,  12, 123], dtype=int32)
    """
    call = vectorize(func)
    call.__name__ = getattr(func, "__name__", "ufunc")
    return ufunc(call, nin, nout, identity=identity)
