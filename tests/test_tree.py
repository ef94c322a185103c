"""Pytrees: what is a node, the order of leaves, structures, paths, prefixes, registration; against jax.tree_util."""
from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import pickle
import random
import time

import numpy as np
import pytest

from tracejit import tree, tree_util
from tracejit.errors import TreeError
from tracejit.pytree import FLAT, INTERNED, LEAF
from tracejit.tree_util import (
    DictKey, FlattenedIndexKey, GetAttrKey, Partial, PyTreeDef, SequenceKey, equality_errors, keystr, prefix_errors,
    register_dataclass, register_pytree_node, register_pytree_node_class, register_pytree_with_keys_class,
    register_static, tree_flatten, tree_leaves, tree_map, tree_structure, tree_unflatten)

NT = collections.namedtuple("NT", "x y")


@register_pytree_node_class
class Pair:
    def __init__(self, a, b, tag="t"):
        self.a, self.b, self.tag = a, b, tag

    def tree_flatten(self):
        return (self.a, self.b), self.tag

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children, tag=aux)

    def __eq__(self, other):
        return isinstance(other, Pair) and vars(self) == vars(other)


@register_pytree_with_keys_class
class Named(Pair):
    def tree_flatten_with_keys(self):
        return ((GetAttrKey("a"), self.a), (GetAttrKey("b"), self.b)), self.tag


@register_dataclass
@dataclasses.dataclass
class Layer:
    w: object
    b: object
    act: str = tree.static(default="relu")


class Colour(str, enum.Enum):
    RED, BLUE = "red", "blue"


# tree, leaves, what PyTreeDef prints, paths
CASES = [
    (1, [1], "*", [""]),
    (None, [], "None", []),
    ((), [], "()", []),
    ((1,), [1], "(*,)", ["[0]"]),
    ([], [], "[]", []),
    ({}, [], "{}", []),
    ([1, [2, (3,)]], [1, 2, 3], "[*, [*, (*,)]]", ["[0]", "[1][0]", "[1][1][0]"]),
    ({"b": 1, "a": (2, None)}, [2, 1], "{'a': (*, None), 'b': *}", ["['a'][0]", "['b']"]),
    ({2: "x", 1: "y"}, ["y", "x"], "{1: *, 2: *}", ["[1]", "[2]"]),
    (NT(1, [2]), [1, 2], "CustomNode(namedtuple[NT], [*, [*]])", [".x", ".y[0]"]),
    (collections.OrderedDict(b=1, a=2), [1, 2], "CustomNode(OrderedDict[('b', 'a')], [*, *])", ["['b']", "['a']"]),
    (collections.defaultdict(list, b=1, a=2), [2, 1],
     "CustomNode(defaultdict[(<class 'list'>, ('a', 'b'))], [*, *])", ["['a']", "['b']"]),
    (Pair(1, {"k": 2}), [1, 2], "CustomNode(Pair[t], [*, {'k': *}])", ["[<flat index 0>]", "[<flat index 1>]['k']"]),
    (Named(1, 2), [1, 2], "CustomNode(Named[t], [*, *])", [".a", ".b"]),
    (Layer(1, 2), [1, 2], "CustomNode(Layer[('relu',)], [*, *])", [".w", ".b"]),
    (Partial(max, 1, key=2), [1, 2], "CustomNode(Partial[<built-in function max>], [(*,), {'key': *}])",
     ["[<flat index 0>][0]", "[<flat index 1>]['key']"]),
]
EACH_CASE = pytest.mark.parametrize("value, leaves, text, paths", CASES, ids=[c[2][:30] for c in CASES])


@EACH_CASE
def test_flatten_and_back(value, leaves, text, paths):
    found, treedef = tree_flatten(value)
    assert found == leaves and str(treedef) == repr(treedef) == f"PyTreeDef({text})"
    assert treedef.num_leaves == len(leaves)
    back = tree_unflatten(treedef, iter(leaves))
    assert type(back) is type(value) and tree_flatten(back) == (leaves, treedef)
    assert tree_structure(value) == treedef and hash(tree_structure(value)) == hash(treedef)


@EACH_CASE
def test_paths(value, leaves, text, paths):
    pairs, treedef = tree_util.tree_flatten_with_path(value)
    assert [keystr(path) for path, _ in pairs] == paths and [leaf for _, leaf in pairs] == leaves
    assert treedef == tree_structure(value)
    labelled = tree_util.tree_map_with_path(lambda path, x: (keystr(path), x), value)
    flat = tree_leaves(labelled, is_leaf=lambda x: isinstance(x, tuple) and len(x) == 2 and isinstance(x[0], str))
    assert flat == list(zip(paths, leaves))


