"""Maps names of element types (jnp.float32, "f4", float) to NumPy dtypes, and answers questions about them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tracejit import lax
from tracejit.errors import DtypeError
from tracejit.ir import types
from tracejit.ir.types import canonicalize_dtype, default_dtype
from tracejit.numpy.creation import array, asarray
from tracejit.numpy.promotion import Array, ArrayLike, DTypeLike, check_arraylike, check_promotion

bfloat16_dtype = types.bfloat16
finfo = ml_dtypes.finfo
iinfo = ml_dtypes.iinfo
dtype = np.dtype

# The abstract kinds are NumPy's own, so np.issubdtype and jnp.issubdtype agree.
generic, number, inexact = np.generic, np.number, np.inexact
integer, signedinteger, unsignedinteger = np.integer, np.signedinteger, np.unsignedinteger
floating, complexfloating = np.floating, np.complexfloating
flexible, character, object_ = np.flexible, np.character, np.object_
ComplexWarning = np.exceptions.ComplexWarning


class _ScalarMeta(type):
    """The class of jnp.float32 and the like: callable to make arrays, equal to their dtype."""

    dtype: np.dtype

    def __hash__(cls) -> int:
        return hash(cls.dtype.type)

    def __eq__(cls, other: Any) -> bool:
        if isinstance(other, (_ScalarMeta, np.dtype)):
            return cls is other or cls.dtype == getattr(other, "dtype", other)
        return bool(cls.dtype.type == other)  # Python's int and float are no names of dtypes here

    def __ne__(cls, other: Any) -> bool:
        return not cls == other

    def __call__(cls, x: Any) -> Array:
        return array(x, dtype=cls.dtype)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.dtype.type)

    def __reduce__(cls) -> str:
        return cls.__name__

    def __repr__(cls) -> str:
        return f"<class 'tracejit.numpy.{cls.__name__}'>"


def _make_scalar_type(name: str, of: Any) -> _ScalarMeta:
    return _ScalarMeta(
        name,
        (object,),
        {
            "dtype": np.dtype(of),
            "__module__": "tracejit.numpy",
            "__doc__": f"The element type {name}: jnp.{name}(x) makes an array of it.",
        },
    )


bool_ = _make_scalar_type("bool", bool)
int8 = _make_scalar_type("int8", np.int8)
int16 = _make_scalar_type("int16", np.int16)
int32 = _make_scalar_type("int32", np.int32)
int64 = _make_scalar_type("int64", np.int64)
uint8 = _make_scalar_type("uint8", np.uint8)
uint16 = _make_scalar_type("uint16", np.uint16)
uint32 = _make_scalar_type("uint32", np.uint32)
uint64 = _make_scalar_type("uint64", np.uint64)
float16 = _make_scalar_type("float16", np.float16)
bfloat16 = _make_scalar_type("bfloat16", ml_dtypes.bfloat16)
float32 = single = _make_scalar_type("float32", np.float32)
float64 = double = _make_scalar_type("float64", np.float64)
complex64 = csingle = _make_scalar_type("complex64", np.complex64)
complex128 = cdouble = _make_scalar_type("complex128", np.complex128)

# Of those that ir.types.NARROW does not list there are no arrays (DtypeError); comparisons and finfo work.
int1 = _make_scalar_type("int1", ml_dtypes.int1) if hasattr(ml_dtypes, "int1") else None
int2 = _make_scalar_type("int2", ml_dtypes.int2)
int4 = _make_scalar_type("int4", ml_dtypes.int4)
uint1 = _make_scalar_type("uint1", ml_dtypes.uint1) if hasattr(ml_dtypes, "uint1") else None
uint2 = _make_scalar_type("uint2", ml_dtypes.uint2)
uint4 = _make_scalar_type("uint4", ml_dtypes.uint4)
float4_e2m1fn = _make_scalar_type("float4_e2m1fn", ml_dtypes.float4_e2m1fn)
float6_e2m3fn = _make_scalar_type("float6_e2m3fn", ml_dtypes.float6_e2m3fn)
float6_e3m2fn = _make_scalar_type("float6_e3m2fn", ml_dtypes.float6_e3m2fn)
float8_e3m4 = _make_scalar_type("float8_e3m4", ml_dtypes.float8_e3m4)
float8_e4m3 = _make_scalar_type("float8_e4m3", ml_dtypes.float8_e4m3)
float8_e4m3b11fnuz = _make_scalar_type("float8_e4m3b11fnuz", ml_dtypes.float8_e4m3b11fnuz)
float8_e4m3fn = _make_scalar_type("float8_e4m3fn", ml_dtypes.float8_e4m3fn)
float8_e4m3fnuz = _make_scalar_type("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz)
float8_e5m2 = _make_scalar_type("float8_e5m2", ml_dtypes.float8_e5m2)
float8_e5m2fnuz = _make_scalar_type("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz)
float8_e8m0fnu = _make_scalar_type("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu)

_SCALAR_TYPES = {
    t.dtype: t
    for t in (
        bool_,
        int8,
        int16,
        int32,
        int64,
        uint8,
        uint16,
        uint32,
        uint64,
        float16,
        bfloat16,
        float32,
        float64,
        complex64,
        complex128,
    )
}


def default_scalar_type(kind: str) -> _ScalarMeta:
    """The scalar type of Python's numbers of a kind ('i', 'u', 'f', 'c'): 32 bits wide unless x64 mode is on."""
    return _SCALAR_TYPES[default_dtype(kind)]


