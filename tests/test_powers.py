"""Powers known when a program is compiled: at most 4 ulp from the exact power, and its special values."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
from tracejit import lax

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 2, 0.5, -3]


@pytest.mark.parametrize("y", [-2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_known_powers(dtype, y):
    rng = np.random.default_rng(0)
    spread = 20 if dtype == np.float32 else 100
    x = np.concatenate([SPECIAL, np.exp(rng.normal(size=3000) * spread), -np.exp(rng.normal(size=100))]).astype(dtype)
    got = np.asarray(tj.jit(lambda x: lax.pow(x, dtype(y)))(x))
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.longdouble), np.longdouble(y))
        rounded = want.astype(dtype)
    normal = np.isfinite(rounded) & (np.abs(rounded) > np.finfo(dtype).tiny)
    assert (np.abs(got[normal] - want[normal]) <= 4 * np.spacing(np.abs(rounded[normal]))).all()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    ends = np.isinf(rounded) | (rounded == 0)
    np.testing.assert_array_equal(got[ends] == 0, rounded[ends] == 0)
    np.testing.assert_array_equal(np.signbit(got[ends]), np.signbit(rounded[ends]))
