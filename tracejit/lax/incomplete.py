"""The incomplete gamma functions, and the gamma distribution's derivative by its shape, element by element.

Computed in float64 by series and a continued fraction, which converge on complementary parts of the domain (Cephes, by
Moshier), and for large shapes near the middle by Temme's uniform expansion (DLMF 8.12); derivatives by the shape are
propagated through the same recurrences.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.lax.convert import operands
from tracejit.lax.elementary import exp
from tracejit.lax.elementwise import Float, add, log, mul, neg, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special
from tracejit.lax.series import F64, Lanes, excess, polynomial, stirling
from tracejit.lax.special import lgamma


def gamma_weight(b, a, x):
    """x^a exp(-x) / gamma(a + 1); for large a by Stirling's series, in which nothing large cancels."""
    low, within = b.min(a, 10.0), b.min(x, 1e4)     # beyond, the other factor is 0 and this one must not be inf
    half = b.exp(b.mul(within, -0.5))
    plain = b.mul(b.mul(b.mul(b.pow(within, low), half), half), b.exp(b.neg(b.lgamma1p(low))))
    decay = b.mul(a, excess(b, b.div(b.sub(x, a), a), b.div(x, a)))
    large = b.div(b.exp(b.neg(b.add(decay, stirling(b, a)))), b.sqrt(b.mul(a, 2 * np.pi)))
    return b.select(b.ge(a, 10.0), large, plain)


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
    """f, the continued fraction 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / (x + 5 - a - ...))).

    Its convergents p / q by the usual recurrence, both scaled in each step so that q is 1.
    """
    b, zero = lanes.b, lanes.full(0.0)
    z = b.sub(b.add(x, 1.0), a)

    def step(state):
        n, p, p0, q0 = state
        n = b.add(n, 1.0)
        zn, cn = b.add(z, b.mul(n, 2.0)), b.mul(n, b.sub(n, a))
        scale = b.div(1.0, b.sub(zn, b.mul(q0, cn)))
        new = b.mul(b.sub(b.mul(p, zn), b.mul(p0, cn)), scale)
        return [n, new, b.mul(p, scale), scale], b.gt(b.abs(b.sub(new, p)), b.mul(b.abs(new), lanes.eps))
    first = b.div(1.0, z)
    return lanes.until_still(needed, [zero, first, zero, first], step)[1:2]


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
    """(f, df/da), f as in `gamma_fraction`; the slopes of p and q are scaled with them."""
    b, zero = lanes.b, lanes.full(0.0)
    z = b.sub(b.add(x, 1.0), a)

    def step(state):
        n, p, p0, q0, dp, dq, dp0, dq0, d_value = state
        n = b.add(n, 1.0)
        zn, cn = b.add(z, b.mul(n, 2.0)), b.mul(n, b.sub(n, a))
        forward = lambda v, v0: b.sub(b.mul(v, zn), b.mul(v0, cn))
        scale = b.div(1.0, b.sub(zn, b.mul(q0, cn)))
        new = b.mul(forward(p, p0), scale)
        d_p = b.mul(b.add(b.sub(forward(dp, dp0), p), b.mul(p0, n)), scale)
        d_q = b.mul(b.add(b.sub(forward(dq, dq0), 1.0), b.mul(q0, n)), scale)
        d_new = b.sub(d_p, b.mul(new, d_q))
        moved = lambda v, w: b.gt(b.abs(b.sub(v, w)), b.mul(b.abs(v), lanes.eps))
        state = [n, new, b.mul(p, scale), scale, d_p, d_q, b.mul(dp, scale), b.mul(dq, scale), d_new]
        return state, b.or_(moved(new, p), moved(d_new, d_value))
    first = b.div(1.0, z)
    start = [zero, first, zero, first, zero, b.neg(first), zero, zero, b.mul(first, first)]
    out = lanes.until_still(needed, start, step)
    return [out[1], out[-1]]


def gamma_complement(lanes: Lanes, a, x, needed):
    """1 - P(a, x) for small a and x <= 1.1, where P is close to 1 (DLMF 8.7.3)."""
    b, zero, one = lanes.b, lanes.full(0.0), lanes.full(1.0)

    def step(state):
        n, term, total = state
        n = b.add(n, 1.0)
        term = b.neg(b.mul(term, b.div(x, n)))
        part = b.div(term, b.add(n, a))
        return [n, term, b.add(total, part)], b.gt(b.abs(part), b.mul(b.abs(total), lanes.eps))
    total = lanes.until_still(needed, [zero, one, zero], step)[-1]
    power = b.sub(b.mul(a, b.log(x)), b.lgamma1p(b.min(a, 10.0)))
    return b.sub(zero, b.add(b.expm1(power), b.mul(b.exp(power), b.mul(a, total))))


