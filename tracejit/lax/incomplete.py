"""The incomplete gamma and beta functions, and the gamma distribution's derivative by its shape, element by element.

Computed in float64 by the series and continued fractions of Cephes (Moshier) and Numerical Recipes, which converge on
complementary halves of the domain; derivatives by the shape are propagated through the same recurrences.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.ir.types import type_of
from tracejit.lax.convert import operands
from tracejit.lax.elementary import exp, log1p
from tracejit.lax.elementwise import Float, add, log, mul, neg, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special
from tracejit.lax.special import lgamma

F64 = np.dtype("float64")
MOST_STEPS = 20000.0
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


def gamma_weight(b, a, x):
    """log(x^a exp(-x) / gamma(a)); for large a by Stirling's series, in which nothing large cancels."""
    plain = b.sub(b.sub(b.mul(a, b.log(x)), x), b.lgamma(a))
    d = b.div(b.sub(x, a), a)
    square, power, tail = b.mul(a, a), a, b.div(STIRLING[0], a)
    for coefficient in STIRLING[1:]:
        power = b.mul(power, square)
        tail = b.add(tail, b.div(coefficient, power))
    stirling = b.add(b.mul(a, b.sub(b.log1p(d), d)), b.sub(b.mul(b.log(b.div(a, 2 * np.pi)), 0.5), tail))
    return b.select(b.ge(a, 10.0), stirling, plain)


def gamma_series(lanes: Lanes, a, x, needed):
    """s = sum over k of x^k / ((a + 1) ... (a + k))."""
    b, one = lanes.b, lanes.full(1.0)

    def step(state):
        r, term, total = state
        r = b.add(r, 1.0)
        term = b.mul(term, b.div(x, r))
        return [r, term, b.add(total, term)], b.gt(term, b.mul(total, lanes.eps))
    return lanes.until_still(needed, [a, one, one], step)[-1:]


def gamma_fraction(lanes: Lanes, a, x, needed):
    """f, the continued fraction 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / (x + 5 - a - ...)))."""
    b, one, zero = lanes.b, lanes.full(1.0), lanes.full(0.0)
    z = b.sub(b.add(x, 1.0), a)

    def step(state):
        n, p, q, p0, q0, value = state
        n = b.add(n, 1.0)
        zn, cn = b.add(z, b.mul(n, 2.0)), b.mul(n, b.sub(n, a))
        p1, q1 = b.sub(b.mul(p, zn), b.mul(p0, cn)), b.sub(b.mul(q, zn), b.mul(q0, cn))
        new = b.div(p1, q1)
        scale = b.select(b.gt(b.abs(q1), 1e100), lanes.full(1e-100), one)
        moves = b.gt(b.abs(b.sub(new, value)), b.mul(b.abs(new), lanes.eps))
        return [n, *[b.mul(v, scale) for v in (p1, q1, p, q)], new], moves
    return lanes.until_still(needed, [zero, one, z, zero, one, b.div(one, z)], step)[-1:]


def gamma_series_and_slope(lanes: Lanes, a, x, needed):
    """(s, ds/da), s as in `gamma_series`."""
    b, one, zero = lanes.b, lanes.full(1.0), lanes.full(0.0)

    def step(state):
        r, term, d_term, total, d_total = state
        r = b.add(r, 1.0)
        ratio = b.div(x, r)
        d_term = b.mul(ratio, b.sub(d_term, b.div(term, r)))
        term = b.mul(term, ratio)
        total, d_total = b.add(total, term), b.add(d_total, d_term)
        moves = b.or_(b.gt(term, b.mul(total, lanes.eps)), b.gt(b.abs(d_term), b.mul(b.abs(d_total), lanes.eps)))
        return [r, term, d_term, total, d_total], moves
    return lanes.until_still(needed, [a, one, zero, one, zero], step)[-2:]


