"""Pytrees -> what native dispatch needs to know of them: arguments as specs, structures of results as building plans.

    spec_of({"w": x, "b": None})      ->  {"w": f32[3], "b": None}
    result_of(PyTreeDef({'a': *}))    ->  {"a": 0}
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np

from tracejit.ir.types import FLOAT0, FOREIGN_KIND, type_of, wide_number
from tracejit.pytree import DictKind, Kind, ListKind, NamedTupleKind, NoneKind, PyTreeDef, TupleKind, kind_of
from tracejit.runtime.array import ArrayImpl
from tracejit.runtime.specs import Call, HostArray, HostScalar, Node, Scalar, Unsupported


def leaf_of(x: Any, wide: bool) -> Any:
    """The spec of one leaf; Unsupported for what must be converted in Python at each call."""
    if isinstance(x, ArrayImpl):
        return x.type
    if type(x) in (bool, int, float, complex):
        return Scalar(type_of(wide_number(x) if wide else x), type(x))
    if type(x) is np.ndarray and x.dtype.isnative and x.dtype != FLOAT0 and x.dtype == type_of(x).dtype:
        return HostArray(type_of(x))
    if isinstance(x, np.generic) and x.dtype == type_of(x).dtype and x.dtype not in FOREIGN_KIND:
        return HostScalar(type_of(x))
    raise Unsupported(type(x))


def spec_of(x: Any, wide: bool = False) -> Any:
    """An argument as native dispatch describes it, its numbers as 64-bit floats if `wide`.

    Unsupported if it has a leaf that only Python can convert.

    >>> spec_of((np.zeros(3), None))[0].type, spec_of((np.zeros(3), None))[1]
    (f64[3], None)
    """
    kind = kind_of(type(x))
    if kind is None:
        return leaf_of(x, wide)
    if isinstance(kind, NoneKind):
        return None
    if type(kind) is DictKind and type(x) is dict:
        return {key: spec_of(child, wide) for key, child in x.items()}
    children, aux = kind.flatten(x)
    specs = tuple(spec_of(child, wide) for child in children)
    if isinstance(kind, (TupleKind, ListKind)):
        return type(x)(specs)
    return type(x)(*specs) if isinstance(kind, NamedTupleKind) else Node(type(x), flattener(kind, aux), specs)


def flattener(kind: Kind, expected: Any) -> Callable[[Any], tuple | None]:
    """Take an object of the kind apart; None if its static part is not the one that was compiled for."""
    def flatten(x: Any) -> tuple | None:
        children, aux = kind.flatten(x)
        return tuple(children) if aux is expected or aux == expected else None
    return flatten


def result_of(treedef: PyTreeDef) -> Any:
    """How to build a result of this structure from the outputs, numbered from left to right."""
    return plan_of(treedef, count())


def plan_of(treedef: PyTreeDef, numbers: Iterator[int]) -> Any:
    kind = treedef.kind
    if kind is None:
        return next(numbers)
    children = [plan_of(node, numbers) for node in treedef.nodes]
    if isinstance(kind, NoneKind):
        return None
    if isinstance(kind, (TupleKind, ListKind)):
        return kind.type(children)
    if type(kind) is DictKind and kind.type is dict:
        return dict(zip(treedef.aux, children))
    if isinstance(kind, NamedTupleKind):
        return Call(kind.type, tuple(children))
    return Call(lambda *parts: kind.unflatten(treedef.aux, list(parts)), tuple(children))