@EACH_CASE
def test_treedef_survives_pickling_and_rebuilding(value, leaves, text, paths):
    treedef = tree_structure(value)
    copy = pickle.loads(pickle.dumps(treedef))
    assert copy == treedef and hash(copy) == hash(treedef)
    assert PyTreeDef.make_from_node_data_and_children(treedef.node_data(), treedef.children()) == treedef


@EACH_CASE
def test_is_leaf_at_the_root(value, leaves, text, paths):
    assert tree_flatten(value, is_leaf=lambda x: True) == ([value], LEAF)
    assert tree_flatten(value, is_leaf=lambda x: False) == (leaves, tree_structure(value))


def test_map_over_several_trees():
    assert tree_map(lambda x, y: (x, y), {"a": 1, "b": [2]}, {"b": [(3, 4)], "a": None}) == {
        "a": (1, None), "b": [(2, (3, 4))]}
    assert tree_map(lambda *xs: xs, [None, 1], [None, 2]) == [None, (1, 2)]
    assert tree_map(lambda x: x is None, [None, 1], is_leaf=lambda x: x is None) == [True, False]
    assert tree.map(str, (1, 2)) == ("1", "2")


@pytest.mark.parametrize("one, two, message", [
    ([1, 2], [1], r"different lengths of list at key path\s+tree\nList arity mismatch: 1 != 2; list: \[1\]\."),
    ((1,), (1, 2), r"different lengths of tuple at key path\s+tree\nTuple arity mismatch: 2 != 1; tuple: \(1, 2\)\."),
    ([1, 2], (1, 2), r"different types at key path\s+tree\nExpected list, got \(1, 2\)\."),
    ({"a": [1, {"k": 2}]}, {"a": [1, {"j": 2}]},
     r"metadata at key path\s+tree\['a'\]\[1\]\nDict key mismatch; expected keys: \['k'\]; present keys: \['j'\]\."),
    ({"a": 1}, {"a": 1, "b": 2}, r"numbers of pytree children .*\s+tree\n.* present keys: \['a', 'b'\]\."),
    ((1, None), (1, 3), r"tree\[1\]\nExpected None, got 3\."),
    (Layer(1, 2), Layer(1, 2, "tanh"), r"pytree metadata .*\s+tree\nMismatch custom node data: \('relu',\) != \('tanh',\); v"),
    (Layer([1], 2), Layer(1, 2), r"tree\.w\nExpected list, got 1\."),
    (Layer(1, 2), [1, 2], r"Custom node type mismatch: expected type: <class '.*Layer'>, value: \[1, 2\]\."),
    (NT(1, 2), (1, 2), r"Expected named tuple, got \(1, 2\)\."),
])
def test_map_names_the_path_of_a_mismatch(one, two, message):
    with pytest.raises(TreeError, match=message):
        tree_map(lambda x, y: x, one, two)
    paths = [path for path, *_ in equality_errors(one, two)]
    assert len(paths) == 1 and keystr(paths[0]) in message.replace("\\", "")


def test_walk_goes_from_the_leaves_up():
    structure = tree_structure([1, {"b": (2, 3), "a": None}])
    seen = []
    assert structure.walk(lambda children, data: seen.append((children, data)) or sum(children), lambda x: 10 * x, [1, 2, 3]) == 60
    assert seen == [((), None), ((20, 30), None), ((0, 50), ["a", "b"]), ((10, 50), None)]
    assert structure.walk(lambda children, _: children, None, "xyz") == ("x", ((), ("y", "z")))


def test_wrong_number_of_leaves():
    for leaves in ([1], [1, 2, 3]):
        with pytest.raises(ValueError, match=r"Too (few|many) leaves for PyTreeDef; expected 2, got"):
            tree_unflatten(tree_structure([0, 0]), leaves)


def test_keys_that_cannot_be_sorted():
    with pytest.raises(ValueError, match="must be sortable .*, got 1, 'a'"):
        tree_flatten({1: 0, "a": 0})


def test_subclasses_of_containers_are_leaves():
    class MyList(list): pass
    class MyDict(dict): pass
    values = [MyList([1]), MyDict(a=1), {1, 2}, "text"]
    assert tree_leaves(values) == values
    class MyNT(NT): pass
    assert tree_leaves(MyNT(1, 2)) == [1, 2] and type(tree_map(str, MyNT(1, 2))) is MyNT


def test_equal_keys_of_different_type_are_kept_apart():
    for first, second in [({"red": 1, "blue": 2}, {Colour.RED: 1, Colour.BLUE: 2}), ({1: 0, 0: 0}, {True: 0, False: 0})]:
        for value in (first, second, first):
            assert [type(k) for k in tree_map(str, value)] == [type(k) for k in sorted(value)]
            assert [type(k) for k in tree_map(str, [value, 1])[0]] == [type(k) for k in sorted(value)]
    for act in (1, True, 1.0):
        assert type(tree_map(str, [Layer(0, 0, act)])[0].act) is type(act)


