"""Where arrays live, in JAX's terms: meshes of devices, partition specs, shardings. Right for one device.

Programs that name meshes and shardings run unchanged: every array is whole on the device that there is.
"""
from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from tracejit.runtime.device import CPU, Device, SingleDeviceSharding, devices

__all__ = ["Mesh", "NamedSharding", "PartitionSpec", "Sharding", "SingleDeviceSharding", "make_mesh"]


class PartitionSpec(tuple):
    """Which mesh axes each array axis is split along: a name, a tuple of names, or None.

    >>> PartitionSpec("data", None)
    PartitionSpec('data', None)
    """

    def __new__(cls, *partitions: Any) -> PartitionSpec:
        return super().__new__(cls, partitions)

    def __repr__(self) -> str:
        return f"PartitionSpec{tuple.__repr__(self)}" if len(self) != 1 else f"PartitionSpec({self[0]!r},)"

    def __reduce__(self) -> tuple:
        return PartitionSpec, tuple(self)


P = PartitionSpec


class Mesh:
    """Devices in an array whose axes have names; a context manager.

    >>> Mesh(np.array(devices()), ("data",)).shape
    {'data': 1}
    """

    def __init__(self, devices: Any, axis_names: str | Sequence[Hashable]):
        self.devices = np.asarray(devices, dtype=object)
        self.axis_names = (axis_names,) if isinstance(axis_names, str) else tuple(axis_names)
        if self.devices.ndim != len(self.axis_names):
            raise ValueError(f"Mesh: {self.devices.ndim} axes of devices, but {len(self.axis_names)} axis names")

    @property
    def shape(self) -> dict[Hashable, int]:
        return dict(zip(self.axis_names, self.devices.shape))

    @property
    def size(self) -> int:
        return int(self.devices.size)

    @property
    def empty(self) -> bool:
        return self.devices.size == 0

    @property
    def device_ids(self) -> np.ndarray:
        return np.vectorize(lambda d: d.id, otypes=[int])(self.devices)

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mesh) and self.axis_names == other.axis_names and \
            self.devices.shape == other.devices.shape and list(self.devices.flat) == list(other.devices.flat)

    def __hash__(self) -> int:
        return hash((self.axis_names, self.devices.shape, tuple(self.devices.flat)))

    def __repr__(self) -> str:
        return f"Mesh({', '.join(f'{name!r}: {n}' for name, n in self.shape.items())})"


def make_mesh(axis_shapes: Sequence[int], axis_names: Sequence[Hashable], *, devices: Sequence[Device] | None = None) -> Mesh:
    """A Mesh of these sizes. ValueError if there are not enough devices.

    >>> make_mesh((1,), ("x",))
    Mesh('x': 1)
    """
    found = list(devices) if devices is not None else [CPU]
    n = int(np.prod(axis_shapes))
    if n > len(found):
        raise ValueError(f"make_mesh: {tuple(axis_shapes)} needs {n} devices, there are {len(found)}")
    return Mesh(np.array(found[:n], dtype=object).reshape(tuple(axis_shapes)), tuple(axis_names))


class Sharding:
    """How an array is laid out over devices."""

    @property
    def device_set(self) -> set[Device]:
        raise NotImplementedError

    @property
    def is_fully_replicated(self) -> bool:
        return len(self.device_set) == 1

    @property
    def is_fully_addressable(self) -> bool:
        return True

    def shard_shape(self, global_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that one device holds."""
        return tuple(global_shape)


@dataclass(frozen=True)
class NamedSharding(Sharding):
    """An array laid out over a mesh as a PartitionSpec says.

    >>> NamedSharding(make_mesh((1,), ("x",)), PartitionSpec("x")).shard_shape((4, 2))
    (4, 2)
    """
    mesh: Mesh
    spec: PartitionSpec
    memory_kind: str | None = None

    def __post_init__(self) -> None:
        for name in names_in(self.spec):
            if name not in self.mesh.axis_names:
                raise ValueError(f"NamedSharding: {self.spec} names {name!r}, which is no axis of {self.mesh}")

    @property
    def device_set(self) -> set[Device]:
        return set(self.mesh.devices.flat)

    def shard_shape(self, global_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that one device holds; ValueError where an axis does not divide."""
        shape = list(global_shape)
        for axis, names in enumerate(self.spec):
            for name in names_in((names,)):
                if shape[axis] % self.mesh.shape[name]:
                    raise ValueError(f"axis {axis} of size {shape[axis]} does not divide by {name!r}: {self.mesh}")
                shape[axis] //= self.mesh.shape[name]
        return tuple(shape)


def names_in(spec: Sequence[Any]) -> Iterator[Hashable]:
    for entry in spec:
        if entry is not None:
            yield from entry if isinstance(entry, tuple) else (entry,)
