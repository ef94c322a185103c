"""Special functions against SciPy in single and double precision, their derivatives against differences."""
from __future__ import annotations

import inspect

import numpy as np
import pytest
import scipy.special as sp

import tracejit
import tracejit.numpy as jnp
from tracejit.lax.special import Zeta
from tracejit.scipy import special

REAL = np.array([-30.3, -7.2, -3.1, -1.4, -0.6, -0.1, 0.0, 0.2, 0.5, 1.0, 1.7, 2.4, 3.3, 5.2, 7.9, 13.0, 40.5])
POSITIVE = REAL[REAL > 0]
UNIT = np.array([1e-6, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
PAIRS = np.meshgrid([0.1, 0.5, 1.0, 2.5, 8.0, 30.0], [0.2, 1.0, 3.7, 12.0, 50.0])
TRIPLES = [g.ravel() for g in np.meshgrid([0.3, 1.5, 6.0], [0.4, 2.0, 7.0], [0.1, 0.5, 0.9])]

# name -> (arguments, relative tolerance in units of eps, also absolute)
CASES = {
    "bessel_jn": None, "lpmn": None, "lpmn_values": None, "sph_harm_y": None, "bernoulli": None, "logsumexp": None, "softmax": None, "log_softmax": None,
    "beta": (PAIRS, 400), "betainc": (TRIPLES, 400), "betaln": (PAIRS, 400), "boxcox": ((POSITIVE, 0.7), 40),
    "boxcox1p": ((POSITIVE, 0.0), 10), "comb": ((np.array([5.0, 10, 20, 3]), np.array([2.0, 3, 20, 4])), 200),
    "dawsn": ((REAL,), 20), "digamma": ((POSITIVE,), 30), "entr": ((REAL,), 10), "erf": ((REAL,), 10),
    "erfc": ((REAL[REAL < 8],), 200), "erfcx": ((REAL[REAL > -3],), 400), "erfinv": ((2 * UNIT - 1,), 4000), "exp1": ((POSITIVE,), 60),
    "expi": ((REAL[REAL != 0],), 200), "expit": ((REAL,), 20), "expn": ((np.array([[0.0], [1], [2], [5], [20]]), POSITIVE), 200),
    "factorial": ((np.arange(12.0),), 200), "fresnel": ((REAL,), 400), "gamma": ((REAL[(abs(REAL) < 10) & (REAL != 0)],), 400),
    "gammainc": (PAIRS, 200), "gammaincc": (PAIRS, 400), "gammaln": ((REAL[REAL != 0],), 200), "gammasgn": ((REAL,), 0),
    "hyp1f1": ((np.array([[0.5], [2.0], [-3.0]]), 1.7, np.array([-20.5, -3, -0.5, 0.1, 2, 20])), 2000),
    "hyp2f1": ((np.array([[0.5], [2.3], [-3.0]]), 1.2, 2.9, np.array([-4, -0.5, 0.1, 0.5, 0.8, 0.95])), 2000),
    "i0": ((REAL,), 400), "i0e": ((REAL,), 100), "i1": ((REAL,), 400), "i1e": ((REAL,), 100), "kl_div": (PAIRS, 400),
    "log_ndtr": ((np.concatenate([REAL, [-100.0]]),), 200), "loggamma": ((POSITIVE,), 100), "logit": ((UNIT,), 400),
    "multigammaln": ((np.array([2.0, 5.0, 20.0]), 3), 100), "ndtr": ((REAL[REAL > -12],), 800), "ndtri": ((UNIT,), 200),
    "owens_t": ((np.array([[-2.0], [0.0], [0.3], [4.0]]), np.array([-3.0, -0.5, 0.0, 0.7, 1.0, 6.0])), 400),
    "poch": ((np.array([0.5, 2.0, 3.5]), np.array([0.0, 1.5, 3.0])), 400), "polygamma": ((np.array([[1], [2], [3]]), POSITIVE), 400),
    "rel_entr": (PAIRS, 100), "sici": ((REAL[REAL != 0],), 200), "spence": ((np.array([0.0, 0.1, 0.4, 0.8, 1.0, 1.3, 1.9, 5, 40]),), 60),
    "wofz": ((np.array([1 + 1j, -2 + 0.3j, 0.1 - 0.5j, 5 + 5j, 3 - 1j, 0.2j]),), 2000), "xlog1py": ((REAL[:, None], UNIT), 40),
    "xlogy": ((REAL[:, None], UNIT), 40), "zeta": ((np.array([[1.5], [3.0], [8.0]]), np.array([0.5, 1.0, 4.5])), 200),
}

def reference(name, arguments):
    function = {"dawsn": sp.dawsn, "loggamma": sp.gammaln}.get(name) or getattr(sp, name)
    return function(*arguments)


def leaves(out):
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if case))
def test_value(name, dtype):
    arguments, ulps = CASES[name]
    kept = [x if np.ndim(x) == 0 or np.asarray(x).dtype.kind == "i" else
            np.asarray(x).astype("complex64" if np.iscomplexobj(x) and dtype == "float32" else "complex128" if np.iscomplexobj(x) else dtype)
            for x in arguments]
    wide = [x if np.ndim(x) == 0 else np.asarray(x).astype(complex if np.iscomplexobj(x) else int if np.asarray(x).dtype.kind == "i" else float)
            for x in kept]
    if name in ("expn", "comb", "factorial"):
        wide[0] = wide[0].astype(int) if name == "expn" else wide[0]
    tolerance = ulps * np.finfo(dtype).eps
    for ours, theirs in zip(leaves(getattr(special, name)(*kept)), leaves(reference(name, wide))):
        ours = np.asarray(ours)
        assert ours.dtype == (dtype if ours.dtype.kind == "f" else {"float32": "complex64", "float64": "complex128"}[dtype])
        with np.errstate(over="ignore"):
            theirs = np.asarray(theirs).astype(ours.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance / 20)


