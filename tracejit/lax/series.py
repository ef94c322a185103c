"""What functions computed by series and continued fractions share: loops over lanes, and logarithms that cancel nothing."""
from __future__ import annotations

import numpy as np

F64 = np.dtype("float64")
MOST_STEPS = 400_000.0
# Stirling's series of lgamma: B(2k) / (2k (2k - 1)), k = 1, 2, ...
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


class Lanes:
    """Constants and loops over all lanes of one vector, in float64, to the precision of a dtype."""

    def __init__(self, b, lanes: int, dtype: np.dtype):
        self.b, self.lanes, self.eps = b, lanes, 2.0**-53 if dtype == F64 else 2.0**-28

    def full(self, value: float): return self.b.splat(self.b.const(value, F64), self.lanes)

    def until_still(self, needed, start: list, step) -> list:
        """Repeat state = step(state) in the lanes where `needed`, until none of them moves any more.

        `step` gives the new state and whether it still moves.
        """
        b = self.b

        def more(carry):
            return b.any(b.and_(b.ne(carry[0], 0.0), b.lt(carry[1], MOST_STEPS)))

        def body(carry):
            active = b.ne(carry[0], 0.0)
            state, moves = step(list(carry[2:]))
            going = b.select(b.and_(active, moves), self.full(1.0), self.full(0.0))
            kept = [b.select(active, new, old) for new, old in zip(state, carry[2:])]
            return [going, b.add(carry[1], 1.0), *kept]
        active = b.select(needed, self.full(1.0), self.full(0.0))
        return b.while_loop([active, self.full(0.0), *start], more, body)[2:]


def polynomial(b, x, coefficients):
    """The polynomial with `coefficients` from the constant term up."""
    out = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        out = b.mad(out, x, c)
    return out


def excess(b, mu, ratio):
    """mu - log(1 + mu), for small mu by the series of atanh(mu / (2 + mu)); ratio is 1 + mu, not rounded to a unit of 1."""
    s = b.div(mu, b.add(mu, 2.0))
    square = b.mul(s, s)
    tail = b.mul(b.mul(s, square), polynomial(b, square, [2 / (2 * k + 3) for k in range(13)]))
    return b.select(b.lt(b.abs(mu), 0.35), b.sub(b.mul(mu, s), tail), b.sub(mu, b.log(ratio)))


def stirling(b, a):
    """lgamma(a) - ((a - 1/2) log(a) - a + log(2 pi) / 2), for a >= 10."""
    inverse = b.div(1.0, a)
    return b.mul(inverse, polynomial(b, b.mul(inverse, inverse), STIRLING))
