"""Operations about how a program is run rather than what it computes: platforms, tokens, layouts, named composites."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit import tree
from tracejit.errors import ShapeError
from tracejit.ir.graph import Var
from tracejit.ir.trace import current_builder, hooks
from tracejit.ir.types import type_of
from tracejit.lax.barrier import optimization_barrier
from tracejit.lax.broadcast import full
from tracejit.lax.callback import debug_callback, io_callback
from tracejit.lax.parallel import axis_size
from tracejit.lax.shape import reshape

CASTS = ("varying", "unvarying", "reduced", "unreduced")


def stage(x: Any, /) -> Any:
    """x as an array, or as a value of the program that is being traced.

    >>> stage(2)
    Array(2, dtype=int32, weak_type=True)
    """
    return optimization_barrier(x) if current_builder() is not None else reshape(x, type_of(x).shape)


def composite(decomposition: Callable, name: str, version: int = 0) -> Callable:
    """decomposition under a name that a compiler may know; this one knows none, so it is compiled as it is written.

    Attributes are passed by keyword: `composite(f, "lib.op")(x, axis=0)`.

    >>> composite(lambda x, *, k: x * k, "my.scale")(3.0, k=2.0)
    6.0
    """
    def call(*args: Any, **attributes: Any) -> Any:
        return decomposition(*args, **attributes)
    call.__name__ = call.__qualname__ = name
    return call


def platform_dependent(*args: Any, default: Callable | None = None, **per_platform: Callable) -> Any:
    """The function for the platform that runs the program, on args; default where there is none for it.

    NotImplementedError if there is neither. Only the chosen function is traced.

    >>> platform_dependent(1.0, cpu=lambda x: x + 1.0, tpu=lambda x: x)
    2.0
    """
    chosen = per_platform.get("cpu", default)
    if chosen is None:
        raise NotImplementedError(f"platform_dependent: nothing for cpu among {', '.join(sorted(per_platform))}, and no default")
    return chosen(*args)


def create_token(_: Any = None) -> Any:
    """A value that orders nothing yet: an empty array. Programs run in order, so tokens only say so."""
    return full((0,), False, np.bool_)


def after_all(*operands: Any) -> Any:
    """A token that is there when all operands are.

    >>> after_all(create_token(), create_token()).shape
    (0,)
    """
    return optimization_barrier((create_token(), *operands))[0]


def dce_sink(val: Any, *, prevent_mlir_dce: bool = False) -> None:
    """Make sure that val is computed although nobody reads it."""
    debug_callback(lambda _: None, val)


def rng_uniform(a: Any, b: Any, shape: Sequence[int]) -> Any:
    """Random numbers in [a, b) from a generator with state: other numbers at each call, drawn by NumPy on the host.

    a and b are scalars of one dtype. Use tracejit.random for numbers that a key determines.

    >>> rng_uniform(0.0, 1.0, (3,)).shape
    (3,)
    """
    t = type_of(a)
    if t.ndim or type_of(b).ndim:
        raise ShapeError(f"rng_uniform: the bounds must be scalars, got {t} and {type_of(b)}")
    result = full(tuple(shape), 0, t.dtype)

    def draw(low: Any, high: Any) -> np.ndarray:
        integers = np.dtype(t.dtype).kind in "iu"
        source = np.random.default_rng()
        drawn = source.integers(int(low), int(high), shape) if integers else source.uniform(float(low), float(high), shape)
        return np.asarray(drawn, t.dtype)
    return io_callback(draw, type_of(result), a, b)


def with_sharding_constraint(x: Any, shardings: Any) -> Any:
    """x, laid out as the shardings say: on one device it is whole, whatever they say.

    ValueError where a sharding cannot be that of its array: more entries than axes, or sizes that do not divide.

    >>> with_sharding_constraint(1.0, None)
    Array(1., dtype=float32, weak_type=True)
    """
    is_spec = lambda s: s is None or hasattr(s, "shard_shape") or (
        isinstance(s, tuple) and type(s) is not tuple and not hasattr(s, "_fields"))
    whole = tree.broadcast(shardings, x, is_leaf=is_spec)
    for leaf, sharding in zip(tree.leaves(x), tree.leaves(whole, is_leaf=is_spec)):
        spec, shape = getattr(sharding, "spec", sharding), type_of(leaf).shape
        if isinstance(spec, tuple) and len(spec) > len(shape):
            raise ValueError(f"with_sharding_constraint: {spec} names {len(spec)} axes of an array of shape {shape}")
        if hasattr(sharding, "shard_shape"):
            sharding.shard_shape(shape)
    return tree.map(lambda leaf: leaf if isinstance(leaf, Var) else hooks.as_array(leaf), x)


def pcast(x: Any, axis_name: Any, *, to: str) -> Any:
    """x, taken as varying or not over the named axes; which of both is found out here, so x is returned.

    NameError for an axis that is not bound, ValueError for an unknown kind.
    """
    if to not in CASTS:
        raise ValueError(f"pcast: `to` must be one of {', '.join(CASTS)}, got {to!r}")
    for name in axis_name if isinstance(axis_name, tuple) else (axis_name,):
        axis_size(name)
    return x
