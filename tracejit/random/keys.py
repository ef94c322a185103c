"""Keys: what names a stream of random bits.

A key is either new style, a `PRNGKeyArray` made by `key`, or old style, the raw ``uint32[2]`` array made by `PRNGKey`.
Every sampler accepts both; `split` and `fold_in` give back the style that they are given.
"""
from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

import tracejit.numpy as jnp
from tracejit import jit
from tracejit.config import config
from tracejit.errors import DtypeError
from tracejit.ir.types import ArrayType, ExtendedDType
from tracejit.numpy.operators import install
from tracejit.numpy.remembered import remembered
from tracejit.runtime.array import Array
from tracejit.transforms.composite import register_composite
from tracejit.tree_util import register_pytree_node

from . import rbg, threefry


@dataclass(frozen=True)
class Generator:
    """An algorithm for random bits, on raw key data ``uint32[..., words]``."""

    name: str
    tag: str
    words: int
    seed: Callable
    split: Callable
    fold_in: Callable
    random_bits: Callable


THREEFRY = Generator("threefry2x32", "fry", 2, threefry.seed, threefry.split, threefry.fold_in, threefry.random_bits)
GENERATORS = {
    generator.name: generator
    for generator in (
        THREEFRY,
        Generator("rbg", "rbg", 4, rbg.seed, rbg.split, rbg.fold_in, rbg.random_bits),
        Generator("unsafe_rbg", "urbg", 4, rbg.seed, rbg.unsafe_split, rbg.unsafe_fold_in, rbg.random_bits),
    )
}


class extended(np.generic):
    """The kind of all dtypes that are no numbers."""


class prng_key(extended):
    """The kind of all key dtypes: ``tracejit.dtypes.issubdtype(key.dtype, prng_key)`` tells keys from numbers."""


@dataclass(frozen=True, repr=False)
class KeyDType(ExtendedDType):
    """The dtype of a key array, such as ``key<fry>``: an element is as many words as the generator's keys have."""

    generator: Generator
    type: ClassVar[type] = prng_key
    part: ClassVar[np.dtype] = np.dtype("uint32")

    @property
    def name(self) -> str:
        return f"key<{self.generator.tag}>"

    @property
    def parts(self) -> int:
        return self.generator.words

    @property
    def itemsize(self) -> int:
        return 4 * self.parts

    def wrap(self, data) -> PRNGKeyArray:
        return PRNGKeyArray(self.generator, data)

    def __repr__(self) -> str:
        return self.name


@Array.register
@register_composite
class PRNGKeyArray:
    """An array of keys, made of its key data, ``uint32[*shape, words]``.

    To transforms it is a pytree node whose one leaf is the data. Its axes are the leading ones of the data, so `vmap`
    and `scan` split what they should. Whatever moves or compares elements takes keys; arithmetic is a TypeError.
    """

    __slots__ = ("generator", "data")
    weak_type = False

    def __init__(self, generator: Generator, data):
        # Unchecked: pytree code rebuilds nodes around placeholders that are not arrays.
        self.generator, self.data = generator, data

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[:-1])

    @property
    def ndim(self) -> int:
        return len(self.data.shape) - 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> KeyDType:
        return KeyDType(self.generator)

    @property
    def type(self) -> ArrayType:
        return ArrayType(self.shape, self.dtype)

    aval = type

    @property
    def device(self):
        return self.data.device

    @property
    def sharding(self):
        return self.data.sharding

    @property
    def is_fully_addressable(self) -> bool:
        return self.data.is_fully_addressable

    def devices(self):
        return self.data.devices()

    def block_until_ready(self) -> PRNGKeyArray:
        self.data.block_until_ready()
        return self

    def is_deleted(self) -> bool:
        return self.data.is_deleted()

    def _copy(self) -> PRNGKeyArray:
        return PRNGKeyArray(self.generator, jnp.array(self.data))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a single key: it has shape ()")
        return self.shape[0]

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a single key: it has shape (); random.split gives several keys")
        return (PRNGKeyArray(self.generator, row) for row in self.data)

    def __bool__(self):
        raise TypeError("a key array cannot be converted to a boolean")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("a key array cannot be converted to a NumPy array; random.key_data(keys) gives its uint32 data")

    def __repr__(self) -> str:
        if not isinstance(self.data, Array):  # pytree code rebuilt it around something else
            return f"PRNGKeyArray({self.generator.name!r}, {self.data!r})"
        return f"Array({self.shape}, dtype={self.dtype}) overlaying:\n{self.data}"


