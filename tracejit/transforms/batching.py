"""vmap as a rewrite: replay a graph with each op's batch rule. The batch axis is axis 0 inside rules."""
from __future__ import annotations

from collections.abc import Sequence

from tracejit import lax
from tracejit.ir.graph import Eqn, Graph, replay
from tracejit.ir.trace import record_eqn, sourced, trace_closed
from tracejit.ir.types import ArrayType, TapeType, type_of
from tracejit.transforms.answers import Answers


class Batch:
    """What batch rules may ask for: `size` lanes, under an axis name if vmap gave one."""

    def __init__(self, size: int, axis_name=None):
        self.size, self.axis_name = size, axis_name
        self.answers = Answers()

    def spread(self, x, batched: bool, shape: tuple[int, ...]):
        """An operand of an elementwise op at the common shape; zero-dimensional unbatched ones stay."""
        t = type_of(x)
        if batched:
            if t.ndim == 1 + len(shape):
                return x
            return lax.broadcast_in_dim(x, (self.size, *shape), (0,))
        return x if t.ndim == 0 else self.materialize(x, False)

    def materialize(self, x, batched: bool = False):
        """The operand with a batch axis, repeated along it if it had none."""
        if batched:
            return x
        t = type_of(x)
        return lax.broadcast_in_dim(x, (self.size, *t.shape), tuple(range(1, t.ndim + 1)))

    def batch(self, graph: Graph, batched: Sequence[bool], force: Sequence[bool] | None = None) -> tuple[Graph, list[bool]]:
        """A sub-graph over lanes, and which results are batched (those forced always are)."""
        question = tuple(batched), tuple(force or ())
        lanes, out_batched = self.answers.to(graph, question, lambda: self.lanes_graph(graph, batched, force))
        return lanes, list(out_batched)

    def lanes_graph(self, graph: Graph, batched: Sequence[bool], force: Sequence[bool] | None) -> tuple[Graph, list[bool]]:
        out_batched: list[bool] = []

        def f(*args):
            outs, flags = batch_values(self, graph, args, batched)
            if force is not None:
                outs = [self.materialize(x, b) if want else x for x, b, want in zip(outs, flags, force)]
                flags = [b or want for b, want in zip(flags, force)]
            out_batched[:] = flags
            return outs
        types = [self.lanes_of(p.type) if b else p.type for p, b in zip(graph.params, batched)]
        return trace_closed(f, types), out_batched

    def all(self, x):
        """Of booleans with a batch axis: whether those of all lanes are true."""
        return lax.reduce_and(x, (0,))

    def any(self, x):
        return lax.reduce_or(x, (0,))

    def lanes_of(self, t):
        if isinstance(t, TapeType):
            return TapeType(self.lanes_of(t.element))
        return ArrayType((self.size, *t.shape), t.dtype, t.weak_type)

    def loop_over_lanes(self, op, args, batched):
        """One call per lane, in a native loop."""
        free = [x for x, b in zip(args, batched) if not b]

        def one(*lane):
            lane, rest = iter(lane), iter(free)
            outs = lax.bind(op, *[next(lane) if b else next(rest) for b in batched])
            return tuple(outs) if op.multiple else outs
        outs = lax.map(lambda lane: one(*lane), tuple(x for x, b in zip(args, batched) if b))
        return (list(outs), [True] * len(outs)) if op.multiple else (outs, True)


def batch_values(ctx: Batch, graph: Graph, args: Sequence, batched: Sequence[bool]) -> tuple[list, list[bool]]:
    """Run a graph on values of which some carry a leading batch axis."""
    def apply(eqn: Eqn, inputs):
        pairs = [x if x.__class__ is tuple else (x, False) for x in inputs]
        xs, flags = [x for x, _ in pairs], [b for _, b in pairs]
        if not any(flags) and not eqn.op.lane_dependent:
            return [(out, False) for out in record_eqn(eqn, xs)]
        with sourced(eqn.source):
            outs, out_flags = eqn.op.batch(ctx, xs, flags)
        if not eqn.op.multiple:
            return [(outs, out_flags)]
        out_flags = out_flags if isinstance(out_flags, (list, tuple)) else [out_flags] * len(outs)
        return list(zip(outs, out_flags, strict=True))

    results = replay(graph, list(zip(args, batched, strict=True)), apply)
    results = [r if r.__class__ is tuple else (r, False) for r in results]
    return [x for x, _ in results], [b for _, b in results]
