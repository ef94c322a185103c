"""The processes of a program: there is one, and nothing needs to be set up."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracejit.absent import getter

_state = {"initialized": False}


def initialize(coordinator_address: str | None = None, num_processes: int | None = None, process_id: int | None = None,
               local_device_ids: int | Sequence[int] | None = None, **options: Any) -> None:
    """Accepted for one process. NotImplementedError for more, RuntimeError when called twice.

    >>> initialize(num_processes=1, process_id=0)
    >>> is_initialized()
    True
    >>> shutdown()
    """
    if num_processes not in (None, 1):
        raise NotImplementedError(f"distributed.initialize: tracejit runs in one process, not in {num_processes}")
    if _state["initialized"]:
        raise RuntimeError("distributed.initialize should only be called once.")
    _state["initialized"] = True


def is_initialized() -> bool:
    """Whether `initialize` was called."""
    return _state["initialized"]


def shutdown() -> None:
    """The end of what `initialize` began."""
    _state["initialized"] = False


__getattr__ = getter(__name__)