def gamma_fraction_and_slope(lanes: Lanes, a, x, needed):
    """(f, df/da), f as in `gamma_fraction`."""
    b, one, zero = lanes.b, lanes.full(1.0), lanes.full(0.0)
    z = b.sub(b.add(x, 1.0), a)

    def step(state):
        n, p, q, p0, q0, dp, dq, dp0, dq0, value, d_value = state
        n = b.add(n, 1.0)
        zn, cn = b.add(z, b.mul(n, 2.0)), b.mul(n, b.sub(n, a))
        forward = lambda v, v0: b.sub(b.mul(v, zn), b.mul(v0, cn))
        d_forward = lambda v, v0, dv, dv0: b.add(b.sub(forward(dv, dv0), v), b.mul(v0, n))
        p1, q1, dp1, dq1 = forward(p, p0), forward(q, q0), d_forward(p, p0, dp, dp0), d_forward(q, q0, dq, dq0)
        new = b.div(p1, q1)
        d_new = b.div(b.sub(dp1, b.mul(new, dq1)), q1)
        moved = lambda v, w: b.gt(b.abs(b.sub(v, w)), b.mul(b.abs(v), lanes.eps))
        scale = b.select(b.gt(b.abs(q1), 1e100), lanes.full(1e-100), one)
        scaled = [b.mul(v, scale) for v in (p1, q1, p, q, dp1, dq1, dp, dq)]
        return [n, *scaled, new, d_new], b.or_(moved(new, value), moved(d_new, d_value))
    first = b.div(one, z)
    start = [zero, one, z, zero, one, zero, lanes.full(-1.0), zero, zero, first, b.mul(first, first)]
    return lanes.until_still(needed, start, step)[-2:]


@op_dataclass
class IncompleteGamma(Float):
    """A function of P(a, x) = the integral of t^(a-1) exp(-t) from 0 to x, over gamma(a), or of its complement Q."""
    ulp: ClassVar[float] = 64
    series: ClassVar[Callable] = staticmethod(gamma_series)
    fraction: ClassVar[Callable] = staticmethod(gamma_fraction)

    def scalar(self, b, a, x):
        dtype, (a, x) = a.dtype, b.match(b.convert(a, F64), b.convert(x, F64))
        lanes = Lanes(b, a.lanes, dtype)
        inside = b.and_(b.and_(b.gt(a, 0.0), b.gt(x, 0.0)), b.lt(x, np.inf))
        upper = b.and_(b.gt(x, 1.0), b.gt(x, b.add(a, b.min(a, 1.0))))
        series = self.series(lanes, a, x, b.and_(inside, b.not_(upper)))
        fraction = self.fraction(lanes, a, x, b.and_(inside, upper))
        out = self.joined(b, a, x, upper, series, fraction)
        valid = b.and_(b.ge(a, 0.0), b.and_(b.ge(x, 0.0), b.or_(b.gt(a, 0.0), b.gt(x, 0.0))))
        return b.convert(b.select(valid, self.edges(b, a, x, out), lanes.full(np.nan)), dtype)

    def jvp(self, ctx, primals, tangents):
        raise NotImplementedError(f"{self.name} has no derivative rule")


@op_dataclass
class Igamma(IncompleteGamma):
    """P(a, x), the lower incomplete gamma function over gamma(a)."""

    def eval(self, a, x): return in_f32(special("gammainc"), a, x)

    def joined(self, b, a, x, upper, series, fraction):
        weight = b.exp(gamma_weight(b, a, x))
        return b.select(upper, b.sub(1.0, b.mul(weight, fraction[0])), b.div(b.mul(weight, series[0]), a))

    def edges(self, b, a, x, out):
        out = b.select(b.eq(x, 0.0), b.const(0.0, F64), out)
        return b.select(b.or_(b.eq(x, np.inf), b.eq(a, 0.0)), b.const(1.0, F64), out)

    def jvp(self, ctx, primals, tangents): return Float.jvp(self, ctx, primals, tangents)
    def partials(self, out, a, x): return igamma_grad_a(a, x), gamma_density(a, x)


def igamma(a: Any, x: Any) -> Any: return bind(Igamma(), *operands(a, x))


def gamma_density(a, x): return exp(sub(mul(sub(a, 1.0), log(x)), add(x, lgamma(a))))


@op_dataclass
class Igammac(IncompleteGamma):
    """Q(a, x) = 1 - P(a, x), exact where it is small."""

    def eval(self, a, x): return in_f32(special("gammaincc"), a, x)

    def joined(self, b, a, x, upper, series, fraction):
        weight = b.exp(gamma_weight(b, a, x))
        return b.select(upper, b.mul(weight, fraction[0]), b.sub(1.0, b.div(b.mul(weight, series[0]), a)))

    def edges(self, b, a, x, out):
        out = b.select(b.eq(x, 0.0), b.const(1.0, F64), out)
        return b.select(b.or_(b.eq(x, np.inf), b.eq(a, 0.0)), b.const(0.0, F64), out)

    def jvp(self, ctx, primals, tangents): return Float.jvp(self, ctx, primals, tangents)
    def partials(self, out, a, x): return neg(igamma_grad_a(a, x)), neg(gamma_density(a, x))


def igammac(a: Any, x: Any) -> Any: return bind(Igammac(), *operands(a, x))


