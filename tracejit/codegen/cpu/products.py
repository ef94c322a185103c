"""Matrix products and convolutions -> calls of the universal native routines."""
from __future__ import annotations

import numpy as np

from tracejit.codegen.cpu.builder import PTR, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.gemm import CALL, gemm_module, gemm_scratch
from tracejit.ir.graph import Eqn
from tracejit.lax.dot import DotGeneral

GEMM_DTYPES = (np.dtype("f4"), np.dtype("f8"))


def emit_contraction(emitter, eqn: Eqn, ins: list[Value], out: Value) -> None:
    raise NotImplementedError
