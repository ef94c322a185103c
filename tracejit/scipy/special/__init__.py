"""Special functions, elementwise and differentiable."""
from __future__ import annotations

from tracejit import nn
from tracejit.nn import logsumexp

from .bessel import bessel_jn, i0, i0e, i1, i1e
from .entropies import boxcox, boxcox1p, entr, expit, kl_div, logit, rel_entr, xlog1py, xlogy
from .errors import dawsn, erf, erfc, erfcx, erfinv, fresnel, log_ndtr, ndtr, ndtri, owens_t, wofz
from .gammas import (
    bernoulli,
    beta,
    betainc,
    betaln,
    comb,
    digamma,
    factorial,
    gamma,
    gammainc,
    gammaincc,
    gammaln,
    gammasgn,
    loggamma,
    multigammaln,
    poch,
    polygamma,
    zeta,
)
from .hypergeometric import hyp1f1, hyp2f1
from .integrals import exp1, expi, expn, sici, spence
from .legendre import lpmn, lpmn_values, sph_harm_y


def softmax(x, /, *, axis=None):
    """exp(x) / sum(exp(x)) over the given axes (default: all).

    >>> import tracejit.numpy as jnp
    >>> print(softmax(jnp.zeros(4)))
    [0.25 0.25 0.25 0.25]
    """
    return nn.softmax(x, axis=axis)


def log_softmax(x, /, *, axis=None):
    """The logarithm of `softmax`, without underflow.

    >>> import tracejit.numpy as jnp
    >>> print(log_softmax(jnp.zeros(1)))
    [0.]
    """
    return nn.log_softmax(x, axis=axis)


__all__ = [
    "bernoulli", "bessel_jn", "beta", "betainc", "betaln", "boxcox", "boxcox1p", "comb", "dawsn", "digamma", "entr",
    "erf", "erfc", "erfcx", "erfinv", "exp1", "expi", "expit", "expn", "factorial", "fresnel", "gamma", "gammainc",
    "gammaincc", "gammaln", "gammasgn", "hyp1f1", "hyp2f1", "i0", "i0e", "i1", "i1e", "kl_div", "log_ndtr",
    "log_softmax", "loggamma", "logit", "logsumexp", "lpmn", "lpmn_values", "multigammaln", "ndtr", "ndtri", "owens_t", "poch",
    "polygamma", "rel_entr", "sici", "softmax", "spence", "sph_harm_y", "wofz", "xlog1py", "xlogy", "zeta",
]
