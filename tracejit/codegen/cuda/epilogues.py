"""An elementwise kernel over a product's result -> what the library does to each element before it stores it, if it can."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracejit.codegen.epilogue import Blocks
from tracejit.codegen.kernels import Kernel
from tracejit.ir.graph import Eqn, Var
from tracejit.ir.loops import APPLY, CONST, LOAD, Axis, Expr, Index
from tracejit.lax.dot import DotGeneral
from tracejit.lax.elementwise import Add, Max


class LibraryEpilogue(NamedTuple):
    """relu(product + bias), each of which may be missing; the bias is one row."""
    bias: Var | None
    activation: str | None


def product_blocks(eqn: Eqn) -> Blocks | None:
    """The result of a float32 product, as rows and columns."""
    if not isinstance(eqn.op, DotGeneral) or eqn.outputs[0].type.dtype != np.dtype("f4") or not eqn.outputs[0].type.size:
        return None
    x, y = (v.type for v in eqn.inputs)
    spec = eqn.op.spec(x.ndim, y.ndim)
    columns = int(np.prod([y.shape[a] for a in spec.free[1]], dtype=np.int64))
    depth = int(np.prod([x.shape[a] for a in spec.contract[0]], dtype=np.int64))
    return Blocks(columns, depth) if columns > 1 and depth else None


def library_epilogue(kernel: Kernel, out: Var) -> LibraryEpilogue | None:
    """`kernel` is over the rows and columns of the product `out`; see `codegen/epilogue.py`."""
    stage = kernel.stages[0]
    if stage.row_stores or len(stage.stores) != 1 or stage.stores[0].var.type.dtype != out.type.dtype:
        return None
    e, activation, bias = stage.stores[0].expr, None, None
    if e.kind == APPLY and isinstance(e.data, Max) and any(map(is_zero, e.args)):
        [e], activation = [a for a in e.args if not is_zero(a)], "relu"
    if e.kind == APPLY and isinstance(e.data, Add):
        rows = [a for a in e.args if is_row(a, kernel.row_axes[1])]
        if len(rows) == 1:
            bias = rows[0].data[0]
            [e] = [a for a in e.args if a is not rows[0]]
    plain = e.kind == LOAD and e.data[0] is out
    return LibraryEpilogue(bias, activation) if plain and (bias is not None or activation) else None


def is_zero(e: Expr) -> bool:
    return e.kind == CONST and not any(e.data[0])


def is_row(e: Expr, columns: Axis) -> bool:
    """Whether an element is that of a vector at the column."""
    return e.kind == LOAD and not e.data[2] and e.data[1] == Index({columns: 1}) and e.data[0].type.size == columns.size
