"""Maps two vectors to their discrete convolution or correlation."""

from __future__ import annotations

from typing import Any

from tracejit import lax
from tracejit.ir.types import requested_dtype
from tracejit.numpy.compiled import compiled
from tracejit.numpy.complexes import conjugate
from tracejit.numpy.manipulation import flip
from tracejit.numpy.promotion import Array, ArrayLike, DTypeLike, as_array, promote_dtypes_inexact


def _convolve(
    name: str, x: Array, y: Array, mode: str, correlate: bool, precision: Any, preferred: DTypeLike | None
) -> Array:
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"{name}() only support 1-dimensional inputs.")
    if x.shape[0] == 0 or y.shape[0] == 0:
        raise ValueError(f"{name}: inputs cannot be empty, got shapes {x.shape} and {y.shape}.")
    if mode not in ("full", "same", "valid"):
        raise ValueError("mode must be one of ['full', 'same', 'valid']")
    swapped = x.shape[0] < y.shape[0]
    if correlate:
        y = conjugate(y)
    if swapped:
        x, y = y, x
    if not correlate:
        y = flip(y)  # conv_general_dilated correlates
    n, m = x.shape[0], y.shape[0]
    padding = {"full": (m - 1, m - 1), "same": (m // 2, m - m // 2 - 1), "valid": (0, 0)}[mode]
    dtype = None if preferred is None else requested_dtype(preferred)
    out = lax.conv_general_dilated(
        lax.reshape(x, (1, 1, n)),
        lax.reshape(y, (1, 1, m)),
        (1,),
        [padding],
        precision=precision,
        preferred_element_type=dtype,
    )
    out = lax.reshape(out, (out.shape[2],))
    return flip(out) if correlate and swapped else out


@compiled
def convolve(
    a: ArrayLike,
    v: ArrayLike,
    mode: str = "full",
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The convolution of two vectors: "full", "same" (as long as the longer) or "valid" (complete overlap only).

    >>> jnp.convolve(jnp.array([1, 2]), jnp.array([1, 1]))
    Array([1., 3., 2.], dtype=float32)
    """
    a, v = (as_array(x) for x in promote_dtypes_inexact("convolve", a, v))
    return _convolve("convolve", a, v, mode, False, precision, preferred_element_type)


@compiled
def correlate(
    a: ArrayLike,
    v: ArrayLike,
    mode: str = "valid",
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The cross-correlation of two vectors; the second is conjugated.

    >>> jnp.correlate(jnp.array([1, 2, 3]), jnp.array([0, 1]))
    Array([2., 3.], dtype=float32)
    """
    a, v = (as_array(x) for x in promote_dtypes_inexact("correlate", a, v))
    return _convolve("correlate", a, v, mode, True, precision, preferred_element_type)
