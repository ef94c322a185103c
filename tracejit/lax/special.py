"""Error functions, and the gamma function's logarithm and derivatives, element by element."""
from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.lax.elementary import exp
from tracejit.lax.broadcast import full_like
from tracejit.lax.compare import eq, select
from tracejit.lax.convert import operands
from tracejit.lax.elementwise import Float, add, floor, mul, neg, square, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special

F64 = np.dtype("float64")


@op_dataclass
class Erf(Float):
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 4

    def eval(self, x): return in_f32(special("erf"), x)
    def partials(self, out, x): return (mul(2 / math.sqrt(math.pi), exp(neg(square(x)))),)


def erf(x: Any) -> Any: return bind(Erf(), x)


@op_dataclass
class Erfc(Float):
    """1 - erf(x), exact for large x."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 4

    def eval(self, x): return in_f32(special("erfc"), x)
    def partials(self, out, x): return (mul(-2 / math.sqrt(math.pi), exp(neg(square(x)))),)


def erfc(x: Any) -> Any: return bind(Erfc(), x)


@op_dataclass
class Erfcx(Float):
    """exp(x^2) erfc(x), which decays like 1 / x."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 8

    def eval(self, x): return in_f32(special("erfcx"), x)
    def partials(self, out, x): return (sub(mul(2.0, mul(x, out)), 2 / math.sqrt(math.pi)),)


def erfcx(x: Any) -> Any: return bind(Erfcx(), x)


@op_dataclass
class ErfInv(Float):
    """The number whose erf is x."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 4

    def eval(self, x): return np.copysign(in_f32(special("erfinv"), x), x)  # SciPy loses the sign of -0
    def partials(self, out, x): return (mul(math.sqrt(math.pi) / 2, exp(square(out))),)


def erf_inv(x: Any) -> Any: return bind(ErfInv(), x)


@op_dataclass
class Lgamma(Float):
    """The logarithm of the absolute value of the gamma function."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 16

    def eval(self, x):
        out = in_f32(special("gammaln"), np.where(x == -np.inf, np.inf, x).astype(x.dtype))    # as in C
        tiny = (x != 0) & (np.abs(x) < np.finfo(np.float64).tiny)   # SciPy: inf
        return np.where(tiny, -np.log(np.where(tiny, np.abs(x), 1)).astype(x.dtype), out)
    def partials(self, out, x): return (digamma(x),)


def lgamma(x: Any) -> Any: return bind(Lgamma(), x)


@op_dataclass
class Digamma(Float):
    """The derivative of lgamma."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 8

    def eval(self, x): return in_f32(special("digamma"), x)
    def partials(self, out, x): return (polygamma(1.0, x),)


def digamma(x: Any) -> Any: return bind(Digamma(), x)


# Euler-Maclaurin coefficients (2k)! / B(2k), as in Cephes' zeta.c.
_ZETA = (12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9, 7.47242496e10,
         -2.950130727918164224e12, 1.1646782814350067249e14, -4.5979787224074726105e15, 1.8152105401943546773e17,
         -7.1661652561756670113e18)


@op_dataclass
class Zeta(Float):
    """The Hurwitz zeta function: the sum over k >= 0 of (q + k) ** -x, by Euler and Maclaurin's formula."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 16

    def eval(self, x, q):
        out = in_f32(special("zeta"), x, q)
        out = np.where((x == np.inf) & (q > 1), out.dtype.type(0), out)                             # SciPy: nan
        out = np.where((x == np.inf) & (q < 0) & (q != np.floor(q)), out.dtype.type(np.nan), out)   # no limit
        return np.where(np.isnan(x), out.dtype.type(np.nan), out)           # SciPy: inf at poles of q for every x

    def scalar(self, b, x, q):
        dtype, (x, q) = x.dtype, b.match(b.convert(x, F64), b.convert(q, F64))
        total, a = self.head(b, x, q)
        last = b.pow(a, b.neg(x))
        total = b.add(total, b.sub(b.div(b.mul(last, a), b.sub(x, 1.0)), b.mul(last, 0.5)))
        factor, power = b.const(1.0, F64), last
        for k, coefficient in enumerate(_ZETA):
            factor = b.mul(factor, b.add(x, 2.0 * k))
            power = b.div(power, a)
            total = b.add(total, b.div(b.mul(factor, power), coefficient))
            factor, power = b.mul(factor, b.add(x, 2.0 * k + 1)), b.div(power, a)
        return b.convert(self.edges(b, x, q, total), dtype)

    def head(self, b, x, q):
        """(the sum of the first terms, the q + k of the last): at least 9 of them, and to above 9."""
        def more(carry):
            return b.any(b.or_(b.lt(carry[2], 9.0), b.and_(b.le(carry[1], 9.0), b.gt(carry[1], -1e3))))

        def step(carry):
            total, a, count = carry
            go = b.or_(b.lt(count, 9.0), b.le(a, 9.0))
            following = b.add(a, 1.0)
            summed = b.add(total, b.pow(following, b.neg(x)))
            return [b.select(go, summed, total), b.select(go, following, a), b.add(count, 1.0)]
        count = b.splat(b.const(0.0, F64), q.lanes)
        return b.while_loop([b.pow(q, b.neg(x)), q, count], more, step)[:2]

    def edges(self, b, x, q, total):
        """Poles at x = 1 and at q = 0, -1, ...; no real value for other negative q unless x is whole."""
        inf, nan = b.const(np.inf, F64), b.const(np.nan, F64)
        below = b.select(b.eq(q, b.floor(q)), inf, b.select(b.eq(x, b.floor(x)), total, nan))
        total = b.select(b.le(q, 0.0), below, total)
        limit = b.select(b.gt(q, 1.0), b.const(0.0, F64), b.select(b.eq(q, 1.0), b.const(1.0, F64), inf))
        total = b.select(b.and_(b.eq(x, np.inf), b.gt(q, 0.0)), limit, b.select(b.eq(q, np.inf), b.const(0.0, F64), total))
        return b.select(b.gt(x, 1.0), total, b.select(b.eq(x, 1.0), inf, nan))

    def jvp(self, ctx, primals, tangents):
        if tangents[0] is not None:
            raise NotImplementedError("zeta has no derivative with respect to its first argument")
        x, q = primals
        return bind(self, x, q), mul(tangents[1], neg(mul(x, zeta(add(x, 1.0), q))))


def zeta(x: Any, q: Any) -> Any: return bind(Zeta(), *operands(x, q))


def polygamma(m: Any, x: Any) -> Any:
    """The m-th derivative of digamma: (-1)^(m+1) m! zeta(m + 1, x).

    >>> print(polygamma(1.0, 1.0))  # pi^2 / 6
    1.644934
    """
    m, x = operands(m, x)
    odd = sub(m, mul(floor(mul(m, 0.5)), 2.0))
    sign = sub(mul(odd, 2.0), 1.0)
    value = mul(mul(sign, exp(lgamma(add(m, 1.0)))), zeta(add(m, 1.0), x))
    value = select(eq(m, floor(m)), value, full_like(value, np.nan))
    return select(eq(m, 0.0), digamma(x), value)
