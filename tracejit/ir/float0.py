"""The float0 leaves of a traced function's result -> nodes of the result's structure: they have a shape and no data."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tracejit.ir.types import FLOAT0
from tracejit.pytree import PyTreeDef, tree_flatten, unflatten
from tracejit.tree_util import register_pytree_node


@dataclass
class NoTangent:
    """Stands for a float0 array; unflattens to one."""
    shape: tuple[int, ...]


register_pytree_node(NoTangent, lambda x: ((), x.shape), lambda shape, _: np.zeros(shape, FLOAT0))


def is_float0(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype == FLOAT0


def flatten_result(tree: Any) -> tuple[list, PyTreeDef]:
    """The leaves that a program computes, and the structure that puts float0 arrays beside them."""
    leaves, treedef = tree_flatten(tree)
    if not any(map(is_float0, leaves)):
        return leaves, treedef
    return tree_flatten(unflatten(treedef, [NoTangent(x.shape) if is_float0(x) else x for x in leaves]))
