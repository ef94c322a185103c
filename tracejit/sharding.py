"""Where arrays live, in JAX's terms: meshes of devices, partition specs, shardings. Right for one device.

Programs that name meshes and shardings run unchanged: every array is whole on the device that there is.
"""
from __future__ import annotations

import contextlib
import enum
import functools
import math
import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np

from tracejit.absent import getter
from tracejit.lax import with_sharding_constraint
from tracejit.runtime.device import CPU, Device, Sharding, SingleDeviceSharding

__all__ = ["AbstractMesh", "AxisType", "Mesh", "NamedSharding", "PartitionSpec", "Sharding",
           "SingleDeviceSharding", "get_abstract_mesh", "get_mesh", "make_mesh", "make_single_device_sharding", "reshard",
           "set_mesh", "use_abstract_mesh", "use_mesh"]


class Unconstrained:
    """An entry of a PartitionSpec that leaves the axis to the compiler: the only one of its class."""

    def __repr__(self) -> str:
        return "UNCONSTRAINED"

    def __reduce__(self) -> tuple:
        return getattr, (PartitionSpec, "UNCONSTRAINED")


class PartitionSpec(tuple):
    """Which mesh axes each array axis is split along: a name, a tuple of names, or None.

    >>> PartitionSpec("data", None)
    P('data', None)
    """

    UNCONSTRAINED = Unconstrained()

    def __new__(cls, *partitions: Any, unreduced: Iterable[Any] = (), reduced: Iterable[Any] = ()) -> PartitionSpec:
        return super().__new__(cls, partitions)

    @property
    def partitions(self) -> tuple:
        """The entries themselves."""
        return tuple(self)

    def update(self, partitions: Iterable[Any] | None = None, unreduced: Any = None, reduced: Any = None) -> PartitionSpec:
        """The same with other entries."""
        return self if partitions is None else PartitionSpec(*partitions)

    def __repr__(self) -> str:
        return f"P{tuple.__repr__(self)}"

    def __add__(self, other: Iterable[Any]) -> PartitionSpec:
        return PartitionSpec(*self, *other)

    def __reduce__(self) -> tuple:
        return PartitionSpec, tuple(self)


P = PartitionSpec


class AxisType(enum.Enum):
    """Who lays arrays out along a mesh axis: the compiler, types, or shard_map. With one device all are the same."""
    Auto = 0
    Explicit = 1
    Manual = 2

    def __repr__(self) -> str:
        return self.name


class AbstractMesh:
    """The names and sizes of a mesh's axes, without its devices.

    >>> AbstractMesh((1,), ("x",)).shape
    {'x': 1}
    """

    def __init__(self, axis_sizes: Sequence[int], axis_names: Sequence[Hashable], axis_types: Any = None, *,
                 abstract_device: Any = None):
        self.axis_sizes, self.axis_names, self.axis_types = tuple(axis_sizes), tuple(axis_names), axis_types

    @property
    def shape(self) -> dict[Hashable, int]:
        return dict(zip(self.axis_names, self.axis_sizes))

    @property
    def size(self) -> int:
        return math.prod(self.axis_sizes)

    @property
    def empty(self) -> bool:
        return not self.axis_names

    are_all_axes_auto = True        # one device: there is nothing that a program could say or do by hand
    are_all_axes_explicit = are_all_axes_manual = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AbstractMesh) and self.shape == other.shape

    def __hash__(self) -> int:
        return hash((self.axis_sizes, self.axis_names))

    def __repr__(self) -> str:
        return f"AbstractMesh({', '.join(f'{name!r}: {n}' for name, n in self.shape.items())})"


class Mesh:
    """Devices in an array whose axes have names; a context manager.

    >>> Mesh(np.array([CPU]), ("data",)).shape
    {'data': 1}
    """

    def __init__(self, devices: Any, axis_names: str | Sequence[Hashable], axis_types: Any = None):
        self.devices, self.axis_types = np.asarray(devices, dtype=object), axis_types
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
        return self.devices.size == 0 or not self.axis_names

    @property
    def abstract_mesh(self) -> AbstractMesh:
        return AbstractMesh(self.devices.shape, self.axis_names, self.axis_types)

    @property
    def device_ids(self) -> np.ndarray:
        return np.vectorize(lambda d: d.id, otypes=[int])(self.devices)

    def __enter__(self) -> Mesh:
        CURRENT.meshes = (*CURRENT.meshes, self)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        CURRENT.meshes = CURRENT.meshes[:-1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mesh) and self.axis_names == other.axis_names and \
            self.devices.shape == other.devices.shape and list(self.devices.flat) == list(other.devices.flat)

    def __hash__(self) -> int:
        return hash((self.axis_names, self.devices.shape, tuple(self.devices.flat)))

    def __repr__(self) -> str:
        types = self.axis_types or (AxisType.Explicit,) * len(self.axis_names)
        return f"Mesh(axis_sizes={self.devices.shape}, axis_names={self.axis_names}, axis_types={types})"


class Current(threading.local):
    """The meshes of the blocks that this thread is in, innermost last."""
    meshes: tuple[Any, ...] = ()


