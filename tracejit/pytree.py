"""Nested containers -> a flat list of leaves and a PyTreeDef that rebuilds them.

    {"b": 1, "a": (2, None)}  <->  [2, 1], PyTreeDef({'a': (*, None), 'b': *})

A type is a node if it is a tuple, list, dict, None, OrderedDict, defaultdict, named tuple or registered;
everything else, subclasses of these included, is a leaf. A Kind is what is known of one node type.
"""
from __future__ import annotations

import operator
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from reprlib import Repr
from typing import Any, NamedTuple

from tracejit.errors import TreeError

IsLeaf = Callable[[Any], bool]
KeyPath = tuple[Any, ...]


@dataclass(frozen=True)
class DictKey:
    """The step into a dictionary: `['key']`."""
    key: Hashable

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclass(frozen=True)
class SequenceKey:
    """The step into a list or tuple: `[idx]`."""
    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"


@dataclass(frozen=True)
class GetAttrKey:
    """The step into an attribute: `.name`."""
    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclass(frozen=True)
class FlattenedIndexKey:
    """The step into a registered type that does not name its children."""
    key: int

    def __hash__(self) -> int:
        return hash((FlattenedIndexKey, self.key))

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


class Kind:
    """One node type: how it comes apart, what its children are called, and how it is put together."""
    interned = True  # the aux of built-in kinds is compared by value without surprises

    def __init__(self, node_type: type) -> None:
        self.type = node_type

    def flatten(self, tree: Any) -> tuple[Sequence[Any], Any]:
        return tree, None

    def unflatten(self, aux: Any, children: list[Any]) -> Any:
        raise NotImplementedError

    def keys(self, tree: Any) -> list[Any]:
        return [SequenceKey(i) for i in range(len(tree))]

    def show(self, aux: Any, children: list[str]) -> str:
        return f"CustomNode({self.type.__name__}[{aux}], [{', '.join(children)}])"

    def metadata(self, aux: Any) -> Any:
        return aux

    def refusal(self, tree: Any) -> str:
        """Why `tree`, which is of another kind, does not fit."""
        return f"Expected {self.type.__name__}, got {brief(tree)}."


class NoneKind(Kind):
    def refusal(self, tree: Any) -> str:
        return f"Expected None, got {brief(tree)}."

    def flatten(self, tree: None) -> tuple[Sequence[Any], Any]:
        return (), None

    def unflatten(self, aux: Any, children: list[Any]) -> None:
        return None

    def keys(self, tree: None) -> list[Any]:
        return []

    def show(self, aux: Any, children: list[str]) -> str:
        return "None"


class TupleKind(Kind):
    def unflatten(self, aux: Any, children: list[Any]) -> tuple[Any, ...]:
        return tuple(children)

    def show(self, aux: Any, children: list[str]) -> str:
        return f"({', '.join(children)}{',' if len(children) == 1 else ''})"


class ListKind(Kind):
    def unflatten(self, aux: Any, children: list[Any]) -> list[Any]:
        return children

    def show(self, aux: Any, children: list[str]) -> str:
        return f"[{', '.join(children)}]"


class NamedTupleKind(Kind):
    def flatten(self, tree: Any) -> tuple[Sequence[Any], Any]:
        return tuple(tuple.__iter__(tree)), None  # a class may have a length and entries of its own

    def unflatten(self, aux: Any, children: list[Any]) -> Any:
        return self.type(*children)

    def keys(self, tree: Any) -> list[Any]:
        return [GetAttrKey(name) for name in self.type._fields]  # type: ignore[attr-defined]

    def show(self, aux: Any, children: list[str]) -> str:
        return f"CustomNode(namedtuple[{self.type.__name__}], [{', '.join(children)}])"

    def refusal(self, tree: Any) -> str:
        if isinstance(kind_of(type(tree)), NamedTupleKind):
            return f"Named tuple type mismatch: expected type: {self.type}, tuple: {brief(tree)}."
        return f"Expected named tuple, got {brief(tree)}."


class Words(tuple[str, ...]):
    """Dictionary keys that are all exactly `str`: equal ones are interchangeable (unlike 1, 1.0 and True)."""
    __slots__ = ()


def sorted_keys(keys: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(keys))
    except TypeError:
        raise TreeError(f"the keys of a dictionary must be sortable ('<' not supported), got {', '.join(map(repr, keys))}",
                        fix="use keys of one type, or an OrderedDict, which keeps its order") from None


def all_values(mapping: dict[Any, Any], keys: tuple[Any, ...]) -> Sequence[Any]:
    return [mapping[k] for k in keys]


