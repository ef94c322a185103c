"""Keys and the samplers that they drive: pseudo-random numbers as pure functions of a key.

The default generator, Threefry-2x32, gives the same bits as JAX's; so do `split`, `fold_in` and the samplers, up to the
rounding of elementary functions. Samplers take one key of either style, a static ``shape`` and a ``dtype``; the
argument ``out_sharding`` of JAX's signatures is accepted and has no effect on one device. Batch with `vmap`.

>>> from tracejit import random
>>> key = random.key(42)
>>> key, subkey = random.split(key)
>>> random.normal(subkey, (2, 3)).shape
(2, 3)
"""
from .choose import categorical, choice, permutation
from .counts import binomial, multinomial, poisson
from .gamma import ball, beta, chisquare, dirichlet, f, gamma, generalized_normal, loggamma, t
from .inverse import (
    cauchy,
    exponential,
    geometric,
    gumbel,
    laplace,
    logistic,
    pareto,
    rayleigh,
    triangular,
    weibull_min,
)
from .keys import PRNGKey, clone, fold_in, key, key_data, key_dtype, key_impl, split, wrap_key_data
from .normal import (
    double_sided_maxwell,
    lognormal,
    maxwell,
    multivariate_normal,
    normal,
    orthogonal,
    truncated_normal,
    wald,
)
from .uniform import bernoulli, bits, rademacher, randint, uniform

__all__ = [
    "PRNGKey", "ball", "bernoulli", "beta", "binomial", "bits", "categorical", "cauchy", "chisquare", "choice",
    "clone", "dirichlet", "double_sided_maxwell", "exponential", "f", "fold_in", "gamma", "generalized_normal",
    "geometric", "gumbel", "key", "key_data", "key_dtype", "key_impl", "laplace", "loggamma", "logistic",
    "lognormal", "maxwell", "multinomial", "multivariate_normal", "normal", "orthogonal", "pareto", "permutation",
    "poisson", "rademacher", "randint", "rayleigh", "split", "t", "triangular", "truncated_normal", "uniform",
    "wald", "weibull_min", "wrap_key_data",
]
