"""Functions on pytrees: map, reduce, transpose, broadcast, paths, and the registration of node types."""
from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tracejit import pytree
from tracejit.errors import TreeError, filtered
from tracejit.pytree import (
    KINDS, LEAF, CustomKind, DictKey, FlattenedIndexKey, Difference, GetAttrKey, IsLeaf, KeyPath, Kind, PyTreeDef,
    SequenceKey, difference_here, differences, keystr, node_of, register, treedef_of, unflatten, visible_kind_of)

__all__ = [
    "DictKey", "FlattenedIndexKey", "GetAttrKey", "KeyEntry", "KeyPath", "Partial", "PyTreeDef", "SequenceKey",
    "all_leaves", "broadcast_prefix", "build_tree", "equality_errors", "flatten_one_level",
    "flatten_one_level_with_keys", "is_tree_node", "keystr", "prefix_errors", "register_dataclass",
    "register_pytree_node", "register_pytree_node_class", "register_pytree_with_keys",
    "register_pytree_with_keys_class", "register_static", "static", "tree_all", "tree_broadcast", "tree_flatten",
    "tree_flatten_with_path", "tree_leaves", "tree_leaves_with_path", "tree_map", "tree_map_with_path",
    "tree_reduce", "tree_reduce_associative", "tree_structure", "tree_transpose", "tree_unflatten",
    "treedef_children", "treedef_is_leaf", "treedef_is_strict_leaf", "treedef_tuple"]

T = TypeVar("T")
Class = TypeVar("Class", bound=type)
KeyEntry = Hashable
MISSING: Any = object()


def tree_flatten(tree: Any, is_leaf: IsLeaf | None = None) -> tuple[list[Any], PyTreeDef]:
    """The leaves from left to right, and the structure; `is_leaf` stops the descent early.

    >>> tree_flatten({"b": 1, "a": (2, None)})
    ([2, 1], PyTreeDef({'a': (*, None), 'b': *}))
    """
    return pytree.tree_flatten(tree, is_leaf, visible_kind_of)


def tree_flatten_with_path(tree: Any, is_leaf: Callable[..., bool] | None = None,
                           is_leaf_takes_path: bool = False) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """Like tree_flatten, with (path, leaf) for each leaf.

    >>> [(keystr(path), leaf) for path, leaf in tree_flatten_with_path({"a": [1, 2]})[0]]
    [("['a'][0]", 1), ("['a'][1]", 2)]
    """
    return pytree.tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path, visible_kind_of)


@filtered
def tree_unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """The tree with this structure and these leaves; TreeError if their number differs.

    >>> tree_unflatten(tree_structure({"a": 0, "b": (0, None)}), [1, 2])
    {'a': 1, 'b': (2, None)}
    """
    return unflatten(treedef, leaves)


def tree_leaves(tree: Any, is_leaf: IsLeaf | None = None) -> list[Any]:
    """The leaves from left to right; dictionaries in the order of their sorted keys.

    >>> tree_leaves({"b": 1, "a": [2, None]})
    [2, 1]
    """
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: IsLeaf | None = None) -> PyTreeDef:
    """The structure alone.

    >>> tree_structure((1, [2]))
    PyTreeDef((*, [*]))
    """
    return tree_flatten(tree, is_leaf)[1]


@filtered
def tree_map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf | None = None) -> Any:
    """`f` of each leaf of `tree` and of the subtrees of `rest` at the same places; TreeError where they differ.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
    {'a': 11, 'b': [22]}
    """
    leaves, treedef = tree_flatten(tree, is_leaf)
    others = [treedef.flatten_up_to(other) for other in rest]
    return unflatten(treedef, [f(*xs) for xs in zip(leaves, *others)])


@filtered
def tree_leaves_with_path(tree: Any, is_leaf: Callable[..., bool] | None = None,
                          is_leaf_takes_path: bool = False) -> list[tuple[KeyPath, Any]]:
    """A (path, leaf) pair for each leaf.

    >>> [keystr(path) for path, leaf in tree_leaves_with_path({"a": (1, 2)})]
    ["['a'][0]", "['a'][1]"]
    """
    return tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


