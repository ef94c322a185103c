"""Compiled code -> the same code with its results looked at, for the settings debug_nans and debug_infs."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.config import config
from tracejit.errors import NonFiniteError
from tracejit.ir.graph import Eqn, Graph, replay
from tracejit.ir.types import is_inexact
from tracejit.runtime.executable import Executable


def is_guarding() -> bool:
    return config.debug_nans or config.debug_infs


def fault_in(arrays: Sequence[Any]) -> str:
    """What the settings forbid and the arrays hold: "nan", "inf" or nothing."""
    values = [np.asarray(x) for x in arrays if is_inexact(x.dtype)]
    if config.debug_nans and any(np.isnan(v).any() for v in values):
        return "nan"
    if config.debug_infs and any(np.isinf(v).any() for v in values):
        return "inf"
    return ""


class Guarded:
    """Raises NonFiniteError where the results hold what is forbidden, naming the first operation that made it.

    Native dispatch must not learn it, because it would call the code alone.
    """

    def __init__(self, code: Executable, graph: Graph, consts: Sequence[Any], run_op: Callable[[Any, Sequence[Any]], Any]) -> None:
        self.code, self.graph, self.consts, self.run_op = code, graph, consts, run_op

    def __getattr__(self, name: str) -> Any:
        return getattr(self.code, name)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        outs = self.code.run(arrays)
        fault = fault_in(outs)
        if fault:
            self.blame([*arrays, *self.consts])
            raise NonFiniteError(f"invalid value ({fault}) came in with an argument and is in the result")
        return outs

    def blame(self, arrays: Sequence[Any]) -> None:
        """Run the program again, one operation at a time, and stop at the first that makes what is forbidden."""
        forbidden = {name: getattr(config, name) for name in ("debug_nans", "debug_infs")}

        def apply(eqn: Eqn, inputs: list[Any]) -> list[Any]:
            outs = self.run_op(eqn.op, inputs)
            outs = list(outs) if eqn.op.multiple else [outs]
            with config.setting(**forbidden):
                fault = fault_in(outs)
            if fault:
                raise NonFiniteError(f"invalid value ({fault}) encountered in {eqn.op.name}", eqn.source)
            return outs

        with config.setting(debug_nans=False, debug_infs=False):
            replay(self.graph, arrays, apply)
