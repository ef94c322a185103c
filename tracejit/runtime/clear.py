"""What the process keeps between calls: clear_caches forgets traced and compiled programs; live_arrays finds arrays."""
from __future__ import annotations

import gc
import sys
from typing import Any

from tracejit.runtime import jit
from tracejit.runtime.array import CONCRETE
from tracejit.runtime.on_demand import compiler
from tracejit.runtime.device import devices
from tracejit.transforms import derivatives, vmap


def clear_caches() -> None:
    """Forget every traced and compiled program of this process; the object cache on disk stays."""
    for made in list(jit.made):
        made.clear()
    for table in (jit.kept, compiler.graph_code, compiler.op_code):
        table.clear()
    for made in (derivatives.gradient_graph, derivatives.pushforward_graph, derivatives.linearized, vmap.batched_graph,
                 vmap.placed_graph):
        made.cache_clear()


def live_arrays(platform: str | None = None) -> list[Any]:
    """The Arrays that containers, objects and the variables of running functions hold and that were not deleted."""
    frames = []
    for frame in sys._current_frames().values():
        while frame is not None:
            frames.append(list(frame.f_locals.values()))
            frame = frame.f_back
    holders = [*gc.get_objects(), *frames]
    found = {id(x): x for holder in holders for x in gc.get_referents(holder) if x.__class__ in CONCRETE}
    wanted = None if platform is None else devices(platform)
    return [x for x in found.values() if not x.is_deleted() and (wanted is None or x.device in wanted)]
