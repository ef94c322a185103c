"""The device that programs run on."""
from tracejit.absent import getter
from tracejit.runtime.device import Device, devices

__all__ = ["get_backend"]


class Backend:
    """A kind of device: its name, and its devices."""

    def __init__(self, platform: str | None = None):
        self.found = devices(platform)
        self.platform = self.found[0].platform

    def devices(self) -> list[Device]:
        return self.found

    def local_devices(self) -> list[Device]:
        return self.found

    def device_count(self) -> int:
        return len(self.found)


# Backends that are initialised, by platform: none has anything to initialise, so tests that ask for more devices may go on.
_backends: dict[str, Backend] = {}


def get_backend(platform: str | None = None) -> Backend:
    """The kind of device of that name, by default the one in use.

    >>> get_backend().platform
    'cpu'
    """
    return Backend(platform)


__getattr__ = getter(__name__)