Getter = Callable[[Any], Sequence[Any]]


class DictKind(Kind):
    """A dict, its keys sorted; the order of each set of string keys is worked out once."""

    def __init__(self, node_type: type) -> None:
        super().__init__(node_type)
        self.orders: dict[tuple[str, ...], tuple[Words, Getter]] = {}

    def flatten(self, tree: dict[Any, Any]) -> tuple[Sequence[Any], Any]:
        keys = tuple(tree)
        if len(keys) < 2 or {*map(type, keys)} != ONLY_STR:
            ordered = sorted_keys(keys)
            return all_values(tree, ordered), Words(ordered) if {*map(type, keys)} <= ONLY_STR else ordered
        aux, getter = self.orders.get(keys) or self.order(keys)
        return getter(tree), aux

    def order(self, keys: tuple[str, ...]) -> tuple[Words, Getter]:
        make_room(self.orders)
        ordered = Words(sorted(keys))
        return self.orders.setdefault(keys, (ordered, operator.itemgetter(*ordered)))

    def unflatten(self, aux: Any, children: list[Any]) -> dict[Any, Any]:
        return dict(zip(aux, children))

    def keys(self, tree: dict[Any, Any]) -> list[Any]:
        return [DictKey(k) for k in sorted_keys(tuple(tree))]

    def show(self, aux: Any, children: list[str]) -> str:
        return "{" + ", ".join(f"{k!r}: {child}" for k, child in zip(aux, children)) + "}"

    def metadata(self, aux: Any) -> Any:
        return list(aux)


class ClassKind(Kind):
    """A class whose metadata is its own matter."""
    interned = False

    def refusal(self, tree: Any) -> str:
        return f"Custom node type mismatch: expected type: {self.type}, value: {brief(tree)}."


class OrderedDictKind(ClassKind):

    def flatten(self, tree: OrderedDict[Any, Any]) -> tuple[Sequence[Any], Any]:
        return tuple(tree.values()), tuple(tree)

    def unflatten(self, aux: Any, children: list[Any]) -> OrderedDict[Any, Any]:
        return OrderedDict(zip(aux, children))

    def keys(self, tree: OrderedDict[Any, Any]) -> list[Any]:
        return [DictKey(k) for k in tree]


class DefaultDictKind(ClassKind):

    def flatten(self, tree: defaultdict[Any, Any]) -> tuple[Sequence[Any], Any]:
        keys = sorted_keys(tuple(tree))
        return all_values(tree, keys), (tree.default_factory, keys)

    def unflatten(self, aux: Any, children: list[Any]) -> defaultdict[Any, Any]:
        return defaultdict(aux[0], zip(aux[1], children))

    def keys(self, tree: defaultdict[Any, Any]) -> list[Any]:
        return [DictKey(k) for k in sorted_keys(tuple(tree))]


class CustomKind(ClassKind):
    """A registered type, by the functions that were registered for it."""

    def __init__(self, node_type: type, flatten: Callable[[Any], tuple[Iterable[Any], Any]],
                 unflatten: Callable[[Any, Any], Any],
                 flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None) -> None:
        super().__init__(node_type)
        self.flatten_function, self.unflatten_function = flatten, unflatten
        self.flatten_with_keys = flatten_with_keys

    def flatten(self, tree: Any) -> tuple[Sequence[Any], Any]:
        parts = self.flatten_function(tree)
        rule = "The to_iterable function for a custom PyTree node should return a (children, aux_data) tuple"
        if not (isinstance(parts, tuple) and len(parts) == 2):
            raise TreeError(f"{rule}, got {parts!r} for a {self.type.__name__}")
        try:
            return tuple(parts[0]), parts[1]
        except TypeError:
            if isinstance(parts[0], Iterable):
                raise  # an error of the function's own generator
            raise TreeError(f"{rule} where 'children' is iterable, got {parts!r} for a {self.type.__name__}") from None

    def unflatten(self, aux: Any, children: list[Any]) -> Any:
        return self.unflatten_function(aux, tuple(children))

    def keys(self, tree: Any) -> list[Any]:
        if self.flatten_with_keys is not None:
            return [key for key, _ in self.flatten_with_keys(tree)[0]]
        return [FlattenedIndexKey(i) for i in range(len(self.flatten(tree)[0]))]


ONLY_STR = {str}
ROOM = 4096
KINDS: dict[type, Kind] = {type(None): NoneKind(type(None)), tuple: TupleKind(tuple), list: ListKind(list),
                           dict: DictKind(dict), OrderedDict: OrderedDictKind(OrderedDict),
                           defaultdict: DefaultDictKind(defaultdict)}
