"""Calling Python from compiled code: pure_callback, io_callback, and the callbacks of tracejit.debug.

Compiled code calls a C function that takes the interpreter's lock and calls `HostFunction.run` on arrays in memory.
"""
from __future__ import annotations

import dataclasses
import itertools
import string
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from tracejit import tree
from tracejit.errors import ShapeError, TreeError
from tracejit.ir.trace import bind, hooks, no_trace
from tracejit.ir.types import ArrayType, is_array_like, short_name, type_of
from tracejit.lax.kinds import Opaque, op_dataclass
from tracejit.lax.shape import expand_dims
from tracejit.pytree import tree_flatten, unflatten

VMAP_METHODS = ("sequential", "sequential_unrolled", "expand_dims", "broadcast_all", "legacy_vectorized")


class HostFunction:
    """A Python function on the leaves of its arguments. Equal ones are one object, while some program holds it.

    `static` are (position, value) of leaves that are not arrays; `results` is the structure that must come back, None
    for functions whose result is dropped.
    """
    _serials = itertools.count()
    _interned: weakref.WeakValueDictionary = weakref.WeakValueDictionary()

    def __init__(self, function: Callable, arguments: Any, static: tuple, results: Any):
        self.function, self.arguments, self.static, self.results = function, arguments, static, results
        self.serial = next(self._serials)

    @classmethod
    def of(cls, function: Callable, arguments: Any, static: tuple, results: Any) -> HostFunction:
        key = function, arguments, static, results
        try:
            hash(key)
        except TypeError:
            return cls(*key)
        return cls._interned.setdefault(key, cls(*key))

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"host({name})#{self.serial}"

    @property
    def symbol(self) -> str:
        """The name by which compiled code calls it; never used twice in a process."""
        return f"tj_host_{self.serial}"

    def run(self, arrays: Sequence[np.ndarray], types: Sequence[ArrayType]) -> list[np.ndarray]:
        """Call the function on arrays; its results as NumPy arrays of these types."""
        leaves = [hooks.as_array(x) for x in arrays]
        for place, value in self.static:
            leaves.insert(place, value)
        args, kwargs = unflatten(self.arguments, leaves)
        with no_trace():
            result = self.function(*args, **kwargs)
        if self.results is None:
            return []
        found, structure = tree.flatten(result)
        if structure != self.results:
            raise TreeError(f"{self}: the callback returned {structure}, but result_shape_dtypes says {self.results}",
                            fix="return what result_shape_dtypes describes, or change that")
        return [self.checked(x, t) for x, t in zip(found, types, strict=True)]

    def checked(self, x: Any, t: ArrayType) -> np.ndarray:
        x = np.asarray(x)
        if x.shape != t.shape:
            raise ShapeError(f"{self}: the callback returned shape {x.shape} where result_shape_dtypes says {t}",
                             fix="return that shape, or change result_shape_dtypes")
        if x.dtype != t.dtype and not np.can_cast(x.dtype, t.dtype, "same_kind"):
            raise ShapeError(f"{self}: the callback returned {x.dtype} where result_shape_dtypes says {t}",
                             fix=f"return {short_name(t.dtype)}, or change result_shape_dtypes")
        return x.astype(t.dtype)


@op_dataclass
class HostCall(Opaque):
    """Results of a Python function of arrays."""
    moves: ClassVar[bool] = True
    function: HostFunction
    results: tuple[ArrayType, ...]
    multiple: ClassVar[bool] = True

    def infer(self, *types): return self.results
    def eval(self, *arrays): return tuple(self.function.run([np.array(x) for x in arrays], self.results))

    def call(self, b, ins, outs, types):
        function, results = self.function, self.results
        b.host_call(function.symbol, lambda arrays: function.run(arrays, results), ins, types, outs, results)

    def device_call(self, runtime, ins, outs):
        run = lambda arrays: self.function.run(arrays, self.results)
        runtime.host_call(run, ins, outs, f"the callback {self.function}")


