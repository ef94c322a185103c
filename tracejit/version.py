"""The version of the package."""
from tracejit import __version__ as __version__

__version_info__ = tuple(int(part) for part in __version__.split("."))