def test_a_type_met_as_leaf_can_be_registered_later():
    class Late:
        def __init__(self, x): self.x = x
    assert len(tree_leaves([Late(1)])) == 1
    register_pytree_node(Late, lambda late: ((late.x,), None), lambda _, xs: Late(*xs))
    assert tree_leaves([Late([1, 2]), Late(3)]) == [1, 2, 3]


def test_registration_errors():
    for cls in (list, Pair, type(None)):
        with pytest.raises(ValueError, match="Duplicate custom PyTreeDef type registration for <class"):
            register_pytree_node(cls, lambda x: (x, None), lambda aux, xs: xs)
    class Bad: pass
    class Worse: pass
    register_pytree_node(Bad, lambda x: [x], lambda aux, xs: xs)
    register_pytree_node(Worse, lambda x: (7, None), lambda aux, xs: xs)
    with pytest.raises(TreeError, match=r"should return a \(children, aux_data\) tuple, got \["):
        tree_leaves(Bad())
    with pytest.raises(TreeError, match=r"where 'children' is iterable, got \(7, None\)"):
        tree_leaves(Worse())


def test_metadata_that_cannot_be_compared():
    @dataclasses.dataclass
    class Bad:
        x: object
        table: object
    register_dataclass(Bad, ["x"], ["table"])
    with pytest.raises(ValueError, match="Exception raised while checking equality of metadata fields of pytree"):
        tree_structure(Bad(1, np.arange(3))) == tree_structure(Bad(1, np.arange(3)))


def test_register_dataclass_forms():
    @functools.partial(register_dataclass, data_fields=["x"], meta_fields=["n"])
    @dataclasses.dataclass(frozen=True)
    class A:
        x: object
        n: int
    @register_dataclass(data_fields=["x"], meta_fields=[], drop_fields=["cache"])
    @dataclasses.dataclass
    class B:
        x: object
        cache: object = None
    assert tree_map(str, A(1, 2)) == A("1", 2) and tree_map(str, B(1, 9)) == B("1")
    @dataclasses.dataclass
    class C:
        x: object
        y: object
    with pytest.raises(ValueError, match=r"Missing fields: \{'y'\}"):
        register_dataclass(C, ["x"], [])
    with pytest.raises(ValueError, match=r"Unexpected fields: \{'z'\}"):
        register_dataclass(C, ["x", "y", "z"], [])
    with pytest.raises(TypeError, match="both"):
        register_dataclass(C, ["x", "y"])
    with pytest.raises(TypeError, match="required when nodetype is not a dataclass"):
        register_dataclass(int)


def test_static_instances_belong_to_the_structure():
    @register_static
    class Mode(str): pass
    assert tree_structure(Mode("a")) != tree_structure(Mode("b")) and tree_leaves(Mode("a")) == []
    assert tree_map(str, [Mode("a"), 1]) == ["a", "1"]


def test_partial():
    inner = functools.partial(lambda *xs: xs, "static")
    whole = Partial(inner, 1)
    assert tree_leaves(whole) == [1] and whole(2) == ("static", 1, 2)
    assert tree_structure(whole) == tree_structure(Partial(inner, 5))
    assert whole.func == inner and inner == whole.func and hash(whole.func) == hash(inner)
    assert tree_leaves(Partial(Partial(max, 1), 2)) == [1, 2]
    assert isinstance(tree_map(str, whole), Partial) and tree_map(str, whole)(2) == ("static", "1", 2)


def test_prefixes():
    full = ((1, 2), [{"a": 1}, 4])
    assert tree_util.broadcast_prefix((1, [2, 3]), full) == [1, 1, 2, 3]
    assert tree_util.tree_broadcast((1, [2, 3]), full) == ((1, 1), [{"a": 2}, 3])
    assert tree_util.broadcast_prefix(0, full) == [0] * 4 and tree_util.broadcast_prefix(0, None) == []
    with pytest.raises(TreeError, match=r"different lengths of list at key path\s+tree\[1\]"):
        tree_util.broadcast_prefix((1, [2]), full)
    (error,) = prefix_errors((1, [2]), full)
    assert str(error("in_axes")).startswith("pytree structure error: different lengths of list at key path\n    in_axes[1]\n")


@tree_util.register_pytree_node_class
class Flat(dict):
    """A node whose children are the leaves of all that it holds."""

    def tree_flatten(self):
        return tree_util.tree_flatten(dict(self))

    @classmethod
    def tree_unflatten(cls, treedef, leaves):
        return cls(treedef.unflatten(leaves))


