"""The places where arrays live, as objects that print and compare like JAX's."""
from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracejit.config import config

GPU_PLATFORMS = ("gpu", "cuda")


@dataclass(frozen=True)
class Device:
    """A processor with its memory.

    >>> cpu()
    CpuDevice(id=0)
    """
    platform: str
    id: int
    device_kind: str
    process_index: int = 0

    @property
    def host_id(self) -> int:
        return self.process_index

    @property
    def local_hardware_id(self) -> int:
        return self.id

    @property
    def client(self) -> Device:
        return self

    @property
    def runtime(self) -> Any:
        """What runs programs on a GPU."""
        return gpu_devices().runtime_of(self)

    def memory_stats(self) -> dict[str, int] | None:
        """Bytes in use, their peak and their limit, for a GPU; None for the host."""
        return None if self.platform == "cpu" else self.runtime.memory_stats()

    def transfers(self) -> dict[str, tuple[int, int]]:
        """What was copied between the host and a GPU: {reason: (times, bytes)}."""
        return {} if self.platform == "cpu" else dict(self.runtime.transfers())

    @property
    def name(self) -> str:
        return "cuda" if self.platform == "gpu" else self.platform

    def __repr__(self) -> str:
        return f"{self.name.capitalize()}Device(id={self.id})"

    def __str__(self) -> str:
        return f"{self.name}:{self.id}"


CPU = Device("cpu", 0, "cpu")


def cpu() -> Device:
    """The processor that runs this program."""
    return CPU


def gpu_devices() -> Any:
    """The module that knows GPUs; loaded when somebody asks for one."""
    return importlib.import_module("tracejit.runtime.cuda.devices")


def devices(backend: str | None = None) -> list[Device]:
    """All devices of a platform: "cpu", or "gpu" (also "cuda"). Without one, of the platform that arrays are made on.

    RuntimeError for a platform that is not there.

    >>> devices("cpu")
    [CpuDevice(id=0)]
    """
    platform = backend or default_backend()
    if platform == "cpu":
        return [CPU]
    if platform in GPU_PLATFORMS:
        return gpu_devices().devices()
    raise RuntimeError(f"Unknown backend {platform}: there is none here; known platforms: cpu, gpu")


def local_devices(process_index: int | None = None, backend: str | None = None, host_id: int | None = None) -> list[Device]:
    """The devices of this process, or of the one with that number. ValueError for one that there is not."""
    number = host_id if process_index is None else process_index
    if number not in (None, 0):
        raise ValueError(f"there is no process {number}: there is one, number 0")
    return devices(backend)


def device_count(backend: str | None = None) -> int:
    return len(devices(backend))


def default_backend() -> str:
    """The platform that arrays are made on unless something else is said: that of the setting default_device."""
    wanted = config.default_device
    name = getattr(wanted, "platform", wanted) or "cpu"
    return "gpu" if name in GPU_PLATFORMS else name


def process_index(backend: str | None = None) -> int:
    """The number of this process among those that work together: always 0, there is one."""
    return 0


def process_count(backend: str | None = None) -> int:
    """How many processes work together: one.

    >>> process_count()
    1
    """
    return 1


def process_indices(backend: str | None = None) -> list[int]:
    """The numbers of all processes: [0]."""
    return [0]


class Sharding:
    """How an array is laid out over devices."""

    @property
    def device_set(self) -> set[Device]:
        raise NotImplementedError

    @property
    def is_fully_replicated(self) -> bool:
        return len(self.device_set) == 1

    @property
    def num_devices(self) -> int:
        """How many devices hold parts of the array."""
        return len(self.device_set)

    def is_equivalent_to(self, other: Sharding, ndim: int) -> bool:
        """Whether both put the same parts of an array of ndim axes on the same devices."""
        return self.device_set == other.device_set and self.is_fully_replicated == other.is_fully_replicated

    @property
    def is_fully_addressable(self) -> bool:
        return True

    def devices_indices_map(self, global_shape: Sequence[int]) -> dict[Device, tuple[slice, ...]]:
        """Which part of an array each device holds: the one device that there is, all of it."""
        return {device: (slice(None),) * len(global_shape) for device in self.device_set}

    def shard_shape(self, global_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that one device holds."""
        return tuple(global_shape)


@dataclass(frozen=True)
class SingleDeviceSharding(Sharding):
    """The whole array is in one place.

    >>> SingleDeviceSharding(cpu()).device_set
    {CpuDevice(id=0)}
    """
    device: Device
    memory_kind: str | None = "device"

    @property
    def device_set(self) -> set[Device]:
        return {self.device}

    def __repr__(self) -> str:
        return f"SingleDeviceSharding(device={self.device!r}, memory_kind={self.memory_kind})"
