"""The native text of pool, Array and Jitted -> one object, loaded once; None where types cannot be made natively."""
from __future__ import annotations

from tracejit.runtime import array_text, dispatch_text, donation_text, native, pool, threads, tree_text


def load() -> dict[str, int] | None:
    if not native.can_be_native():
        return None
    assert threads.pool  # the text calls into its library
    text = pool.TEXT + array_text.TEXT + dispatch_text.TEXT + donation_text.TEXT + tree_text.TEXT
    return native.load(text, {**pool.CONSTANTS, **array_text.CONSTANTS, **dispatch_text.CONSTANTS})


symbols: dict[str, int] | None = load()
blocks: pool.Pool | None = pool.Pool(symbols) if symbols else None


def symbol(name: str) -> int:
    """The address of a native function or variable."""
    if symbols is None:
        raise RuntimeError(f"{name} exists only where types are native")
    return symbols[name]