@functools.cache
def temme_coefficients(orders: int = 6, degree: int = 17) -> list[list[float]]:
    """d[k][n] of DLMF 8.12.8: the remainder's coefficient of eta^n / a^k, from the inverse of eta (8.12.11)."""
    from fractions import Fraction  # seldom needed, and not quick to load
    alpha = [Fraction(0), Fraction(1)]
    while len(alpha) < degree + 2 * orders + 3:
        n = len(alpha)
        alpha.append((alpha[n - 1] - sum(j * alpha[j] * alpha[n - j + 1] for j in range(2, n))) / (n + 1))
    first = [(n + 2) * alpha[n + 2] - (n == 0) for n in range(degree + 2 * orders + 1)]
    rows = [first]
    for k in range(1, orders):
        above, g = rows[-1], alpha[2 * k + 1] * math.prod(range(1, 2 * k + 2, 2))
        rows.append([(n + 2) * above[n + 2] + (-1)**k * g * first[n] for n in range(len(above) - 2)])
    return [[float(c) for c in row[:degree]] for row in rows]


def gamma_uniform(lanes: Lanes, a, x, sign: float):
    """P(a, x) (sign -1) or Q(a, x) (sign 1) for large a and x / a between 0.7 and 1.3 (DLMF 8.12.3)."""
    b = lanes.b
    mu = b.div(b.sub(x, a), a)
    half = excess(b, mu, b.div(x, a))
    eta = b.copysign(b.sqrt(b.mul(half, 2.0)), mu)
    total = lanes.full(0.0)
    for row in reversed(temme_coefficients()):
        total = b.add(b.div(total, a), polynomial(b, eta, row))
    rest = b.div(b.mul(b.exp(b.neg(b.mul(a, half))), total), b.sqrt(b.mul(a, 2 * np.pi)))
    tail = b.mul(b.erfc(b.mul(b.mul(eta, sign), b.sqrt(b.mul(a, 0.5)))), 0.5)
    return b.add(tail, b.mul(rest, sign))


@op_dataclass
class IncompleteGamma(Float):
    """A function of P(a, x) = the integral of t^(a-1) exp(-t) from 0 to x, over gamma(a), or of its complement Q.

    Outside of the domain, and where both are 0 and the limit depends on the path, it is nan.
    """
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 64
    series: ClassVar[Callable] = staticmethod(gamma_series)
    fraction: ClassVar[Callable] = staticmethod(gamma_fraction)

    def scalar(self, b, a, x):
        dtype, (a, x) = a.dtype, b.match(b.convert(a, F64), b.convert(x, F64))
        lanes = Lanes(b, a.lanes, dtype)
        inside = b.and_(b.and_(b.gt(a, 0.0), b.lt(a, np.inf)), b.and_(b.gt(x, 0.0), b.lt(x, np.inf)))
        upper = b.and_(b.gt(x, 1.0), b.gt(x, b.add(a, b.min(a, 1.0))))
        out = self.within(lanes, a, x, inside, upper)
        valid = b.and_(b.ge(a, 0.0), b.and_(b.ge(x, 0.0), b.or_(b.gt(a, 0.0), b.gt(x, 0.0))))
        return b.convert(b.select(valid, self.edges(b, a, x, out), lanes.full(np.nan)), dtype)

    def within(self, lanes: Lanes, a, x, inside, upper):
        b = lanes.b
        series = self.series(lanes, a, x, b.and_(inside, b.not_(upper)))
        fraction = self.fraction(lanes, a, x, b.and_(inside, upper))
        return self.joined(b, a, x, upper, series, fraction)

    def jvp(self, ctx, primals, tangents):
        raise NotImplementedError(f"{self.name} has no derivative rule")


LEAST = 1e-300  # for a below, SciPy takes P for 0: it is 1, and Q in proportion to a


def is_tiny(a: np.ndarray) -> np.ndarray: return (a > 0) & (a < LEAST)