LEAF_TYPES: set[type] = {int, float, complex, bool, str}
COMPOSITES: set[type] = set()  # arrays that are made of an array: transforms see that one, users of trees see a leaf


def make_room(table: dict[Any, Any]) -> None:
    if len(table) >= ROOM:
        table.clear()


def kind_of(cls: type) -> Kind | None:
    """The kind of a node type, None for a leaf type; a type that was not met before is classified."""
    kind = KINDS.get(cls)
    if kind is not None or cls in LEAF_TYPES:
        return kind
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return KINDS.setdefault(cls, NamedTupleKind(cls))
    LEAF_TYPES.add(cls)
    return None


def visible_kind_of(cls: type) -> Kind | None:
    """The kind of a node type as users see it, to whom every array is a leaf."""
    return None if cls in COMPOSITES else kind_of(cls)


def register(kind: Kind) -> None:
    known = KINDS.get(kind.type)
    if known is not None and not isinstance(known, NamedTupleKind):
        raise ValueError(f"Duplicate custom PyTreeDef type registration for {kind.type}.")
    KINDS[kind.type] = kind
    LEAF_TYPES.discard(kind.type)


class PyTreeDef:
    """The structure of a pytree: hashable, comparable, and printed with `*` for each leaf.

    >>> tree_flatten([1, {"a": 2}])[1]
    PyTreeDef([*, {'a': *}])
    """
    __slots__ = ("kind", "aux", "nodes", "num_leaves", "num_nodes", "interned", "hash", "__weakref__")

    def __init__(self, kind: Kind | None, aux: Any, nodes: tuple[PyTreeDef, ...], interned: bool = False) -> None:
        self.kind, self.aux, self.nodes, self.interned = kind, aux, nodes, interned
        self.num_leaves: int = sum([node.num_leaves for node in nodes]) if kind else 1
        self.num_nodes: int = 1 + sum([node.num_nodes for node in nodes])
        self.hash: int | None = None

    def __hash__(self) -> int:
        if self.hash is None:
            try:
                own = hash(self.aux)
            except TypeError:  # a list, say: equality tells such nodes apart
                own = 0
            self.hash = hash((self.kind, own, self.nodes))
        return self.hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, PyTreeDef):
            return NotImplemented
        return (self.kind is other.kind and self.num_nodes == other.num_nodes
                and self.has_metadata(other.aux) and self.nodes == other.nodes)

    def has_metadata(self, aux: Any) -> bool:
        try:
            return bool(self.aux == aux)
        except Exception as error:
            raise ValueError("Exception raised while checking equality of metadata fields of pytree. Make sure that "
                             "metadata fields are hashable and have simple equality semantics. "
                             "(Note: arrays cannot be passed as metadata fields!)") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return (treedef_of, (self.kind and self.kind.type, self.aux, self.nodes))

    def shown(self) -> str:
        """The structure with `*` for each leaf."""
        return "*" if self.kind is None else self.kind.show(self.aux, [node.shown() for node in self.nodes])

    def __repr__(self) -> str:
        return f"PyTreeDef({self.shown()})"

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        return unflatten(self, leaves)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The subtrees of `tree` at this structure's leaves; TreeError where the structures differ."""
        return flatten_up_to(self, tree)

    def walk(self, f_node: Callable[[tuple[Any, ...], Any], Any], f_leaf: Callable[[Any], Any] | None,
             leaves: Iterable[Any], /) -> Any:
        """f_leaf of each leaf, then f_node(results of the children, metadata) of each node, from the leaves up.

        >>> tree_flatten([1, (2, 3)])[1].walk(lambda children, metadata: sum(children), lambda x: 10 * x, [1, 2, 3])
        60
        """
        remaining = iter(leaves)

        def result(node: PyTreeDef) -> Any:
            if node.kind is None:
                return next(remaining) if f_leaf is None else f_leaf(next(remaining))
            return f_node(tuple([result(child) for child in node.nodes]), node.kind.metadata(node.aux))

        return result(self)

    def children(self) -> list[PyTreeDef]:
        return list(self.nodes)

    def node_data(self) -> tuple[type, Any] | None:
        return None if self.kind is None else (self.kind.type, self.kind.metadata(self.aux))

    def compose(self, inner: PyTreeDef) -> PyTreeDef:
        """This structure with `inner` in place of each leaf."""
        if self.kind is None:
            return inner
        return node_of(self.kind, self.aux, tuple([node.compose(inner) for node in self.nodes]))

    @staticmethod
    def make_from_node_data_and_children(node_data: tuple[type, Any] | None,
                                         children: Iterable[PyTreeDef]) -> PyTreeDef:
        """The inverse of node_data() and children()."""
        return treedef_of(*(node_data or (None, None)), tuple(children))


