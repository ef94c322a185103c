"""The GPUs of this machine, or emulated ones where the setting emulate_cuda asks for them, and the Runtime of each."""
from __future__ import annotations

import functools
import importlib
from typing import Any

from tracejit.config import config
from tracejit.errors import DeviceError
from tracejit.runtime.cuda.emulated import EmulatedRuntime
from tracejit.runtime.device import Device

EMULATED = "emulated"


@functools.cache
def emulated_devices(count: int) -> tuple[Device, ...]:
    return tuple(Device("gpu", k, EMULATED) for k in range(count))


def devices() -> list[Device]:
    """All GPUs. DeviceError, which says what to do, where there are none."""
    if config.emulate_cuda:
        return list(emulated_devices(config.emulate_cuda))
    found = cuda_module().devices()
    if not found:
        raise DeviceError("there is no GPU here", fix="set TRACEJIT_EMULATE_CUDA=1 to run GPU programs, slowly, without one")
    return list(found)


def cuda_module() -> Any:
    try:
        return importlib.import_module("tracejit.runtime.cuda.device")
    except ImportError as error:
        raise DeviceError(f"Unknown backend 'gpu': it needs packages that are not installed: {error}",
                          fix="pip install 'tracejit[cuda]'; python -m tracejit.tools.doctor checks the rest") from error


@functools.cache
def runtime_of(device: Device) -> Any:
    """The Runtime of a device, made when it is first used."""
    return EmulatedRuntime() if device.device_kind == EMULATED else cuda_module().CudaRuntime(device.id)
