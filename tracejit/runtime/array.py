"""NumPy arrays and scalars -> `ArrayImpl`, the concrete array of the runtime: typed, immutable, 64-byte aligned memory.

Native where the interpreter allows (see native.py), else a plain Python class with the same behaviour. Memory from the
pool is 64-byte aligned; a view of other memory (`from_dlpack`, `from_numpy(copy=False)`) only to its elements.
"""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tracejit.ir.graph import Lit, Var
from tracejit.ir.trace import leaked
from tracejit.ir.types import FOREIGN_KIND, ArrayType, canonicalize_dtype, type_of, value_of_own
from tracejit.runtime import array_plain, dlpack, library, native
from tracejit.runtime.array_methods import ArrayMethods
from tracejit.runtime.array_text import ARRAY_BYTES, BASE, DATA, EXPORTS, WEAKREFS, Info
from tracejit.runtime.device import gpu_devices
from tracejit.runtime.placed import GPU_MEMORY, PlacedArray, adopted
from tracejit.runtime.pool import size_class

is_native = library.symbols is not None
infos: dict[ArrayType, Info] = {}  # kept as long as the types themselves, which are interned


def i64_table(values: tuple[int, ...]) -> int | None:
    if not values:
        return None
    table = (ctypes.c_int64 * len(values))(*values)
    native.forever.append(table)
    return ctypes.addressof(table)


def held(value: Any) -> int:
    native.forever.append(value)
    return id(value)


def buffer_format(dtype: np.dtype) -> bytes | None:
    try:
        return memoryview(np.empty(0, dtype)).format.encode()
    except ValueError:  # bfloat16 has none
        return None


def make_info(t: ArrayType) -> Info:
    steps = [1]
    for d in reversed(t.shape[1:]):
        steps.append(steps[-1] * max(d, 1))
    steps = tuple(reversed(steps))[:t.ndim] if t.ndim else ()
    item = t.dtype.itemsize
    return Info(
        nbytes=t.nbytes, size_class=size_class(t.nbytes), item_bytes=item, rank=t.ndim, format=buffer_format(t.dtype),
        dims=i64_table(t.shape), strides=i64_table(tuple(step * item for step in steps)),
        element_strides=i64_table(steps),
        dlpack_dtype=dlpack.dtype_word(t.dtype), type=held(t), shape=held(t.shape), dtype=held(t.dtype),
        weak_type=held(t.weak_type), ndim=held(t.ndim), size=held(t.size), nbytes_object=held(t.nbytes),
        itemsize=held(item))


def info_of(t: ArrayType) -> int:
    """The address of what native code knows about a type."""
    info = infos.get(t)
    if info is None:
        info = infos.setdefault(t, make_info(t))
    return ctypes.addressof(info)


def make_native_class() -> type:
    symbols = library.symbols
    getter = symbols["tj_array_get"]
    attributes = [(name, getter, getattr(Info, field).offset) for name, field in [
        ("type", "type"), ("shape", "shape"), ("dtype", "dtype"), ("weak_type", "weak_type"), ("ndim", "ndim"),
        ("size", "size"), ("nbytes", "nbytes_object"), ("itemsize", "itemsize")]]
    members = [("_data", native.SIZE_MEMBER, DATA), ("_exports", native.SIZE_MEMBER, EXPORTS),
               ("_base", native.OBJECT_MEMBER, BASE), ("__weaklistoffset__", native.SIZE_MEMBER, WEAKREFS)]
    slots = {native.TP_DEALLOC: symbols["tj_array_dealloc"], native.BF_GETBUFFER: symbols["tj_array_getbuffer"],
             native.BF_RELEASEBUFFER: symbols["tj_array_releasebuffer"]}
    made = native.make_type("tracejit.runtime.array.ArrayImpl", ARRAY_BYTES, native.DEFAULT | native.NO_INSTANTIATION,
                            slots, members, attributes)
    for name, value in vars(ArrayMethods).items():
        if name not in ("__slots__", "__dict__", "__weakref__", "__module__", "__annotations__"):
            setattr(made, name, value)
    native.write_pointer(symbols["tj_array_type"], id(made))
    native.forever.append(made)
    return made


def native_function(name: str, *arguments: Any, result: Any = ctypes.py_object) -> Any:
    return ctypes.PYFUNCTYPE(result, *arguments)(library.symbol(name))


