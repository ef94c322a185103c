"""Gamma, beta and their derivatives, logarithms and quotients; zeta; Bernoulli numbers."""
from __future__ import annotations

import math
import operator
from fractions import Fraction
from functools import partial

import numpy as np

import tracejit.numpy as jnp
from tracejit import custom_jvp, jit, jvp, lax
from tracejit.nn.numeric import numeric_function
from tracejit.numpy.promotion import inexact

from .real import polynomial, real_function


def bernoulli_numbers(n: int) -> list[Fraction]:
    """B_0 .. B_n, with B_1 = -1/2, exactly (Akiyama and Tanigawa)."""
    row, numbers = [], []
    for m in range(n + 1):
        row.append(Fraction(1, m + 1))
        for j in range(m, 0, -1):
            row[j - 1] = j * (row[j - 1] - row[j])
        numbers.append(row[0])
    return [-number if m == 1 else number for m, number in enumerate(numbers)]


EXACT = bernoulli_numbers(34)
# Stirling: log gamma(x) = (x - 1/2) log x - x + log(2 pi) / 2 + sum over k of this / x^(2k - 1).
STIRLING = tuple(float(EXACT[2 * k] / (2 * k * (2 * k - 1))) for k in range(9, 0, -1))
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def bernoulli(n: int):
    """The Bernoulli numbers B_0 .. B_n, an array of n + 1 floats; B_1 is -1/2. n must be a known integer >= 0.

    >>> print(bernoulli(2))
    [ 1.         -0.5         0.16666667]
    """
    n = operator.index(n)
    if n < 0:
        raise ValueError(f"bernoulli takes n >= 0, got {n}")
    return jnp.asarray([as_float(number) for number in bernoulli_numbers(n)], jnp.result_type(float))


def as_float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return np.copysign(np.inf, number.numerator)


@jit
def gammaln(x):
    """log abs(gamma(x)).

    >>> print(gammaln(1.0))
    0.0
    """
    return lax.lgamma(inexact("gammaln", x))


@real_function
def gammasgn(x):
    """The sign of gamma(x): 1 or -1, nan at its poles, the sign of the zero at 0.

    >>> print(gammasgn(-0.5))
    -1.0
    """
    floor = jnp.floor(x)
    odd = jnp.abs(floor % 2) == 1
    sign = jnp.where(((x < 0) & odd) | ((x == 0) & jnp.signbit(x)), -1.0, 1.0).astype(x.dtype)
    return jnp.where(((x < 0) & (x == floor)) | jnp.isnan(x), np.nan, sign)


def stirling_tail(x):
    return polynomial(STIRLING, 1 / (x * x)) / x


def complex_loggamma(z):
    """Shift to the right by the recurrence, then Stirling's series; the branch that is real on the positive axis."""
    pole = (z.imag == 0) & (z.real <= 0) & (z.real == jnp.floor(z.real))
    z = jnp.where(pole | jnp.isnan(z), 1, z)
    steps = jnp.ceil(jnp.maximum(0, 9 - z.real))

    def shift(state):
        step, logs = state
        return step + 1, logs + jnp.where(step < steps, jnp.log(jnp.where(step < steps, lax.complex(z.real + step, z.imag), 1)), 0)

    zero = jnp.zeros((), z.real.dtype)
    _, logs = lax.while_loop(lambda state: (state[0] < steps).any(), shift, (zero, jnp.zeros_like(z)))
    far = lax.complex(z.real + steps, z.imag)
    value = (far - 0.5) * jnp.log(far) - far + HALF_LOG_2PI + stirling_tail(far) - logs
    return jnp.where(pole, np.nan, value)


@jit
def loggamma(x):
    """The principal branch of log(gamma(x)) for real or complex x; nan for real x <= 0.

    >>> print(loggamma(1.0))
    0.0
    """
    x = jnp.asarray(inexact("loggamma", x))
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return jnp.where(jnp.isnan(x), x, complex_loggamma(x))
    return jnp.where(x > 0, lax.lgamma(x), np.nan)


@jit
def gamma(x):
    """Gamma, for real or complex x.

    >>> print(gamma(5.0))
    24.0
    """
    x = jnp.asarray(inexact("gamma", x))
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return jnp.exp(loggamma(x))
    return gammasgn(x) * jnp.exp(lax.lgamma(x))


@partial(jit, static_argnames=("exact",))
def factorial(n, exact: bool = False):
    """n! = gamma(n + 1) as a float, 0 for negative n. ``exact`` integers are not offered.

    >>> print(factorial(0))
    1.0
    """
    if exact:
        raise NotImplementedError("factorial(exact=True) has no fixed-size result; use math.factorial")
    n = jnp.asarray(inexact("factorial", n))
    return jnp.where(n < 0, 0, jnp.exp(lax.lgamma(n + 1)))


def comb(N, k, *, repetition: bool = False):
    """How many ways there are to choose k of N things, as a float; with ``repetition`` a thing may be chosen again.

    >>> print(comb(4, 0))
    1.0
    """
    return ways(N, k) if not repetition else ways_with_repetition(N, k)


@numeric_function
def ways_with_repetition(N, k):
    return jnp.where((k == 0) & (N >= 0), 1, ways(N + k - 1, k))


@numeric_function
def ways(N, k):
    valid = (k <= N) & (N >= 0) & (k >= 0)
    N, k = jnp.where(valid, N, 0), jnp.where(valid, k, 0)
    return jnp.where(valid, jnp.exp(lax.lgamma(N + 1) - lax.lgamma(k + 1) - lax.lgamma(N - k + 1)), 0)


