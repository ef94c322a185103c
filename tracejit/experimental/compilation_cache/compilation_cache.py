"""The folder of the cache of compiled code, which is on from the start."""
from __future__ import annotations

from tracejit.absent import getter
from tracejit.config import config
from tracejit.runtime.clear import clear_caches


def set_cache_dir(path: str) -> None:
    """Keep compiled code in this folder: `config.compilation_cache_dir`."""
    config.update("compilation_cache_dir", path)


def is_initialized() -> bool:
    """Whether compiled code is kept on disk.

    >>> is_initialized() == tj.config.enable_compilation_cache
    True
    """
    return config.enable_compilation_cache


def reset_cache() -> None:
    """Forget what is compiled in this process."""
    clear_caches()


initialize_cache = set_cache_dir
__getattr__ = getter(__name__)
