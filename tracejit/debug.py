"""Looking into running programs: print run-time values, or hand them to a Python function."""
import builtins
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.absent import getter
from tracejit.lax.callback import debug_callback as callback
from tracejit.lax.callback import debug_print as print
from tracejit.runtime.device import CPU, SingleDeviceSharding

__all__ = ["callback", "inspect_array_sharding", "print", "visualize_array_sharding", "visualize_sharding"]


def inspect_array_sharding(value: Any, *, callback: Callable[[Any], Any]) -> None:
    """Call callback(sharding) for an array of a program: once, while it is traced, since where arrays are is known then.

    >>> inspect_array_sharding(np.ones(3), callback=lambda sharding: builtins.print(sharding.device_set))
    {CpuDevice(id=0)}
    """
    callback(getattr(value, "sharding", None) or SingleDeviceSharding(CPU))


def visualize_sharding(shape: Sequence[int], sharding: Any, **options: Any) -> None:
    """Print which device holds which part of an array of this shape, as a box per part: one box, of all.

    >>> visualize_sharding((8, 8), SingleDeviceSharding(CPU))
    ┌───────┐
    │ CPU 0 │
    └───────┘
    """
    if len(shape) not in (1, 2):
        raise ValueError(f"visualize_sharding: arrays of one or two axes can be drawn, not of shape {tuple(shape)}")
    text = ", ".join(f"{device.platform.upper()} {device.id}" for device in sharding.device_set)
    line = "─" * (len(text) + 2)
    builtins.print(f"┌{line}┐\n│ {text} │\n└{line}┘")


def visualize_array_sharding(arr: Any, **options: Any) -> None:
    """visualize_sharding of an array."""
    inspect_array_sharding(arr, callback=lambda sharding: visualize_sharding(arr.shape, sharding))


__getattr__ = getter(__name__)
