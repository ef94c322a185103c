"""A graph -> how many operations one run of it needs."""
from __future__ import annotations

from dataclasses import astuple, dataclass

from tracejit.ir.graph import Eqn, Graph, fields_of, subgraphs
from tracejit.lax.kinds import Contraction
from tracejit.lax.loops import Scan


@dataclass(frozen=True)
class Work:
    """Operations: multiplications and additions of products, and whatever is done to single elements, each counted once;
    and the instructions of the latter, with how many of these multiply and how many divide or take roots, each counted as so
    many on one float32."""
    products: float = 0
    elements: float = 0
    instructions: float = 0
    multiplications: float = 0
    divisions: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other))))

    def __mul__(self, times: float) -> Work:
        return Work(*(a * times for a in astuple(self)))

    @property
    def operations(self) -> float:
        return self.products + self.elements


def work_of_graph(graph: Graph) -> Work:
    """What one run needs; the bodies of loops whose length is not known count once."""
    return sum((work_of(eqn) for eqn in graph.eqns), Work())


def work_of(eqn: Eqn) -> Work:
    """Products count each multiplication and addition; other equations the elements of their largest operand or result."""
    subs = [s for _, value in fields_of(eqn.op) for s in subgraphs(value)]
    if subs:
        return sum(map(work_of_graph, subs), Work()) * ((eqn.op.length or 1) if isinstance(eqn.op, Scan) else 1)
    if isinstance(eqn.op, Contraction):
        return Work(products=eqn.op.flops(*[x.type for x in eqn.inputs]))
    size = max([getattr(v.type, "size", 0) for v in (*eqn.outputs, *eqn.inputs)], default=0)
    return Work(elements=size, instructions=size)
