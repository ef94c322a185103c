"""The incomplete beta function, element by element.

Computed in float64 by the continued fraction and the weights of TOMS 708 (DiDonato and Morris, 1992), on the side of the mean
where it converges fast and with `away` = p y - q x, y = 1 - x, in place of differences of rounded numbers; its rest by a series
where q is small; two huge shapes by Temme's expansion (DLMF 8.18.9).
"""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.convert import operands
from tracejit.lax.elementary import exp, log1p
from tracejit.lax.elementwise import Float, add, log, mul, neg, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special
from tracejit.lax.series import F64, STIRLING, Lanes, excess, polynomial, stirling
from tracejit.lax.special import lgamma

HUGE, SMALL = 1e9, 0.02


def decay(b, p, q, x, y, away):
    """-log of x^p y^q over its maximum, which is at x = p / (p + q)."""
    both = b.add(p, q)
    low = b.mul(p, excess(b, b.neg(b.div(away, p)), b.mul(x, b.div(both, p))))
    return b.add(low, b.mul(q, excess(b, b.div(away, q), b.mul(y, b.div(both, q)))))


def weight_of_large(b, p, q, x, y, away):
    """x^p y^q / (p B(p, q)) where p and q are at least 10."""
    both = b.add(p, q)
    log_rest = b.sub(b.add(stirling(b, p), stirling(b, q)), stirling(b, both))
    scale = b.sqrt(b.div(b.div(q, p), b.mul(both, 2 * np.pi)))
    return b.mul(scale, b.exp(b.neg(b.add(decay(b, p, q, x, y, away), log_rest))))


def lgammas(b, xs):
    """lgamma(1 + x) of the first of three, less that of the others: in a loop, since its code is long."""
    def step(state):
        n, total, x, following, last = state
        value = b.lgamma1p(x)
        return [b.add(n, 1.0), b.add(total, b.select(b.eq(n, 0.0), value, b.neg(value))), following, last, x]
    zero = b.const(0.0, F64, xs[0].lanes)
    return b.while_loop([zero, zero, *xs], lambda state: b.any(b.lt(state[0], 3.0)), step)[1]


def weight_of_small(b, p, q, x, y):
    """x^p y^q / (p B(p, q)) where the smaller of p and q is below 10."""
    p_smaller = b.le(p, q)
    s, m = b.select(p_smaller, p, q), b.select(p_smaller, q, p)
    at_s, at_m = b.select(p_smaller, x, y), b.select(p_smaller, y, x)
    log_m = b.select(b.gt(at_m, 0.5), b.log1p(b.neg(at_s)), b.log(at_m))
    both, large = b.add(s, m), b.ge(m, 10.0)
    ratio = b.add(b.mul(b.sub(both, 0.5), b.log1p(b.div(s, m))), b.sub(b.sub(stirling(b, both), stirling(b, m)), s))
    plain = lgammas(b, [b.select(large, 0.0, both), b.select(large, 0.0, m), s])
    gammas = b.exp(b.add(b.select(large, ratio, 0.0), plain))
    power = b.pow(b.mul(b.select(large, m, 1.0), at_s), s)
    gammas = b.select(large, gammas, b.mul(gammas, b.div(m, both)))
    return b.mul(b.select(p_smaller, gammas, b.mul(gammas, b.div(s, m))), b.mul(power, b.exp(b.mul(m, log_m))))


def beta_weight(b, p, q, x, y, away):
    """x^p y^q / (p B(p, q))."""
    large = b.ge(b.min(p, q), 10.0)
    return b.select(large, weight_of_large(b, p, q, x, y, away), weight_of_small(b, p, q, x, y))


