"""Pytrees of values -> pytrees of Arrays on a device, and back to NumPy: device_put, device_get, block_until_ready."""
from __future__ import annotations

from typing import Any

import numpy as np

from tracejit.errors import filtered
from tracejit.ir.graph import Var
from tracejit.ir.trace import concrete_value
from tracejit.pytree import tree_flatten, unflatten
from tracejit.runtime.array import CONCRETE, ArrayImpl, as_array, from_numpy
from tracejit.runtime.device import CPU, Device, Sharding, devices
from tracejit.runtime.on_demand import OnDemand
from tracejit.runtime.placed import PlacedArray, check_copy, default_place
from tracejit.tree_util import broadcast_prefix

for_device = OnDemand("tracejit.runtime.cuda.executable")
MOVED, FETCHED = "device_put", "device_get"     # why something is copied


def is_place(x: Any) -> bool:
    return x is None or isinstance(x, (Device, Sharding, str))


def device_at(place: Any) -> Device | None:
    """The one device of a place; None where it says nothing. TypeError for what is no place; ValueError for a device
    that this process does not have."""
    if not is_place(place):
        raise TypeError(f"device_put: expected a Device, a Sharding or None, got {type(place).__name__}: {place!r}")
    if place is None:
        return None
    if isinstance(place, str):
        return devices(place)[0]
    wanted = {place} if isinstance(place, Device) else set(place.device_set)
    missing = {d for d in wanted if d not in devices(d.platform)}
    if missing:
        raise ValueError(f"device_put: {missing} is not among the devices of this process: {devices()}")
    return min(wanted, key=lambda d: d.id, default=None)


def put_leaf(x: Any, place: Any, may_alias: bool | None) -> Any:
    device = device_at(place)
    if isinstance(x, Var):
        return x
    if device is None:
        device = x.device if x.__class__ is PlacedArray else default_place() or CPU
    if device.platform == "cpu":
        return put_on_host(x, may_alias)
    if x.__class__ is PlacedArray and x.device == device:
        return x._copy() if may_alias is False else x
    x = as_array(x)
    if x.__class__ is PlacedArray:
        check_copy("device_to_host", x.type, explicit=True)
    host = x.fetched(MOVED) if x.__class__ is PlacedArray else x._host()
    return for_device.uploaded(device, x.type, host, MOVED, explicit=True)


def put_on_host(x: Any, may_alias: bool | None) -> Any:
    if x.__class__ is PlacedArray:
        return from_numpy(fetched(x), weak=x.type.weak_type)
    if may_alias is False and isinstance(x, ArrayImpl):
        return from_numpy(x._host(), weak=x.type.weak_type)
    return as_array(x)


def fetched(x: PlacedArray) -> np.ndarray:
    """The elements of an array on a device, asked for by name."""
    check_copy("device_to_host", x.type, explicit=True)
    return x._copied if x._copied is not None else x.fetched(FETCHED)


@filtered
def device_put(x: Any, device: Any = None, *, src: Any = None, donate: Any = False, may_alias: Any = None) -> Any:
    """x, a pytree of arrays and numbers, as Arrays on a device (a Device, "gpu", a Sharding, or a tree prefix of such).

    Without a device Arrays stay where they are, and the rest goes to the default device. With donate=True the Arrays in
    x may be deleted; where nothing has to be moved they are returned themselves. TypeError for leaves that are not
    arrays, DeviceError where there is no such device. Differentiable: the identity.

    >>> import tracejit as tj
    >>> tj.device_put({"a": [1., 2.]})["a"][1]
    Array(2., dtype=float32, weak_type=True)
    """
    if donate is True and may_alias is True:
        raise ValueError("device_put: may_alias and donate cannot be True at the same time.")
    leaves, tree = tree_flatten(x)
    places = [device] * len(leaves) if is_place(device) else broadcast_prefix(device, x, is_leaf=is_place)
    return unflatten(tree, [put_leaf(leaf, place, may_alias) for leaf, place in zip(leaves, places, strict=True)])


def device_get(x: Any) -> Any:
    """x with every Array as a NumPy array; traced values stay what they are.

    >>> import tracejit as tj
    >>> tj.device_get(tj.device_put((1., 2)))
    (array(1., dtype=float32), array(2, dtype=int32))
    """
    def get(leaf: Any) -> Any:
        known = concrete_value(leaf)
        if known is None:
            return leaf  # a traced value stays what it is
        if known.__class__ is PlacedArray:
            return fetched(known)
        return np.asarray(known) if isinstance(known, ArrayImpl) else known
    leaves, tree = tree_flatten(x)
    return unflatten(tree, [get(leaf) for leaf in leaves])


def block_until_ready(x: Any) -> Any:
    """x, when all computations behind its Arrays are done: on the CPU they are when a call returns, on a GPU they may not be.

    >>> import tracejit as tj
    >>> tj.block_until_ready([1, 2])
    [1, 2]
    """
    for leaf in tree_flatten(x)[0]:
        if isinstance(leaf, CONCRETE):
            leaf.block_until_ready()
    return x


def copy_to_host_async(x: Any) -> Any:
    """x itself, whose Arrays on a device now have a copy on the host, which np.asarray takes."""
    for leaf in tree_flatten(x)[0]:
        if isinstance(leaf, CONCRETE):
            leaf.copy_to_host_async()
    return x