if is_native:
    ArrayImpl = make_native_class()
    new_array = native_function("tj_array_new", ctypes.c_void_p)
    copy_array = native_function("tj_array_copy", ctypes.c_void_p, ctypes.c_void_p)
    copy_numpy = native_function("tj_array_from_numpy", ctypes.c_void_p, ctypes.py_object)
    view_array = native_function("tj_array_view", ctypes.c_void_p, ctypes.c_void_p, ctypes.py_object)
    delete_array = native_function("tj_array_delete", ctypes.py_object, result=None)
    export_array = native_function("tj_array_dlpack", ctypes.py_object)
else:
    ArrayImpl = array_plain.PlainArray


CONCRETE = (ArrayImpl, PlacedArray)     # the classes of arrays whose elements are known


def empty(t: ArrayType) -> Any:
    """An Array of type `t` with whatever its memory holds. MemoryError if there is none."""
    return new_array(info_of(t)) if is_native else ArrayImpl(t)


def view_of(x: Any, t: ArrayType, offset: int = 0) -> Any:
    """An Array of type `t` on the memory of Array `x` from byte `offset` on, which lives as long as either.

    >>> view_of(from_numpy(np.arange(4.0)), ArrayType((2,), np.dtype("float64")), 16)
    Array([2., 3.], dtype=float64)
    """
    x._check()
    if offset < 0 or offset + t.nbytes > x.type.nbytes:
        raise ValueError(f"{t} from byte {offset} does not fit into {x.type}")
    return view_address(t, x._data + offset, x)


def view_address(t: ArrayType, address: int, base: Any) -> Any:
    """An Array on memory at `address` that `base` keeps alive; it must be dense and never change."""
    return view_array(info_of(t), address, base) if is_native else ArrayImpl(t, address, base)


def is_dense(x: Any, dtype: np.dtype) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == dtype and x.flags.c_contiguous


def from_numpy(x: Any, weak: bool = False, copy: bool | None = None) -> Any:
    """The Array with the elements of a NumPy array, or of a NumPy or Python scalar.

    The elements are copied, so that later changes of `x` are not seen; with copy=False the memory of `x` is used
    and must not change (ValueError if its layout or dtype does not allow that). Python scalars, np.float64, np.int64
    and np.complex128 scalars give weak types; `weak` makes the result weak in any case. DtypeError for dtypes that
    arrays cannot have, OverflowError for integers beyond 64 bits.

    >>> from_numpy(np.array([1.0, 2.0], np.float32))
    Array([1., 2.], dtype=float32)
    >>> from_numpy(3)
    Array(3, dtype=int32, weak_type=True)
    """
    if isinstance(x, np.ndarray):
        native_order = x.dtype if x.dtype.isnative else x.dtype.newbyteorder("=")
        t = ArrayType(x.shape, canonicalize_dtype(native_order))
    else:
        t = type_of(x)
    if weak and not t.weak_type:
        t = t.update(weak_type=True)
    dense = x if is_dense(x, t.dtype) else np.asarray(x, t.dtype, order="C")
    if copy is False:
        if dense is not x or not dense.flags.aligned:
            raise ValueError(f"a {type(x).__name__} of this layout cannot become an Array without a copy")
        return view_address(t, dense.__array_interface__["data"][0], x)
    return of_type(dense, t)


def of_type(x: np.ndarray, t: ArrayType) -> Any:
    """An Array of this type, whatever x64 mode says, with the elements of a dense NumPy array of its dtype."""
    return copy_numpy(info_of(t), x) if is_native else ArrayImpl.from_numpy(t, x)


def as_array(x: Any) -> Any:
    """An Array of an Array, literal, NumPy array or Python scalar."""
    if isinstance(x, CONCRETE):
        return x
    if x.__class__ is Lit:
        return of_type(np.asarray(x.value, x.type.dtype), x.type)
    if x.__class__ is Var:
        raise leaked(x)
    if hasattr(x, "__jax_array__"):
        return from_numpy(x.__jax_array__())
    return from_numpy(value_of_own[type(x)](x) if type(x) in value_of_own else x)


def from_bytes(t: ArrayType, address: int) -> Any:
    """An Array of type `t` with a copy of the bytes at `address`."""
    return copy_array(info_of(t), address) if is_native else ArrayImpl.from_address(t, address)


