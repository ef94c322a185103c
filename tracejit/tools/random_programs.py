"""A random number generator -> a random program and its arguments: what the fuzzer tries.

Operations are found among the subclasses of Op; nothing is listed by name but what needs parameters that fit its operands.
"""
from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np

import tracejit.numpy as jnp
from tracejit import lax
from tracejit.errors import TracejitError
from tracejit.ir.graph import Graph
from tracejit.ir.text import subclasses
from tracejit.ir.trace import bind, trace
from tracejit.ir.types import ArrayType, bfloat16, is_float, is_inexact, is_integer
from tracejit.lax.cumulative import Cumulative
from tracejit.lax.kinds import Elementwise, Op, Reduction

DTYPES = [np.dtype(d) for d in ("f4", "f4", "f4", "f8", "i4", "i4", "i8", "u1", "i2", "?", "f2", "c8")] + [bfloat16]
MOST_ELEMENTS, MANY_ELEMENTS, MOST_TRIPS, MOST_PRODUCTS = 1 << 12, 1 << 17, 40, 1 << 20
LARGE = ((40000,), (300, 130), (3, 20000), (20000, 3), (64, 700), (2000, 17), (70, 9, 65))   # what is cut into tasks
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 0)


MOST_ULP = 500      # an op less exact than this is so in a part of its domain only, of which the fuzzer knows nothing


def ops_of(kind: type) -> list[type]:
    """The ops of a kind that are no base of others, or have a meaning of their own."""
    found = [c for c in subclasses(kind) if not c.__subclasses__() or "eval" in c.__dict__]
    return [c for c in found if c.eval is not Op.eval and c.__module__.startswith("tracejit.lax.") and c.ulp <= MOST_ULP]


ELEMENTWISE, REDUCTIONS, CUMULATIVE = map(ops_of, (Elementwise, Reduction, Cumulative))


class Maker:
    """Grows a program: `values` are what its next operation may read."""

    def __init__(self, rng: np.random.Generator, values: list, most: int = MOST_ELEMENTS):
        self.rng, self.values, self.most = rng, list(values), most

    def choose(self, items):
        return items[int(self.rng.integers(len(items)))]

    def value(self, test: Callable = lambda x: True):
        """A value that passes a test, later ones more often; IndexError if there is none."""
        found = [x for x in self.values if test(x)]
        return found[-1 - int(min(self.rng.exponential(len(found) / 3), len(found) - 1))]

    def dtype(self) -> np.dtype:
        return self.choose(DTYPES)

    def axis(self, x) -> int:
        return int(self.rng.integers(x.type.ndim))

    def axes(self, x) -> tuple[int, ...]:
        return tuple(a for a in range(x.type.ndim) if self.rng.integers(2))

    def grow(self, n: int) -> None:
        for _ in range(n):
            step = self.choose(STEPS)
            try:
                out = step(self)
            except (TracejitError, IndexError, NotImplementedError):
                continue
            for x in out if isinstance(out, (list, tuple)) else [out]:
                if x.type.size <= self.most:
                    self.values.append(x)


# --- steps: each adds an operation on values that fit it -----------------------------------------------------------

def elementwise(m: Maker):
    cls = m.choose(ELEMENTWISE)
    if m.most > MOST_ELEMENTS and cls.ulp > 32:     # its reference meaning takes long
        raise IndexError
    op = cls(*[field_value(m, f) for f in dataclasses.fields(cls)])
    signature = list(inspect.signature(cls.eval).parameters.values())[1:]
    n = sum(2 if p.kind == p.VAR_POSITIONAL else 1 for p in signature)
    return bind(op, *alike(m, n, lambda xs: op.infer(*[x.type for x in xs])))