@custom_jvp
def log_beta(a, b):
    """Without the cancellation of three large log-gammas, as in Didonato and Morris, ACM TOMS 708 (1992)."""
    a, b = jnp.minimum(a, b), jnp.maximum(a, b)
    large = b >= 9
    # log gamma(b) - log gamma(a + b), where Stirling's formula holds for both.
    wide = jnp.where(large, b, 9)
    quotient = stirling_tail(wide) - stirling_tail(a + wide) - (a + wide - 0.5) * jnp.log1p(a / wide)
    tall = jnp.where(a >= 9, a, 9)
    both = (tall - 0.5) * jnp.log(tall / wide) + HALF_LOG_2PI - 0.5 * jnp.log(wide) + stirling_tail(tall) + quotient
    one = lax.lgamma(a) + quotient - a * (jnp.log(wide) - 1)
    return jnp.where(a >= 9, both, jnp.where(large, one, lax.lgamma(a) + lax.lgamma(b) - lax.lgamma(a + b)))


@log_beta.defjvp
def _(primals, tangents):
    (a, b), (da, db) = primals, tangents
    total = lax.digamma(a + b)
    return log_beta(a, b), da * (lax.digamma(a) - total) + db * (lax.digamma(b) - total)


@real_function
def betaln(a, b):
    """log abs(beta(a, b)).

    >>> print(betaln(1.0, 1.0))
    0.0
    """
    return log_beta(a, b)


@real_function
def beta(a, b):
    """gamma(a) gamma(b) / gamma(a + b).

    >>> print(beta(1.0, 1.0))
    1.0
    """
    return gammasgn(a) * gammasgn(b) * gammasgn(a + b) * jnp.exp(log_beta(a, b))


@real_function
def betainc(a, b, x):
    """The regularised incomplete beta function: the distribution function of the beta distribution at x.

    >>> print(betainc(1.0, 1.0, 0.5))
    0.5
    """
    return lax.betainc(*jnp.broadcast_arrays(a, b, x))


@jit
def digamma(x):
    """The derivative of log gamma.

    >>> print(digamma(1.0))
    -0.5772157
    """
    return lax.digamma(inexact("digamma", x))


@numeric_function
def gammainc(a, x):
    """The regularised lower incomplete gamma function: the distribution function of the gamma distribution at x.

    >>> print(gammainc(1.0, 0.0))
    0.0
    """
    return lax.igamma(*jnp.broadcast_arrays(a, x))


@numeric_function
def gammaincc(a, x):
    """1 - gammainc(a, x), without cancellation.

    >>> print(gammaincc(1.0, 0.0))
    1.0
    """
    return lax.igammac(*jnp.broadcast_arrays(a, x))


def polygamma(n, x):
    """The n-th derivative of digamma at x, n an integer >= 0.

    >>> print(polygamma(1, 1.0))
    1.6449341
    """
    if not jnp.issubdtype(jnp.result_type(n), np.integer):
        raise ValueError(f"polygamma takes an integer n, got {jnp.result_type(n)}")
    return derivative_of_digamma(n, x)


@real_function
def derivative_of_digamma(n, x):
    return lax.polygamma(*jnp.broadcast_arrays(n, x))


@partial(jit, static_argnames=("d",))
def multigammaln(a, d: int):
    """The logarithm of the multivariate gamma function of known dimension d, for a > (d - 1) / 2.

    >>> print(multigammaln(1.0, 1))
    0.0
    """
    a, d = jnp.asarray(inexact("multigammaln", a)), operator.index(d)
    terms = lax.lgamma(a[..., None] - np.arange(d, dtype=a.dtype).reshape((1,) * a.ndim + (d,)) / 2)
    return terms.sum(-1) + 0.25 * d * (d - 1) * math.log(math.pi)


@custom_jvp
def rising(z, m):
    sign = gammasgn(z + m) * gammasgn(z)
    return jnp.where(m == 0, 1, sign * jnp.exp(lax.lgamma(z + m) - lax.lgamma(z)))


@rising.defjvp
def _(primals, tangents):
    (z, m), (dz, dm) = primals, tangents
    value, end = rising(z, m), lax.digamma(z + m)
    return value, value * (dz * (end - lax.digamma(z)) + dm * end)


@real_function
def poch(z, m):
    """The rising factorial gamma(z + m) / gamma(z).

    >>> print(poch(3.0, 0.0))
    1.0
    """
    return rising(z, m)


@custom_jvp
def hurwitz(x, q):
    return lax.zeta(*jnp.broadcast_arrays(x, q))


@hurwitz.defjvp
def _(primals, tangents):
    (x, q), (dx, dq) = primals, tangents
    _, slope = jvp(lambda x: euler_maclaurin(x, q), (x,), (jnp.ones_like(x),))
    return hurwitz(x, q), dx * slope - dq * x * hurwitz(x + 1, q)


def euler_maclaurin(x, q, terms: int = 12):
    """The Hurwitz zeta function as a formula that can be differentiated in x."""
    total = sum((q + k) ** -x for k in range(terms))
    end = q + terms
    total = total + end ** (1 - x) / (x - 1) + 0.5 * end**-x
    factor = x * end ** (-x - 1)
    for k in range(1, terms):
        total = total + factor * float(EXACT[2 * k] / np.prod([Fraction(i) for i in range(1, 2 * k + 1)]))
        factor = factor * (x + 2 * k - 1) * (x + 2 * k) / (end * end)
    return total


def zeta(x, q=None):
    """The Hurwitz zeta function, the sum of (q + k)**-x over k >= 0; Riemann's (q = 1) if q is not given.

    >>> print(zeta(2.0, 1.0))
    1.6449341
    """
    return zeta_of(x, 1 if q is None else q)


@real_function
def zeta_of(x, q):
    return hurwitz(x, q)
