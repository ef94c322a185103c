"""A random generator with state, as NumPy's: a key and a counter in a ref."""
from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tracejit.numpy as jnp
from tracejit import random
from tracejit.absent import getter
from tracejit.ir.trace import current_builder
from tracejit.ref import Ref, new_ref
from tracejit.tree_util import register_dataclass

__all__ = ["StatefulPRNG", "stateful_rng"]

Size = int | Sequence[int] | None


def shape_of(size: Size, *parameters: Any) -> tuple[int, ...]:
    """A shape given as sizes or one size; None is what the parameters broadcast to."""
    if size is None:
        return np.broadcast_shapes(*map(np.shape, parameters))
    return tuple(map(operator.index, size)) if isinstance(size, Sequence) else (operator.index(size),)


@register_dataclass
@dataclass(frozen=True)
class StatefulPRNG:
    """A generator whose draws move it on, made by `stateful_rng`. Works under jit and vmap (see `split`) as refs do."""
    _base_key: Any
    _counter: Ref

    def key(self, shape: int | Sequence[int] = ()) -> Any:
        """The next key, or an array of keys."""
        if self._base_key.shape:
            raise ValueError("this generator was split; draw from it under vmap")
        key = random.fold_in(self._base_key, self._counter[...])
        self._counter[...] += 1
        shape = shape_of(shape)
        return random.split(key, shape) if shape else key

    def random(self, size: Size = None, dtype: Any = float) -> Any:
        """Uniform floats in [0, 1)."""
        return random.uniform(self.key(), shape_of(size), dtype)

    def uniform(self, low: Any = 0, high: Any = 1, size: Size = None, *, dtype: Any = float) -> Any:
        """Uniform floats in [low, high)."""
        return random.uniform(self.key(), shape_of(size, low, high), dtype, low, high)

    def normal(self, loc: Any = 0, scale: Any = 1, size: Size = None, *, dtype: Any = float) -> Any:
        """Normal floats of this mean and standard deviation."""
        drawn = random.normal(self.key(), shape_of(size, loc, scale), dtype)
        return (jnp.asarray(loc) + jnp.asarray(scale) * drawn).astype(dtype)

    def integers(self, low: Any, high: Any = None, size: Size = None, *, dtype: Any = int) -> Any:
        """Uniform integers in [low, high), or in [0, low) without `high`."""
        low, high = (0, low) if high is None else (low, high)
        return random.randint(self.key(), shape_of(size, low, high), low, high, dtype)

    def split(self, num: int | Sequence[int]) -> StatefulPRNG:
        """Generators side by side, independent of this one, as one with axes to map over."""
        return StatefulPRNG(self.key(num), new_ref(jnp.zeros(num, int)))

    def spawn(self, n_children: int) -> list[StatefulPRNG]:
        """A list of generators, independent of this one."""
        return [StatefulPRNG(key, new_ref(0)) for key in self.key(n_children)]


def stateful_rng(seed: Any = None, *, impl: Any = None) -> StatefulPRNG:
    """A generator of this seed; without one, of entropy from the system, which a traced function cannot ask for.

    >>> rng = stateful_rng(42)
    >>> rng.integers(0, 10, 3), rng.integers(0, 10, 3)
    (Array([4, 1, 9], dtype=int32), Array([5, 2, 4], dtype=int32))
    """
    if seed is None:
        if current_builder() is not None:
            raise TypeError("stateful_rng needs a seed inside of a traced function")
        seed = np.int64(np.random.SeedSequence().entropy & np.iinfo(np.int64).max)
    return StatefulPRNG(random.key(seed, impl=impl), new_ref(0))


__getattr__ = getter(__name__)
