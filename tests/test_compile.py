"""What is compiled when: programs that differ only in numbers, equal kernels of different programs."""
from __future__ import annotations

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.runtime import cache


def built() -> int:
    """Modules that were compiled or read from disk so far."""
    return cache.stats.compiled + cache.stats.disk


def test_a_number_that_changes_from_call_to_call_compiles_once_more_and_then_never_again():
    w, counts = jnp.ones(5), []
    for step in range(6):
        before = built()
        rate = .37 * (step + 1)
        gradient = tj.grad(lambda w: jnp.sum(jnp.sin(w) * rate + w ** 2 * (step + .5)))(w)
        counts.append(built() - before)
        np.testing.assert_allclose(gradient, np.cos(1) * rate + 2 * (step + .5), rtol=1e-6)
    assert counts[2:] == [0] * 4


def test_equal_programs_are_compiled_once():
    x = np.arange(7., dtype=np.float32)
    make = lambda: tj.jit(lambda x: jnp.cos(x) * 1.125 + 3)
    first = make()(x)
    before = built()
    np.testing.assert_array_equal(first, make()(x))
    assert built() == before
