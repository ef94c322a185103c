"""What can be differentiated, and which tangents and cotangents fit: the checks of grad, jvp, vjp and their like."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.errors import DtypeError, LossError, ShapeError, user_source
from tracejit.ir.float0 import is_float0
from tracejit.ir.types import FLOAT0, ArrayType, is_complex, is_float, is_inexact, kind_of, type_of
from tracejit.pytree import keystr, tree_flatten_with_path


def normalized_argnums(argnums: int | Sequence[int], n: int) -> tuple[int, ...]:
    given = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(argnums)
    for i in given:
        if not -n <= i < n:
            needed = i + 1 if i >= 0 else -i
            raise TypeError(f"differentiating with respect to argnums={argnums} requires at least {needed} positional arguments "
                            f"to be passed by the caller, but got only {n} positional arguments.")
    return tuple(i % n for i in given)


def check_inputs(what: str, args: tuple, argnums, holomorphic: bool, allow_int: bool) -> None:
    for i in argnums:
        for path, leaf in tree_flatten_with_path(args[i])[0]:
            dtype = type_of(leaf).dtype
            where = f"argument {i}{' at ' + keystr(path) if path else ''}"
            if holomorphic and not is_complex(dtype):
                raise DtypeError(f"{what} with holomorphic=True requires inputs with complex dtype, but got {dtype} for {where}",
                                 source=user_source())
            if what == "jacfwd" and not holomorphic and not is_float(dtype):
                raise DtypeError("jacfwd requires real-valued inputs (input dtype that is a sub-dtype of np.floating), "
                                 f"but got {dtype} for {where}", source=user_source(),
                                 fix="convert it with .astype(jnp.float32); for a holomorphic function pass holomorphic=True")
            if not is_inexact(dtype) and not allow_int:
                raise DtypeError(f"{what} requires real- or complex-valued inputs (input dtype that is a sub-dtype of np.inexact), "
                                 f"but got {dtype} for {where}", source=user_source(),
                                 fix="convert it with .astype(jnp.float32), or pass allow_int=True")


def check_scalar(what: str, types: list[ArrayType], holomorphic: bool) -> None:
    if len(types) != 1 or types[0].shape != ():
        shown = f"had shape: {types[0].shape}" if len(types) == 1 else f"was {len(types)} values"
        raise LossError(f"Gradient only defined for scalar-output functions. Output {shown}.", source=user_source(),
                        fix="reduce it, e.g. with jnp.sum or jnp.mean, or use tj.jacrev for vector outputs")
    check_output(what, types[0].dtype, holomorphic)


def check_output(what: str, dtype: np.dtype, holomorphic: bool) -> None:
    if holomorphic and not is_complex(dtype):
        raise DtypeError(f"{what} with holomorphic=True requires outputs with complex dtype, but got {dtype}", source=user_source())
    if not holomorphic and not is_float(dtype):
        raise DtypeError(f"{what} requires real-valued outputs (output dtype that is a sub-dtype of np.floating), but got {dtype}",
                         source=user_source(), fix="for a holomorphic function pass holomorphic=True; else differentiate "
                         "y.real or abs(y), or use vjp")


@dataclass(frozen=True)
class TangentWords:
    """How a transformation complains about a tangent or cotangent that does not fit, in shape and in dtype."""
    shape: str
    dtype: str


JVP = TangentWords("jvp called with different primal and tangent shapes", "primal and tangent arguments to jax.jvp do not match; "
                   "dtypes must be equal, and float0 for integers and booleans")
LINEARIZE = TangentWords(*["linearized function called on tangent values inconsistent with the original primal values"] * 2)
VJP = TangentWords(*["unexpected JAX type (e.g. shape/dtype) for argument to VJP function"] * 2)


def check_tangent(words: TangentWords, t: ArrayType, tangent: Any) -> None:
    """Whether it can be the tangent of a value (the cotangent of a result) of type t."""
    dtype = FLOAT0 if is_float0(tangent) else type_of(tangent).dtype
    expected, shape = t.dtype if is_inexact(t.dtype) else FLOAT0, np.shape(tangent)
    shown = f"got {type_name(shape, dtype)}, but expected {type_name(t.shape, expected)} beside {t.str_short()}"
    if shape != t.shape:
        raise ShapeError(f"{words.shape}: {shown}", source=user_source())
    widened = expected != FLOAT0 and is_weak_beside(tangent, t)
    if dtype != expected and not widened:
        fix = "np.zeros(shape, dtype=jax.float0)" if expected == FLOAT0 else f"convert it with .astype('{expected}')"
        raise DtypeError(f"{words.dtype}: {shown}", source=user_source(), fix=fix)


def is_weak_beside(x: Any, t: ArrayType) -> bool:
    """Whether x is a weak number of t's kind, which takes t's width."""
    return not is_float0(x) and type_of(x).weak_type and kind_of(type_of(x).dtype) == kind_of(t.dtype)


def type_name(shape: Sequence[int], dtype: np.dtype) -> str:
    return f"{'float0' if dtype == FLOAT0 else dtype}[{','.join(map(str, shape))}]"