def from_dlpack(x: Any, copy: bool | None = None) -> Any:
    """An Array from an object with `__dlpack__` (a tensor of another library), on its memory where that is dense.

    With copy=True, or where the memory is strided or not aligned to its elements, the elements are copied
    (copy=False: ValueError). The other library must not change the memory afterwards. A tensor on a GPU gives an Array there.

    >>> from_dlpack(np.arange(3.0))
    Array([0., 1., 2.], dtype=float64)
    """
    kind, number = x.__dlpack_device__() if hasattr(x, "__dlpack_device__") else (1, 0)
    if kind == GPU_MEMORY:
        return adopted(gpu_devices().devices()[number], x, copy)
    tensor = dlpack.consume(x)
    t = ArrayType(tensor.shape, tensor.dtype)
    if tensor.is_dense and not copy:
        return view_address(t, tensor.address, tensor)
    if copy is False:
        raise ValueError("this tensor is strided or not aligned and cannot become an Array without a copy")
    return from_numpy(tensor.to_numpy())


# --- what differs between the two classes ------------------------------------------------------------

def host_view(self: Any) -> np.ndarray:
    self._check()
    t = self.type
    if t.dtype in FOREIGN_KIND:  # the buffer protocol cannot name it
        return np.asarray(memoryview(view_of(self, t.update(dtype=f"u{t.dtype.itemsize}")))).view(t.dtype)
    return np.asarray(memoryview(self))


row_types: dict[ArrayType, tuple[ArrayType, int]] = {}    # kept as long as the types themselves


def row(self: Any, i: int) -> Any:
    found = row_types.get(self.type)
    if found is None:
        t = self.type.update(shape=self.type.shape[1:])
        found = row_types[self.type] = t, t.nbytes
    t, nbytes = found
    return from_bytes(t, self._data + i * nbytes)


def copied(self: Any) -> Any:
    self._check()
    return from_bytes(self.type, self._data)


def is_shared(x: Any) -> bool:
    """Whether others may see the memory of x: views, NumPy."""
    return x.__class__ is ArrayImpl and not (is_native and x._base is None and not x._exports)


def unshared(x: Any) -> Any:
    """x, or a copy where its memory is shared: a program may overwrite what is donated to it."""
    return copied(x) if is_shared(x) else x


def delete(self: Any) -> None:
    """Give the memory back now; any later use is an error."""
    if not self.is_deleted():
        delete_array(self)


def to_dlpack(self: Any, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
              copy: bool | None = None) -> Any:
    """A DLPack capsule on the memory of the array, or of a copy of it."""
    self._check()
    if dl_device not in (None, (1, 0)):
        raise BufferError("the memory is on the host, and can be exported only there")
    return export_array(copied(self) if copy else self)


def rebuilt(value: np.ndarray, weak: bool) -> Any:
    return from_numpy(value, weak)


def reduce(self: Any) -> tuple:
    return rebuilt, (self._host(), self.type.weak_type)


ArrayImpl._row, ArrayImpl._copy, ArrayImpl.__reduce__ = row, copied, reduce
PlacedArray.__reduce__ = reduce     # comes back on the host
if is_native:
    ArrayImpl._host, ArrayImpl.delete, ArrayImpl.__dlpack__ = host_view, delete, to_dlpack


class AnyArray(type):
    """Makes isinstance(x, Array) mean: an array whose elements are known, one that is being traced, or one of keys."""
    classes: tuple[type, ...] = (*CONCRETE, Var)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, AnyArray.classes) if cls is Array else type.__instancecheck__(cls, x)

    def __subclasscheck__(cls, c: type) -> bool:
        return issubclass(c, AnyArray.classes) if cls is Array else type.__subclasscheck__(cls, c)

    def register(cls, c: type) -> type:
        """Count a class as arrays, which are made of arrays of numbers."""
        AnyArray.classes = (*AnyArray.classes, c)
        return c

    def __getattr__(cls, name: str) -> Any:
        return getattr(ArrayImpl, name)  # Array.sum, Array.at


class Array(metaclass=AnyArray):
    """The class of all arrays, for isinstance and annotations; arrays are made by jnp.array, jnp.zeros and so on.

    >>> isinstance(from_numpy(1.0), Array), isinstance(np.ones(3), Array)
    (True, False)
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    ndim: int
    size: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Array cannot be instantiated; use jnp.array, jnp.asarray or jnp.zeros")
