"""Library functions promote nothing behind the user's back: they run where promotion of dtypes and ranks is an error."""
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
import tracejit.scipy as jsp

X = jnp.linspace(0.5, 2.0, 16).reshape(4, 4)
CASES = {
    "companion": lambda: jsp.linalg.companion(X), "sqrtm": lambda: jsp.linalg.sqrtm(X @ X.T + jnp.eye(4)),
    "rsf2csf": lambda: jsp.linalg.rsf2csf(*jsp.linalg.schur(X)), "multigammaln": lambda: jsp.special.multigammaln(X + 4, 3),
    "owens_t": lambda: jsp.special.owens_t(X, X), "detrend": lambda: jsp.signal.detrend(X),
    "stft": lambda: jsp.signal.stft(X, nperseg=4), "istft": lambda: jsp.signal.istft(X.astype(complex), nperseg=6),
    "gamma of complex numbers": lambda: jsp.special.gamma(X.astype(complex)), "power": lambda: jnp.power(X, jnp.arange(4).reshape(1, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_same_results_as_with_promotion(name):
    expected = tj.tree.leaves(CASES[name]())
    with tj.numpy_dtype_promotion("strict"), tj.numpy_rank_promotion("raise"):
        for mine, free in zip(tj.tree.leaves(CASES[name]()), expected, strict=True):
            np.testing.assert_array_equal(mine, free)
            assert mine.dtype == free.dtype


def test_the_message_is_that_of_jax():
    with tj.numpy_dtype_promotion("strict"), pytest.raises(
            ValueError, match=r"Input dtypes \('float32', 'int32'\) have no available implicit dtype promotion path"):
        X + jnp.arange(4)
