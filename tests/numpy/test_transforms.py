"""jit(vmap(grad(f))) and hessian(f) of jnp functions against JAX."""
import numpy as np
import pytest
from oracle import floats, getattr_path

import tracejit as tj
import tracejit.numpy as jnp

jax = pytest.importorskip("jax")

UNARY = """sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arctanh exp exp2 expm1 log log1p log2 log10 sqrt cbrt
square reciprocal negative absolute sinc i0 floor sign deg2rad cumsum cumprod sort mean std var prod max min sum median
ptp nanmean nansum diff gradient flip logaddexp.reduce ravel trapezoid nan_to_num conj real angle round unwrap""".split()
BINARY = """add subtract multiply divide power arctan2 hypot logaddexp logaddexp2 maximum minimum mod fmod floor_divide
float_power copysign heaviside dot inner outer kron matmul vdot convolve correlate cross interp""".split()
X, Y = floats(3, 4, low=0.3, high=0.9), floats(3, 4, low=0.3, high=0.9)


def loss_of_one(module, name):
    def loss(v):
        out = getattr_path(module, name)(v)
        return sum(o.sum() for o in out) if isinstance(out, (list, tuple)) else (out * out).sum()
    return loss


def loss_of_two(module, name):
    def loss(a, b):
        if name == "cross":
            a, b = a[:3], b[:3]
        out = module.interp(a, module.linspace(0, 1, 4), b) if name == "interp" else getattr(module, name)(a, b)
        return (out * out).sum()
    return loss


@pytest.mark.parametrize("name", UNARY)
def test_derivatives_of_one_argument(name):
    mine, theirs = loss_of_one(jnp, name), loss_of_one(jax.numpy, name)
    np.testing.assert_allclose(tj.jit(tj.vmap(tj.grad(mine)))(X), jax.jit(jax.vmap(jax.grad(theirs)))(X), rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(tj.hessian(mine)(X[0]), jax.hessian(theirs)(X[0]), rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("name", BINARY)
def test_derivatives_of_two_arguments(name):
    mine = tj.jit(tj.vmap(tj.grad(loss_of_two(jnp, name), argnums=(0, 1))))(X, Y)
    theirs = jax.jit(jax.vmap(jax.grad(loss_of_two(jax.numpy, name), argnums=(0, 1))))(X, Y)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)
