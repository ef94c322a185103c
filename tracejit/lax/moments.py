"""The sum of squared distances from the mean, folded in one pass: what a variance is made of where no cache holds its elements."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.broadcast import broadcast_in_dim, reduce_sum
from tracejit.lax.elementwise import div, mul, sub
from tracejit.lax.kinds import Reduction, op_dataclass, pairwise


@op_dataclass
class ReduceDeviations(Reduction):
    """The sum of squared distances from the mean over some axes. A state is how many elements it holds, the first of them,
    their mean less the first, and the sum of their squared distances from their mean.

    States are joined as in T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979). Elements that are joined at once are passed over twice, in registers; and means are counted
    from an element, so that no digits are lost to a mean far from zero.
    """
    makes_nan: ClassVar[bool] = True
    accepts: ClassVar[str] = "f"
    ulp: ClassVar[float] = 64
    joins: ClassVar[int] = 8

    def eval(self, x):
        apart = x - x.mean(axis=self.axes, keepdims=True, dtype=x.dtype) if x.size else x
        return np.square(apart).sum(axis=self.axes, dtype=x.dtype)

    def init(self, b, types): return (b.const(0, types[0].dtype),) * 4

    def element(self, b, index, x):
        zero = b.const(0, x.dtype)
        return b.const(1, x.dtype), x, zero, zero

    def combine(self, b, x, y):
        whole, x = b.add(x[0], y[0]), self.placed(b, x, y[1])
        return self.merged(b, x, y, whole, b.max(whole, b.const(1, whole.dtype)))

    def join(self, b, x, elements: Sequence[tuple]):
        x = n, near, _, _ = self.placed(b, x, elements[0][1])
        values = [b.sub(value, near) for _, value, _, _ in elements]
        dtype, k = n.dtype, len(values)
        rest = b.mul(pairwise(b.add, values), b.const(1 / k, dtype))
        apart = [b.sub(value, rest) for value in values]
        whole = b.add(n, b.const(k, dtype))
        return self.merged(b, x, (b.const(k, dtype), near, rest, pairwise(b.add, [b.mul(d, d) for d in apart])), whole, whole)

    def placed(self, b, x, near):
        """A state that holds no elements yet counts from the first one's place."""
        return x[0], b.select(b.eq(x[0], b.const(0, x[0].dtype)), near, x[1]), x[2], x[3]

    def merged(self, b, x, y, whole, by):
        (n, near, rest, total), (k, there, more, added) = x, y
        share, apart = b.div(k, by), b.add(b.sub(there, near), b.sub(more, rest))
        between = b.mul(b.mul(apart, b.mul(n, share)), apart)   # in this order 0 where n is 0, however large the rest
        return whole, near, b.add(rest, b.mul(apart, share)), b.add(b.add(total, added), between)

    def finish(self, b, x):
        return b.add(x[3], b.mul(b.add(x[1], x[2]), b.const(0, x[3].dtype)))    # nan where an element is infinite

    def jvp(self, ctx, primals, tangents):
        (x,), (t,) = primals, tangents
        shape = type_of(x).shape
        kept = [i for i in range(len(shape)) if i not in self.axes]
        n = max(int(np.prod([shape[a] for a in self.axes])), 1)
        mean = broadcast_in_dim(div(reduce_sum(x, self.axes), n), shape, kept)
        return bind(self, x), mul(2, reduce_sum(mul(sub(x, mean), t), self.axes))


def squared_deviations(x: Any, axes: Sequence[int]) -> Any:
    """The sum of squared distances from the mean over `axes`.

    >>> print(squared_deviations(np.array([1.0, 2.0, 3.0]), (0,)))
    2.0
    """
    return bind(ReduceDeviations(tuple(axes)), x)