def shape_derivative(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dP(a, x) / da by quadrature of its integral from 0 to x, or from x on, whichever part is smaller.

    Integrand: t^(a-1) exp(-t) (log t - digamma(a)) / gamma(a); double exponential rules of Takahasi and Mori (1974).
    """
    a, x = np.broadcast_arrays(a.astype(np.float64), x.astype(np.float64))
    safe = np.where((x > 0) & (x < np.inf), x, 1)[..., None]
    a_, s = a[..., None], np.arange(-6.0, 6.0, 1 / 64)
    sinh, cosh = np.pi / 2 * np.sinh(s), np.pi / 2 * np.cosh(s) / 64
    log_u = -np.log1p(np.exp(-2 * sinh))                       # below: t = x u^(1/a)
    log_t = np.log(safe) + log_u / a_
    log_rate = a_ * np.log(safe) - special("gammaln")(a_ + 1) - np.exp(log_t) + log_u - np.log1p(np.exp(2 * sinh))
    below = (np.exp(log_rate) * (log_t - special("digamma")(a_)) * 2 * cosh).sum(-1)
    t = safe + np.exp(sinh)                                    # above: t = x + exp(pi/2 sinh s)
    log_rate = (a_ - 1) * np.log(t) - t - special("gammaln")(a_) + sinh
    above = (np.exp(log_rate) * (np.log(t) - special("digamma")(a_)) * cosh).sum(-1)
    inner = np.where(a > 0, np.where(x > a, -above, below), np.nan)
    return np.where((a < 0) | (x < 0), np.nan, np.where((x == 0) | (x == np.inf), 0, inner))


@op_dataclass
class IgammaGradA(IncompleteGamma):
    """The derivative of P(a, x) by a."""
    ulp: ClassVar[float] = 512
    series: ClassVar[Callable] = staticmethod(gamma_series_and_slope)
    fraction: ClassVar[Callable] = staticmethod(gamma_fraction_and_slope)

    def eval(self, a, x): return in_f32(lambda a, x: shape_derivative(a, x).astype(a.dtype), a, x)

    def joined(self, b, a, x, upper, series, fraction):
        weight, slope = b.exp(gamma_weight(b, a, x)), b.sub(b.log(x), b.digamma(a))
        lower = b.div(b.add(series[1], b.mul(series[0], b.sub(slope, b.div(1.0, a)))), a)
        return b.mul(weight, b.select(upper, b.neg(b.add(fraction[1], b.mul(fraction[0], slope))), lower))

    def edges(self, b, a, x, out):
        out = b.select(b.eq(a, 0.0), b.const(np.nan, F64), out)
        return b.select(b.or_(b.eq(x, 0.0), b.eq(x, np.inf)), b.const(0.0, F64), out)


def igamma_grad_a(a: Any, x: Any) -> Any: return bind(IgammaGradA(), *operands(a, x))


@op_dataclass
class RandomGammaGrad(IncompleteGamma):
    """The derivative of a gamma(a)-distributed sample x by a, at fixed P(a, x)."""
    ulp: ClassVar[float] = 8192
    series: ClassVar[Callable] = staticmethod(gamma_series_and_slope)
    fraction: ClassVar[Callable] = staticmethod(gamma_fraction_and_slope)

    def eval(self, a, x):
        def ratio(a, x):
            density = np.exp((np.float64(a) - 1) * np.log(x) - x - special("gammaln")(np.float64(a)))
            return np.where(x == 0, 0, -shape_derivative(a, x) / density).astype(a.dtype)
        return in_f32(ratio, a, x)

    def joined(self, b, a, x, upper, series, fraction):
        slope = b.sub(b.log(x), b.digamma(a))
        lower = b.div(b.add(series[1], b.mul(series[0], b.sub(slope, b.div(1.0, a)))), b.neg(a))
        return b.mul(x, b.select(upper, b.add(fraction[1], b.mul(fraction[0], slope)), lower))

    def edges(self, b, a, x, out):
        return b.select(b.eq(x, 0.0), b.const(0.0, F64), b.select(b.eq(a, 0.0), b.const(np.nan, F64), out))


def random_gamma_grad(a: Any, sample: Any) -> Any: return bind(RandomGammaGrad(), *operands(a, sample))


# --- beta -------------------------------------------------------------------------------------------------

@op_dataclass
class Betainc(Float):
    """The integral of t^(a-1) (1-t)^(b-1) from 0 to x, over that to 1."""
    ulp: ClassVar[float] = 256

    def eval(self, a, b, x): return in_f32(special("betainc"), a, b, x)

    def scalar(self, b, p, q, x):
        dtype, (p, q, x) = p.dtype, b.match(*[b.convert(v, F64) for v in (p, q, x)])
        lanes = Lanes(b, x.lanes, dtype)
        swap = b.gt(x, b.div(b.add(p, 1.0), b.add(b.add(p, q), 2.0)))
        a, c = b.select(swap, q, p), b.select(swap, p, q)
        log_x, log_y = b.log(x), b.log1p(b.neg(x))
        y = b.select(swap, b.sub(1.0, x), x)
        inside = b.and_(b.and_(b.gt(p, 0.0), b.gt(q, 0.0)), b.and_(b.gt(x, 0.0), b.lt(x, 1.0)))
        log_beta = b.sub(b.add(b.lgamma(p), b.lgamma(q)), b.lgamma(b.add(p, q)))
        weight = b.exp(b.sub(b.add(b.mul(p, log_x), b.mul(q, log_y)), log_beta))
        value = b.div(b.mul(weight, beta_fraction(lanes, a, c, y, inside)), a)
        value = b.select(inside, b.select(swap, b.sub(1.0, value), value), self.edges(b, lanes, p, q, x))
        return b.convert(value, dtype)

    def edges(self, b, lanes: Lanes, p, q, x):
        """x = 0 or 1, or all the weight at one end because p or q is 0; nan outside of the domain."""
        at_zero = b.and_(b.and_(b.eq(x, 0.0), b.gt(p, 0.0)), b.ge(q, 0.0))
        at_one = b.and_(b.and_(b.eq(x, 1.0), b.gt(q, 0.0)), b.ge(p, 0.0))
        within = b.and_(b.ge(x, 0.0), b.le(x, 1.0))
        all_low = b.and_(b.and_(b.eq(p, 0.0), b.gt(q, 0.0)), within)
        all_high = b.and_(b.and_(b.eq(q, 0.0), b.gt(p, 0.0)), within)
        zero, one = lanes.full(0.0), lanes.full(1.0)
        is_one = b.or_(b.or_(at_one, all_low), b.and_(all_high, b.eq(x, 1.0)))
        is_zero = b.or_(at_zero, b.and_(all_high, b.lt(x, 1.0)))
        return b.select(is_zero, zero, b.select(is_one, one, lanes.full(np.nan)))

    def jvp(self, ctx, primals, tangents):
        if tangents[0] is not None or tangents[1] is not None:
            raise NotImplementedError("betainc has a derivative with respect to x only")
        a, b, x = primals
        log_beta = sub(add(lgamma(a), lgamma(b)), lgamma(add(a, b)))
        density = exp(sub(add(mul(sub(a, 1.0), log(x)), mul(sub(b, 1.0), log1p(neg(x)))), log_beta))
        out = bind(self, a, b, x)
        return out, ctx.sum([mul(density, tangents[2])], type_of(out))


def beta_fraction(lanes: Lanes, a, c, x, needed):
    """The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes 6.4)."""
    b, one, zero = lanes.b, lanes.full(1.0), lanes.full(0.0)
    away = lambda v: b.select(b.lt(b.abs(v), 1e-300), lanes.full(1e-300), v)
    both = b.add(a, c)

    def advance(h, up, down, coefficient):
        down = b.div(1.0, away(b.add(1.0, b.mul(coefficient, down))))
        up = away(b.add(1.0, b.div(coefficient, up)))
        return b.mul(h, b.mul(up, down)), up, down

    def step(state):
        n, h, up, down = state
        n = b.add(n, 1.0)
        twice = b.add(a, b.mul(n, 2.0))
        even = b.div(b.mul(b.mul(n, b.sub(c, n)), x), b.mul(b.sub(twice, 1.0), twice))
        odd = b.neg(b.div(b.mul(b.mul(b.add(a, n), b.add(both, n)), x), b.mul(twice, b.add(twice, 1.0))))
        half, up, down = advance(h, up, down, even)
        new, up, down = advance(half, up, down, odd)
        return [n, new, up, down], b.gt(b.abs(b.sub(new, half)), b.mul(b.abs(new), lanes.eps))
    first = b.div(1.0, away(b.sub(1.0, b.div(b.mul(both, x), b.add(a, 1.0)))))
    return lanes.until_still(needed, [zero, first, one, first], step)[1]


def betainc(a: Any, b: Any, x: Any) -> Any:
    """The regularised incomplete beta function of floats a, b > 0 and x in [0, 1].

    >>> print(betainc(2.0, 3.0, 0.5))
    0.6875
    """
    return bind(Betainc(), *operands(a, b, x))
