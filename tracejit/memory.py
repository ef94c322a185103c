"""Where an array's memory may be, by JAX's names: on the device that programs run on, or on the host."""
import enum


class Space(enum.Enum):
    """A kind of memory. Programs on the CPU have one, in which all arrays are."""
    Device = enum.auto()
    Host = enum.auto()
    Any = enum.auto()
