"""Devices in the shape of a mesh."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracejit.absent import getter
from tracejit.runtime.device import Device
from tracejit.runtime.device import devices as all_devices


def create_device_mesh(mesh_shape: Sequence[int], devices: Sequence[Device] | None = None, *,
                       contiguous_submeshes: bool = False, allow_split_physical_axes: bool = False) -> np.ndarray:
    """An array of devices for `sharding.Mesh`. ValueError unless the shape has a place for each device.

    >>> create_device_mesh((1, 1))
    array([[CpuDevice(id=0)]], dtype=object)
    """
    found = list(all_devices() if devices is None else devices)
    if math.prod(mesh_shape) != len(found):
        raise ValueError(f"create_device_mesh: there are {len(found)} devices for a mesh of shape {tuple(mesh_shape)}")
    mesh = np.empty(len(found), object)
    mesh[:] = found
    return mesh.reshape(tuple(mesh_shape))


def create_hybrid_device_mesh(mesh_shape: Sequence[int], dcn_mesh_shape: Sequence[int], devices: Sequence[Device] | None = None,
                              **options: Any) -> np.ndarray:
    """As create_device_mesh, for the product of a shape within each slice and a shape of slices."""
    return create_device_mesh([a * b for a, b in zip(mesh_shape, dcn_mesh_shape, strict=True)], devices)


__getattr__ = getter(__name__)