def beta_fraction(lanes: Lanes, p, q, x, away, needed):
    """The value over its weight; convergents by the usual recurrence, scaled so that the denominator is 1."""
    b, one, zero = lanes.b, lanes.full(1.0), lanes.full(0.0)
    square = b.mul(x, x)

    def coefficients(n):
        """The n-th partial numerator and denominator; p divides the first of both."""
        rising, odd = b.select(b.eq(n, 1.0), one, b.sub(b.add(p, n), 1.0)), b.sub(b.add(p, b.mul(n, 2.0)), 1.0)
        falling = b.mul(n, b.sub(q, n))
        above = b.mul(b.div(rising, odd), b.mul(b.mul(b.div(b.sub(b.add(b.add(p, q), n), 1.0), odd), falling), square))
        slope = b.add(b.add(away, 1.0), b.mul(n, b.sub(2.0, x)))
        below = b.mul(b.add(p, n), b.div(slope, b.add(odd, 2.0)))
        return above, b.add(b.add(n, b.div(b.mul(falling, x), odd)), below)

    def step(state):
        n, f, f0, g0 = state
        n = b.add(n, 1.0)
        above, below = coefficients(n)
        scale = b.div(1.0, b.add(below, b.mul(g0, above)))
        new = b.mul(b.add(b.mul(f, below), b.mul(f0, above)), scale)
        return [n, new, b.mul(f, scale), scale], b.gt(b.abs(b.sub(new, f)), b.mul(b.abs(new), lanes.eps))
    first = b.div(b.add(p, 1.0), b.add(away, 1.0))
    return lanes.until_still(needed, [zero, first, zero, first], step)[1]


def gamma_growth(b, c, a):
    """lgamma(c + a) - lgamma(c) for small a, to the precision of a: ten steps up, where Stirling's series differs by its slopes."""
    at, steps = b.add(c, 10.0), 0.0
    for j in range(10):     # the product of 1 + a / (c + j), less 1
        step = b.div(a, b.add(c, float(j)))
        steps = b.add(b.add(steps, step), b.mul(steps, step))
    r, middle = b.div(a, at), b.div(1.0, b.add(at, b.mul(a, 0.5)))
    square, log_r = b.mul(middle, middle), b.log1p(b.div(a, at))
    first = polynomial(b, square, [-(2 * k + 1) * s for k, s in enumerate(STIRLING)])
    third = polynomial(b, square, [-(2 * k + 1) * (2 * k + 2) * (2 * k + 3) * s for k, s in enumerate(STIRLING[:4])])
    slope = b.mul(square, b.add(first, b.mul(b.mul(square, third), b.div(b.mul(a, a), 24.0))))
    series = b.sub(b.mul(b.sub(a, 0.5), log_r), b.mul(at, excess(b, r, b.add(r, 1.0))))
    return b.sub(b.add(b.add(b.mul(a, b.log(at)), series), b.mul(a, slope)), b.log1p(steps))


def beta_complement(lanes: Lanes, a, c, y, x, needed):
    """1 - the function of (a, c, y) for small a, where it is close to 1: by its power series (DLMF 8.17.7)."""
    b, zero, one = lanes.b, lanes.full(0.0), lanes.full(1.0)

    def step(state):
        n, term, total = state
        n = b.add(n, 1.0)
        term = b.mul(term, b.mul(b.div(b.sub(n, c), n), y))
        part = b.div(term, b.add(n, a))
        return [n, term, b.add(total, part)], b.gt(b.abs(part), b.mul(b.abs(total), lanes.eps))
    total = lanes.until_still(needed, [zero, one, zero], step)[-1]
    log_y = b.select(b.lt(y, 0.5), b.log(y), b.log1p(b.neg(x)))
    power = b.add(b.mul(a, log_y), b.sub(gamma_growth(b, c, a), b.lgamma1p(a)))
    return b.neg(b.add(b.expm1(power), b.mul(b.exp(power), b.mul(a, total))))


def beta_uniform(b, p, q, x, y):
    """Its value where p and q are huge: half an erfc and the first term of the remainder."""
    above = b.sub(b.mul(q, x), b.mul(p, y))
    both, out = b.add(p, q), decay(b, p, q, x, y, b.neg(above))
    z = b.copysign(b.sqrt(out), above)
    eta, spread = b.mul(z, b.sqrt(b.div(2.0, both))), b.sqrt(b.mul(b.div(p, both), b.div(q, both)))
    first = b.sub(b.div(1.0, eta), b.div(b.mul(spread, both), above))
    middle = b.div(b.div(b.sub(q, p), both), b.mul(spread, 3.0))
    first = b.select(b.lt(b.abs(eta), 1e-7), middle, first)
    rest = b.div(b.mul(b.exp(b.neg(out)), first), b.sqrt(b.mul(both, 2 * np.pi)))
    return b.add(b.mul(b.erfc(b.neg(z)), 0.5), rest)


