"""Programs on one emulated device, and what they should give."""
from __future__ import annotations

import numpy as np

import tracejit as tj
from tracejit import tree
from tracejit.codegen.cuda.interface import View
from tracejit.codegen.cuda.program import Code, Kernels, generate
from tracejit.codegen.lower import size_of
from tracejit.ir.trace import trace
from tracejit.ir.types import type_of
from tracejit.runtime.cuda.emulated import EmulatedRuntime
from tracejit.runtime.cuda.executor import Executor
from tracejit.transforms.passes.pipeline import DEVICE_PASSES

RUNTIME = EmulatedRuntime()
RNG = np.random.default_rng(3)


def placed(x: np.ndarray, shift: int = 0):
    """A copy in device memory, `shift` bytes behind the start of a buffer."""
    buffer = RUNTIME.allocate(max(x.nbytes, 1) + shift)
    if x.nbytes:
        RUNTIME.upload(buffer.address + shift, np.ascontiguousarray(x))
    return buffer


def run(graph, arrays, shift: int = 0) -> tuple[list[np.ndarray], Code]:
    for _, change in DEVICE_PASSES:
        graph = change(graph)
    code = generate(graph)
    ins = [placed(np.asarray(x), shift) for x in arrays]
    outs = [RUNTIME.allocate(max(size_of(r.type), 1) + shift) for r in graph.results]
    Executor(code, RUNTIME).run([b.address + shift for b in ins], [b.address + shift for b in outs])
    return [RUNTIME.download(View(b.address + shift, r.type.shape, r.type.dtype)) for b, r in zip(outs, graph.results)], code


def on_device(f, *args, shift: int = 0) -> tuple[list[np.ndarray], Code]:
    """The leaves of f(*args), computed by the emulated device."""
    leaves, structure = tree.flatten(args)
    graph, captured = trace(lambda *xs: tree.leaves(f(*tree.unflatten(structure, list(xs)))), [type_of(x) for x in leaves])
    assert not captured
    return run(graph, leaves, shift)


def close(found, wanted, ulps: float) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if found.dtype.kind in "biu":
        return np.testing.assert_array_equal(found, wanted)
    eps = ulps * {2: 2**-8, 4: 2**-24, 8: 2**-53}[found.dtype.itemsize // (2 if found.dtype.kind == "c" else 1)]
    wide = np.complex128 if found.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        return np.testing.assert_allclose(found.astype(wide), wanted.astype(wide), rtol=eps, atol=eps)


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def agrees(f, *args, ulps: float = 200, shift: int = 0) -> Code:
    found, code = on_device(f, *args, shift=shift)
    for x, y in zip(found, tree.leaves(tj.jit(f)(*args)), strict=True):
        close(x, np.asarray(y), ulps)
    return code


def launches(code: Code) -> int:
    return sum(len(c.launches) for c in code.block.commands if isinstance(c, Kernels))
