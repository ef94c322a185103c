"""The line of the program that an equation comes from, and which files never count as the program's."""
from tracejit.absent import getter
from tracejit.errors import Source as SourceInfo
from tracejit.errors import register_exclusion
from tracejit.errors import user_source as current

__all__ = ["SourceInfo", "current", "register_exclusion", "summarize"]


def summarize(source_info: SourceInfo, num_frames: int = 1) -> str:
    """A line of the program as text: file:line (function)."""
    return f"{source_info.place} ({source_info.function})"


__getattr__ = getter(__name__)