def test_transpose_and_compose():
    outer, inner = tree_structure([0, 0]), tree_structure((0, {"k": 0}))
    rows = [(1, {"k": 2}), (3, {"k": 4})]
    for known in (inner, None):
        assert tree_util.tree_transpose(outer, known, rows) == ([1, 3], {"k": [2, 4]})
    with pytest.raises(TypeError):
        tree_util.tree_transpose(outer, tree_structure((0, 0, 0)), rows)
    assert tree_util.tree_transpose(tree_structure(Flat({"a": 1, "b": 2})), tree_structure([1, 2]), Flat({"a": [3, 4], "b": [5, 6]})) == [
        Flat({"a": 3, "b": 5}), Flat({"a": 4, "b": 6})]
    assert outer.compose(inner) == tree_structure(rows) and LEAF.compose(outer) == outer


def test_reductions():
    assert tree_util.tree_reduce(lambda a, b: a + b, [1, {"a": 2}]) == 3
    assert tree_util.tree_reduce(lambda a, b: a + b, [], 5) == 5
    with pytest.raises(TypeError):
        tree_util.tree_reduce(lambda a, b: a + b, [])
    with pytest.raises(TypeError, match="identity"):
        tree_util.tree_reduce_associative(lambda a, b: a + b, [])
    assert tree_util.tree_reduce_associative(lambda a, b: a + b, [], identity=7) == 7
    assert tree_util.tree_all({}) and not tree.all([1, [0]])


def test_treedef_functions():
    treedef = tree_structure([1, (2,)])
    assert tree_util.treedef_children(treedef) == [LEAF, tree_structure((0,))]
    assert treedef.num_nodes == 4 and treedef != tree_structure([1, [2]]) and treedef != "text"
    assert tree_util.treedef_is_leaf(tree_structure(None)) and not tree_util.treedef_is_strict_leaf(tree_structure(None))
    assert tree_util.treedef_tuple([LEAF, treedef]) == tree_structure((0, [1, (2,)]))
    assert tree_util.all_leaves([1, None]) is False and tree_util.all_leaves([1, [2]]) is False
    assert tree_util.flatten_one_level_with_keys(NT(1, [2])) == ([(GetAttrKey("x"), 1), (GetAttrKey("y"), [2])], None)
    with pytest.raises(ValueError):
        tree_util.flatten_one_level(3)


def test_keys_print_like_python():
    keys = (DictKey("w"), SequenceKey(0), GetAttrKey("x"), FlattenedIndexKey(2))
    assert keystr(keys) == "['w'][0].x[<flat index 2>]" and keystr(keys, simple=True, separator="/") == "w/0/x/2"
    assert repr(keys[0]) == "DictKey(key='w')" and len({*keys, DictKey("w")}) == 4


def test_structures_are_found_again_and_tables_stay_bounded():
    nested = {"a": [1, (2, None)], "b": {"c": 3}}
    assert tree_structure(nested) is tree_structure(tree_map(str, nested))
    for i in range(10_000):
        tree_flatten({f"{i}": 1, "x": [1, (2,)]})
    assert max(len(INTERNED), len(FLAT)) <= 5000
    assert tree_structure(nested) == tree_structure(nested)


def random_tree(rng: random.Random, depth: int):
    def child():
        return random_tree(rng, depth - 1)
    n = rng.randrange(4)
    return [lambda: rng.random(), lambda: rng.random(), lambda: None, lambda: [child() for _ in range(n)],
            lambda: tuple(child() for _ in range(n)), lambda: {rng.choice("abcde"): child() for _ in range(n)},
            lambda: collections.OrderedDict((rng.choice("xyz"), child()) for _ in range(n)),
            lambda: NT(child(), child())][rng.randrange(8 if depth else 3)]()


def test_random_trees_agree_with_jax():
    theirs = pytest.importorskip("jax").tree_util
    rng = random.Random(0)
    for _ in range(300):
        value = random_tree(rng, 4)
        pairs, treedef = tree_util.tree_flatten_with_path(value)
        their_pairs, their_treedef = theirs.tree_flatten_with_path(value)
        assert tree_leaves(value) == theirs.tree_leaves(value) and str(treedef) == str(their_treedef)
        assert [keystr(p) for p, _ in pairs] == [theirs.keystr(p) for p, _ in their_pairs]
        assert (treedef.num_nodes, treedef.num_leaves) == (their_treedef.num_nodes, their_treedef.num_leaves)
        assert tree_map(lambda x: -x, value) == theirs.tree_map(lambda x: -x, value)
        assert tree_unflatten(treedef, tree_leaves(value)) == value


def test_flattening_fifty_leaves_is_quick():
    value = {f"p{i:02}": float(i) for i in range(50)}
    tree_flatten(value)
    def timed():
        start = time.perf_counter()
        for _ in range(200):
            tree_flatten(value)
        return (time.perf_counter() - start) / 200
    assert any(timed() < 20e-6 for _ in range(200))  # 3 us measured; the tries and the margin are for busy machines