def alike(m: Maker, n: int, infer: Callable) -> list:
    """n values of which the first decides the shape; a few tries to find dtypes that the op accepts."""
    for _ in range(6):
        first = m.value()
        rest = [m.value(lambda x: x.type.shape in (first.type.shape, ()) and
                        (x.type.dtype == first.type.dtype or m.rng.integers(8) == 0)) for _ in range(n - 1)]
        xs = [first, *rest]
        if m.rng.integers(8) == 0 and n > 1 and first.type.dtype.kind not in "?":
            xs[-1] = np.asarray(m.choose((0, 1, 2, 3)), first.type.dtype)[()]
            xs[-1] = lax.full((), xs[-1], first.type.dtype)
        try:
            infer(xs)
            return xs
        except TracejitError:
            continue
    raise IndexError


def field_value(m: Maker, field: dataclasses.Field):
    if field.type == "np.dtype":
        return m.dtype()
    if field.type == "bool":
        return bool(m.rng.integers(2))
    if field.type == "int":
        return int(m.rng.integers(0, 2) if field.name.endswith("method") else m.rng.integers(2, 9))
    raise IndexError


def reduction(m: Maker):
    cls, x = m.choose(REDUCTIONS), m.value(lambda x: x.type.ndim)
    names = [f.name for f in dataclasses.fields(cls)]
    if hasattr(cls, "position"):    # of real numbers; the window axes stand together
        if x.type.dtype.kind == "c":
            raise IndexError
        first = m.axis(x)
        return bind(cls(tuple(range(first, int(m.rng.integers(first, x.type.ndim)) + 1))), x)
    if cls.widens and x.type.dtype.itemsize == 2:   # the public function folds in float32
        raise IndexError
    if names == ["axes"]:
        return bind(cls(m.axes(x)), x)
    if names == ["axes", "index_dtype"] and x.type.shape[axis := m.axis(x)]:
        return bind(cls((axis,), np.dtype("int32")), x)
    raise IndexError