LEAF = PyTreeDef(None, None, (), interned=True)
INTERNED: dict[Any, PyTreeDef] = {}


def node_of(kind: Kind, aux: Any, nodes: tuple[PyTreeDef, ...]) -> PyTreeDef:
    """The PyTreeDef of a node: the same object for the same built-in containers with string keys."""
    if not (kind.interned and (aux is None or type(aux) is Words)
            and all([node.interned for node in nodes])):
        return PyTreeDef(kind, aux, nodes)
    key = (kind, aux, *map(id, nodes))  # interned nodes live as long as the entries that hold them
    return INTERNED.get(key) or intern(key, kind, aux, nodes)


def intern(key: Any, kind: Kind, aux: Any, nodes: tuple[PyTreeDef, ...]) -> PyTreeDef:
    if len(INTERNED) >= ROOM:
        INTERNED.clear()
        FLAT.clear()
    return INTERNED.setdefault(key, PyTreeDef(kind, aux, nodes, interned=True))


FLAT: dict[Any, PyTreeDef] = {}


def flat_node_of(kind: Kind, aux: Any, count: int) -> PyTreeDef:
    """node_of(kind, aux, count leaves), found without making them."""
    if not (kind.interned and (aux is None or type(aux) is Words)):
        return PyTreeDef(kind, aux, (LEAF,) * count)
    key = (kind, aux, count)
    found = FLAT.get(key)
    if found is None:
        made = node_of(kind, aux, (LEAF,) * count)
        make_room(FLAT)
        found = FLAT.setdefault(key, made)
    return found


def treedef_of(node_type: type | None, aux: Any, nodes: tuple[PyTreeDef, ...]) -> PyTreeDef:
    if node_type is None:
        return LEAF
    kind = kind_of(node_type)
    if kind is None:
        raise TreeError(f"{node_type.__qualname__} is not a pytree node type")
    if isinstance(kind, DictKind):
        aux = Words(aux) if {*map(type, aux)} <= ONLY_STR else tuple(aux)
    return node_of(kind, aux, nodes)


KindOf = Callable[[type], Kind | None]


def flatten_node(tree: Any, kind: Kind, leaves: list[Any], kind_of: KindOf) -> PyTreeDef:
    children, aux = kind.flatten(tree)
    if LEAF_TYPES.issuperset(map(type, children)):
        leaves.extend(children)
        return flat_node_of(kind, aux, len(children))
    nodes = []
    for child in children:
        child_kind = kind_of(type(child))
        if child_kind is None:
            leaves.append(child)
            nodes.append(LEAF)
        else:
            nodes.append(flatten_node(child, child_kind, leaves, kind_of))
    return node_of(kind, aux, tuple(nodes))


def flatten_until(tree: Any, is_leaf: IsLeaf, leaves: list[Any], kind_of: KindOf) -> PyTreeDef:
    kind = None if is_leaf(tree) else kind_of(type(tree))
    if kind is None:
        leaves.append(tree)
        return LEAF
    children, aux = kind.flatten(tree)
    return node_of(kind, aux, tuple([flatten_until(child, is_leaf, leaves, kind_of) for child in children]))


def tree_flatten(tree: Any, is_leaf: IsLeaf | None = None, kind_of: KindOf = kind_of) -> tuple[list[Any], PyTreeDef]:
    """The leaves from left to right, and the structure; `is_leaf` stops the descent early."""
    leaves: list[Any] = []
    if is_leaf is not None:
        return leaves, flatten_until(tree, is_leaf, leaves, kind_of)
    kind = kind_of(type(tree))
    if kind is None:
        return [tree], LEAF
    return leaves, flatten_node(tree, kind, leaves, kind_of)


def build(treedef: PyTreeDef, leaves: Iterator[Any]) -> Any:
    kind, nodes = treedef.kind, treedef.nodes
    if kind is None:
        return next(leaves)
    if treedef.num_nodes == treedef.num_leaves + 1:  # every child is a leaf
        return kind.unflatten(treedef.aux, list(islice(leaves, len(nodes))))
    return kind.unflatten(treedef.aux, [next(leaves) if node is LEAF else build(node, leaves) for node in nodes])


def unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    if not isinstance(leaves, (list, tuple)):
        leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        raise TreeError(f"Too {'few' if len(leaves) < treedef.num_leaves else 'many'} leaves for PyTreeDef; expected "
                        f"{treedef.num_leaves}, got {len(leaves)} for {treedef!r}")
    return build(treedef, iter(leaves))