@filtered
def tree_map_with_path(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[..., bool] | None = None,
                       is_leaf_takes_path: bool = False) -> Any:
    """Like tree_map, with `f(path, leaf, ...)`.

    >>> tree_map_with_path(lambda path, x: keystr(path) + f"={x}", {"a": [1]})
    {'a': ["['a'][0]=1"]}
    """
    pairs, treedef = tree_flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    others = [treedef.flatten_up_to(other) for other in rest]
    return unflatten(treedef, [f(path, leaf, *xs) for (path, leaf), *xs in zip(pairs, *others)])


@filtered
def tree_reduce(function: Callable[[T, Any], T], tree: Any, initializer: Any = MISSING,
                is_leaf: IsLeaf | None = None) -> T:
    """The leaves folded from the left; TypeError if there are none and no `initializer`.

    >>> tree_reduce(lambda total, x: total + x, [1, (2, 3)], 10)
    16
    """
    start = () if initializer is MISSING else (initializer,)
    return functools.reduce(function, tree_leaves(tree, is_leaf), *start)


@filtered
def tree_reduce_associative(operation: Callable[[T, T], T], tree: Any, *, identity: Any = MISSING,
                            is_leaf: IsLeaf | None = None) -> T:
    """The leaves combined pairwise, as a balanced tree of depth log2(n).

    >>> tree_reduce_associative(lambda x, y: f"({x}{y})", ["a", "b", "c", "d", "e"])
    '((ab)(c(de)))'
    """
    leaves = tree_leaves(tree, is_leaf)
    if not leaves and identity is MISSING:
        raise TypeError("a tree without leaves needs an identity to reduce to")

    def combine(low: int, high: int) -> T:
        if high - low == 1:
            return leaves[low]
        middle = (low + high) // 2
        return operation(combine(low, middle), combine(middle, high))

    return combine(0, len(leaves)) if leaves else identity


def tree_all(tree: Any, *, is_leaf: IsLeaf | None = None) -> bool:
    """Whether every leaf is true.

    >>> tree_all([True, {"a": 1}]), tree_all([True, 0])
    (True, False)
    """
    return all(tree_leaves(tree, is_leaf))


@filtered
def tree_transpose(outer_treedef: PyTreeDef, inner_treedef: PyTreeDef | None, pytree_to_transpose: Any) -> Any:
    """A tree of trees turned inside out; an `inner_treedef` of None is that of the first subtree.

    Nodes may flatten what they hold, so leaves are told apart by their number alone; TreeError where that is another.

    >>> tree_transpose(tree_structure([0, 0]), tree_structure({"x": 0, "y": 0}), [{"x": 1, "y": 2}, {"x": 3, "y": 4}])
    {'x': [1, 3], 'y': [2, 4]}
    """
    leaves, treedef = tree_flatten(pytree_to_transpose)
    if inner_treedef is None:
        subtrees = outer_treedef.flatten_up_to(pytree_to_transpose)
        inner_treedef = tree_structure(subtrees[0]) if subtrees else LEAF
    n = inner_treedef.num_leaves
    if len(leaves) != n * outer_treedef.num_leaves:
        raise TreeError(f"tree_transpose: Mismatch\n{treedef}\n != \n{outer_treedef.compose(inner_treedef)}")
    return inner_treedef.unflatten([outer_treedef.unflatten(leaves[i::n]) for i in range(n)])


def build_tree(treedef: PyTreeDef, xs: Any) -> Any:
    """The tree whose children are given as a nested structure of the same form.

    >>> build_tree(tree_structure((0, [0])), [1, [2]])
    (1, [2])
    """
    return unflatten(treedef, tree_leaves(xs))


@filtered
def broadcast_prefix(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf | None = None) -> list[Any]:
    """Each leaf of `prefix_tree` once for each leaf of `full_tree` below it; TreeError where it is no prefix.

    >>> broadcast_prefix((0, None), (["x", "y"], "z"), is_leaf=lambda x: x is None)
    [0, 0, None]
    """
    leaves, treedef = tree_flatten(prefix_tree, is_leaf)
    subtrees = treedef.flatten_up_to(full_tree)
    return [leaf for leaf, subtree in zip(leaves, subtrees) for _ in tree_leaves(subtree)]