def gammaincc(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    tiny = is_tiny(a)
    out = special("gammaincc")(np.where(tiny, LEAST, a), x)
    return np.where(tiny & (x > 0), out * (a / LEAST), out).astype(a.dtype)


class IncompleteGammaValue(IncompleteGamma):
    """P or Q itself: also by the uniform expansion, and Q by its own series where P is close to 1."""
    sign: ClassVar[float]

    def within(self, lanes: Lanes, a, x, inside, upper):
        b = lanes.b
        middle = b.and_(inside, b.and_(b.gt(a, 200.0), b.lt(b.abs(b.sub(x, a)), b.mul(a, 0.3))))
        outside = b.and_(inside, b.not_(middle))
        plain = super().within(lanes, a, x, outside, upper)
        uniform = b.cond(b.any(middle), lambda: [gamma_uniform(lanes, a, x, self.sign)], lambda: [plain])[0]
        return self.mended(lanes, a, x, b.and_(outside, b.not_(upper)), b.select(middle, uniform, plain))

    def mended(self, lanes: Lanes, a, x, lower, out): return out

    def jvp(self, ctx, primals, tangents): return Float.jvp(self, ctx, primals, tangents)


@op_dataclass
class Igamma(IncompleteGammaValue):
    """P(a, x), the lower incomplete gamma function over gamma(a)."""
    sign: ClassVar[float] = -1.0

    def eval(self, a, x):
        out = in_f32(lambda a, x: special("gammainc")(np.where(is_tiny(a), LEAST, a), x).astype(a.dtype), a, x)
        return np.where((a == np.inf) & (x == np.inf), out.dtype.type(1), out)

    def joined(self, b, a, x, upper, series, fraction):
        weight = gamma_weight(b, a, x)
        return b.select(upper, b.sub(1.0, b.mul(b.mul(weight, a), fraction[0])), b.min(b.mul(weight, series[0]), 1.0))

    def edges(self, b, a, x, out):
        out = b.select(b.or_(b.eq(x, 0.0), b.eq(a, np.inf)), b.const(0.0, F64), out)
        return b.select(b.or_(b.eq(x, np.inf), b.eq(a, 0.0)), b.const(1.0, F64), out)

    def partials(self, out, a, x): return igamma_grad_a(a, x), gamma_density(a, x)


def igamma(a: Any, x: Any) -> Any: return bind(Igamma(), *operands(a, x))


def gamma_density(a, x): return exp(sub(mul(sub(a, 1.0), log(x)), add(x, lgamma(a))))


@op_dataclass
class Igammac(IncompleteGammaValue):
    """Q(a, x) = 1 - P(a, x), exact where it is small."""
    sign: ClassVar[float] = 1.0

    def eval(self, a, x):
        out = in_f32(gammaincc, a, x)
        return np.where((a == np.inf) & (x == np.inf), out.dtype.type(0), out)

    def joined(self, b, a, x, upper, series, fraction):
        weight = gamma_weight(b, a, x)
        return b.select(upper, b.mul(b.mul(weight, a), fraction[0]), b.sub(1.0, b.mul(weight, series[0])))

    def mended(self, lanes: Lanes, a, x, lower, out):
        b = lanes.b
        small = b.select(b.lt(x, 0.5), b.le(b.mul(a, b.neg(b.log(x))), 0.4), b.le(a, b.mul(x, 1.1)))
        small = b.and_(lower, b.and_(small, b.le(x, 1.1)))
        return b.cond(b.any(small), lambda: [b.select(small, gamma_complement(lanes, a, x, small), out)], lambda: [out])[0]

    def edges(self, b, a, x, out):
        out = b.select(b.or_(b.eq(x, 0.0), b.eq(a, np.inf)), b.const(1.0, F64), out)
        return b.select(b.or_(b.eq(x, np.inf), b.eq(a, 0.0)), b.const(0.0, F64), out)

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
    return np.where((a < 0) | (x < 0) | np.isnan(x), np.nan, np.where((x == 0) | (x == np.inf), 0, inner))


@op_dataclass
class IgammaGradA(IncompleteGamma):
    """The derivative of P(a, x) by a."""
    ulp: ClassVar[float] = 512
    series: ClassVar[Callable] = staticmethod(gamma_series_and_slope)
    fraction: ClassVar[Callable] = staticmethod(gamma_fraction_and_slope)

    def eval(self, a, x): return in_f32(lambda a, x: shape_derivative(a, x).astype(a.dtype), a, x)

    def joined(self, b, a, x, upper, series, fraction):
        weight, slope = gamma_weight(b, a, x), b.sub(b.log(x), b.digamma(a))
        lower = b.add(series[1], b.mul(series[0], b.sub(slope, b.div(1.0, a))))
        return b.mul(weight, b.select(upper, b.mul(b.neg(a), b.add(fraction[1], b.mul(fraction[0], slope))), lower))

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