@op_dataclass
class PureCallback(HostCall):
    """Results of a Python function that depends on its arguments only: it may run any number of times."""
    vmap_method: str | None = None

    def jvp(self, ctx, primals, tangents):
        raise ValueError("Pure callbacks do not support JVP. Please use `jax.custom_jvp` to use callbacks while taking gradients, "
                         f"or stop_gradient of the arguments: {self.function}")

    def batch(self, ctx, args, batched):
        method = self.vmap_method
        if method is None:
            raise NotImplementedError("vmap is only supported for the pure_callback primitive when vmap_method is one of "
                                      f"{', '.join(map(repr, VMAP_METHODS))}. Got vmap_method=None for {self.function}")
        if method.startswith("sequential"):
            return ctx.loop_over_lanes(self, args, batched)
        if method == "broadcast_all":
            args = [ctx.materialize(x, b) for x, b in zip(args, batched)]
        elif method == "expand_dims":
            args = [x if b else expand_dims(x, (0,)) for x, b in zip(args, batched)]
        types = tuple(t.update(shape=(ctx.size, *t.shape)) for t in self.results)
        return bind(dataclasses.replace(self, results=types), *args), (True,) * len(types)


@op_dataclass
class IoCallback(HostCall):
    """Results of a Python function that is called exactly once, in the program's order."""
    ordered: bool = False
    has_effects: ClassVar[bool] = True

    def jvp(self, ctx, primals, tangents):
        raise ValueError("IO callbacks do not support JVP. Please use `jax.custom_jvp` for the function that calls it, or "
                         f"stop_gradient of the arguments: {self.function}")

    def batch(self, ctx, args, batched):
        if self.ordered:
            raise ValueError("Cannot `vmap` ordered IO callback, whose lanes have no order to keep; use ordered=False, or "
                             f"lax.map: {self.function}")
        return ctx.loop_over_lanes(self, args, batched)


@op_dataclass
class DebugCallback(HostCall):
    """A Python function called for what it does; derivatives pass it by."""
    ordered: bool = False
    has_effects: ClassVar[bool] = True

    def jvp(self, ctx, primals, tangents): return bind(self, *primals), []

    def batch(self, ctx, args, batched):
        if self.ordered:
            raise ValueError(f"Cannot `vmap` ordered debug callback, whose lanes have no order to keep: {self.function}")
        return ctx.loop_over_lanes(self, args, batched)


def host_function(callback: Callable, args: tuple, kwargs: dict, results: Any, allow_static: bool = False):
    """(HostFunction, array leaves) of a call."""
    leaves, structure = tree_flatten((args, kwargs))   # which opens keys: the host gets their words
    arrays, static = [], []
    for place, leaf in enumerate(leaves):
        if allow_static and not is_array_like(leaf):
            static.append((place, leaf))
        else:
            arrays.append(leaf)
    return HostFunction.of(callback, structure, tuple(static), results), arrays


def result_types(result_shape_dtypes: Any) -> tuple[tuple[ArrayType, ...], Any]:
    leaves, structure = tree.flatten(result_shape_dtypes)
    return tuple(type_of(x).strong() for x in leaves), structure


def pure_callback(callback: Callable, result_shape_dtypes: Any, *args: Any, sharding: Any = None,
                  vmap_method: str | None = None, **kwargs: Any) -> Any:
    """Calls a pure Python function from inside transformed and compiled code.

    The callback gets Arrays and returns arrays of the shapes and dtypes in `result_shape_dtypes`, a tree of
    ShapeDtypeStruct. It may be called any number of times, or not at all if its result is not used. Under vmap:
    "sequential" calls it for each lane; "expand_dims" and "broadcast_all" call it once, with a new leading axis on
    every argument, of size 1 ("expand_dims") or repeated where an argument has no lanes; None raises
    NotImplementedError.

    >>> import numpy as np
    >>> x = np.float32([3.0, 1.0])
    >>> [float(v) for v in pure_callback(np.sort, x, x)]
    [1.0, 3.0]
    """
    if vmap_method is not None and vmap_method not in VMAP_METHODS:
        raise ValueError(f"pure_callback: vmap_method must be one of the allowed methods {[*VMAP_METHODS, None]}, "
                         f"but got: {vmap_method}")
    types, structure = result_types(result_shape_dtypes)
    function, arrays = host_function(callback, args, kwargs, structure)
    return tree.unflatten(structure, bind(PureCallback(function, types, vmap_method), *arrays))