@filtered
def tree_broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf | None = None) -> Any:
    """`prefix_tree` repeated into the structure of `full_tree`.

    >>> tree_broadcast((0, 1), (["x", "y"], "z"))
    ([0, 0], 1)
    """
    treedef = tree_structure(full_tree, is_leaf)
    leaves, prefix = tree_flatten(prefix_tree, is_leaf)
    subtrees = prefix.flatten_up_to(full_tree)
    return treedef.unflatten([leaf for leaf, subtree in zip(leaves, subtrees) for _ in tree_leaves(subtree, is_leaf)])


def prefix_errors(prefix_tree: Any, full_tree: Any,
                  is_leaf: IsLeaf | None = None) -> list[Callable[[str], ValueError]]:
    """A function for each place where `prefix_tree` does not fit: argument name -> error that names the path.

    >>> print(prefix_errors((0, [0]), (1, {}))[0]("in_axes").what)
    pytree structure error: different types at key path
        in_axes[1]
    Expected list, got {}.
    """
    def error_at(path: KeyPath, problem: Difference) -> Callable[[str], ValueError]:
        return lambda name: problem.error(name, path)
    prefix = tree_structure(prefix_tree, is_leaf)
    return [error_at(path, problem) for path, problem in differences(prefix, full_tree, ())]


def equality_errors(tree1: Any, tree2: Any,
                    is_leaf: IsLeaf | None = None) -> Iterator[tuple[KeyPath, str, str, str]]:
    """Where two trees differ in structure: (path, what is in the first, what is in the second, why they differ).

    >>> [(keystr(path), one, two) for path, one, two, why in equality_errors([1, (2,)], [1, {}])]
    [('[1]', 'tuple', 'dict')]
    """
    def kind_at(tree: Any) -> Kind | None:
        return None if is_leaf is not None and is_leaf(tree) else visible_kind_of(type(tree))

    def walk(one: Any, two: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str, str, str]]:
        kind, other = kind_at(one), kind_at(two)
        if kind is not other:
            names = [k.type.__name__ if k else "leaf" for k in (kind, other)]
            yield path, *names, f"expected {names[0]}, got {names[1]}"
        elif kind is not None:
            children, aux = kind.flatten(one)
            problem = difference_here(node_of(kind, aux, (LEAF,) * len(children)), two)
            if problem:
                yield path, kind.type.__name__, kind.type.__name__, problem.particulars
            else:
                for key, child, match in zip(kind.keys(one), children, kind.flatten(two)[0]):
                    yield from walk(child, match, (*path, key))

    yield from walk(tree1, tree2, ())


def all_leaves(iterable: Iterable[Any], is_leaf: IsLeaf | None = None) -> bool:
    """Whether no element is a container.

    >>> all_leaves([1, 2]), all_leaves([1, [2]])
    (True, False)
    """
    return all([treedef_is_leaf(structure) and structure.num_leaves == 1
                for structure in (tree_structure(x, is_leaf) for x in iterable)])


def is_tree_node(typ: type) -> bool:
    """Whether instances of the type are containers.

    >>> is_tree_node(dict), is_tree_node(int)
    (True, False)
    """
    return visible_kind_of(typ) is not None


def flatten_one_level(tree: Any) -> tuple[tuple[Any, ...], Any]:
    """The children and the metadata of a node; ValueError for a leaf.

    >>> flatten_one_level({"b": 1, "a": (2, 3)})
    (((2, 3), 1), ('a', 'b'))
    """
    kind = visible_kind_of(type(tree))
    if kind is None:
        raise ValueError(f"{type(tree).__name__} is not a pytree node type")
    children, aux = kind.flatten(tree)
    return tuple(children), aux


def flatten_one_level_with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """Like flatten_one_level, with (key, child) for each child."""
    children, aux = flatten_one_level(tree)
    kind = visible_kind_of(type(tree))
    assert kind is not None
    return list(zip(kind.keys(tree), children, strict=True)), aux