def result_type(*args: Any) -> np.dtype:
    """The dtype that arrays, scalars and dtypes promote to together; Python scalars are weak.

    >>> jnp.result_type(jnp.int8(1), 2), jnp.result_type(1, 2.0)
    (dtype('int8'), dtype('float32'))
    """
    if not args:
        raise ValueError("at least one array or dtype is required")
    args = [float if x is None else x for x in args]
    check_promotion("result_type", [types.ArrayType((), *types.result_type(x)) for x in args])
    return canonicalize_dtype(types.result_type(*args)[0])


def promote_types(a: DTypeLike, b: DTypeLike) -> np.dtype:
    """The dtype that holds values of both dtypes, by JAX's lattice.

    >>> jnp.promote_types("int32", "float16")
    dtype('float16')
    """
    a, b = _as_dtype_or_python(a), _as_dtype_or_python(b)
    check_promotion("promote_types", [types.ArrayType((), *types.result_type(x)) for x in (a, b)])
    return types.promote_types(a, b)


def _as_dtype_or_python(x: Any) -> Any:
    return x if x in (int, float, complex) and not isinstance(x, _ScalarMeta) else np.dtype(x)


def can_cast(from_: Any, to: DTypeLike, casting: str = "safe") -> bool:
    """Whether NumPy's casting rule lets values of from_ become `to`.

    >>> jnp.can_cast("int32", "int16")
    False
    """
    return np.can_cast(from_ if isinstance(from_, (str, type, np.dtype)) else from_.dtype, to, casting=casting)


def issubdtype(arg1: Any, arg2: Any) -> bool:
    """Whether a dtype lies below another or below an abstract kind such as jnp.floating.

    >>> jnp.issubdtype(jnp.bfloat16, jnp.floating)
    True
    """
    if isinstance(arg1, type) and issubclass(arg1, np.generic) and not isinstance(arg1, _ScalarMeta):
        sub: Any = arg1  # may be abstract
    else:
        sub = _kind_class(arg1)
    sup = _kind_class(arg2) if not (isinstance(arg2, type) and issubclass(arg2, np.generic)) else arg2
    if issubclass(sub, sup):
        return True
    return any(issubclass(base, sup) for base in _extra_bases(sub))


def _kind_class(x: Any) -> type:
    own = getattr(x, "dtype", x)
    if isinstance(own, type) and not issubclass(own, np.generic) and own not in (bool, int, float, complex, object):
        return own  # an extended dtype's class
    if not isinstance(own, (type, str, np.dtype)) and hasattr(own, "type"):
        return own.type
    return np.dtype(own).type


def _extra_bases(scalar: type) -> tuple[type, ...]:
    """ml_dtypes' scalars derive from np.generic alone; this says what kind of number they are."""
    if not (isinstance(scalar, type) and issubclass(scalar, np.generic)) or scalar.__module__ != "ml_dtypes":
        return ()
    if scalar.__name__.startswith("int"):
        return (np.signedinteger,)
    return (np.unsignedinteger,) if scalar.__name__.startswith("uint") else (np.floating,)


_KINDS = {
    "bool": "b",
    "signed integer": "i",
    "unsigned integer": "u",
    "integral": "iu",
    "real floating": "f",
    "complex floating": "c",
    "numeric": "iufc",
}


def isdtype(dtype: DTypeLike, kind: Any) -> bool:
    """Whether a dtype is of a kind of the array API standard ('bool', 'integral', 'real floating', ...).

    >>> jnp.isdtype(jnp.float32, "real floating")
    True
    """
    own = np.dtype(dtype)
    for k in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(k, str) and k in _KINDS:
            if types.kind_of(own) in _KINDS[k]:
                return True
            continue
        try:
            named = np.dtype(k)
        except TypeError:
            raise ValueError(
                f"Unrecognized kind {k!r} for isdtype; expected one of {list(_KINDS)} or a dtype"
            ) from None
        if isinstance(k, str) and k not in (named.name, named.str, named.char, named.str[1:]):
            raise ValueError(f"Unrecognized kind {k!r} for isdtype; expected one of {list(_KINDS)} or a dtype")
        if named == own:
            return True
    return False


def astype(x: ArrayLike, dtype: DTypeLike | None, /, *, copy: bool = False, device: Any = None) -> Array:
    """x in another dtype: floats to integers truncate, to bool is x != 0, complex to real drops the imaginary part.

    >>> jnp.astype(jnp.array([1.7, -2.0]), jnp.int32)
    Array([ 1, -2], dtype=int32)
    """
    check_arraylike("astype", x)
    target = types.requested_dtype(float if dtype is None else dtype)
    if isinstance(target, types.ExtendedDType) and getattr(x, "dtype", None) == target:
        return x._copy() if copy else x
    if target not in types.SHORT_NAMES:
        raise DtypeError(f"{target} is not a dtype of arrays")
    x = asarray(x)
    if x.dtype.kind == "c" and target.kind != "c":
        x = lax.ne(x, complex(0)) if target.kind == "b" else lax.real(x)
    return asarray(lax.convert_element_type(x, target), copy=copy or None, device=device)


def is_numeric(dtype: np.dtype) -> bool:
    return dtype in types.SHORT_NAMES
