"""Types of values: `ArrayType` (shape, dtype, weak_type), dtype names, and JAX's promotion lattice.

    ArrayType((3,), np.dtype("float32"))   prints as   f32[3]
"""
from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from tracejit.config import config
from tracejit.errors import DtypeError, warn_user

bfloat16 = np.dtype(ml_dtypes.bfloat16)

# Dtypes of less than 16 bits that only ml_dtypes knows, each with the dtype that its arithmetic is done in. An element takes
# a byte; of an integer of 2 or 4 bits the rest of it means nothing.
NARROW: dict[np.dtype, np.dtype] = {
    **{np.dtype(getattr(ml_dtypes, f"float8_{form}")): np.dtype("float32") for form in
       ("e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")},
    **{np.dtype(getattr(ml_dtypes, f"{kind}int{bits}")): np.dtype(f"{kind}int8") for kind in ("", "u") for bits in (2, 4)},
}
# The kind of numbers that NumPy calls void, and whose arrays it cannot lend under their name.
FOREIGN_KIND = {bfloat16: "f", **{dtype: wide.kind for dtype, wide in NARROW.items()}}

SHORT_NAMES: dict[np.dtype, str] = {
    np.dtype(bool): "bool",
    **{np.dtype(f"{kind}int{bits}"): f"{kind or 'i'}{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)},
    np.dtype("float16"): "f16", bfloat16: "bf16", np.dtype("float32"): "f32", np.dtype("float64"): "f64",
    np.dtype("complex64"): "c64", np.dtype("complex128"): "c128",
    **{dtype: dtype.name.replace("float", "f").replace("uint", "u").replace("int", "i") for dtype in NARROW},
}
DTYPE_OF_SHORT_NAME = {short: dtype for dtype, short in SHORT_NAMES.items()}
FLOAT0 = np.dtype([("float0", np.void, 0)])  # the tangent dtype of integers and booleans


class ExtendedDType:
    """The base of dtypes whose elements are no numbers but made of some: an array of shape s is an array of numbers of
    shape (*s, parts), in a class of its own (pytree.COMPOSITES). Ops take them where they accept the kind "V"."""
    kind: ClassVar[str] = "V"
    type: ClassVar[type]
    name: str
    itemsize: int
    parts: int
    part: np.dtype

    def wrap(self, data: Any) -> Any:
        """The array of this dtype that is made of `data`."""
        raise NotImplementedError

    def type_of_data(self, shape: tuple[int, ...]) -> ArrayType:
        return ArrayType((*shape, self.parts), self.part)


class ArrayType:
    """The type of an array. Interned: equal types are the same object, so `is` compares them."""

    __slots__ = ("shape", "dtype", "weak_type", "ndim", "size", "nbytes", "is_narrow", "__weakref__")
    _interned: dict[tuple, ArrayType] = {}

    shape: tuple[int, ...]
    dtype: np.dtype
    weak_type: bool
    ndim: int
    size: int
    nbytes: int
    is_narrow: bool     # whether operations compute in another dtype, see NARROW

    def __new__(cls, shape: tuple[int, ...], dtype: Any, weak_type: bool = False, *, sharding: Any = None,
                vma: Any = None, memory_space: Any = None) -> ArrayType:  # JAX's types say where an array is; these do not
        key = (shape, dtype, weak_type)
        try:
            return cls._interned[key]
        except (KeyError, TypeError):
            dtype = dtype if isinstance(dtype, ExtendedDType) else np.dtype(dtype)
            return cls._make(tuple(int(d) for d in shape), dtype, bool(weak_type))

    @classmethod
    def _make(cls, shape: tuple[int, ...], dtype: Any, weak_type: bool) -> ArrayType:
        if dtype == FLOAT0:
            raise DtypeError("float0s do not support any operations by design: they are the tangents of integers and booleans",
                             fix="np.zeros_like(x, dtype=float) makes zeros that can be computed with")
        if dtype not in SHORT_NAMES and not isinstance(dtype, ExtendedDType):
            raise DtypeError(f"{dtype} is not a dtype of arrays; supported: {', '.join(map(str, SHORT_NAMES))}")
        self = object.__new__(cls)
        self.shape, self.dtype, self.weak_type = shape, dtype, weak_type
        self.ndim, self.size = len(shape), math.prod(shape)
        self.nbytes, self.is_narrow = self.size * dtype.itemsize, dtype in NARROW
        return cls._interned.setdefault((shape, dtype, weak_type), self)

    @property
    def sharding(self) -> Any:
        """How values of the type are laid out over a mesh: whole, by a NamedSharding that names no axis of an empty mesh."""
        return importlib.import_module("tracejit.sharding").whole(self.ndim)

    @property
    def vma(self) -> frozenset:
        """The mesh axes that the value varies over, as JAX's shard_map tracks them: none are tracked."""
        return frozenset()

    def to_tangent_aval(self) -> ArrayType:
        """The type of derivatives with respect to values of this type; integers have none, and keep theirs."""
        return self.strong()

    at_least_vspace = to_tangent_aval

    def __reduce__(self):
        return ArrayType, (self.shape, self.dtype, self.weak_type)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def update(self, shape=None, dtype=None, weak_type=None) -> ArrayType:
        """The same type with some fields replaced."""
        return ArrayType(self.shape if shape is None else tuple(shape),
                         self.dtype if dtype is None else dtype,
                         self.weak_type if weak_type is None else weak_type)

    def strong(self) -> ArrayType:
        return ArrayType(self.shape, self.dtype) if self.weak_type else self

    def __repr__(self) -> str:
        return f"{short_name(self.dtype)}[{','.join(map(str, self.shape))}]"

    def str_short(self, short_dtypes: bool = False) -> str:
        """float32[2,3], or f32[2,3] with short_dtypes."""
        return repr(self) if short_dtypes else f"{self.dtype}[{','.join(map(str, self.shape))}]"


class TapeType:
    """The type of a run-time stack of values of one array type: what a differentiated while-loop records."""

    __slots__ = ("element",)
    _interned: dict[ArrayType, TapeType] = {}
    weak_type = is_narrow = False

    def __new__(cls, element: ArrayType) -> TapeType:
        found = cls._interned.get(element)
        if found is None:
            found = object.__new__(cls)
            found.element = element
            found = cls._interned.setdefault(element, found)
        return found

    def strong(self) -> TapeType:
        return TapeType(self.element.strong())

    def __repr__(self) -> str:
        return f"tape({self.element})"


def short_name(dtype: Any) -> str:
    return SHORT_NAMES.get(dtype) or dtype.name


def is_float(dtype) -> bool:
    return kind_of(dtype) == "f"


def is_complex(dtype) -> bool:
    return dtype.kind == "c"


def is_inexact(dtype) -> bool:
    return kind_of(dtype) in "fc"


def is_integer(dtype) -> bool:
    return kind_of(dtype) in "iu"


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex dtype; any other dtype itself."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def complex_dtype(dtype: np.dtype) -> np.dtype:
    """The complex dtype whose parts can hold a real dtype."""
    if dtype.kind == "c":
        return dtype
    return np.dtype("complex128") if dtype == np.dtype("float64") else np.dtype("complex64")


# --- defaults and canonical forms ------------------------------------------------------------------

def default_dtype(kind: str) -> np.dtype:
    """The dtype of a Python scalar of this kind: 'b', 'i', 'f' or 'c'."""
    if kind == "b":
        return np.dtype(bool)
    bits = 64 if config.enable_x64 else 32
    return np.dtype({"i": "int", "u": "uint", "f": "float", "c": "complex"}[kind] + str(bits * (1 + (kind == "c"))))


_NARROW = {np.dtype(wide): np.dtype(narrow) for wide, narrow in
           (("int64", "int32"), ("uint64", "uint32"), ("float64", "float32"), ("complex128", "complex64"))}


def canonicalize_dtype(dtype: Any) -> np.dtype:
    """A dtype-like as a dtype. 64-bit dtypes are kept unless x64 mode was switched off explicitly."""
    dtype = named_dtype(dtype)
    if config.enable_x64 is False:
        return _NARROW.get(dtype, dtype)
    return dtype


def named_dtype(dtype: Any) -> np.dtype:
    """A dtype-like as a dtype; Python's classes of numbers name their default dtypes."""
    if isinstance(dtype, np.dtype):
        return dtype
    if dtype is int or dtype is float or dtype is complex:
        return default_dtype({int: "i", float: "f", complex: "c"}[dtype])
    own = getattr(dtype, "dtype", dtype)  # of an array, or of a dtype object of another library
    if isinstance(own, ExtendedDType):
        return own
    return own if isinstance(own, np.dtype) else np.dtype(dtype)


def requested_dtype(dtype: Any, by_program: bool = True) -> np.dtype:
    """The canonical form of a dtype that the program names; what is done about one that it narrows, `explicit_x64_dtypes` says."""
    if getattr(dtype, "type", None).__class__ is ArrayType:
        raise ValueError("an array is no dtype argument; instead of dtype=x use dtype=x.dtype")
    wide, narrow = named_dtype(dtype), canonicalize_dtype(dtype)
    if wide == narrow or not by_program:
        return narrow
    message = f"Explicitly requested dtype {wide} is not available"
    if config.explicit_x64_dtypes == "error":
        raise ValueError(f"{message}. Set enable_x64 to have it.")
    warn_user(f"{message}, and will be truncated to dtype {narrow}. Set enable_x64 to have it.")
    return narrow


def kind_of(dtype: np.dtype) -> str:
    kind = dtype.kind
    return FOREIGN_KIND.get(dtype, kind) if kind == "V" else kind


# NumPy's default scalars (what np.sqrt(2.0) or np.prod(shape) give) are weak, as Python's own are:
# a stray np.float64 constant must not turn a float32 model into a float64 one. Where 64-bit types are truncated it
# cannot, and they are as strong as in JAX.
WEAK_SCALARS = (np.float64, np.int64, np.complex128)


@functools.lru_cache(maxsize=4096)
def _scalar_type(python_type: type, x64: bool | None) -> ArrayType:
    if issubclass(python_type, WEAK_SCALARS):
        return ArrayType((), canonicalize_dtype(np.dtype(python_type)), x64 is not False)
    if issubclass(python_type, np.generic):
        return ArrayType((), canonicalize_dtype(np.dtype(python_type)))
    for base, kind in ((bool, "b"), (int, "i"), (float, "f"), (complex, "c")):
        if issubclass(python_type, base):
            return ArrayType((), default_dtype(kind), kind != "b")
    raise TypeError(python_type)


class Typed:
    """What has a `type`, and so the attributes of an array that follow from it."""
    __slots__ = ()
    type: ArrayType

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype:
        return self.type.dtype

    @property
    def weak_type(self) -> bool:
        return self.type.weak_type

    @property
    def ndim(self) -> int:
        return self.type.ndim

    @property
    def size(self) -> int:
        return self.type.size


def type_of(x: Any) -> ArrayType:
    """The ArrayType of an array, tracer, NumPy array or scalar, or Python scalar."""
    found = getattr(x, "type", None)
    if found.__class__ is ArrayType or found.__class__ is TapeType:
        return found
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            raise ValueError("numpy masked arrays are not supported; x.filled() makes an array of one")
        return ArrayType(x.shape, canonicalize_dtype(x.dtype))
    if isinstance(x, (bool, int, float, complex, np.generic)):
        if type(x) is int and not -2**31 <= x < 2**31 and not config.enable_x64:
            return _big_int_type(x)
        return _scalar_type(type(x), config.enable_x64)
    if hasattr(x, "__jax_array__"):
        return type_of(x.__jax_array__())
    if hasattr(x, "shape") and hasattr(x, "dtype"):  # ShapeDtypeStruct and other libraries' arrays
        return ArrayType(tuple(x.shape), canonicalize_dtype(x.dtype), bool(getattr(x, "weak_type", False)))
    if type(x) in type_of_own:
        return type_of_own[type(x)](x)
    raise TypeError(f"Argument {x!r} of type {type(x)} is not a valid JAX type")


def is_array_like(x: Any) -> bool:
    """Whether `type_of` knows x."""
    try:
        type_of(x)
    except TypeError:
        return False
    return True


# Values of a program's own classes: class -> function that gives their ArrayType, and one that gives them as an array.
type_of_own: dict[type, Callable[[Any], ArrayType]] = {np.ndarray: type_of}
value_of_own: dict[type, Callable[[Any], Any]] = {np.ndarray: np.asarray}


def _big_int_type(x: int) -> ArrayType:
    if config.enable_x64 is False:
        raise OverflowError(f"Python int {x} too large to convert to int32")
    if -2**63 <= x < 2**63:
        return ArrayType((), np.dtype("int64"), True)
    raise OverflowError(f"Python int {x} does not fit in 64 bits")


WIDE = frozenset({np.dtype("float64"), np.dtype("complex128")})
WIDE_NUMBER = {float: np.float64, complex: np.complex128}  # whose types are weak, as those of Python's numbers


def is_wide(x: Any) -> bool:
    """Whether x is an array of 64-bit floats, or a traced one."""
    return getattr(x, "dtype", None) in WIDE and not isinstance(x, np.generic)


def wide_number(x: Any) -> Any:
    return WIDE_NUMBER[x.__class__](x) if x.__class__ in WIDE_NUMBER else x


def with_wide_numbers(leaves: Sequence) -> Sequence:
    """The values, where a number beside a float64 array is float64, still weak: 0.1 as a float32 is another number.

    >>> with_wide_numbers([np.ones(2), 0.1])[1].dtype, type(with_wide_numbers([np.ones(2, np.float32), 0.1])[1])
    (dtype('float64'), <class 'float'>)
    """
    if config.enable_x64 is not None or not any(x.__class__ in WIDE_NUMBER for x in leaves) or not any(map(is_wide, leaves)):
        return leaves
    return [wide_number(x) for x in leaves]


def dtype_of(x: Any) -> np.dtype:
    """The dtype of a value, or a dtype itself, in the width that the settings allow."""
    return canonicalize_dtype(x) if isinstance(x, (type, str, np.dtype, ExtendedDType)) else type_of(x).dtype


def is_weak(x: Any) -> bool:
    return type_of(x).weak_type


# --- promotion ---------------------------------------------------------------------------------------
# A value's place in the lattice: a dtype, or for weak values one of the category nodes i* f* c*.

_EDGES = {
    "bool": "i*", "i*": "u8 i8 i2 i4 u2 u4", "u8": "i16 u16", "u16": "i32 u32", "u32": "i64 u64", "u64": "f*",
    "i8": "i16", "i16": "i32", "i32": "i64", "i64": "f*",
    "f*": "bf16 f16 c* " + " ".join(SHORT_NAMES[d] for d in NARROW if is_float(d)), "bf16": "f32", "f16": "f32",
    "f32": "f64 c64", "f64": "c128", "c*": "c64", "c64": "c128", "c128": "",
}


KINDS_OF_NUMBERS = {"i*": "int", "f*": "float", "c*": "complex"}


@functools.lru_cache
def _above(node: str) -> frozenset[str]:
    return frozenset([node]).union(*(_above(up) for up in _EDGES.get(node, "").split()))


@functools.lru_cache
def _join(nodes: frozenset[str]) -> str:
    common = frozenset.intersection(*map(_above, nodes))
    if not common:
        names = {n: DTYPE_OF_SHORT_NAME[n].name if n in DTYPE_OF_SHORT_NAME else KINDS_OF_NUMBERS.get(n) for n in nodes}
        given = tuple(names[n] or n for n in sorted(nodes))
        if None in names.values():
            raise DtypeError(f"no dtype holds values of {' and '.join(given)}")
        few = "8-bit floats" if any(n.startswith("f8") for n in nodes) else "2-bit and 4-bit integers"
        raise DtypeError(f"Input dtypes {given} have no available implicit dtype promotion path. To avoid unintended "
                         f"promotion, {few} do not support implicit promotion", fix="convert one, such as with x.astype('float32')")
    return next(node for node in common if _above(node) >= common)


def _node(dtype: np.dtype, weak: bool) -> str:
    return f"{kind_of(dtype)}*".replace("u*", "i*") if weak and dtype.kind != "b" else short_name(dtype)


def promote(types: list[tuple[np.dtype, bool]]) -> tuple[np.dtype, bool]:
    """The common (dtype, weak) of several, by JAX's lattice."""
    first = types[0]
    if all(t == first for t in types):
        return first
    node = _join(frozenset(_node(d, w) for d, w in types))
    if not node.endswith("*"):
        return _no_wider(DTYPE_OF_SHORT_NAME[node], types), False
    same_kind = [d for d, w in types if w and _node(d, w) == node]
    if len(same_kind) == 0:  # such as uint64 with int64
        return default_dtype(node[0]), True
    return functools.reduce(np.promote_types, same_kind), True  # int32 array * 0.5 is a weak float32


def _no_wider(dtype: np.dtype, types: list[tuple[np.dtype, bool]]) -> np.dtype:
    """int32 with uint32 stays 32 bits wide, as in JAX, unless x64 mode is on: only a 64-bit argument makes 64 bits."""
    if dtype.kind == "i" and dtype.itemsize == 8 and not config.enable_x64 and all(d.itemsize < 8 for d, _ in types):
        return _NARROW[dtype]
    return dtype


def is_python_type(x: Any) -> bool:
    """Whether x is Python's int, float or complex; by identity, for np.dtype("float64") == float."""
    return x is int or x is float or x is complex


def promote_types(a: Any, b: Any) -> np.dtype:
    """The dtype that holds both, by JAX's lattice; Python's int, float and complex are weak."""
    dtype, _ = promote([(canonicalize_dtype(a), is_python_type(a)), (canonicalize_dtype(b), is_python_type(b))])
    return canonicalize_dtype(dtype)


def is_dtype_like(x: Any) -> bool:
    return isinstance(x, (np.dtype, type, str)) or (hasattr(x, "dtype") and not hasattr(x, "shape"))


def result_type(*args: Any) -> tuple[np.dtype, bool]:
    """The (dtype, weak) that arrays, scalars and dtypes promote to together."""
    types = []
    for x in args:
        if is_dtype_like(x):
            types.append((canonicalize_dtype(x), is_python_type(x)))
        else:
            t = type_of(x)
            types.append((t.dtype, t.weak_type))
    return promote(types)