class Registry:
    """The types of containers, as an object: what libraries ask of JAX's `default_registry`."""

    def flatten_one_level(self, x: Any) -> tuple[tuple[Any, ...], Any] | None:
        """The children and the metadata of a node; None for a leaf.

        >>> default_registry.flatten_one_level([1, (2, 3)]), default_registry.flatten_one_level(1)
        (((1, (2, 3)), None), None)
        """
        return flatten_one_level(x) if self.is_node(x) else None

    def flatten_one_level_with_keys(self, x: Any) -> tuple[list[tuple[Any, Any]], Any] | None:
        """As flatten_one_level, with (key, child) for each child."""
        return flatten_one_level_with_keys(x) if self.is_node(x) else None

    def is_node(self, x: Any) -> bool:
        """Whether x is a container, also None."""
        return x is None or is_tree_node(type(x))

    def flatten(self, x: Any, leaf_predicate: IsLeaf | None = None) -> tuple[list[Any], PyTreeDef]:
        return tree_flatten(x, leaf_predicate)


default_registry = Registry()


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """The structures of the children."""
    return treedef.children()


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """Whether the structure is one node: a leaf, None or an empty container."""
    return treedef.num_nodes == 1


def treedef_is_strict_leaf(treedef: PyTreeDef) -> bool:
    """Whether the structure is a leaf."""
    return treedef is LEAF


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """The structure of a tuple of trees with these structures.

    >>> treedef_tuple([tree_structure([1, 2]), tree_structure(0)])
    PyTreeDef(([*, *], *))
    """
    return treedef_of(tuple, None, tuple(treedefs))


def register_pytree_node(
        nodetype: type, flatten_func: Callable[[Any], tuple[Iterable[Any], Any]],
        unflatten_func: Callable[[Any, Any], Any],
        flatten_with_keys_func: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None = None) -> None:
    """Make instances of a class containers: flatten_func(x) -> (children, aux), unflatten_func(aux, children) -> x.

    `aux` must be hashable and comparable. ValueError if the class is registered already.
    """
    register(CustomKind(nodetype, flatten_func, unflatten_func, flatten_with_keys_func))


def register_pytree_node_class(cls: Class) -> Class:
    """The same for a class with a method `tree_flatten` and a class method `tree_unflatten`.

    >>> @register_pytree_node_class
    ... class Point:
    ...     def __init__(self, x, y): self.x, self.y = x, y
    ...     def tree_flatten(self): return (self.x, self.y), None
    ...     @classmethod
    ...     def tree_unflatten(cls, aux, children): return cls(*children)
    >>> tree_leaves([Point(1, 2), 3])
    [1, 2, 3]
    """
    register_pytree_node(cls, operator.methodcaller("tree_flatten"), cls.tree_unflatten)
    return cls


def register_pytree_with_keys(nodetype: type, flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]],
                              unflatten_func: Callable[[Any, Any], Any],
                              flatten_func: Callable[[Any], tuple[Iterable[Any], Any]] | None = None) -> None:
    """register_pytree_node with named children: flatten_with_keys(x) -> ((key, child) pairs, aux)."""
    def without_keys(tree: Any) -> tuple[Iterable[Any], Any]:
        pairs, aux = flatten_with_keys(tree)
        return [child for _, child in pairs], aux
    register(CustomKind(nodetype, flatten_func or without_keys, unflatten_func, flatten_with_keys))


def register_pytree_with_keys_class(cls: Class) -> Class:
    """register_pytree_with_keys for a class with `tree_flatten_with_keys` and `tree_unflatten`."""
    register_pytree_with_keys(cls, operator.methodcaller("tree_flatten_with_keys"), cls.tree_unflatten,
                              operator.methodcaller("tree_flatten") if hasattr(cls, "tree_flatten") else None)
    return cls


def static(**kwargs: Any) -> Any:
    """`dataclasses.field` for a field that register_dataclass keeps in the structure, not among the leaves."""
    metadata = {**(kwargs.pop("metadata", None) or {}), "static": True}
    return dataclasses.field(metadata=metadata, **kwargs)


def dataclass_fields(nodetype: type) -> tuple[list[str], list[str]]:
    if not dataclasses.is_dataclass(nodetype):
        raise TypeError("register_dataclass: data_fields and meta_fields are required when nodetype is not a dataclass. "
                        f"Got nodetype={nodetype}.")
    fields = [f for f in dataclasses.fields(nodetype) if f.init]
    meta = [f.name for f in fields if f.metadata.get("static", False)]
    return [f.name for f in fields if f.name not in meta], meta


