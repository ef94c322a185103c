"""The few classes of JAX's native half, the package `jaxlib`, that programs name."""
from tracejit.absent import API_VERSION as __version__
from tracejit.pytree import PyTreeDef
from tracejit.runtime.array import ArrayImpl
from tracejit.runtime.device import Device
from tracejit.runtime.dispatch import Jitted as PjitFunction

__all__ = ["ArrayImpl", "Device", "PjitFunction", "PyTreeDef", "__version__"]
