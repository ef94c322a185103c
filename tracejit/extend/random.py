"""Generators of random bits that a program defines itself, and the ones that there are."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.absent import getter
from tracejit.random.keys import GENERATORS, Generator, PRNGKeyArray, key

__all__ = ["define_prng_impl", "random_seed", "rbg_prng_impl", "seed_with_impl", "threefry_prng_impl", "unsafe_rbg_prng_impl"]

threefry_prng_impl = GENERATORS["threefry2x32"]
rbg_prng_impl = GENERATORS["rbg"]
unsafe_rbg_prng_impl = GENERATORS["unsafe_rbg"]


def define_prng_impl(*, key_shape: tuple[int, ...], seed: Callable, split: Callable, random_bits: Callable, fold_in: Callable,
                     name: str = "<unnamed>", tag: str = "?") -> Generator:
    """A generator for `random.key(seed, impl=...)`: functions of raw key data, uint32 of `key_shape`, which has one axis.

    seed(integer) -> key, split(key, shape) -> keys of shape (*shape, *key_shape), fold_in(key, integer) -> key,
    random_bits(key, width, shape) -> unsigned integers of that width.

    >>> import tracejit.numpy as jnp
    >>> count = define_prng_impl(key_shape=(1,), seed=lambda s: jnp.uint32(s)[None], split=lambda k, shape: jnp.zeros((*shape, 1),
    ...     "uint32"), random_bits=lambda k, width, shape: jnp.full(shape, k[0]), fold_in=lambda k, i: k + i, tag="count")
    >>> key(7, impl=count).dtype
    key<count>
    """
    if len(key_shape) != 1:
        raise ValueError(f"define_prng_impl: keys have one axis here, got key_shape={key_shape}")
    return Generator(name, tag, key_shape[0], seed, split, fold_in, random_bits)


def random_seed(seeds: Any, impl: Any) -> PRNGKeyArray:
    """The key of an integer: `random.key(seeds, impl=impl)`."""
    return key(seeds, impl=impl)


def seed_with_impl(impl: Any, seed: Any) -> PRNGKeyArray:
    """As random_seed, the generator first."""
    return key(seed, impl=impl)


__getattr__ = getter(__name__)
