"""Vector quantisation: observations and a code book -> the nearest code of each observation."""
from __future__ import annotations

import tracejit.numpy as jnp
from tracejit import jit
from tracejit.numpy.promotion import promote_dtypes_inexact


@jit
def nearest(obs, code_book):
    square = jnp.square(obs[:, None] - code_book).sum(-1)
    codes = jnp.argmin(square, axis=1)
    return codes, jnp.sqrt(jnp.take_along_axis(square, codes[:, None], 1)[:, 0])


def vq(obs, code_book, check_finite: bool = True):
    """``(codes, distances)``: for each observation ``[m, n]`` (or ``[m]``) the index of and distance to the nearest
    code.

    >>> import tracejit.numpy as jnp
    >>> print(vq(jnp.array([[0.], [9.]]), jnp.array([[1.], [8.]]))[0])
    [0 1]
    """
    obs, code_book = (jnp.asarray(x) for x in promote_dtypes_inexact("vq", jnp.asarray(obs), jnp.asarray(code_book)))
    if obs.ndim != code_book.ndim or obs.ndim not in (1, 2):
        raise ValueError(f"vq takes obs and code_book of 1 or 2 axes each, got shapes {obs.shape} and "
                         f"{code_book.shape}")
    if obs.ndim == 1:
        obs, code_book = obs[:, None], code_book[:, None]
    if obs.shape[1] != code_book.shape[1]:
        raise ValueError(f"vq: observations and codes must have as many entries, got {obs.shape} and {code_book.shape}")
    return nearest(obs, code_book)