register_pytree_node(PRNGKeyArray, lambda keys: ((keys.data,), keys.generator),
                     lambda generator, leaves: PRNGKeyArray(generator, leaves[0]))
install(PRNGKeyArray)


def generator_of(impl) -> Generator:
    """The generator that ``impl`` names: None (the default), a name, a key dtype or a Generator."""
    if impl is None:
        return GENERATORS[config.default_prng_impl]
    if isinstance(impl, Generator):
        return impl
    if isinstance(impl, KeyDType):
        return impl.generator
    if not isinstance(impl, str):
        raise TypeError(f"a PRNG implementation is named by a string or a key dtype, got {type(impl).__name__}")
    if impl not in GENERATORS:
        raise ValueError(f"unrecognized PRNG implementation {impl!r}; there are {', '.join(map(repr, GENERATORS))}")
    return GENERATORS[impl]


def one_of(impl, dtype, caller: str):
    if impl is not None and dtype is not None:
        raise ValueError(f"random.{caller}: give impl or dtype, not both")
    return generator_of(impl if dtype is None else dtype)


@remembered
def seed_data(caller: str, seed, generator: Generator):
    """Raw key data of an integer seed; Python integers wrap at the width of the default integer dtype."""
    if isinstance(seed, PRNGKeyArray):
        raise TypeError(f"random.{caller} takes an integer seed, got a key")
    if np.ndim(seed):
        raise TypeError(f"random.{caller} takes a scalar seed, got shape {np.shape(seed)}; batch with vmap")
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        if not -2**63 <= seed < (2**63 if isinstance(seed, int) else 2**64):
            raise OverflowError(f"random.{caller}: the seed {seed} does not fit in 64 bits")
        width = 8 * np.dtype(jnp.result_type(int)).itemsize
        seed = np.array(operator.index(seed) % 2**width, f"uint{width}")
    seed = jnp.asarray(seed)
    if not jnp.issubdtype(seed.dtype, np.integer):
        raise TypeError(f"random.{caller} takes an integer seed, got {seed.dtype}")
    return seeded(seed, generator)


@partial(jit, static_argnames=("generator",))
def seeded(seed, generator):
    return generator.seed(seed)


def key(seed, *, impl=None, dtype=None) -> PRNGKeyArray:
    """A new-style key: a key array of shape ``()``, from an integer ``seed``.

    ``impl`` is ``'threefry2x32'`` (the default), ``'rbg'`` or ``'unsafe_rbg'``. Raises TypeError unless the seed is an
    integer scalar.

    >>> key(0).dtype
    key<fry>
    """
    generator = one_of(impl, dtype, "key")
    return PRNGKeyArray(generator, seed_data("key", seed, generator))


def PRNGKey(seed, *, impl=None):
    """An old-style key: the raw key data ``uint32[2]`` (``uint32[4]`` for the rbg generators) of an integer ``seed``.

    With the setting enable_custom_prng, a new-style key.

    >>> print(PRNGKey(7))
    [0 7]
    """
    if config.enable_custom_prng:
        return key(seed, impl=impl)
    return seed_data("PRNGKey", seed, generator_of(impl))


def key_dtype(impl_spec=None) -> KeyDType:
    """The dtype of the key arrays of a generator.

    >>> key_dtype('rbg')
    key<rbg>
    """
    return KeyDType(generator_of(impl_spec))