SMOOTH = {
    "betaln": (2.3, 9.5), "beta": (2.3, 1.5), "boxcox": (2.0, 0.7), "dawsn": (1.3,), "digamma": (2.2,), "entr": (0.7,), "erf": (0.4,),
    "erfc": (0.4,), "erfcx": (1.4,), "erfinv": (0.3,), "exp1": (0.8,), "expi": (3.1,), "expit": (0.3,), "gamma": (2.7,),
    "gammaln": (2.7,), "i0": (1.2,), "i0e": (1.2,), "i1": (1.2,), "i1e": (1.2,), "kl_div": (0.3, 0.6), "log_ndtr": (-3.2,),
    "logit": (0.3,), "ndtr": (0.3,), "ndtri": (0.2,), "owens_t": (0.6, 1.4), "poch": (2.3, 1.1), "rel_entr": (0.3, 0.6),
    "spence": (2.3,), "xlog1py": (0.5, 0.4), "xlogy": (0.5, 0.4), "zeta": (2.3, 1.7), "hyp1f1": (0.7, 1.4, 2.0),
    "hyp2f1": (0.7, 1.4, 2.2, 0.4), "gammainc": (2.1, 1.3), "loggamma": (2.2,),
}


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_derivative(name):
    """In every argument, against a central difference in double precision."""
    at = [np.float64(x) for x in SMOOTH[name]]
    for i in range(len(at)):
        step = 1e-5
        moved = [[x + sign * step * (j == i) for j, x in enumerate(at)] for sign in (1, -1)]
        expected = (reference(name, moved[0]) - reference(name, moved[1])) / (2 * step)
        slope = tracejit.grad(getattr(special, name), argnums=i)(*(jnp.asarray(x) for x in at))
        assert float(slope) == pytest.approx(expected, rel=2e-6 if slope.dtype == np.float64 else 2e-3)


def test_derivatives_of_pairs():
    x = jnp.asarray(np.float64(1.4))
    for function, slopes in ((special.sici, (np.sin(1.4) / 1.4, np.cos(1.4) / 1.4)),
                             (special.fresnel, (np.sin(np.pi / 2 * 1.96), np.cos(np.pi / 2 * 1.96)))):
        _, tangents = tracejit.jvp(function, (x,), (jnp.ones_like(x),))
        np.testing.assert_allclose(np.asarray(tangents), slopes, rtol=1e-6)
    assert float(tracejit.grad(lambda x: special.expn(3, x))(x)) == pytest.approx(-sp.expn(2, 1.4), rel=1e-6)


def test_complex_gamma():
    z = np.array([2 + 3j, 0.3 - 0.2j, -1.5 + 1j, -4.2 - 0.7j, 20 + 1j])
    np.testing.assert_allclose(np.asarray(special.loggamma(z)), sp.loggamma(z), rtol=1e-12 if jnp.asarray(z).dtype == complex else 1e-4)
    np.testing.assert_allclose(np.asarray(special.gamma(z)), sp.gamma(z), rtol=1e-11 if jnp.asarray(z).dtype == complex else 1e-4)


