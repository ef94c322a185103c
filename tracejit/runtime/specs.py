"""Descriptions of arguments and results -> the instruction tables that native dispatch walks.

Arguments are described by a tree of the same containers whose leaves are an ArrayType, None, or one of the classes
below; results by a tree whose leaves are output numbers. Containers: tuple, named tuple, list, dict, and `Node` or
`Call` for registered types.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.ir.types import ArrayType
from tracejit.runtime import array, dispatch_text
from tracejit.runtime.dispatch_text import Instruction, NumpySpec


class Static:
    """An argument that must equal `value` and have its type. It is not an input of the compiled code."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Scalar:
    """A Python number of exactly the class `python_type`, passed as an element of the rank-0 `type`."""

    def __init__(self, type: ArrayType, python_type: type) -> None:
        self.type, self.python_type = type, python_type


class HostArray:
    """A NumPy array of exactly this dtype and shape; its memory is used as it is, or a copy where it is not dense."""

    def __init__(self, type: ArrayType) -> None:
        self.type = type


class HostScalar:
    """A NumPy scalar of exactly the class of the rank-0 `type`'s dtype; its memory is used as it is."""

    def __init__(self, type: ArrayType) -> None:
        self.type = type


class Node:
    """An object of exactly the class `type` that `flatten(x)` takes apart into a tuple as `children` says.

    `flatten` returns None for an object whose static parts differ from those that were compiled for.
    """

    def __init__(self, type: type, flatten: Callable[[Any], tuple | None], children: tuple) -> None:
        self.type, self.flatten, self.children = type, flatten, children


class Const:
    """A part of a result that is always this object."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Call:
    """A part of a result that is `make(*children)`."""

    def __init__(self, make: Callable[..., Any], children: tuple) -> None:
        self.make, self.children = make, children


class Unsupported(Exception):
    """Native dispatch cannot describe this; such calls stay on the Python path."""


CELLS = {kind: getattr(dispatch_text, f"{name}_CELL") for kind, name in [
    (("b", 1), "BOOL"), (("i", 4), "I32"), (("i", 8), "I64"), (("f", 4), "F32"), (("f", 8), "F64"),
    (("c", 8), "C64"), (("c", 16), "C128")]}
NUMBERS: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "f": (float,), "c": (complex,)}
LEAVES = (ArrayType, Scalar, HostArray, HostScalar)
Row = tuple[int, int, int, int]  # op, n, arg, leaf


def is_named_tuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(type(x), "_fields")


def sorted_items(mapping: dict) -> list[tuple[Any, Any]]:
    """The items in the order in which a pytree numbers its leaves."""
    return sorted(mapping.items(), key=lambda item: item[0])


def leaves_of(spec: Any) -> list[Any]:
    """The leaves of a description of arguments, in the order of the inputs."""
    if isinstance(spec, LEAVES):
        return [spec]
    if isinstance(spec, dict):
        children = [child for _, child in sorted_items(spec)]
    elif isinstance(spec, Node):
        children = spec.children
    else:
        children = spec if isinstance(spec, (tuple, list)) else ()
    return [leaf for child in children for leaf in leaves_of(child)]


def leaves_of_call(args: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """The leaves of a call's arguments, of which the last are keywords, in the order of the inputs: keywords by name."""
    n = len(args) - len(names)
    return leaves_of(tuple(args[:n])) + leaves_of(dict(zip(names, args[n:])))


