"""`PlacedArray`: an Array in the memory of a device other than the host, and what may be copied without being asked for.

Its type is known here, its elements are not: NumPy and Python get a copy. Programs on such arrays run where they are.
"""
from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tracejit.config import config
from tracejit.errors import DeviceError, user_source
from tracejit.ir.types import ArrayType, Typed
from tracejit.runtime.array_methods import ArrayMethods
from tracejit.runtime.device import Device, SingleDeviceSharding, devices

if TYPE_CHECKING:
    from tracejit.codegen.cuda.interface import Buffer, View

READ = "an array was read on the host"
GPU_MEMORY, HOST_MEMORY = 2, 1     # DLPack's numbers


class PlacedArray(Typed, ArrayMethods):
    """An immutable array in `buffer`, memory of `device`; made by device_put and by programs that run there."""
    __slots__ = ("type", "buffer", "_place", "_copied", "__weakref__")
    __hash__ = None

    def __init__(self, t: ArrayType, buffer: Buffer, device: Device) -> None:
        self.type, self.buffer, self._place = t, buffer, device
        self._copied: np.ndarray | None = None

    nbytes = property(lambda self: self.type.nbytes)
    itemsize = property(lambda self: self.type.dtype.itemsize)

    # --- where it is ------------------------------------------------------------------------------

    @property
    def _data(self) -> int:
        return self.buffer.address if self.buffer is not None else 0

    @property
    def device(self) -> Device:
        """The device that holds the memory."""
        return self._place

    def devices(self) -> set[Device]:
        return {self._place}

    @property
    def sharding(self) -> SingleDeviceSharding:
        return SingleDeviceSharding(self._place)

    @property
    def committed(self) -> bool:
        return True

    def view(self) -> View:
        from tracejit.codegen.cuda.interface import View  # loaded where there are GPUs
        self._check()
        return View(self.buffer.address, self.type.shape, self.type.dtype)

    def delete(self) -> None:
        """Give the memory back now; any later use is an error."""
        self.buffer = self._copied = None

    def retyped(self, t: ArrayType) -> PlacedArray:
        """The same memory as an array of a type that differs in its weakness only."""
        return self if t is self.type else PlacedArray(t, self.buffer, self._place)

    def block_until_ready(self) -> PlacedArray:
        """The array itself, when the device has computed it."""
        self._check()
        self._place.runtime.synchronize()
        return self

    # --- to the host ------------------------------------------------------------------------------

    def _host(self) -> np.ndarray:
        """A copy of the elements, made once: the array never changes."""
        self._check()
        if self._copied is None:
            check_copy("device_to_host", self.type, explicit=False)
            self._copied = self.fetched(READ)
        return self._copied

    def fetched(self, why: str) -> np.ndarray:
        host = self._place.runtime.download(self.view(), why)
        host.flags.writeable = False
        return host

    def copy_to_host_async(self) -> None:
        """Make the copy that reading it will need."""
        self._check()
        if self._copied is None:
            self._copied = self.fetched("copy_to_host_async")

    def _row(self, i: int) -> Any:
        return self[i]

    def _copy(self) -> PlacedArray:
        self._check()
        runtime = self._place.runtime
        buffer = runtime.allocate(max(self.type.nbytes, 1), self.buffer.what)
        if self.type.nbytes:
            runtime.copy(buffer.address, self.buffer.address, self.type.nbytes)
        return PlacedArray(self.type, buffer, self._place)

    # --- exchange ---------------------------------------------------------------------------------

    def __dlpack_device__(self) -> tuple[int, int]:
        return (HOST_MEMORY, 0) if self._place.runtime.is_emulated else (GPU_MEMORY, self._place.id)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
        """A DLPack capsule on the device's memory, which the array keeps alive."""
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"the memory is on {self._place}; use numpy.asarray(x) for a copy on the host")
        source = self._copy() if copy else self
        return source._place.runtime.exported(source.view(), source.buffer, stream, max_version)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The memory for libraries that read CUDA's array interface, which has no name for bfloat16."""
        runtime = self._place.runtime
        if runtime.is_emulated or self.type.dtype.kind == "V":
            raise AttributeError("__cuda_array_interface__")
        self._check()
        return {"shape": self.type.shape, "typestr": self.type.dtype.str, "data": (self.buffer.address, True), "version": 3,
                "stream": runtime.stream or 1}


def adopted(device: Device, tensor: Any, copy: bool | None) -> PlacedArray:
    """An array on the memory of another library's tensor on a device, or of a copy of it."""
    buffer, shape, dtype = device.runtime.imported(tensor, copy)
    return PlacedArray(ArrayType(shape, dtype), buffer, device)


def on_host(x: Any) -> Any:
    """x itself, or the elements of an array on a device as a NumPy array."""
    return x._host() if x.__class__ is PlacedArray else x


def place_of(values: Iterable[Any]) -> Device | None:
    """The device that a call on these values runs on: that of its arrays, else the default; None is the host.

    DeviceError for arrays of several devices. Arrays of the host go where the others are.
    """
    found: Device | None = None
    for x in values:
        if x.__class__ is PlacedArray and x._place is not found:
            if found is not None:
                raise DeviceError(f"one call has arrays on {found!r} and on {x._place!r}", source=user_source(),
                                  fix="move them together: device_put(x, device)")
            found = x._place
    return found or default_place()


def default_place() -> Device | None:
    wanted = config.default_device
    return None if wanted is None else resolved(wanted)


def resolved(place: Any) -> Device | None:
    """A device by object or platform name; None for the host."""
    if isinstance(place, str):
        if place == "cpu":
            return None
        place = devices(place)[0]
    return None if place.platform == "cpu" else place


def check_copy(direction: str, what: Any, explicit: bool) -> None:
    """Obey the setting transfer_guard: say, or refuse, that something is copied between host and device."""
    own = config.transfer_guard_host_to_device if direction == "host_to_device" else config.transfer_guard_device_to_host
    level = own or config.transfer_guard or "allow"
    if level == "allow" or (explicit and not level.endswith("explicit")):
        return
    text = f"{'an explicit' if explicit else 'a hidden'} copy from {direction.replace('_', ' ')}: {what}"
    if level.startswith("disallow"):
        raise DeviceError(f"transfer_guard forbids {text}", source=user_source(),
                          fix="device_put inputs before, device_get results after; or with transfer_guard('allow'): ...")
    print(f"tracejit: {text} at {user_source()}", file=sys.stderr)
