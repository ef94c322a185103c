"""Programs of several ops, loops, branches and custom rules: what graphs, passes and tools are tried on."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.ir.graph import Graph
from tracejit.ir.trace import bind, inline, trace
from tracejit.ir.types import type_of
from tracejit.lax.custom import Checkpoint, CustomJvp
from tracejit.tree import leaves

RNG = np.random.default_rng(5)


@dataclass(frozen=True)
class Program:
    """A function of arrays with arguments."""
    name: str
    function: Callable
    args: tuple

    @cached_property
    def traced(self) -> tuple[Graph, list]:
        return trace(lambda *xs: leaves(self.function(*xs)), [type_of(x) for x in self.args])

    @property
    def graph(self) -> Graph:
        return self.traced[0]

    @property
    def inputs(self) -> list:
        """What the graph takes: constants that the function made, and the arguments."""
        return [*map(np.asarray, self.traced[1]), *self.args]

    def __str__(self) -> str:
        return self.name


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def rnn(w, u, h, xs):
    def step(h, x):
        h = jnp.tanh(x @ w + h @ u)
        return h, h.sum()
    return lax.scan(step, h, xs)


def rnn_loss(w, u, h, xs):
    return rnn(w, u, h, xs)[1].sum()


def layers(x, ws):
    return lax.scan(lambda h, w: (jnp.maximum(h @ w, 0), None), x, ws)[0]


def attention(q, k, v):
    scores = q @ k.T / np.sqrt(q.shape[-1])
    scores = scores - scores.max(-1, keepdims=True)
    p = jnp.exp(scores)
    return p / p.sum(-1, keepdims=True) @ v


def newton(x):
    return lax.while_loop(lambda s: (abs(s[0] * s[0] - x) > 1e-4) & (s[1] < 50),
                          lambda s: ((s[0] + x / s[0]) / 2, s[1] + 1), (x, 0))


def invariant(x, a, b):
    """A loop that computes the same thing on every trip, and carries a value that it never changes."""
    def step(carry, _):
        h, kept, unused = carry
        return (jnp.sin(h * jnp.exp(a * b) + kept), kept, unused * 2), (h, kept)
    (h, kept, unused), (hs, copies) = lax.scan(step, (x, a, b), None, length=4)
    return h, hs, kept, copies


def branches(i, x):
    return lax.switch(i, [lambda x: x * 1.0, lambda x: -(-x), lambda x: jnp.sin(x) + 0.0], x)


def custom(x):
    """A function with a derivative rule of its own, and one that is computed again in reverse mode."""
    clip = trace(lambda x: [jnp.clip(x, -1, 1)], [type_of(x)])[0]
    twice = trace(lambda y: [jnp.sin(jnp.sin(y))], [type_of(x)])[0]
    rule = lambda *given: (inline(clip, given[-2]), [given[-1][0] * 0.5])
    return bind(CustomJvp(clip, rule), x * 2)[0] + bind(Checkpoint(twice), x)[0]


def made_of_rules(x, n):
    """Something for most rewrite rules."""
    y = (x * 1 - 0.0) / 1
    y = -(-y) + x.T.T.reshape(12).reshape(3, 4)
    y = jnp.where(x > 0, y, y) * jnp.broadcast_to(jnp.float32(2) * 3, (3, 4))
    y = jnp.concatenate([y[0:3][:, 0:4]], 0)
    m = ((n | n) + 0).astype(jnp.int64).astype(jnp.float32)
    return jnp.flip(jnp.flip(y, 0), 0).reshape(3, 1, 4).sum(1) + m[:, None], jnp.maximum(x, x)


SQUARE = f32(4, 4)
PROGRAMS: tuple[Program, ...] = (
    Program("attention", attention, (f32(5, 4), f32(6, 4), f32(6, 3))),
    Program("grad-attention", tj.grad(lambda *a: attention(*a).sum(), (0, 1, 2)), (f32(5, 4), f32(6, 4), f32(6, 3))),
    Program("scan-rnn", rnn, (f32(16, 16), f32(16, 16), f32(8, 16), f32(5, 8, 16))),
    Program("scan-rnn-grad", tj.grad(rnn_loss, (0, 1, 2, 3)), (f32(16, 16), f32(16, 16), f32(8, 16), f32(5, 8, 16))),
    Program("scan-reverse", lambda c, xs: lax.scan(lambda c, x: (c * x, c + x), c, xs, reverse=True), (f32(3), f32(6, 3))),
    Program("scan-layers-grad", tj.grad(lambda x, ws: layers(x, ws).sum(), 1), (f32(2, 4), f32(3, 4, 4))),
    Program("while", newton, (np.float32(3) + abs(f32(1))[0],)),
    Program("while-vmap", tj.vmap(newton), (abs(f32(5)) + 1,)),
    Program("while-grad", tj.grad(lambda x: newton(x)[0]), (np.array(2.5, np.float32),)),
    Program("fori", lambda n, x: lax.fori_loop(0, n, lambda i, y: y * 0.5 + i, x), (np.array(7, np.int32), f32(3))),
    Program("invariant", invariant, (f32(3), f32(3), f32(3))),
    Program("invariant-grad", tj.grad(lambda *a: invariant(*a)[1].sum(), (0, 1, 2)), (f32(3), f32(3), f32(3))),
    Program("switch", branches, (np.array(2, np.int32), f32(3))),
    Program("switch-vmap", tj.vmap(branches), (np.array([0, 2, 1], np.int32), f32(3, 2))),
    Program("switch-grad", tj.grad(lambda i, x: branches(i, x).sum(), 1), (np.array(1, np.int32), f32(3))),
    Program("custom", custom, (f32(4),)),
    Program("custom-grad", tj.grad(lambda x: custom(x).sum()), (f32(4),)),
    Program("rules", made_of_rules, (f32(3, 4), np.arange(3, dtype=np.int32))),
    Program("solve", lambda a, b: jnp.linalg.solve(a @ a.T + 4 * jnp.eye(4, dtype=a.dtype), b), (SQUARE, f32(4))),
    Program("hessian", tj.hessian(lambda x: (jnp.exp(x) * x).sum()), (f32(3),)),
)