@op_dataclass
class Betainc(Float):
    """The integral of t^(a-1) (1-t)^(b-1) from 0 to x, over that to 1."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 256

    def eval(self, a, b, x): return in_f32(special("betainc"), a, b, x)

    def scalar(self, b, p, q, x):
        dtype, (p, q, x) = p.dtype, b.match(*[b.convert(v, F64) for v in (p, q, x)])
        lanes = Lanes(b, x.lanes, dtype)
        shapes = b.and_(b.and_(b.gt(p, 0.0), b.lt(p, np.inf)), b.and_(b.gt(q, 0.0), b.lt(q, np.inf)))
        inside = b.and_(shapes, b.and_(b.gt(x, 0.0), b.lt(x, 1.0)))
        huge = b.and_(inside, b.ge(b.min(p, q), HUGE))
        plain = self.by_fraction(lanes, p, q, x, b.and_(inside, b.not_(huge)))
        uniform = b.cond(b.any(huge), lambda: [beta_uniform(b, p, q, x, b.sub(1.0, x))], lambda: [plain])[0]
        value = b.select(inside, b.select(huge, uniform, plain), self.edges(b, lanes, p, q, x))
        return b.convert(value, dtype)

    def by_fraction(self, lanes: Lanes, p, q, x, needed):
        b = lanes.b
        swap = b.gt(x, b.div(b.add(p, 1.0), b.add(b.add(p, q), 2.0)))
        rest = b.sub(1.0, x)
        away = b.sub(b.mul(p, rest), b.mul(q, x))
        a, c = b.select(swap, q, p), b.select(swap, p, q)
        at, other, away = b.select(swap, rest, x), b.select(swap, x, rest), b.select(swap, b.neg(away), away)
        value = b.mul(beta_weight(b, a, c, at, other, away), beta_fraction(lanes, a, c, at, away, needed))
        value = b.select(swap, b.sub(1.0, value), b.min(value, 1.0))
        small = b.and_(needed, b.and_(swap, b.lt(q, SMALL)))
        mend = lambda: [b.select(small, beta_complement(lanes, a, c, at, other, small), value)]
        return b.cond(b.any(small), mend, lambda: [value])[0]

    def edges(self, b, lanes: Lanes, p, q, x):
        """x = 0 or 1, or all the weight at one end; nan outside of the domain and where both ends claim all of it."""
        all_low, all_high = b.or_(b.eq(p, 0.0), b.eq(q, np.inf)), b.or_(b.eq(q, 0.0), b.eq(p, np.inf))
        domain = b.and_(b.and_(b.ge(p, 0.0), b.ge(q, 0.0)), b.and_(b.ge(x, 0.0), b.le(x, 1.0)))
        domain = b.and_(domain, b.not_(b.and_(all_low, all_high)))
        is_one = b.or_(b.eq(x, 1.0), b.and_(all_low, b.gt(x, 0.0)))
        return b.select(domain, b.select(is_one, lanes.full(1.0), lanes.full(0.0)), lanes.full(np.nan))

    def jvp(self, ctx, primals, tangents):
        if tangents[0] is not None or tangents[1] is not None:
            raise ValueError("Betainc gradient with respect to a and b not supported.")
        a, b, x = primals
        log_beta = sub(add(lgamma(a), lgamma(b)), lgamma(add(a, b)))
        density = exp(sub(add(mul(sub(a, 1.0), log(x)), mul(sub(b, 1.0), log1p(neg(x)))), log_beta))
        out = bind(self, a, b, x)
        return out, ctx.sum([mul(density, tangents[2])], type_of(out))


def betainc(a: Any, b: Any, x: Any) -> Any:
    """The regularised incomplete beta function of floats a, b > 0 and x in [0, 1].

    >>> print(betainc(2.0, 3.0, 0.5))
    0.6875
    """
    return bind(Betainc(), *operands(a, b, x))