def running(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    return bind(m.choose(CUMULATIVE)(m.axis(x), bool(m.rng.integers(2))), x)


def reshape(m: Maker):
    x = m.value()
    shape = list(x.type.shape)
    how = m.rng.integers(3)
    if how == 0:
        return lax.reshape(x, (x.type.size,))
    if how == 1:
        shape.insert(int(m.rng.integers(len(shape) + 1)), 1)
        return lax.reshape(x, shape)
    axis = m.axis(x) if shape else 0
    if axis + 1 < len(shape):
        return lax.reshape(x, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2:]))
    for k in (2, 3, 4):
        if shape and shape[-1] % k == 0:
            return lax.reshape(x, (*shape[:-1], shape[-1] // k, k))
    raise IndexError


def transpose(m: Maker):
    x = m.value(lambda x: x.type.ndim > 1)
    return lax.transpose(x, m.rng.permutation(x.type.ndim))


def broadcast(m: Maker):
    x = m.value(lambda x: x.type.size <= 128)
    other = m.value()
    shape, dims = list(other.type.shape), []
    at = 0
    for n in x.type.shape:
        while at < len(shape) and shape[at] != n and n != 1:
            at += 1
        if at == len(shape):
            shape.append(n)
        dims.append(at)
        at += 1
    return lax.broadcast_in_dim(x, shape, dims)


def cut(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    starts = [int(m.rng.integers(0, max(n, 1))) for n in x.type.shape]
    limits = [int(m.rng.integers(min(a + 1, n), n + 1)) for a, n in zip(starts, x.type.shape)]
    return lax.slice(x, [min(a, n) for a, n in zip(starts, limits)], limits, [int(m.rng.integers(1, 3)) for _ in starts])


def pad(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    config = [(int(m.rng.integers(-1, 3)), int(m.rng.integers(-1, 3)), int(m.rng.integers(0, 2))) for _ in x.type.shape]
    return lax.pad(x, lax.full((), 1, x.type.dtype), config)


def reverse(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    return lax.rev(x, m.axes(x))


def concatenate(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    axis = m.axis(x)
    others = [m.value(lambda y: y.type.dtype == x.type.dtype and y.type.ndim == x.type.ndim and
                      all(a == b or d == axis for d, (a, b) in enumerate(zip(x.type.shape, y.type.shape)))) for _ in range(2)]
    return lax.concatenate([x, *others], axis)


def iota(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    return lax.broadcasted_iota(m.choose([np.dtype("i4"), np.dtype("f4"), np.dtype("u1")]), x.type.shape, m.axis(x))


def sort(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    return lax.sort(x, m.axis(x))


def place(m: Maker, low: int = -2, high: int = 6):
    """An int32 that says where: computed from the values, or a literal."""
    try:
        x = m.value(lambda x: is_integer(x.type.dtype) and not x.type.ndim)
        return lax.convert_element_type(x, np.int32)
    except IndexError:
        return lax.full((), int(m.rng.integers(low, high)), np.int32)


def dynamic_slice(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    sizes = [int(m.rng.integers(min(n, 1), n + 1)) for n in x.type.shape]
    return lax.dynamic_slice(x, [place(m) for _ in sizes], sizes)


def dynamic_update(m: Maker):
    x = m.value(lambda x: x.type.ndim)
    y = m.value(lambda y: y.type.dtype == x.type.dtype and y.type.ndim == x.type.ndim and
                all(b <= a for a, b in zip(x.type.shape, y.type.shape)))
    return lax.dynamic_update_slice(x, y, [place(m) for _ in x.type.shape])


def take(m: Maker):
    x = m.value(lambda x: x.type.ndim and x.type.size)
    i = m.value(lambda i: i.type.dtype == np.int32 and i.type.ndim <= 2)
    return jnp.take(x, i, axis=m.axis(x), mode=m.choose(("clip", "fill", "wrap")))


def scatter(m: Maker):
    x = m.value(lambda x: x.type.ndim and x.type.size and x.type.dtype.kind not in "?")
    i = m.value(lambda i: i.type.dtype == np.int32 and i.type.ndim == 1)
    return getattr(x.at[i], m.choose(("add", "min", "max", "multiply")))(lax.full((), 2, x.type.dtype))


def dot(m: Maker):
    x = m.value(lambda x: x.type.ndim and x.type.dtype.kind not in "?")
    y = m.value(lambda y: y.type.ndim and y.type.dtype == x.type.dtype and set(y.type.shape) & set(x.type.shape))
    pairs = [(a, b) for a, n in enumerate(x.type.shape) for b, k in enumerate(y.type.shape) if n == k]
    a, b = m.choose(pairs)
    if x.type.size * y.type.size > MOST_PRODUCTS * max(x.type.shape[a], 1):
        raise IndexError
    batch = [(c, d) for c, d in pairs if c != a and d != b] if m.rng.integers(2) else []
    batch = [m.choose(batch)] if batch else []
    return lax.dot_general(x, y, (((a,), (b,)), ([c for c, _ in batch], [d for _, d in batch])))


def branch(m: Maker):
    operands = [m.value() for _ in range(3)]
    n = int(m.rng.integers(2, 4))
    seeds = [int(s) for s in m.rng.integers(0, 1 << 30, n)]
    out = operands[0].type

    def body(seed: int):
        def run(*xs):
            inner = Maker(np.random.default_rng(seed), list(xs), m.most)
            inner.grow(3)
            return inner.value(lambda x: x.type.shape == out.shape and x.type.dtype == out.dtype)
        return run
    return lax.switch(place(m, -1, n + 1), [body(s) for s in seeds], *operands)


def loop(m: Maker):
    """A scan whose carry and inputs are values, and whose body is a random program."""
    carry = [m.value() for _ in range(int(m.rng.integers(1, 3)))]
    try:
        xs = [m.value(lambda x: x.type.ndim and x.type.shape[0] <= MOST_TRIPS)]
        length = xs[0].type.shape[0]
    except IndexError:
        xs, length = [], int(m.rng.integers(0, 5))
    seed, captured = int(m.rng.integers(0, 1 << 30)), m.value()

    def step(c, x):
        inner = Maker(np.random.default_rng(seed), [*c, *x, captured], m.most)
        inner.grow(4)
        like = lambda t: inner.value(lambda v: v.type.shape == t.shape and v.type.dtype == t.dtype and bool(inner.rng.integers(4)))
        new = []
        for v in c:
            try:
                new.append(like(v.type))
            except IndexError:
                new.append(v)
        return new, inner.value()
    new, ys = lax.scan(step, carry, xs, length=length, reverse=bool(m.rng.integers(2)))
    return [*new, ys]


def count(m: Maker):
    """A while-loop over a few trips, how many the program computes."""
    x, n, seed = m.value(), place(m, 0, 5), int(m.rng.integers(0, 1 << 30))

    def body(state):
        i, x = state
        inner = Maker(np.random.default_rng(seed), [x, i], m.most)
        inner.grow(3)
        return i + 1, inner.value(lambda v: v.type.shape == x.type.shape and v.type.dtype == x.type.dtype)
    limit = lax.min(n, lax.full((), 5, np.int32))
    return list(lax.while_loop(lambda s: s[0] < limit, body, (lax.full((), 0, np.int32), x)))


VIEWS = [reshape, transpose, broadcast, cut, pad, reverse, concatenate, iota, dynamic_slice, dynamic_update, take]
STEPS = [elementwise] * 22 + VIEWS * 1 + [reduction] * 4 + [running, sort, scatter, dot, dot, branch, loop, loop, count]


# --- whole programs ------------------------------------------------------------------------------------------------

def random_array(t: ArrayType, rng: np.random.Generator) -> np.ndarray:
    """Numbers of which some are zero, whole or repeated."""
    if t.dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, t.shape) == 1)
    if not is_inexact(t.dtype):
        return np.asarray(rng.integers(0 if t.dtype.kind == "u" else -3, 7, t.shape)).astype(t.dtype)
    x = rng.normal(size=t.shape) * rng.choice([0.3, 1, 3])
    x = np.where(rng.random(t.shape) < 0.1, np.round(x), x)
    return np.asarray(x + 1j * rng.normal(size=t.shape) if t.dtype.kind == "c" else x).astype(t.dtype)


def random_types(rng: np.random.Generator) -> list[ArrayType]:
    pick = lambda items: items[int(rng.integers(len(items)))]
    shapes = [tuple(pick(SIZES[:-1] if rng.integers(12) else SIZES) for _ in range(int(rng.integers(0, 4)))) for _ in range(2)]
    shapes = [s if np.prod(s) <= 1024 else s[:2] for s in shapes]
    if rng.integers(12) == 0:
        shapes[0] = pick(LARGE)
    dtypes = [pick(DTYPES) for _ in range(2)]
    main = [ArrayType(shapes[0], dtypes[0]), ArrayType(shapes[0], dtypes[0]), ArrayType(shapes[1], dtypes[0])]
    return main + [ArrayType(pick(shapes), dtypes[1]), ArrayType((), dtypes[0]), ArrayType((), "int32"),
                   ArrayType((5,), "int32"), ArrayType(shapes[0], "bool")]


def random_program(rng: np.random.Generator) -> tuple[Graph, list[np.ndarray]]:
    """A graph that captures nothing, and arguments for it."""
    types = random_types(rng)

    def f(*xs):
        large = max(t.size for t in types) > MOST_ELEMENTS
        maker = Maker(rng, list(xs), MANY_ELEMENTS if large else MOST_ELEMENTS)
        maker.grow(int(rng.integers(2, 6 if large else 14)))
        made = maker.values[len(xs):] or maker.values[:1]
        return [made[-1], *[made[int(i)] for i in rng.integers(0, len(made), min(2, len(made) - 1))]]
    with np.errstate(all="ignore"):
        graph, captured = trace(f, types)
    args = [*map(np.asarray, captured), *[random_array(t, rng) for t in types]]
    return graph, args


def has_floats(graph: Graph) -> bool:
    return any(is_float(t.dtype) for t in graph.in_types)
