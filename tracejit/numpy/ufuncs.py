"""Maps a function of scalars or arrays to a `ufunc`: elementwise, with reduce, accumulate, reduceat, outer and at."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tracejit import lax
from tracejit.ir.types import requested_dtype
from tracejit.numpy.indexing import update_at
from tracejit.numpy.promotion import (
    Array,
    ArrayLike,
    DTypeLike,
    as_array,
    canonical_axis,
    cast_numpy,
    check_arraylike,
    check_no_out,
    convert,
    dtype_of,
    expand_to,
)
from tracejit.runtime.eager import eager


def _named(name: str) -> ufunc:
    return getattr(sys.modules["tracejit.numpy"], name)


class ufunc:
    """An elementwise function with NumPy's methods; `frompyfunc` makes one of a function of scalars.

    >>> jnp.add.outer(jnp.array([1, 2]), jnp.array([10, 20]))
    Array([[11, 21],
           [12, 22]], dtype=int32)
    """

    def __init__(
        self,
        func: Callable,
        nin: int,
        nout: int,
        *,
        name: str | None = None,
        nargs: int | None = None,
        identity: Any = None,
        reduce: Callable | None = None,
        accumulate: Callable | None = None,
        at: Callable | None = None,
    ):
        self._func, self._reduce, self._accumulate, self._at = func, reduce, accumulate, at
        self.nin, self.nout, self.identity = nin, nout, identity
        self.nargs = nin if nargs is None else nargs
        self.__name__ = name or func.__name__
        self.__doc__ = func.__doc__ or ufunc.__doc__
        with contextlib.suppress(TypeError, ValueError):    # not all functions of C have one
            self.__signature__ = inspect.signature(func)

    def __repr__(self) -> str:
        return f"<jnp.ufunc '{self.__name__}'>"

    def __hash__(self) -> int:
        return hash((self._func, self.nin, self.nout))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, ufunc) and (self._func, self.nin, self.nout, self.identity) == (
            other._func,
            other.nin,
            other.nout,
            other.identity,
        )

    def __reduce__(self) -> tuple:
        """Functions of the namespace are pickled by name, others by what they are made of."""
        if getattr(sys.modules["tracejit.numpy"], self.__name__, None) is self:
            return _named, (self.__name__,)
        return ufunc, (self._func, self.nin, self.nout)

    def __call__(self, *args: ArrayLike, out: None = None, where: None = None) -> Any:
        if out is not None or where is not None:
            raise NotImplementedError(f"{'out' if out is not None else 'where'} argument of {self}")
        if len(args) != self.nin:
            raise TypeError(f"{self.__name__}() takes {self.nin} positional arguments but {len(args)} were given")
        return self._func(*args)

    def _binary(self, method: str) -> None:
        if self.nin != 2 or self.nout != 1:
            raise ValueError(f"{method} only supported for binary ufuncs with a single output")

    def reduce(
        self,
        a: ArrayLike,
        axis: int | tuple | None = 0,
        dtype: DTypeLike | None = None,
        out: None = None,
        keepdims: bool = False,
        initial: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The function folded over an axis (one, several, or all if None)."""
        self._binary("reduce")
        check_no_out(f"{self.__name__}.reduce", out)
        check_arraylike(f"{self.__name__}.reduce", a)
        if where is not None and self.identity is None and initial is None:
            raise ValueError(
                f"reduction operation {self.__name__!r} does not have an identity, so to use a where mask "
                "one has to specify 'initial'."
            )
        if self._reduce is not None:
            return self._reduce(a, axis=axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
        return self._fold(as_array(a), axis, dtype, keepdims, initial, where)

    def _fold(self, a: Array, axis: Any, dtype: Any, keepdims: bool, initial: Any, where: Any) -> Array:
        axes = tuple(range(a.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = tuple(canonical_axis(i, a.ndim) for i in axes)
        if len(axes) > 1 and self.identity is None:
            raise ValueError(
                f"reduction operation {self.__name__!r} is not reorderable, so only one axis may be specified"
            )
        start = self.identity if initial is None else initial
        mask = expand_to(as_array(True if where is None else where), a.shape)
        rows, mask = _rows_first(a, axes), _rows_first(mask, axes)
        if dtype is not None:
            rows = lax.convert_element_type(rows, requested_dtype(dtype))
        if start is None:
            if rows.shape[0] == 0:
                raise ValueError(f"zero-size array to reduction operation {self.__name__} which has no identity")
            carry, rows, mask = (
                lax.index_in_dim(rows, 0, 0, keepdims=False),
                lax.slice_in_dim(rows, 1, None),
                lax.slice_in_dim(mask, 1, None),
            )
        else:
            carry = expand_to(as_array(convert(start, rows.dtype)), rows.shape[1:])
        step = lambda c, xm: (lax.select(xm[1], convert(self(c, xm[0]), c.dtype), c), None)
        out, _ = lax.scan(step, carry, (rows, mask))
        return lax.expand_dims(out, sorted(axes)) if keepdims else out

    def accumulate(self, a: ArrayLike, axis: int = 0, dtype: DTypeLike | None = None, out: None = None) -> Array:
        """All the partial folds along an axis."""
        self._binary("accumulate")
        check_no_out(f"{self.__name__}.accumulate", out)
        check_arraylike(f"{self.__name__}.accumulate", a)
        a = as_array(a)
        if self._accumulate is not None:
            return self._accumulate(a, axis=axis, dtype=dtype)
        axis = canonical_axis(axis, a.ndim)
        rows = _rows_first(a if dtype is None else lax.convert_element_type(a, requested_dtype(dtype)), (axis,))
        if rows.shape[0] == 0:
            return a
        first = lax.index_in_dim(rows, 0, 0, keepdims=False)
        result = dtype_of(self(first, first))  # logical functions give booleans
        rows, first = convert(rows, result) if result.kind != "b" else rows, self._as_result(first, result)

        def step(carry: Array, x: Array) -> tuple[Array, Array]:
            carry = convert(self(carry, x), carry.dtype)
            return carry, carry

        _, rest = lax.scan(step, first, lax.slice_in_dim(rows, 1, None))
        return _rows_back(lax.concatenate([lax.expand_dims(first, (0,)), rest], 0), axis)

    def _as_result(self, x: Array, dtype: np.dtype) -> Array:
        return lax.ne(x, cast_numpy(0, x.dtype)) if dtype.kind == "b" and x.dtype.kind != "b" else convert(x, dtype)

    def at(self, a: ArrayLike, indices: Any, b: ArrayLike | None = None, /, *, inplace: bool = True) -> Array:
        """a with the function applied at indices, repeated ones in turn; arrays do not change: inplace must be False."""
        if inplace:
            raise NotImplementedError("arrays are immutable: pass inplace=False and use the result")
        if self._at is not None:
            return update_at(a, indices, b, self._at)
        if self.nin == 1:
            return update_at(a, indices, None, "apply", func=self)
        return self._at_in_turn(as_array(a), indices, as_array(b))

    def _at_in_turn(self, a: Array, indices: Any, b: Array) -> Array:
        positions = lax.reshape(lax.iota(np.dtype("int32"), a.size), a.shape)[indices]
        flat = lax.reshape(a, (a.size,))
        positions, b = (
            lax.reshape(positions, (positions.size,)),
            lax.reshape(expand_to(b, positions.shape), (positions.size,)),
        )

        def step(i: Array, flat: Array) -> Array:
            p = lax.dynamic_index_in_dim(positions, i, keepdims=False)
            new = self(
                lax.dynamic_index_in_dim(flat, p, keepdims=False), lax.dynamic_index_in_dim(b, i, keepdims=False)
            )
            return lax.dynamic_update_index_in_dim(flat, convert(new, flat.dtype), p, 0)

        return lax.reshape(lax.fori_loop(0, positions.shape[0], step, flat), a.shape)

    def reduceat(
        self, a: ArrayLike, indices: Any, axis: int = 0, dtype: DTypeLike | None = None, out: None = None
    ) -> Array:
        """The folds over the runs [indices[i], indices[i + 1]); an empty run gives the element at its start."""
        self._binary("reduceat")
        check_no_out(f"{self.__name__}.reduceat", out)
        check_arraylike(f"{self.__name__}.reduceat", a, indices)
        a, indices = as_array(a), as_array(indices)
        if indices.ndim != 1:
            raise ValueError("indices must be one-dimensional")
        axis = canonical_axis(axis, a.ndim)
        rows = _rows_first(a if dtype is None else lax.convert_element_type(a, requested_dtype(dtype)), (axis,))
        n, count = rows.shape[0], indices.shape[0]
        ends = lax.concatenate([lax.slice_in_dim(indices, 1, None), lax.full((1,), n, indices.dtype)], 0)
        wide = lambda x: lax.broadcast_in_dim(x, (count, *rows.shape[1:]), (0,))

        def step(i: Array, carry: Array) -> Array:
            i = convert(i, indices.dtype)
            inside = lax.bitwise_and(lax.gt(expand_to(i, (count,)), indices), lax.lt(expand_to(i, (count,)), ends))
            row = lax.dynamic_index_in_dim(rows, i, keepdims=True)
            return lax.select(wide(inside), convert(self(carry, expand_to(row, carry.shape)), carry.dtype), carry)

        first = rows[indices]
        first = self._as_result(first, dtype_of(self(first, first)))
        return _rows_back(lax.fori_loop(0, n, step, first), axis)

    def outer(self, A: ArrayLike, B: ArrayLike, /) -> Array:
        """The function of every pair of elements: shape A.shape + B.shape."""
        if self.nin != 2:
            raise ValueError("outer only supported for binary ufuncs")
        check_arraylike(f"{self.__name__}.outer", A, B)
        A, B = as_array(A), as_array(B)
        return self(lax.reshape(A, (*A.shape, *[1] * B.ndim)), B)


def _rows_first(x: Array, axes: tuple[int, ...]) -> Array:
    """The axes moved to the front and joined into one."""
    rest = [i for i in range(x.ndim) if i not in axes]
    x = lax.transpose(x, [*axes, *rest])
    return (
        lax.reshape(x, (-1 if x.size else int(np.prod(x.shape[: len(axes)])), *x.shape[len(axes) :]))
        if len(axes) != 1
        else x
    )


def _rows_back(x: Array, axis: int) -> Array:
    return lax.transpose(x, [*range(1, axis + 1), 0, *range(axis + 1, x.ndim)])


def binary_ufunc(
    identity: Any = None, reduce: Callable | None = None, accumulate: Callable | None = None, at: str | None = None
) -> Callable[[Callable], ufunc]:
    """Decorator: the ufunc of a binary function on arrays, with what its methods are faster by."""
    return lambda func: ufunc(eager(func), 2, 1, identity=identity, reduce=reduce, accumulate=accumulate, at=at)


def unary_ufunc(func: Callable) -> ufunc:
    return ufunc(eager(func), 1, 1)
