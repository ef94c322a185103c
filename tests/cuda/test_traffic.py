"""What kernels do to memory, counted by the emulated device, and what the assembler made of them: no sector is moved in vain, no
banks conflict, nothing is spilled, and float32 stays float32."""
from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("numba.cuda")

from cuda.pathfinder import find_nvidia_binary_utility
from device_harness import RUNTIME, f32, on_device

import tracejit as tj
import tracejit.numpy as jnp
from tracejit.codegen.cuda.program import Code, Kernels
from tracejit.ir.types import bfloat16
from tracejit.runtime.cuda.ptx.memory import Counters


def counted(f, *args) -> tuple[Counters, Code]:
    RUNTIME.counters, RUNTIME.counting = Counters(), True
    _, code = on_device(f, *args)
    counters, RUNTIME.counting = RUNTIME.counters, False
    return counters, code


def nbytes(*arrays) -> int:
    return sum(x.nbytes for x in arrays)


# program, operands, bytes of the results, the least share of the moved bytes that must be of use
TRAFFIC = {
    "elementwise": (lambda x, y: x * 2. + y, [f32(8192), f32(8192)], 4 * 8192, .99),
    "bfloat16": (lambda x: x * 2, [f32(8192).astype(bfloat16)], 2 * 8192, .99),
    "sums of rows": (lambda x: x.sum(1), [f32(64, 512)], 4 * 64, .95),
    "softmax": (tj.nn.softmax, [f32(16, 1024)], 4 * 16 * 1024, .99),
    "sum of all": (lambda x: x.sum(), [f32(64, 512)], 4, .95),
    "sums of columns": (lambda x: x.sum(0), [f32(256, 512)], 4 * 512, .85),
    "transpose": (lambda x: x.T * 2, [f32(128, 96)], 4 * 128 * 96, .99),
}


@pytest.mark.parametrize("name", TRAFFIC)
def test_every_sector_is_of_use(name):
    f, args, out, least = TRAFFIC[name]
    counters, _ = counted(f, *args)
    moved = 32 * (counters.load_sectors + counters.store_sectors)
    assert (nbytes(*args) + out) / moved >= least, f"{moved} bytes moved for {nbytes(*args) + out}"


def test_tiles_are_free_of_bank_conflicts():
    for f, args in ((lambda x: x.T * 2, [f32(64, 64)]), (tj.nn.softmax, [f32(2, 2048)])):
        counters, _ = counted(f, *args)
        assert counters.shared_requests and counters.shared_wavefronts == counters.shared_requests


# --- what the assembler made of it

def instructions(kernel) -> Counter:
    """The instructions of a kernel by name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(kernel.cubin)
        tool = find_nvidia_binary_utility("nvdisasm") or pytest.skip("nvdisasm is not installed")
        text = subprocess.run([tool, "-c", str(file)], capture_output=True, text=True, check=True).stdout
    return Counter(re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)", text))


def kernels_of(f, *args) -> list:
    _, code = on_device(f, *args)
    return RUNTIME.load([launch.source for c in code.block.commands if isinstance(c, Kernels) for launch in c.launches])


# program, operands, registers (32: all 2048 threads of a multiprocessor fit), 128-bit loads and stores
ASSEMBLED = {
    "elementwise": (lambda x, y: x * 2. + y, [f32(4096), f32(4096)], 32, 2, 1),
    "activation": (lambda x: x / (1 + jnp.exp(-x)), [f32(4096)], 40, 1, 1),
    "bfloat16": (lambda x, y: x * y + 1, [f32(4096).astype(bfloat16)] * 2, 40, 2, 1),
    "sums of rows": (lambda x: x.sum(1), [f32(4, 2048)], 40, 1, 0),
    "softmax": (tj.nn.softmax, [f32(2, 4096)], 96, 4, 4),
    "transpose": (lambda x: x.T * 2, [f32(64, 64)], 32, 0, 0),
    "sums of columns": (lambda x: x.sum(0), [f32(256, 64)], 32, 0, 0),
}


@pytest.mark.parametrize("name", ASSEMBLED)
def test_instructions(name):
    f, args, registers, loads, stores = ASSEMBLED[name]
    first = kernels_of(f, *args)[0]
    assert first.facts.spill_bytes == first.facts.local_bytes == 0
    assert first.facts.registers <= registers
    found = instructions(first)
    wide = lambda stem: sum(n for name, n in found.items() if name.startswith(stem) and ".128" in name)
    assert wide("LDG") >= loads and wide("STG") >= stores
    assert not [name for name in found if re.match(r"D(ADD|MUL|FMA|SETP)|F2F.F64|[LS]DL|LDL|STL", name)], found
