"""The places where arrays live, as objects that print and compare like JAX's."""
from __future__ import annotations

from dataclasses import dataclass


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

    def memory_stats(self) -> None:
        """Statistics that only accelerators have."""

    def __repr__(self) -> str:
        return f"{self.platform.capitalize()}Device(id={self.id})"

    def __str__(self) -> str:
        return f"TFRT_{self.platform.upper()}_{self.id}"


CPU = Device("cpu", 0, "cpu")


def cpu() -> Device:
    """The processor that runs this program."""
    return CPU


def devices(platform: str | None = None) -> list[Device]:
    """All devices, or those of a platform. RuntimeError for a platform that is not there.

    >>> devices("cpu")
    [CpuDevice(id=0)]
    """
    if platform in (None, "cpu"):
        return [CPU]
    raise RuntimeError(f"there is no {platform} here; known platforms: cpu")


def device_count(platform: str | None = None) -> int:
    return len(devices(platform))


def default_backend() -> str:
    return "cpu"


def process_index() -> int:
    """The number of this process among those that work together: always 0, there is one."""
    return 0


@dataclass(frozen=True)
class SingleDeviceSharding:
    """The whole array is in one place.

    >>> SingleDeviceSharding(cpu()).device_set
    {CpuDevice(id=0)}
    """
    device: Device
    memory_kind: str | None = None

    @property
    def device_set(self) -> set[Device]:
        return {self.device}

    @property
    def is_fully_addressable(self) -> bool:
        return True

    @property
    def is_fully_replicated(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"SingleDeviceSharding(device={self.device!r}, memory_kind={self.memory_kind})"
