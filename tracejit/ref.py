"""Refs: references to arrays that can be changed in place, and functions on them.

    ref = new_ref(jnp.zeros(3)); ref[0] = 5.; ref[1:] += 1.; freeze(ref)      # [5., 1., 1.]

A traced function that changes refs is compiled as a function of their values (`ir/cells.py`): no program changes arrays.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import DtypeError, ShapeError
from tracejit.ir.cells import Cell
from tracejit.ir.types import ArrayType, Typed

__all__ = ["AbstractRef", "Ref", "addupdate", "empty_ref", "free_ref", "freeze", "get", "new_ref", "set", "swap"]


@dataclass(frozen=True)
class AbstractRef:
    """The type of a ref: that of the arrays that it holds."""
    inner_aval: ArrayType

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner_aval.shape

    @property
    def dtype(self) -> np.dtype:
        return self.inner_aval.dtype

    def __repr__(self) -> str:
        return f"Ref{{{self.inner_aval}}}"


class Ref(Typed, Cell):
    """A reference to an array, made by `new_ref`. `ref[index]` reads, `ref[index] = x` and `ref[index] += x` write.

    The index is any that arrays take, `...` for all of it. The array keeps its shape and dtype: what is written is
    broadcast to the place, and a DtypeError is raised where it is not of the ref's dtype (numbers are converted).

    >>> ref = new_ref(jnp.arange(5))
    >>> ref[3] = 100
    >>> ref
    Ref([  0,   1,   2, 100,   4], dtype=int32)
    """

    __slots__ = ("is_freed",)
    __hash__ = object.__hash__

    def __init__(self, value: Any):
        super().__init__(value)
        self.is_freed = False

    @property
    def aval(self) -> AbstractRef:
        return AbstractRef(self.type)

    def read(self) -> Any:
        if self.is_freed:
            raise ValueError("the ref was frozen or freed, and holds no array any more")
        return super().read()

    def __getitem__(self, index: Any) -> Any:
        return get(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        set(self, index, value)

    def addupdate(self, x: Any, idx: Any = ()) -> None:
        """ref[idx] += x; an index given twice is added to twice."""
        addupdate(self, idx, x)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a ref to an array without axes")
        return self.shape[0]

    def __iter__(self) -> Any:
        raise TypeError("a ref cannot be iterated over; read it first: ref[...]")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("a ref is not an array; read it first: ref[...]")

    def __repr__(self) -> str:
        return "Ref" + repr(self.stored).removeprefix("Array") if self.home is None and not self.is_freed else f"Ref<{self.type}>"


def new_ref(init_val: Any, *, memory_space: Any = None, kind: str | None = None) -> Ref:
    """A ref that holds an array, or what jnp.asarray makes of a number.

    >>> ref = new_ref(jnp.zeros(3))
    >>> ref[1:] += 2
    >>> ref
    Ref([0., 2., 2.], dtype=float32)
    """
    if isinstance(init_val, Ref):
        raise ValueError("new_ref: a ref cannot hold a ref; read it first: ref[...]")
    value = jnp.asarray(init_val)
    return Ref(lax.convert_element_type(value, value.dtype))  # of a type that no assignment changes: not weak


def empty_ref(ty: Any, memory_space: Any = None) -> Ref:
    """A ref to an array of the shape and dtype of ty, with no elements to rely on.

    >>> import tracejit
    >>> empty_ref(tracejit.ShapeDtypeStruct((2,), 'float32')).shape
    (2,)
    """
    return new_ref(jnp.empty(ty.shape, ty.dtype))


def checked(ref: Any, caller: str) -> Ref:
    if not isinstance(ref, Ref):
        raise ValueError(f"ref.{caller} takes a ref, got {type(ref).__name__}; make one with new_ref(array)")
    return ref


def is_all(idx: Any) -> bool:
    return idx is None or idx is Ellipsis


def get(ref: Ref, idx: Any = None) -> Any:
    """The array at an index of a ref: ref[idx].

    >>> print(get(new_ref(jnp.arange(5)), slice(1, 3)))
    [1 2]
    """
    value = checked(ref, "get").read()
    return value if is_all(idx) else value[idx]


def for_place(ref: Ref, value: Any, place: Any, what: str) -> Any:
    """A value as it is written to a place of a ref."""
    if isinstance(value, Ref):
        raise ValueError("a ref cannot hold a ref; read it first: ref[...]")
    value = jnp.asarray(value)
    if value.dtype != ref.dtype and not (value.weak_type and jnp.result_type(value, ref.dtype) == ref.dtype):
        raise DtypeError(f"{what}: {value.dtype} does not fit into a ref of dtype {ref.dtype}",
                         fix=f"convert it: value.astype('{ref.dtype}')")
    try:
        return jnp.broadcast_to(lax.convert_element_type(value, ref.dtype), place.shape)
    except ValueError:
        raise ShapeError(f"{what}: a value of shape {value.shape} does not fit into a place of shape {place.shape}") from None


def swap(ref: Ref, idx: Any, value: Any) -> Any:
    """Write a value at an index of a ref; the array that was there.

    >>> ref = new_ref(jnp.arange(3))
    >>> print(swap(ref, 1, 10), ref)
    1 Ref([ 0, 10,  2], dtype=int32)
    """
    before = get(ref, idx)
    value = for_place(ref, value, before, "ref.swap")
    ref.write(value if is_all(idx) else ref.read().at[idx].set(value))
    return before


def set(ref: Ref, idx: Any, value: Any) -> None:
    """Write a value at an index of a ref: ref[idx] = value.

    >>> ref = new_ref(jnp.zeros(3))
    >>> set(ref, 1, 10.)
    >>> ref
    Ref([ 0., 10.,  0.], dtype=float32)
    """
    swap(checked(ref, "set"), idx, value)


def addupdate(ref: Ref, idx: Any, x: Any) -> None:
    """Add to the array at an index of a ref; an index given twice is added to twice.

    >>> ref = new_ref(jnp.arange(3))
    >>> addupdate(ref, jnp.array([0, 0]), 10)
    >>> ref
    Ref([20,  1,  2], dtype=int32)
    """
    x = for_place(ref, x, get(ref, idx), "ref.addupdate")
    ref.write(ref.read() + x if is_all(idx) else ref.read().at[idx].add(x))


def freeze(ref: Ref) -> Any:
    """The array that a ref holds; the ref cannot be used afterwards.

    >>> print(freeze(new_ref(jnp.arange(3))))
    [0 1 2]
    """
    value = checked(ref, "freeze").read()
    ref.is_freed = True
    return value


def free_ref(ref: Ref) -> None:
    """Let go of a ref's array; the ref cannot be used afterwards."""
    checked(ref, "free_ref").is_freed = True
