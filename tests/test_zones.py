"""Views made of pieces: no read leaves its array, and code specialised for a box of the space gives what NumPy gives."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.codegen.zones import zones_of
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import type_of
from tracejit.transforms.passes.pipeline import PASSES

CASES = [((5, 7), np.float32), ((1, 300), np.int32), ((300, 1), np.float32), ((2, 64), np.uint8), ((33, 129), np.float32),
         ((64, 64), np.float64), ((20, 50), np.complex64)]


def neighbours(np, x):
    """The eight neighbours on a torus, with weights that tell them apart."""
    total = x
    for k, (i, j) in enumerate((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b):
        total = total + np.roll(np.roll(x, i, 0), j, 1) * (k + 2)
    return total


def padded(np, x):
    p = np.pad(x, 2)
    return p[:-4, 2:-2] * 2 + p[4:, 2:-2] * 3 + p[2:-2, :-4] * 5 + p[2:-2, 4:] * 7 + x


def edges(np, x):
    p = np.pad(x, 1, mode="edge")
    return p[2:, :-2] - p[:-2, 2:] * 3


def joined(np, x):
    return np.concatenate([x, x[::-1] * 2, x + 1], 0) * np.concatenate([x[:1] + 3, x[1:], x * 2, x], 0)


def joined_columns(np, x):
    return np.concatenate([x * 2, x[:, ::-1], x + 1], 1) - 4


def outer_roll_sums(np, x):
    return np.sum(np.roll(x, 3, 0)[:, None, :] * x[None, :, :], axis=0) + np.roll(x, 1, 1)


def updated(np, x):
    inner = x[1:-1, 1:-1] * 2 + x[:-2, 1:-1] - x[1:-1, 2:]
    if np is jnp:
        return x.at[1:-1, 1:-1].set(inner)
    out = x.copy()
    out[1:-1, 1:-1] = inner
    return out


PROGRAMS = [neighbours, padded, edges, joined, joined_columns, outer_roll_sums, updated]


def code_of(function, *args):
    graph = trace_closed(lambda *xs: [function(jnp, *xs)], [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return generate(graph, host_isa())


@pytest.mark.parametrize("shape,dtype", CASES, ids=str)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_same_as_numpy(program, shape, dtype):
    x = (np.arange(np.prod(shape)).reshape(shape) % 11).astype(dtype)
    want = program(np, x)
    got = np.asarray(tj.jit(lambda x: program(jnp, x))(x))
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want.astype(got.dtype))


@pytest.mark.parametrize("shape", [(5, 7), (512, 512)])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_every_read_is_guarded_or_in_range(program, shape):
    checked = 0
    for plan in code_of(program, np.zeros(shape, np.float32)).schedules:
        zones = zones_of(plan.kernel, plan.vector, plan.lanes)
        for e in plan.kernel.loads:
            var, offset, guards = e.data
            lo, hi = offset.range
            assert guards or (0 <= lo and hi < var.type.size), (offset, guards)
            checked += 1
        for zone in zones:      # and inside a zone what remains unguarded is in range there
            ends = {axis: (lo, hi - 1) for axis, (lo, hi) in zone.box.items()}
            for e in zone.kernel.loads:
                var, offset, guards = e.data
                lo = offset.const + sum(min(c * v for v in ends.get(a, a.range)) for a, c in offset.terms)
                hi = offset.const + sum(max(c * v for v in ends.get(a, a.range)) for a, c in offset.terms)
                assert guards or (0 <= lo and hi < var.type.size)
    assert checked


def test_almost_all_of_a_stencil_is_in_one_zone_without_questions():
    [plan] = code_of(neighbours, np.zeros((512, 512), np.float32)).schedules
    [zone] = zones_of(plan.kernel, plan.vector, plan.lanes)
    assert not any(e.data[2] for e in zone.kernel.loads)
    assert all(hi - lo >= 480 for lo, hi in zone.box.values())


def test_zones_in_loops_and_derivatives():
    x = np.linspace(-1, 1, 40 * 70, dtype=np.float32).reshape(40, 70)

    def run(x):
        return lax.fori_loop(0, 5, lambda i, u: u + 0.1 * (jnp.roll(u, 1, 0) + jnp.roll(u, -1, 1) - 2 * u), x)

    def reference(x):
        for _ in range(5):
            x = x + np.float32(0.1) * (np.roll(x, 1, 0) + np.roll(x, -1, 1) - 2 * x)
        return x
    np.testing.assert_allclose(tj.jit(run)(x), reference(x), rtol=1e-5, atol=1e-6)
    # the step is linear and keeps sums: the gradient of the sum of all is one everywhere
    np.testing.assert_allclose(tj.jit(tj.grad(lambda x: jnp.sum(run(x))))(x), np.ones_like(x), rtol=1e-5)


def rotated(np, x):
    """Coordinates side by side in memory, each computed from the others."""
    return np.stack([x[..., k] * 2 - x[..., (k + 1) % x.shape[-1]] for k in range(x.shape[-1])], -1)


def folded(np, x):
    return np.sum(x[:40, None] * x[None, :40], axis=-1) + np.max(x[:40], axis=-1)


def part_written(np, x):
    return np.concatenate([x[..., :1] + x[..., 1:2], x], -1)[..., :3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int8], ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape", [(64, 2), (75, 3), (131, 4), (5, 64, 3), (40, 5)], ids=str)
@pytest.mark.parametrize("program", [rotated, part_written], ids=lambda p: p.__name__)
def test_short_last_axes(program, shape, dtype):
    x = (np.arange(np.prod(shape)).reshape(shape) % 11).astype(dtype)
    want = program(np, x)
    np.testing.assert_array_equal(np.asarray(tj.jit(lambda x: program(jnp, x))(x)), want.astype(dtype))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_folds_of_short_last_axes(n):
    x = (np.arange(75 * n).reshape(75, n) % 11).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(tj.jit(lambda x: folded(jnp, x))(x)), folded(np, x))


def test_neighbours_are_loaded_and_stored_together():
    code = code_of(rotated, np.zeros((1024, 3), np.float32))
    text = "".join(code.modules)
    assert "masked.gather" not in text and "masked.scatter" not in text


def test_a_quotient_that_is_not_defined_keeps_its_guard():
    """Places of strided windows are divisions, which have a value only from 0 on: their range alone says nothing."""
    x = np.arange(168, dtype=np.float32).reshape(3, 7, 8)
    pooled = lambda x: lax.reduce_window(x, -np.inf, lax.max, (2, 3, 3), (1, 1, 2), "SAME")
    ct, = tj.jit(lambda x: tj.vjp(pooled, x)[1](jnp.ones((3, 7, 4))))(x)
    assert np.asarray(ct).sum() == 3 * 7 * 4