def test_bessel_and_harmonics():
    z = np.array([0.0, 0.3, 2.0, 11.0], np.float32)
    np.testing.assert_allclose(np.asarray(special.bessel_jn(z, v=3)), [sp.jv(v, z) for v in range(4)], rtol=1e-5, atol=1e-6)
    n, m = np.array([0, 1, 1, 2, 3, 4, 5]), np.array([0, 1, -1, 0, -2, 3, -5])
    theta, phi = np.linspace(0.2, 2.9, 7), np.linspace(-3, 3, 7)
    np.testing.assert_allclose(np.asarray(special.sph_harm_y(n, m, theta, phi)), sp.sph_harm_y(n, m, theta, phi), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(special.bernoulli(8)), sp.bernoulli(8), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_associated_legendre_functions(n):
    z = np.array([-0.9, -0.2, 0.0, 0.6, 0.99])
    expected = sp.assoc_legendre_p_all(n, n, z, diff_n=1)[:, :, :n + 1].swapaxes(1, 2)
    values, derivatives = special.lpmn(n, n, jnp.asarray(z))
    np.testing.assert_allclose(values, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(derivatives, expected[1], rtol=1e-4, atol=1e-4)
    k, l = np.indices((n + 1, n + 1))
    factors = np.where(k <= l, np.sqrt((2 * l + 1) / (4 * np.pi) * sp.gamma(l - k + 1.0) / sp.gamma(l + k + 1.0)), 0)
    np.testing.assert_allclose(special.lpmn_values(n, n, jnp.asarray(z), True), factors[..., None] * expected[0], rtol=1e-5, atol=1e-5)


def test_associated_legendre_functions_at_the_ends():
    values, derivatives = special.lpmn(4, 4, jnp.array([-1.0, 1.0]))
    np.testing.assert_allclose(values, [[[(-1) ** l * (k == 0), k == 0] for l in range(5)] for k in range(5)], atol=1e-6)
    assert np.array_equal(derivatives[2, 2], [6, -6]) and np.isinf(derivatives[1, 1]).all() and np.isfinite(derivatives[3:]).all()
    for wrong, error in ((lambda: special.lpmn(1, 2, jnp.ones(2)), NotImplementedError), (lambda: special.lpmn(2, 2, 0.5), ValueError),
                         (lambda: special.lpmn(2, 2, jnp.arange(3)), TypeError)):
        with pytest.raises(error):
            wrong()


def test_limits():
    inf, nan = np.inf, np.nan
    for call, expected in ((special.xlogy(0.0, 0.0), 0), (special.xlogy(0.0, nan), nan), (special.entr(-1.0), -inf), (special.rel_entr(1.0, 0.0), inf),
                           (special.rel_entr(0.0, 0.0), 0), (special.ndtri(0.0), -inf), (special.ndtri(1.0), inf), (special.exp1(0.0), inf),
                           (special.exp1(-1.0), nan), (special.expi(inf), inf), (special.expi(0.0), -inf), (special.spence(-1.0), nan),
                           (special.loggamma(-1.5), nan), (special.gammasgn(-2.0), nan), (special.log_ndtr(-1e4), -5e7), (special.erfcx(1e10), 5.641896e-11),
                           (special.fresnel(inf)[0], 0.5), (special.sici(inf)[0], np.pi / 2), (special.sici(inf)[1], 0), (special.hyp2f1(1.0, 1.0, 2.0, 2.0), inf),
                           (special.hyp2f1(0.5, 0.5, 2.0, 1.0), sp.hyp2f1(0.5, 0.5, 2, 1)), (special.zeta(2.0), np.pi**2 / 6), (special.comb(3, 2, repetition=True), 6)):
        np.testing.assert_allclose(float(call), expected, rtol=1e-5)


def test_half_precision_is_computed_in_single():
    x = jnp.asarray(POSITIVE, "bfloat16")
    out = special.dawsn(x)
    assert out.dtype == x.dtype
    np.testing.assert_allclose(np.asarray(out, np.float64), sp.dawsn(np.asarray(x, np.float64)), rtol=1e-2)


@pytest.mark.parametrize("call", [
    lambda: special.entr(1j), lambda: special.bernoulli(-1), lambda: special.polygamma(1.0, 2.0), lambda: special.log_ndtr(1.0, 31),
    lambda: special.log_ndtr(1.0, -1),
])
def test_errors(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")    # JAX says so of lpmn
@pytest.mark.parametrize("name", sorted(special.__all__))
def test_signature_is_that_of_jax(name):
    jax_special = pytest.importorskip("jax.scipy.special")
    ours, theirs = (list(inspect.signature(getattr(module, name)).parameters) for module in (special, jax_special))
    assert ours == theirs


def test_zeta_of_nan_is_nan_also_at_poles():
    x, q = np.float32([np.nan, np.nan, np.nan, 2, 2]), np.float32([0, -1, 2, np.nan, 0])
    for zeta in (tracejit.lax.zeta, tracejit.jit(tracejit.lax.zeta), tracejit.vmap(tracejit.lax.zeta)):
        np.testing.assert_array_equal(zeta(x, q), np.float32([*[np.nan] * 4, np.inf]))
    np.testing.assert_array_equal(Zeta().eval(x, q), np.float32([*[np.nan] * 4, np.inf]))