def collect_up_to(treedef: PyTreeDef, tree: Any, subtrees: list[Any]) -> bool:
    """Append the subtrees of `tree` at the leaves of `treedef`; False where it does not fit."""
    kind = treedef.kind
    if kind is None:
        subtrees.append(tree)
        return True
    if kind_of(type(tree)) is not kind:
        return False
    children, aux = kind.flatten(tree)
    if len(children) != len(treedef.nodes) or not (aux is treedef.aux or aux == treedef.aux):
        return False
    return all([collect_up_to(node, child, subtrees) for node, child in zip(treedef.nodes, children)])


def flatten_up_to(treedef: PyTreeDef, tree: Any) -> list[Any]:
    subtrees: list[Any] = []
    if not collect_up_to(treedef, tree, subtrees):
        path, problem = next(differences(treedef, tree, ()))
        raise problem.error("tree", path)
    return subtrees


class Difference(NamedTuple):
    """In what a tree does not begin as it should, and the particulars."""
    aspect: str
    particulars: str

    def error(self, name: str, path: KeyPath) -> TreeError:
        return TreeError(f"pytree structure error: different {self.aspect} at key path\n    {name}{keystr(path)}\n"
                         f"{self.particulars}")


def differences(treedef: PyTreeDef, tree: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Difference]]:
    """The paths at which `tree` does not begin like `treedef`, with what was expected and found there."""
    problem = difference_here(treedef, tree)
    if problem:
        yield path, problem
    elif treedef.kind is not None:
        children = treedef.kind.flatten(tree)[0]
        for node, key, child in zip(treedef.nodes, treedef.kind.keys(tree), children):
            yield from differences(node, child, (*path, key))


def difference_here(treedef: PyTreeDef, tree: Any) -> Difference | None:
    kind = treedef.kind
    if kind is None:
        return None
    if kind_of(type(tree)) is not kind:
        return Difference("types", kind.refusal(tree))
    (children, aux), n = kind.flatten(tree), len(treedef.nodes)
    counts = f"{len(children)} != {n}"
    if isinstance(kind, DictKind) and aux != treedef.aux:
        return Difference("pytree metadata" if len(aux) == n else "numbers of pytree children",
                          f"Dict key mismatch; expected keys: {list(treedef.aux)}; present keys: {list(aux)}.")
    if len(children) != n and isinstance(kind, (ListKind, TupleKind)):
        name = kind.type.__name__
        return Difference(f"lengths of {name}", f"{name.title()} arity mismatch: {counts}; {name}: {brief(tree)}.")
    if len(children) != n:
        return Difference("numbers of pytree children", f"Custom type arity mismatch: {counts}; value: {brief(tree)}.")
    return None if aux == treedef.aux else Difference(
        "pytree metadata", f"Mismatch custom node data: {treedef.aux!r} != {aux!r}; value: {brief(tree)}.")


BRIEF = Repr()
BRIEF.maxother = BRIEF.maxstring = 100
brief = BRIEF.repr


def tree_flatten_with_path(tree: Any, is_leaf: Callable[..., bool] | None = None,
                           is_leaf_takes_path: bool = False,
                           kind_of: KindOf = kind_of) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """Like tree_flatten, with (path, leaf) for each leaf."""
    found: list[tuple[KeyPath, Any]] = []

    def stops(path: KeyPath, node: Any) -> bool:
        return is_leaf is not None and (is_leaf(path, node) if is_leaf_takes_path else is_leaf(node))

    def walk(node: Any, path: KeyPath) -> PyTreeDef:
        kind = None if stops(path, node) else kind_of(type(node))
        if kind is None:
            found.append((path, node))
            return LEAF
        children, aux = kind.flatten(node)
        steps = zip(kind.keys(node), children, strict=True)
        return node_of(kind, aux, tuple([walk(child, (*path, key)) for key, child in steps]))

    return found, walk(tree, ())


def simple_key(key: Any) -> str:
    for name in ("key", "idx", "name"):
        if hasattr(key, name):
            return str(getattr(key, name))
    return str(key)


def keystr(keys: KeyPath, *, simple: bool = False, separator: str = "") -> str:
    """A key path as text, as Python would write it or (simple) as bare words.

    >>> keystr((DictKey("w"), SequenceKey(0))), keystr((DictKey("w"), SequenceKey(0)), simple=True, separator="/")
    ("['w'][0]", 'w/0')
    """
    return separator.join(simple_key(key) if simple else str(key) for key in keys)
