"""debug_nans and debug_infs: the first operation that makes a nan or an infinity is named with its line."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.config import config, debug_infs, debug_nans
from tracejit.errors import NonFiniteError


def f(x):
    y = jnp.log(x)
    return jnp.sum(y * 2)


@pytest.mark.parametrize("wrap", [lambda g: g, tj.jit], ids=["eager", "jit"])
def test_nan_is_found(wrap):
    g = wrap(f)
    bad = jnp.array([1.0, -1.0])
    assert np.isnan(g(bad))
    with debug_nans():
        assert float(g(jnp.array([1.0, 1.0]))) == 0
        for _ in range(2):  # not only on the call that compiles
            with pytest.raises(FloatingPointError, match=r"invalid value \(nan\) encountered in log") as caught:
                g(bad)
        assert "y = jnp.log(x)" in str(caught.value)
    assert np.isnan(g(bad))


def test_infinity_is_found_and_is_no_nan():
    zero = jnp.zeros(3)
    with debug_nans():
        assert np.isinf(tj.jit(lambda x: 1 / x)(zero)).all()
    with debug_infs(), pytest.raises(NonFiniteError, match=r"invalid value \(inf\) encountered in div"):
        tj.jit(lambda x: 1 / x)(zero)


def test_nan_from_outside():
    with debug_nans(), pytest.raises(NonFiniteError, match="came in with an argument"):
        tj.jit(lambda x: x)(np.float32(np.nan))


def test_gradient_and_loops_are_looked_at():
    with debug_nans():
        with pytest.raises(FloatingPointError):
            tj.jit(tj.grad(lambda x: jnp.sqrt(x) * 0))(0.0)
        with pytest.raises(FloatingPointError, match="test_guards.py"):
            tj.jit(lambda x: tj.lax.fori_loop(0, 3, lambda i, x: jnp.log(x), x))(2.0)


def test_donated_arguments_survive_the_second_run():
    g = tj.jit(lambda x: jnp.log(x), donate_argnums=0)
    with debug_nans(), pytest.raises(FloatingPointError, match=r"invalid value \(nan\) encountered in log"):
        g(jnp.array([-1.0, 2.0]))
    assert not config.debug_nans
