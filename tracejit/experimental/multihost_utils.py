"""What programs for many processes do between them, for the one that there is."""
from __future__ import annotations

from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit.absent import getter
from tracejit.sharding import Mesh
from tracejit.tree_util import tree_map


def broadcast_one_to_all(in_tree: Any, is_source: bool | None = None) -> Any:
    """The tree as the source process has it.

    >>> broadcast_one_to_all({"step": np.int32(3)})
    {'step': array(3, dtype=int32)}
    """
    return tree_map(np.asarray, in_tree)


def process_allgather(in_tree: Any, tiled: bool = False) -> Any:
    """The arrays of all processes, along a new first axis (after one another along the first axis if tiled).

    >>> process_allgather(np.arange(2)), process_allgather(np.arange(2), tiled=True)
    (array([[0, 1]]), array([0, 1]))
    """
    return tree_map(lambda x: np.asarray(x) if tiled and np.ndim(x) else np.asarray(x)[None], in_tree)


def sync_global_devices(name: str) -> None:
    """Wait until all processes are here."""


def assert_equal(in_tree: Any, fail_message: str = "") -> None:
    """AssertionError unless all processes have the same values: one always has."""


def reached_preemption_sync_point(step_id: int) -> bool:
    """Whether all processes should save now because one of them will be stopped."""
    return False


def host_local_array_to_global_array(local_inputs: Any, global_mesh: Mesh, pspecs: Any) -> Any:
    """Arrays made out of the parts of all processes: of one, they are what it has."""
    return tree_map(jnp.asarray, local_inputs)


def global_array_to_host_local_array(global_inputs: Any, global_mesh: Mesh, pspecs: Any) -> Any:
    """The parts of arrays that this process has: all of them."""
    return tree_map(jnp.asarray, global_inputs)


__getattr__ = getter(__name__)
