"""The functions that LLVM's code generator may call, against NumPy."""
from __future__ import annotations

import ctypes

import numpy as np

from tracejit.runtime import builtins, cache

WRAPPER = """
declare half @__truncdfhf2(double)
define i16 @tj_test_truncate(double %x) {
  %h = call half @__truncdfhf2(double %x)
  %bits = bitcast half %h to i16
  ret i16 %bits
}
"""


def test_double_to_half_rounds_as_numpy_does():
    assert "__truncdfhf2" in builtins.symbols
    truncate = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_double)(cache.load_module(WRAPPER)["tj_test_truncate"])
    rng = np.random.default_rng(0)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    exact = halves[np.isfinite(halves)].astype(np.float64)
    ties = (exact[:-1] + exact[1:]) / 2
    values = np.concatenate([exact, ties, ties * (1 + 2e-16), ties * (1 - 2e-16), rng.standard_normal(5000) * 1e4,
                             rng.standard_normal(5000) * 1e-6, [0., -0., np.inf, -np.inf, 65519.9, 65520., 1e300, 5e-324]])
    with np.errstate(over="ignore"):
        want = values.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal([truncate(v) for v in values], want)
    assert np.isnan(np.uint16(truncate(np.nan)).view(np.float16))
