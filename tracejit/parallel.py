"""pmap and shard_map: programs over several devices, here over the one that there is."""
from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from tracejit.errors import filtered, wraps
from tracejit.ir.types import type_of
from tracejit.pytree import tree_flatten, unflatten
from tracejit.runtime.device import device_count
from tracejit.runtime.jit import jit
from tracejit.sharding import Mesh, PartitionSpec, get_mesh
from tracejit.transforms.vmap import spread_axes, vmap
from tracejit.tree_util import broadcast_prefix, keystr, prefix_errors, tree_leaves_with_path


def pmap(fun: Callable, axis_name: Hashable | None = None, *, in_axes: Any = 0, out_axes: Any = 0,
         static_broadcasted_argnums: int | Sequence[int] = (), devices: Sequence[Any] | None = None,
         backend: str | None = None, axis_size: int | None = None, donate_argnums: int | Sequence[int] = (),
         global_arg_shapes: Any = None) -> Callable:
    """fun on each device, with its slice of the arguments along in_axes. The mapped axis must be as long as there are
    devices, or shorter: 1. ValueError if it is longer.

    >>> import tracejit as tj, numpy as np
    >>> tj.pmap(lambda x: x + 1)(np.zeros((1, 2), np.float32))
    Array([[1., 1.]], dtype=float32)
    """
    static = (static_broadcasted_argnums,) if isinstance(static_broadcasted_argnums, int) else \
        tuple(static_broadcasted_argnums)

    def mapped(*args: Any, **kwargs: Any) -> Any:
        dynamic = [x for i, x in enumerate(args) if i not in static]

        def call(*values: Any, **named: Any) -> Any:
            rest = iter(values)
            return fun(*[args[i] if i in static else next(rest) for i in range(len(args))], **named)
        return vmap(call, in_axes, out_axes, axis_name=axis_name, axis_size=axis_size)(*dynamic, **kwargs)
    compiled = jit(mapped, static_argnums=static, donate_argnums=donate_argnums)

    @filtered
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dynamic = tuple(x for i, x in enumerate(args) if i not in static)
        axes = spread_axes("in_axes", tuple(in_axes) if isinstance(in_axes, list) else in_axes, dynamic)
        places = [(type_of(x).shape, a) for x, a in zip(tree_flatten(dynamic)[0], axes) if a is not None]
        sizes = [shape[a] for shape, a in places if -len(shape) <= a < len(shape)]      # vmap says what is wrong with others
        n = max([*sizes, axis_size or 0])
        if n > device_count():
            raise ValueError(f"pmap: the mapped axis has {n} elements, but there are {device_count()} devices; "
                             "vmap maps over any number on one device")
        return compiled(*args, **kwargs)
    wrapped.lower = compiled.lower
    return wrapped


def shard_map(f: Callable | None = None, /, *, mesh: Mesh | None = None, in_specs: Any = None, out_specs: Any = None,
              axis_names: Any = frozenset(), check_vma: bool = True, check_rep: bool = True) -> Callable:
    """f on each device's block of the arguments, with the mesh's axes as names for collectives. A mesh of one device has
    one block: the whole.

    >>> import tracejit as tj, numpy as np
    >>> from tracejit.sharding import make_mesh, PartitionSpec as P
    >>> mesh = make_mesh((1,), ("i",))
    >>> tj.shard_map(lambda x: tj.lax.psum(x, "i"), mesh=mesh, in_specs=P("i"), out_specs=P())(np.ones(2, np.float32))
    Array([1., 1.], dtype=float32)
    """
    if f is None:
        return functools.partial(shard_map, mesh=mesh, in_specs=in_specs, out_specs=out_specs, axis_names=axis_names)
    mesh = get_mesh() if mesh is None else mesh
    if mesh.empty:
        raise ValueError("shard_map: give the mesh, or set one with set_mesh")
    if mesh.size != 1:
        raise ValueError(f"shard_map: {mesh} needs {mesh.size} devices, there is one")

    @filtered
    @wraps(f)
    def wrapped(*args: Any) -> Any:
        check_specs("in_specs", in_specs, args, mesh, f)
        body = f
        for name in mesh.axis_names:
            body = vmap(body, in_axes=None, axis_name=name, axis_size=1)
        leaves, tree = tree_flatten(body(*args))
        drop = lambda x: x.reshape(x.shape[len(mesh.axis_names):])
        outs = unflatten(tree, [drop(x) for x in leaves])
        check_specs("out_specs", out_specs, outs, mesh, f)
        return outs
    return wrapped


def check_specs(name: str, specs: Any, values: Any, mesh: Mesh, f: Callable) -> None:
    """ValueError unless specs is a tree prefix of the values, of axes of the mesh, and names no axes that a value lacks."""
    if specs is None:
        return
    is_spec = lambda s: isinstance(s, PartitionSpec)
    wrong = prefix_errors(specs, values, is_leaf=is_spec)
    if wrong:
        raise wrong[0](f"shard_map {name}")
    for spec, (path, x) in zip(broadcast_prefix(specs, values, is_leaf=is_spec), tree_leaves_with_path(values), strict=True):
        axes = [axis for entry in spec or () for axis in (entry if isinstance(entry, tuple) else (entry,)) if axis is not None]
        unknown = [axis for axis in axes if axis not in mesh.axis_names]
        if unknown:
            raise ValueError(f"shard_map {name} argument must refer to an axis of the mesh {mesh.axis_names}, "
                             f"but {spec} refers to {unknown[0]!r}")
        t = type_of(x)
        if spec is not None and len(spec) > t.ndim:
            raise ValueError(f"shard_map applied to the function '{getattr(f, '__name__', f)}' was given an {name} entry which is "
                             f"too long to be compatible with the corresponding value: {spec} has length {len(spec)}, but the "
                             f"value at {keystr(path) or 'the root'} has the type {t}, of {t.ndim} axes")


def smap(f: Callable | None = None, /, *, in_axes: Any = None, out_axes: Any, axis_name: Any) -> Callable:
    """f on each device's block along one axis of the mesh that is set: arguments are split along in_axes. A mesh of one
    device has one block, the whole.

    >>> import tracejit as tj, numpy as np
    >>> with tj.set_mesh(tj.make_mesh((1,), ("i",))):
    ...     print(tj.smap(lambda x: tj.lax.psum(x, "i"), in_axes=0, out_axes=0, axis_name="i")(np.ones(2, np.float32)))
    [1. 1.]
    """
    if f is None:
        return functools.partial(smap, in_axes=in_axes, out_axes=out_axes, axis_name=axis_name)
    mesh = get_mesh()
    if axis_name not in mesh.axis_names:
        raise ValueError(f"smap: the mesh has the axes {mesh.axis_names}, not {axis_name!r}; set a mesh with set_mesh")
    return shard_map(f, mesh=mesh)