def io_callback(callback: Callable, result_shape_dtypes: Any, *args: Any, sharding: Any = None, ordered: bool = False,
                **kwargs: Any) -> Any:
    """Calls a Python function exactly once where the program gets to it, whether its results are used or not.

    Programs run in order, so all callbacks keep the order in which they are written; `ordered=True` refuses vmap, which
    has no order of lanes.

    >>> import numpy as np
    >>> log = []
    >>> io_callback(lambda x: log.append(float(x)), None, np.float32(2.0))
    >>> log
    [2.0]
    """
    types, structure = result_types(result_shape_dtypes)
    function, arrays = host_function(callback, args, kwargs, structure)
    return tree.unflatten(structure, bind(IoCallback(function, types, bool(ordered)), *arrays))


def debug_callback(callback: Callable, *args: Any, ordered: bool = False, partitioned: bool = False,
                   **kwargs: Any) -> None:
    """Calls a Python function for what it does; its result is dropped, and derivatives pass it by.

    Arguments that are not arrays are handed through as they are.

    >>> import numpy as np
    >>> debug_callback(lambda x, unit: print(float(x), unit), np.float32(2.0), "m")
    2.0 m
    """
    if not callable(callback):
        raise TypeError(f"first argument to debug.callback must be callable, but got an object of type {type(callback)}")
    function, arrays = host_function(callback, args, kwargs, None, allow_static=True)
    bind(DebugCallback(function, (), bool(ordered)), *arrays)


@dataclasses.dataclass(frozen=True)
class Printer:
    """Prints its arguments by a format string; equal strings print alike."""
    format: str

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        print(self.format.format(*map(readable, args), **{k: readable(v) for k, v in kwargs.items()}), flush=True)


def readable(x: Any) -> Any:
    """Arrays as NumPy arrays, zero-dimensional ones as scalars, which take format codes."""
    return np.asarray(x)[()] if is_array_like(x) and isinstance(type_of(x).dtype, np.dtype) else x


def check_format(fmt: str, args: tuple, kwargs: dict) -> None:
    """Raise where the string and its arguments do not fit together: now, not when the program runs."""
    used: set[Any] = set()
    automatic = itertools.count()
    for _, name, _, _ in string.Formatter().parse(fmt):
        if name is not None:
            first = name.split(".")[0].split("[")[0]
            used.add(next(automatic) if first == "" else int(first) if first.isdigit() else first)
    given = {*range(len(args)), *kwargs}
    if used - given:
        raise (IndexError if any(isinstance(name, int) for name in used - given) else KeyError)(
            f"debug.print: {fmt!r} asks for {sorted(map(str, used - given))}, which are not given")
    if given - used:
        raise ValueError(f"Unused arguments to `debug.print`: {sorted(map(str, given - used))} do not occur in {fmt!r}; "
                         "write {} or {name} for each, and no f-string")


def debug_print(fmt: str, *args: Any, ordered: bool = False, partitioned: bool = False, skip_format_check: bool = False,
                **kwargs: Any) -> None:
    """Prints run-time values from inside transformed and compiled code, by a format string.

    >>> import numpy as np
    >>> debug_print("x = {x:.2f}", x=np.float32(1.5))
    x = 1.50
    """
    if not skip_format_check:
        check_format(fmt, args, kwargs)
    debug_callback(Printer(fmt), *args, ordered=ordered, **kwargs)