class Matcher:
    """Collects the rows that match one call, and what must stay alive for them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.keep: list[Any] = []
        self.n_cells = 0

    def address(self, value: Any) -> int:
        self.keep.append(value)
        return id(value)

    def walk(self, spec: Any, number: int) -> int:
        """Add the rows for `spec`, whose first leaf is input `number`; the number of the next input."""
        if isinstance(spec, LEAVES):
            self.rows.append(self.leaf_row(spec, number))
            return number + 1
        if isinstance(spec, dict):
            return self.walk_dict(spec, number)
        if isinstance(spec, (tuple, list)):
            return self.walk_sequence(spec, number)
        if isinstance(spec, Node):
            flatten, node_type = self.address(spec.flatten), self.address(spec.type)
            self.rows.append((dispatch_text.NODE, len(spec.children), flatten, node_type))
            return self.walk_all(spec.children, number)
        self.rows.append(self.static_row(spec))
        return number

    def walk_all(self, specs: Sequence[Any], number: int) -> int:
        for spec in specs:
            number = self.walk(spec, number)
        return number

    def walk_sequence(self, spec: Any, number: int) -> int:
        if type(spec) is not tuple and type(spec) is not list and not is_named_tuple(spec):
            raise Unsupported(type(spec))
        op = dispatch_text.LIST if type(spec) is list else dispatch_text.TUPLE
        children = list(iter(spec))  # a named tuple's class may define a length of its own
        self.rows.append((op, len(children), self.address(type(spec)), 0))
        return self.walk_all(children, number)

    def walk_dict(self, spec: dict, number: int) -> int:
        """Rows come in the order of insertion, which is how native code iterates; numbers go by sorted key."""
        if type(spec) is not dict:
            raise Unsupported(type(spec))
        self.rows.append((dispatch_text.DICTIONARY, len(spec), self.address(tuple(spec)), id(dict)))
        return self.walk_named(spec, number)

    def walk_named(self, spec: dict, number: int) -> int:
        starts = {}
        for key, child in sorted_items(spec):
            starts[key] = number
            number += len(leaves_of(child))
        for key, child in spec.items():
            self.walk(child, starts[key])
        return number

    def walk_call(self, args: Sequence[Any], names: Sequence[str]) -> None:
        """Rows for the arguments as a call passes them, the last of them keywords."""
        n = len(args) - len(names)
        self.walk_named(dict(zip(names, args[n:])), self.walk_all(args[:n], 0))

    def static_row(self, spec: Any) -> Row:
        if spec is None:
            return dispatch_text.SAME, 0, id(None), 0
        if isinstance(spec, Static):
            return dispatch_text.EQUAL, 0, self.address(spec.value), 0
        raise Unsupported(type(spec))

    def leaf_row(self, spec: Any, number: int) -> Row:
        if isinstance(spec, ArrayType):
            return dispatch_text.ARRAY, 0, array.info_of(spec), number
        if isinstance(spec, HostArray):
            return dispatch_text.NUMPY, 0, self.numpy_spec(spec.type), number
        dtype = spec.type.dtype
        if isinstance(spec, HostScalar):
            if dtype.kind not in "biufc" or spec.type.ndim:
                raise Unsupported(spec)
            return dispatch_text.NUMPY_SCALAR, 0, self.address(dtype.type), number
        cell = CELLS.get((dtype.kind, dtype.itemsize))
        if cell is None or spec.type.ndim or spec.python_type not in NUMBERS.get(dtype.kind, ()):
            raise Unsupported(spec)
        self.n_cells += 1
        return dispatch_text.SCALAR, cell, self.address(spec.python_type), number

    def numpy_spec(self, t: ArrayType) -> int:
        dims = (ctypes.c_int64 * max(t.ndim, 1))(*t.shape)
        spec = NumpySpec(self.address(np.ndarray), self.address(np.dtype(t.dtype.type)), t.ndim, ctypes.addressof(dims))
        self.keep += [dims, spec]
        return ctypes.addressof(spec)


class Maker:
    """Collects the rows that build one result, and what must stay alive for them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.keep: list[Any] = []

    def address(self, value: Any) -> int:
        self.keep.append(value)
        return id(value)

    def walk(self, spec: Any) -> None:
        if isinstance(spec, dict):
            if type(spec) is not dict:
                raise Unsupported(type(spec))
            template = self.address(dict.fromkeys(spec))  # a copy has its room already
            self.container(dispatch_text.MAKE_DICT, tuple(spec), list(spec.values()), template)
        elif isinstance(spec, Call):
            self.container(dispatch_text.MAKE_CALL, spec.make, spec.children)
        elif is_named_tuple(spec):
            self.container(dispatch_text.MAKE_CALL, type(spec), list(iter(spec)))
        elif type(spec) in (tuple, list):
            self.container(dispatch_text.MAKE_TUPLE if type(spec) is tuple else dispatch_text.MAKE_LIST, None, spec)
        else:
            self.rows.append(self.leaf_row(spec))

    def container(self, op: int, argument: Any, children: Sequence[Any], extra: int = 0) -> None:
        self.rows.append((op, len(children), self.address(argument), extra))
        for child in children:
            self.walk(child)

    def leaf_row(self, spec: Any) -> Row:
        if type(spec) is int:
            return dispatch_text.OUTPUT, spec, 0, 0
        if spec is None or isinstance(spec, Const):
            return dispatch_text.OBJECT, 0, self.address(spec.value if spec is not None else None), 0
        raise Unsupported(type(spec))


def instructions(rows: Sequence[Row]) -> ctypes.Array:
    return (Instruction * len(rows))(*rows)