def check_fields(nodetype: type, given: set[str], dropped: set[str]) -> None:
    if not dataclasses.is_dataclass(nodetype):
        return
    known = {f.name for f in dataclasses.fields(nodetype) if f.init}
    rule = (f"{nodetype.__qualname__}: data_fields and meta_fields must include all dataclass fields with ``init=True`` "
            "and only them")
    if missing := known - given - dropped:
        raise ValueError(f"{rule}. Missing fields: {missing}. Add them to drop_fields to suppress this error.")
    if unknown := given - known:
        raise ValueError(f"{rule}. Unexpected fields: {unknown}.")


def register_dataclass(nodetype: Any = None, data_fields: Sequence[str] | None = None,
                       meta_fields: Sequence[str] | None = None, drop_fields: Sequence[str] = ()) -> Any:
    """Make a dataclass a container of its `data_fields`; `meta_fields` (hashable) belong to the structure.

    Without names, the fields marked `static()` are metadata and the others data. Also a decorator.

    >>> @register_dataclass
    ... @dataclasses.dataclass
    ... class Layer:
    ...     w: float
    ...     name: str = static(default="dense")
    >>> tree_map(lambda x: 2 * x, Layer(1.5))
    Layer(w=3.0, name='dense')
    """
    if nodetype is None:
        return functools.partial(register_dataclass, data_fields=data_fields, meta_fields=meta_fields,
                                 drop_fields=drop_fields)
    if (data_fields is None) != (meta_fields is None):
        raise TypeError("register_dataclass: data_fields and meta_fields must both be specified when either is specified. "
                        f"Got {data_fields=} {meta_fields=}.")
    data, meta = dataclass_fields(nodetype) if data_fields is None else (list(data_fields), list(meta_fields or ()))
    if {*data} & {*meta}:
        raise ValueError(f"data_fields and meta_fields must not overlap. Overlapping fields: {({*data} & {*meta})}.")
    check_fields(nodetype, {*data, *meta}, {*drop_fields})
    data = [name for name in data if name not in drop_fields]
    register(dataclass_kind(nodetype, data, meta))
    return nodetype


def dataclass_kind(nodetype: type, data: list[str], meta: list[str]) -> CustomKind:
    data_keys = [GetAttrKey(name) for name in data]

    def flatten(tree: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return tuple([getattr(tree, name) for name in data]), tuple([getattr(tree, name) for name in meta])

    def with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        children, aux = flatten(tree)
        return list(zip(data_keys, children)), aux

    def rebuild(aux: tuple[Any, ...], children: Sequence[Any]) -> Any:
        return nodetype(**dict(zip(meta, aux)), **dict(zip(data, children)))

    return CustomKind(nodetype, flatten, rebuild, with_keys)


def register_static(cls: Class) -> Class:
    """Make instances of a hashable class containers without leaves: constants of the structure.

    >>> @register_static
    ... class Mode(str): pass
    >>> tree_leaves([Mode("train"), 1])
    [1]
    """
    register(CustomKind(cls, lambda x: ((), x), lambda x, _: x, None))
    return cls


class Opaque:
    """A functools.partial kept whole inside a Partial, so that its arguments stay part of the structure."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return bool(self.function == (other.function if isinstance(other, Opaque) else other))

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        return repr(self.function)


class Partial(functools.partial):  # type: ignore[type-arg]
    """functools.partial as a container: the arguments are its leaves, the function its metadata.

    >>> add = Partial(lambda x, y: x + y, 1)
    >>> tree_leaves(add), tree_map(lambda x: 10 * x, add)(2)
    ([1], 12)
    """

    def __new__(cls, func: Callable[..., Any], /, *args: Any, **kw: Any) -> Partial:
        kept = isinstance(func, functools.partial) and not isinstance(func, Partial)
        return super().__new__(cls, Opaque(func) if kept else func, *args, **kw)


register_pytree_node(Partial, lambda p: ((p.args, p.keywords), p.func),
                     lambda function, parts: Partial(function, *parts[0], **parts[1]))


_registry = KINDS  # libraries look up in it whether a type is a node