def checked_data(data, generator: Generator):
    if not all(hasattr(data, name) for name in ("shape", "ndim", "dtype")):
        raise DtypeError(f"expected a PRNG key, got {type(data).__name__}", fix="make one with random.key(seed)")
    if data.ndim < 1 or data.shape[-1] != generator.words or data.dtype != np.uint32:
        raise DtypeError(f"expected key data uint32[..., {generator.words}] of {generator.name}, "
                         f"got {data.dtype}{list(data.shape)}", fix="the key comes first; make one with random.key(seed)")
    return data


def keys_of(caller: str, keys) -> PRNGKeyArray:
    """``keys`` in new style, whatever style they are in; raw data is of the default generator."""
    if isinstance(keys, PRNGKeyArray):
        return keys
    generator = generator_of(None)
    keys = PRNGKeyArray(generator, checked_data(keys, generator))
    if config.legacy_prng_key != "allow":
        refuse_raw_keys(caller)
    return keys


def refuse_raw_keys(caller: str) -> None:
    message = f"random.{caller} was given a raw uint32 key; make keys with random.key"
    if config.legacy_prng_key == "error":
        raise ValueError(message)
    warnings.warn(message, stacklevel=4)


def single_key(caller: str, key) -> PRNGKeyArray:
    """``key`` in new style; a ValueError if it is several keys."""
    key = keys_of(caller, key)
    if key.ndim:
        raise ValueError(f"random.{caller} takes one key, got a key array of shape {key.shape}; batch with vmap")
    return key


def in_style_of(original, keys: PRNGKeyArray):
    return keys if isinstance(original, PRNGKeyArray) else keys.data


def wrap_key_data(key_bits_array, *, impl=None, dtype=None) -> PRNGKeyArray:
    """The key array whose key data is ``key_bits_array``, a ``uint32[*shape, words]``.

    >>> wrap_key_data(key_data(key(1))).shape
    ()
    """
    generator = one_of(impl, dtype, "wrap_key_data")
    return PRNGKeyArray(generator, checked_data(key_bits_array, generator))


def key_data(keys):
    """The data of keys of either style: ``uint32[*shape, words]``.

    >>> print(key_data(key(1)))
    [0 1]
    """
    return keys_of("key_data", keys).data


def key_impl(keys) -> str:
    """The name of the generator of keys of either style.

    >>> key_impl(key(0))
    'threefry2x32'
    """
    return keys_of("key_impl", keys).generator.name


def clone(key):
    """The same key again, as a statement that its reuse is meant.

    >>> bool(clone(key(0)) == key(0))
    True
    """
    return in_style_of(key, keys_of("clone", key))


@partial(jit, static_argnames=("shape",))
def split_key(key: PRNGKeyArray, shape: tuple[int, ...] = (2,)) -> PRNGKeyArray:
    return PRNGKeyArray(key.generator, key.generator.split(key.data, shape))


@jit
def folded(key: PRNGKeyArray, data) -> PRNGKeyArray:
    return PRNGKeyArray(key.generator, key.generator.fold_in(key.data, data))


def split(key, num: int | tuple[int, ...] = 2):
    """``num`` new keys (a count or a shape) from one key, independent of each other and of it.

    >>> split(key(0), 3).shape
    (3,)
    """
    shape = tuple(map(operator.index, num)) if isinstance(num, Sequence) else (operator.index(num),)
    return in_style_of(key, split_key(single_key("split", key), shape))


def fold_in(key, data):
    """A new key from one key and an integer scalar, such as a step number.

    >>> bool(fold_in(key(0), 1) == fold_in(key(0), 2))
    False
    """
    if np.ndim(data):
        raise TypeError(f"random.fold_in takes a scalar, got shape {np.shape(data)}; batch with vmap")
    return in_style_of(key, folded(single_key("fold_in", key), jnp.asarray(data, dtype="uint32")))


@partial(jit, static_argnames=("width", "shape"))
def random_bits(key: PRNGKeyArray, width: int, shape: tuple[int, ...]):
    return key.generator.random_bits(key.data, width, shape)
