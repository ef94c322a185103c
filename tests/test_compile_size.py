"""How much code kernels are: elementary functions once, one loop for whole and partial vectors; and that both mean the same."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import lax
from tracejit.codegen.cpu.isa import host_isa
from tracejit.codegen.cpu.program import generate
from tracejit.codegen.registers import SHORT, Builder, NotInRegisters
from tracejit.ir.trace import trace_closed
from tracejit.ir.types import bfloat16, type_of
from tracejit.transforms.passes.pipeline import PASSES

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -6e4, 3e4, 0.3, -2.5]
SIZES = [0, 1, 7, 8, 15, 16, 17, 33, 1000]


def kernel_text(function, *args) -> str:
    graph = trace_closed(lambda *xs: [function(*xs)], [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return "".join(text for text in generate(graph, host_isa()).modules if "@tj_kernel_" in text and "@tj_entry_" not in text)


def chain(np_or_jnp, x, n=4):
    for _ in range(n):
        x = np_or_jnp.tanh(np_or_jnp.sin(x) * 1.5 + 0.25)
    return x


def values(n: int, dtype) -> np.ndarray:
    x = np.random.default_rng(n).standard_normal(n)
    if np.dtype(dtype).kind != "c":
        x[:len(SPECIAL)] = SPECIAL[:n]
    return x.astype(dtype)


def test_code_does_not_grow_with_the_uses_of_a_function():
    x = np.ones(1003, np.float32)
    few, many = (kernel_text(lambda x, n=n: chain(jnp, x, n), x) for n in (4, 24))
    assert few.count("@Tanh") > few.count("define internal") == many.count("define internal") == 2
    assert len(many) < 2.5 * len(few)


def test_a_partial_vector_has_no_code_of_its_own():
    count = lambda n: kernel_text(lambda x: jnp.exp(x) * jnp.log1p(x), np.ones(n, np.float32)).count(" fmul ")
    assert count(1003) == count(1024) > 0


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float16, bfloat16, np.float32, np.float64, np.complex64])
def test_chains_of_every_size(n, dtype):
    x = values(n, dtype)
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    got = np.asarray(tj.jit(lambda x: chain(jnp, x, 3))(x)).astype(wide)
    with np.errstate(all="ignore"):
        want = x.astype(wide)
        for _ in range(3):      # rounded where the program rounds
            want = np.sin(want).astype(dtype).astype(wide)
            want = (want * 1.5).astype(dtype).astype(wide) + 0.25
            want = np.tanh(want.astype(dtype).astype(wide)).astype(dtype).astype(wide)
    good = np.isfinite(want)
    eps = 2.0 ** -8 if dtype is bfloat16 else float(np.finfo(dtype).eps)
    np.testing.assert_allclose(got[good], want[good], rtol=40 * eps, atol=40 * eps)
    if wide is np.float64:
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


def test_scalars_and_zero_dimensions():
    x = np.float32(0.7)
    np.testing.assert_allclose(tj.jit(lambda x: chain(jnp, x))(x), chain(np, np.float64(x)), rtol=1e-5)


def test_a_function_of_two_operands_keeps_a_known_one():
    x = np.linspace(0.1, 3, 37).astype(np.float32)
    power = lambda np_or_jnp, x: ((x ** 1.3 + 1) ** 1.3 + x ** 0.7) ** 1.3 * (x + 2) ** x * x ** x * (2 * x) ** x
    np.testing.assert_allclose(tj.jit(lambda x: power(jnp, x))(x), power(np, x.astype("f8")), rtol=2e-5)


def test_written_memory_beyond_the_last_element_is_left_alone():
    """A donated argument is changed in its own memory; the rest of an array of which a part is updated stays."""
    x = values(100, np.float64)[10:]
    part = tj.jit(lambda x: x.at[:37].set(chain(jnp, x[:37], 1)))
    want = x.copy()
    want[:37] = chain(np, x[:37], 1)
    np.testing.assert_allclose(part(x), want, rtol=1e-13, atol=1e-14)


def test_rows_gathers_and_reversals_in_one_loop():
    x = np.random.default_rng(0).standard_normal((5, 19)).astype(np.float32)
    at = np.array([3, 0, 18, 7, 7, 2, 11], np.int32)
    f = lambda x: jnp.exp(x[:, at]) + jnp.sin(x[:, ::-1][:, :7]) * jnp.exp(lax.slice(x, (0, 0), (5, 14), (1, 2)))
    want = np.exp(x[:, at]) + np.sin(x[:, ::-1][:, :7]) * np.exp(x[:, :14:2])
    np.testing.assert_allclose(tj.jit(f)(x), want, rtol=2e-6, atol=1e-6)


def test_a_loop_too_long_for_registers_is_given_up_at_once():
    def f(ws, x):
        def body(c, _):
            for k in range(12):
                c = jnp.tanh(c * 1.1 + jnp.roll(c, k)) @ ws[k % 3]
            return c, c.sum()
        return lax.scan(body, x, None, length=3)
    graph = trace_closed(lambda ws, x: [*f(ws, x)], [type_of(np.ones(s, np.float32)) for s in ((3, 16, 16), (16,))])
    [eqn] = [e for e in graph.eqns if e.op.name == "scan"]
    builder = Builder(eqn, [eqn.op.body])
    with pytest.raises(NotInRegisters, match="too long"):
        builder.build()
    assert not builder.pull.nodes       # nothing was written out


def test_a_loop_found_too_long_while_it_is_written_out_is_given_up_at_once():
    def f(x):
        def body(c, _):
            for k in range(24):
                c = jnp.tanh(c * 1.1 + jnp.roll(c, k))
            return c, c.sum()
        return lax.scan(body, x, None, length=9)
    graph = trace_closed(lambda x: [*f(x)], [type_of(np.ones(48, np.float32))])
    [eqn] = [e for e in graph.eqns if e.op.name == "scan"]
    builder = Builder(eqn, [eqn.op.body])
    with pytest.raises(NotInRegisters, match="too long"):
        builder.build()
    assert len(builder.pull.nodes) < 1.2 * SHORT


def kernels_of(function, *args) -> list[str]:
    graph = trace_closed(lambda *xs: function(*xs), [type_of(x) for x in args])
    for _, change in PASSES:
        graph = change(graph)
    return [name for text in generate(graph, host_isa()).modules for name in text.splitlines() if name.startswith("define void @tj_kernel_")]


def test_kernels_that_begin_at_different_elements_are_one():
    x = np.random.default_rng(0).standard_normal((12, 8, 40)).astype("f4")
    norms = lambda np_or_jnp: lambda x: [np_or_jnp.sqrt((x[t] ** 2).sum(-1)) for t in range(12)]
    assert len(kernels_of(norms(jnp), x)) == 1
    for got, want in zip(tj.jit(norms(jnp))(x), norms(np)(x)):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_groups_of_neighbours_at_the_end_of_an_array_have_code_of_their_own():
    """x[1::3] of 30 numbers may be loaded with its neighbours; of 29, the last load would reach beyond the array."""
    for n, m in ((30, 29), (29, 30), (29, 28)):
        x, y = np.arange(n, dtype="f4"), np.arange(m, dtype="f4") + 100
        for i, j in ((0, 1), (1, 2), (2, 0)):
            f = lambda np_or_jnp: lambda x, y: [np_or_jnp.exp(-x[i:i + 28:3]), np_or_jnp.exp(-y[j:j + 26:3]), np_or_jnp.exp(-y[j:j + 28:3])]
            for got, want in zip(tj.jit(f(jnp))(x, y), f(np)(x, y)):
                np.testing.assert_allclose(got, want, rtol=1e-6)