CURRENT = Current()


class set_mesh:
    """The mesh that shard_map takes where it is given none: from here on, or inside a `with` block.

    >>> with set_mesh(make_mesh((1,), ("x",))):
    ...     get_mesh()
    Mesh(axis_sizes=(1,), axis_names=('x',), axis_types=(Explicit,))
    """

    def __init__(self, mesh: Mesh):
        self.before, CURRENT.meshes = CURRENT.meshes, (*CURRENT.meshes, mesh)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        CURRENT.meshes = self.before


use_mesh = set_mesh


@contextlib.contextmanager
def use_abstract_mesh(mesh: AbstractMesh) -> Iterator[AbstractMesh]:
    """Inside the block get_abstract_mesh() is this mesh."""
    before, CURRENT.meshes = CURRENT.meshes, (*CURRENT.meshes, mesh)
    try:
        yield mesh
    finally:
        CURRENT.meshes = before


def get_mesh() -> Mesh:
    """The mesh of the innermost block; an empty one outside of all."""
    found = [mesh for mesh in CURRENT.meshes if isinstance(mesh, Mesh)]
    return found[-1] if found else Mesh(np.array(CPU, dtype=object), ())


def get_abstract_mesh() -> AbstractMesh:
    """The axes of the innermost block's mesh; an empty mesh outside of all."""
    mesh = CURRENT.meshes[-1] if CURRENT.meshes else AbstractMesh((), ())
    return getattr(mesh, "abstract_mesh", mesh)


def make_single_device_sharding(device: Device, *, memory_kind: str | None = None) -> SingleDeviceSharding:
    """The sharding of an array that is whole on one device."""
    return SingleDeviceSharding(device, memory_kind or "device")


def reshard(xs: Any, out_shardings: Any) -> Any:
    """xs, laid out as the shardings say: whole on the one device. ValueError where a sharding does not fit its array."""
    return with_sharding_constraint(xs, out_shardings)


def make_mesh(axis_shapes: Sequence[int], axis_names: Sequence[Hashable], axis_types: Any = None, *,
              devices: Sequence[Device] | None = None) -> Mesh:
    """A Mesh of these sizes. ValueError if there are not enough devices.

    >>> make_mesh((1,), ("x",))
    Mesh(axis_sizes=(1,), axis_names=('x',), axis_types=(Explicit,))
    """
    found = list(devices) if devices is not None else [CPU]
    n = int(np.prod(axis_shapes))
    if n > len(found):
        raise ValueError(f"make_mesh: {tuple(axis_shapes)} needs {n} devices, there are {len(found)}")
    return Mesh(np.array(found[:n], dtype=object).reshape(tuple(axis_shapes)), tuple(axis_names), axis_types)


@dataclass(frozen=True)
class NamedSharding(Sharding):
    """An array laid out over a mesh as a PartitionSpec says.

    >>> NamedSharding(make_mesh((1,), ("x",)), PartitionSpec("x")).shard_shape((4, 2))
    (4, 2)
    """
    mesh: Mesh | AbstractMesh
    spec: PartitionSpec
    memory_kind: str | None = None

    def __post_init__(self) -> None:
        if self.memory_kind is None and self.device_set:
            object.__setattr__(self, "memory_kind", "device")
        for name in names_in(self.spec):
            if name not in self.mesh.axis_names:
                raise ValueError(f"NamedSharding: {self.spec} names {name!r}, which is no axis of {self.mesh}")

    @property
    def device_set(self) -> set[Device]:
        """The mesh's devices: none for an AbstractMesh."""
        return set() if isinstance(self.mesh, AbstractMesh) else set(self.mesh.devices.flat)

    def update(self, **changes: Any) -> NamedSharding:
        """The same with some of mesh, spec (any sequence of entries), memory_kind replaced."""
        spec = changes.get("spec", self.spec)
        return replace(self, **changes | {"spec": spec if isinstance(spec, PartitionSpec) else PartitionSpec(*spec)})

    @property
    def is_fully_replicated(self) -> bool:
        """Whether each device holds the whole array: no axis is split."""
        return all(self.mesh.shape[name] == 1 for name in names_in(self.spec))

    def shard_shape(self, global_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that one device holds; ValueError where an axis does not divide."""
        shape = list(global_shape)
        for axis, names in enumerate(self.spec):
            for name in names_in((names,)):
                if shape[axis] % self.mesh.shape[name]:
                    raise ValueError(f"axis {axis} of size {shape[axis]} does not divide by {name!r}: {self.mesh}")
                shape[axis] //= self.mesh.shape[name]
        return tuple(shape)


@functools.cache
def whole(ndim: int) -> NamedSharding:
    """The sharding of a type: that of an array of ndim axes of which none is split."""
    return NamedSharding(AbstractMesh((), ()), PartitionSpec(*[None] * ndim))


def names_in(spec: Sequence[Any]) -> Iterator[Hashable]:
    for entry in spec:
        if entry is not None and entry is not PartitionSpec.UNCONSTRAINED:
            yield from entry if isinstance(entry, tuple) else (entry,)


__getattr__ = getter(__name__)
