"""Maps complex numbers to their parts, conjugates and angles, and says which arrays are complex."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracejit import lax
from tracejit.numpy.compiled import compiled
from tracejit.numpy.promotion import Array, ArrayLike, as_array, cast_numpy, check_arraylike, inexact, strong
from tracejit.numpy.transcendental import rad2deg
from tracejit.runtime.eager import eager


@eager
def real(val: ArrayLike, /) -> Array:
    """The real part; of a real array, itself.

    >>> jnp.real(jnp.array([1 + 2j]))
    Array([1.], dtype=float32)
    """
    check_arraylike("real", val)
    x = as_array(val)
    return lax.real(x) if x.dtype.kind == "c" else x


@eager
def imag(val: ArrayLike, /) -> Array:
    """The imaginary part; of a real array, zeros.

    >>> jnp.imag(jnp.array([1 + 2j]))
    Array([2.], dtype=float32)
    """
    check_arraylike("imag", val)
    x = as_array(val)
    return lax.imag(x) if x.dtype.kind == "c" else lax.full_like(x, 0)


@eager
def conjugate(x: ArrayLike, /) -> Array:
    """The complex conjugate; of a real array, itself.

    >>> jnp.conjugate(jnp.array([1 + 2j]))
    Array([1.-2.j], dtype=complex64)
    """
    check_arraylike("conjugate", x)
    x = as_array(x)
    return lax.conj(x) if x.dtype.kind == "c" else x


conj = conjugate


@compiled
def angle(z: ArrayLike, deg: bool = False) -> Array:
    """The angle of a complex number in the plane, in radians or degrees.

    >>> jnp.angle(jnp.array([1j, -1.0]), deg=True)
    Array([ 90., 180.], dtype=float32)
    """
    check_arraylike("angle", z)
    z = as_array(inexact("angle", z))
    re, im = (lax.real(z), lax.imag(z)) if z.dtype.kind == "c" else (z, strong(lax.full_like(z, 0)))
    result = lax.atan2(im, re)
    return rad2deg(result) if deg else result


@eager
def iscomplex(x: ArrayLike) -> Array:
    """Where the imaginary part is not 0.

    >>> jnp.iscomplex(jnp.array([1j, 2]))
    Array([ True, False], dtype=bool)
    """
    part = imag(x)
    return lax.ne(part, cast_numpy(0, part.dtype))


@eager
def isreal(x: ArrayLike) -> Array:
    """Where the imaginary part is 0.

    >>> jnp.isreal(jnp.array([1j, 2]))
    Array([False,  True], dtype=bool)
    """
    part = imag(x)
    return lax.eq(part, cast_numpy(0, part.dtype))


def iscomplexobj(x: Any) -> bool:
    """Whether x has a complex dtype.

    >>> jnp.iscomplexobj(jnp.array([1j])), jnp.iscomplexobj(2.0)
    (True, False)
    """
    if x is None or isinstance(x, str):
        return False
    try:
        return x.dtype.kind == "c"
    except AttributeError:
        return np.asarray(x).dtype.kind == "c"


def isrealobj(x: Any) -> bool:
    """Whether x has no complex dtype.

    >>> jnp.isrealobj(2.0)
    True
    """
    return not iscomplexobj(x)
