"""Which files are left out of messages and tracebacks, so that they show the line of the program that called a library."""
from types import FrameType

from tracejit.absent import getter
from tracejit.errors import EXCLUDED as _exclude_paths
from tracejit.errors import filtered as api_boundary
from tracejit.errors import is_internal, register_exclusion

__all__ = ["_exclude_paths", "api_boundary", "include_frame", "register_exclusion"]


def include_frame(frame: FrameType) -> bool:
    """Whether messages show a frame: it is neither this package's nor of a file that is left out."""
    return not is_internal(frame.f_code)


__getattr__ = getter(__name__)
