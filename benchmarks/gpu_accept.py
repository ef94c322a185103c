"""Is the GPU right, and how fast is it? One command, one table, one JSON file; exit status 1 if a result is wrong.

    python benchmarks/gpu_accept.py                  on a machine with a GPU, under 8 minutes
    python benchmarks/gpu_accept.py --emulated       what can be checked without one: results, machine code, memory traffic

Every op is compared with its meaning in float64, whole programs with the CPU. Times are of many calls that wait for the
device once; bandwidth is given as a share of a device copy's. JAX and PyTorch are timed beside it where they are installed.

Each step is a process of its own with a time limit, so one that crashes, hangs or breaks the device's context leaves the
others, and what it had found so far is in the file, which is written after each. Where the first step finds no device that
computes, the others are left out. Nothing is needed beyond `pip install 'tracejit[cuda]'`.
"""
from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))      # the samples of ops, and programs
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))                # this checkout

import tracejit as tj
import tracejit.numpy as jnp
from benchmarks.gpu_speed import bandwidth, beside, beside_torch, gpu, host_costs, put
from tracejit import lax
from tracejit.codegen.cuda.program import generate
from tracejit.config import config
from tracejit.errors import TracejitError
from tracejit.ir.trace import bind
from tracejit.ir.types import is_inexact, real_dtype, type_of
from tracejit.lax.kinds import Contraction
from tracejit.lax.stacks import Stacked
from tracejit.runtime.cuda import diagnosis, kernels, sass
from tracejit.runtime.cuda.ptx.memory import Counters
from tracejit.transforms.passes.pipeline import DEVICE_PASSES

RESULTS = Path(__file__).resolve().parent / "results"
LIMIT = 7.5 * 60        # seconds of all steps
SHARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}      # JAX would take three quarters of the memory
FIRST, KERNEL, SHOWN = "environment", "a kernel", 12


@dataclass
class Acceptance:
    """What a step finds; it may note what it has found so far."""
    emulated: bool
    part: Path
    found: Any = None
    wrong: list[str] = field(default_factory=list)
    seconds: float = LIMIT
    first_traceback: str = ""
    start: float = field(default_factory=time.perf_counter)

    @property
    def is_late(self) -> bool:
        """Whether the step should end, before it is ended."""
        return time.perf_counter() - self.start > 0.8 * self.seconds

    def note(self, found: Any) -> None:
        self.found = found
        self.part.write_text(json.dumps({"found": found, "wrong": self.wrong, "traceback": self.first_traceback}, default=str))

    def failed(self, what: str, error: Exception) -> str:
        """Note that something ended with an error, the first with all that is known of it."""
        if not self.first_traceback:
            self.first_traceback = f"{what}:\n{traceback.format_exc()}"
        return f"{type(error).__name__}: {error}".splitlines()[0]

    def run(self, name: str) -> None:
        """The step of this process."""
        try:
            found = STEPS[name].call(self)
        except Exception as error:
            self.wrong.append(f"{name}: {self.failed(name, error)}")
            found = self.found or {}
        self.note(found)


def show(found: Any) -> None:
    rows = found.items() if isinstance(found, dict) else [("", line) for line in ([found] if isinstance(found, str) else found)]
    for name, value in rows:
        print(f"  {name:44} {value}" if name else f"  {value}")


# --- right ----------------------------------------------------------------------------------------------------

def environment(run: Acceptance) -> dict[str, str]:
    """What is here; a program that is wrong already is where all else would fail too."""
    found = {"python": f"{sys.version.split()[0]} on {platform.platform()}", **dict(diagnosis.lines())}
    run.note(found)
    found["device"] = f"{gpu()!r}, {gpu().device_kind}"
    run.note(found)
    x = np.ones((64, 64), np.float32)
    for name, f, want in ((KERNEL, lambda x: 2 * x + 1, 3 * x), ("a sum", lambda x: x.sum(), 4096),
                          ("a product", lambda x: x @ x, 64 * x)):
        got = np.asarray(tj.jit(f)(put(x)))
        found[name] = "right" if np.array_equal(got, want) else f"WRONG: {got} instead of {want}"
        run.wrong += [] if found[name] == "right" else [f"{name}: {found[name]}"]
        run.note(found)
    return found


def tolerance(op: Any, dtype: np.dtype) -> dict[str, float]:
    eps = float(np.finfo(real_dtype(dtype)).eps)
    ulp = max(op.ulp, 16) if isinstance(op, Contraction) or dtype.kind == "c" else op.ulp
    return {"rtol": 2 * ulp * eps, "atol": eps * ulp if ulp > 8 or dtype.kind == "c" else float(np.finfo(np.float32).tiny)}


def single(x: np.ndarray) -> np.ndarray:
    return x.astype({"f": np.float32, "c": np.complex64}.get(x.dtype.kind, x.dtype))


def disagreement(op: Any, args: list[np.ndarray]) -> str:
    """How the device's result differs from the op's meaning in float64; empty where it is within the op's bound."""
    got = tj.jit(lambda *xs: bind(op, *xs))(*map(put, args))
    wide = [x.astype({"f": np.float64, "c": np.complex128}.get(x.dtype.kind, x.dtype)) for x in args]
    wide = wide if shapes_of(op, wide) == shapes_of(op, args) else args     # bits have another meaning in another width
    with np.errstate(all="ignore"):
        want, rounded = op.eval(*wide), op.eval(*args)
    for x, y, host in zip(*[found if op.multiple else [found] for found in (got, want, rounded)], strict=True):
        x, y = np.asarray(x), np.asarray(y)
        if not is_inexact(x.dtype):
            if not np.array_equal(x, y):
                return "differs"
        elif isinstance(op, Stacked) and np.allclose(np.abs(x), np.abs(y), **tolerance(op, x.dtype), equal_nan=True):
            continue        # vectors are unique up to a factor of absolute value 1
        elif not is_near(x, y, np.asarray(host), tolerance(op, x.dtype)):
            with np.errstate(all="ignore"):
                return f"off by {np.nanmax(np.abs(x - y) / np.maximum(np.abs(y), 1e-30)):.1e}"
    return ""


def is_near(x: np.ndarray, y: np.ndarray, host: np.ndarray, bound: dict[str, float]) -> bool:
    """Within the bound of y, or within a few times what the host's own rounding makes of it, where terms cancel."""
    with np.errstate(all="ignore"):
        return bool(np.all(np.isclose(x, y, **bound, equal_nan=True) | (np.abs(x - y) <= 4 * np.abs(host - y))))


def shapes_of(op: Any, args: list[np.ndarray]) -> list[tuple[int, ...]] | None:
    """The shapes of the results; None where the op does not take such arguments."""
    try:
        found = op.infer(*map(type_of, args))
    except (TracejitError, ValueError, TypeError):
        return None
    return [t.shape for t in (found if op.multiple else (found,))]


def arguments_of(sample: Any) -> list[np.ndarray]:
    args = [np.asarray(x) for x in sample.args]
    narrow = [single(x) for x in args]
    return narrow if sample.half and shapes_of(sample.op, narrow) == shapes_of(sample.op, args) else args


def compile_all(samples: Sequence[Any]) -> None:
    """The kernels of all samples, by several processes at a time; what fails here fails again where it is reported."""
    sources = []
    for sample in samples:
        with contextlib.suppress(Exception):
            graph = tj.jit(lambda *xs, op=sample.op: bind(op, *xs)).trace(*arguments_of(sample)).graph
            for _, change in DEVICE_PASSES:
                graph = change(graph)
            sources += generate(graph).sources
    with contextlib.suppress(Exception):
        kernels.artifacts_of(sources, gpu().runtime.compute_capability)


def ops(run: Acceptance) -> dict[str, Any]:
    """Every sample of every op, in float32 (and integers as they are)."""
    samples = importlib.import_module("samples").SAMPLES
    bad, names = {}, set()
    compile_all(samples)
    for tried, sample in enumerate(samples, 1):
        names.add(sample.op.name)
        try:
            reason = disagreement(sample.op, arguments_of(sample))
        except Exception as error:
            reason = run.failed(str(sample), error)
        if reason:
            bad[str(sample)] = reason
            run.wrong.append(f"{sample} {reason}")
        if run.is_late:
            break
        if tried % 50 == 0:
            run.note({"tried": tried, "wrong": len(bad), **bad})
    return {"tried": tried, "left out for time": len(samples) - tried, "ops": len(names), "wrong": len(bad), **bad}


def programs(run: Acceptance) -> dict[str, str]:
    """Attention, recurrent nets, loops, branches, custom rules, solves, Hessians: the device beside the CPU."""
    found = {}
    for program in importlib.import_module("programs").PROGRAMS:
        if run.is_late:
            break
        want = tj.tree.leaves(tj.jit(program.function)(*program.args))
        try:
            got = tj.tree.leaves(tj.jit(program.function)(*map(put, program.args)))
            same = all(np.allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5) for a, b in zip(got, want, strict=True))
            found[program.name] = "same" if same else "WRONG"
        except Exception as error:
            found[program.name] = run.failed(program.name, error)
        run.note(found)
    run.wrong += [f"program {name}: {text}" for name, text in found.items() if text != "same"]
    return found


def bits(run: Acceptance) -> dict[str, bool]:
    """Random bits are the same on every device."""
    key = tj.random.key(7)
    draw = tj.jit(lambda key: (tj.random.bits(key, (1000,)), tj.random.uniform(key, (1000,))))
    with tj.default_device(gpu()):
        there = draw(put(key))
    found = {name: bool(np.array_equal(a, b)) for name, a, b in zip(("bits", "uniform"), there, draw(key), strict=True)}
    run.wrong += [f"random {name}" for name, same in found.items() if not same]
    return found


LIBRARY_CALLS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "product, bias, relu": (lambda x, w, b: jnp.maximum(x @ w + b, 0), ((100, 70), (70, 60), (60,))),
    "product of rows": (lambda x, y: x @ y.T, ((33, 65), (17, 65))),
    "batched product": (lambda x, y: jnp.einsum("bhqd,bhkd->bhqk", x, y), ((2, 3, 40, 24), (2, 3, 50, 24))),
    "convolution": (lambda x, w: lax.conv(x, w, (2, 1), "SAME"), ((2, 16, 19, 18), (32, 16, 3, 2))),
    "gradient of a convolution": (tj.grad(lambda x, w: (lax.conv(x, w, (1, 1), "SAME") ** 2).sum(), (0, 1)),
                                  ((2, 8, 9, 8), (8, 8, 3, 3))),
}


def library_calls(run: Acceptance) -> dict[str, Any]:
    """Products and convolutions in each dtype, called often enough to be captured, beside the CPU; and what libraries refused."""
    found: dict[str, Any] = {}
    for name, (f, shapes) in LIBRARY_CALLS.items():
        for dtype in ("float32", "bfloat16", "float16", "float64"):
            key = f"{name}, {dtype}"
            try:
                error = library_error(f, shapes, dtype)
                found[key] = f"off by {error:.1e} of the largest element"
                is_right = error < 16 * float(jnp.finfo(dtype).eps)
            except Exception as error:
                found[key], is_right = run.failed(key, error), False
            run.wrong += [] if is_right else [f"{key}: {found[key]}"]
            run.note(found)
    found["relu of a product that is nan"] = nan_kept(run)
    for library in ("products", "convolutions"):
        refusals = getattr(getattr(gpu().runtime, library, None), "refusals", [])
        found[f"{library}: what the library refused"] = sorted(set(refusals)) or "nothing"
    return found


def library_error(f: Callable[..., Any], shapes: Sequence[tuple[int, ...]], dtype: str) -> float:
    args = [jnp.asarray(np.random.default_rng(0).standard_normal(shape)).astype(dtype) for shape in shapes]
    want, there, g = tj.tree.leaves(tj.jit(f)(*args)), list(map(put, args)), tj.jit(f)
    for _ in range(5):
        got = tj.tree.leaves(g(*there))
    return max(largest_share(np.float64(a), np.float64(b)) for a, b in zip(got, want, strict=True))


def nan_kept(run: Acceptance) -> str:
    """The library's own relu might make a number of a nan."""
    x = np.full((64, 32), np.nan, np.float32)
    got = np.asarray(tj.jit(lambda x, w, b: jnp.maximum(x @ w + b, 0))(*map(put, (x, np.ones((32, 48), "f4"), np.ones(48, "f4")))))
    if np.isnan(got).all():
        return "stays nan"
    run.wrong.append("relu of a product that is nan is a number")
    return "WRONG: becomes a number"


def largest_share(x: np.ndarray, y: np.ndarray) -> float:
    """The largest difference, as a share of the largest element."""
    return float(np.max(np.abs(x - y)) / np.max(np.abs(y)))


# --- machine code and memory traffic --------------------------------------------------------------------------

KINDS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "axpy": (lambda x, y: 2 * x + y, ((4096, 1000), (4096, 1000))),
    "gelu": (tj.nn.gelu, ((4096, 1000),)),
    "row sum": (lambda x: x.sum(1), ((512, 4096),)),
    "softmax": (lambda x: tj.nn.softmax(x, 1), ((512, 4096),)),
    "full sum": (lambda x: x.sum(), ((1 << 20,),)),
    "column sum": (lambda x: x.sum(0), ((4096, 512),)),
    "transpose": (lambda x: x.T + 0, ((1024, 1024),)),
    "gather": (lambda x: x[jnp.arange(1000) * 7 % 997], ((1000, 256),)),
    "threefry": (lambda x: tj.random.bits(tj.random.key(0), (1 << 16,)) + x.astype("uint32")[:1], ((4,),)),
    "ODE ensemble": (lambda x: lax.fori_loop(0, 10, lambda i, s: s + 0.01 * jnp.sin(s), x), ((1 << 14,),)),
}


def small(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A ragged size that is emulated in a moment."""
    return tuple(max(n // 32, 4) + 1 if n > 512 else n for n in shape)


def machine_code(run: Acceptance) -> dict[str, str]:
    """Registers, spills and wide accesses of the kernels that each kind of program compiles to."""
    found = {}
    for name, (f, shapes) in KINDS.items():
        graph = tj.jit(f).trace(*[jnp.zeros(shape, "float32") for shape in shapes]).graph
        sources = sources_of(graph)
        rows = [sass.sass_of(a.cubin, a.facts) for a in kernels.artifacts_of(sources, (9, 0))]
        spilled = sum(r.facts.spill_bytes for r in rows)
        if spilled:
            run.wrong.append(f"{name} spills {spilled} bytes")
        found[name] = (f"{len(rows)} kernels, {max((r.facts.registers for r in rows), default=0)} registers, {spilled} spilled, "
                       f"LDG.128 {sum(r.wide('LDG') for r in rows)}, STG.128 {sum(r.wide('STG') for r in rows)}, "
                       f"f64 {sum(r.doubles for r in rows)}, SHFL {sum(r.starting('SHFL') for r in rows)}, "
                       f"BAR {sum(r.starting('BAR') for r in rows)}")
    return found


def sources_of(graph: Any) -> list[Any]:
    """The kernels that a graph compiles to."""
    with config.setting(emulate_cuda=max(config.emulate_cuda, 1)):
        made = importlib.import_module("tracejit.runtime.cuda.executable").compile_graph(graph, (), (), gpu())
    return made.executor.code.sources


def traffic(run: Acceptance) -> dict[str, str]:
    """Bytes used of the 32-byte sectors moved, bank conflicts and launches, counted by the emulator."""
    found, runtime = {}, gpu().runtime
    for name, (f, shapes) in KINDS.items():
        args = [put(np.random.default_rng(0).random(small(shape), np.float32)) for shape in shapes]
        g = tj.jit(f)
        g(*args)
        runtime.counters, runtime.counting = Counters(), True
        g(*args)
        runtime.counting, c = False, runtime.counters
        found[name] = (f"{c.launches} launches, {100 * c.sector_efficiency:.0f} % of sectors used, "
                       f"bank conflicts {c.shared_wavefronts - c.shared_requests} of {c.shared_requests}, widest {c.widest} bytes")
    return found


# --- all of it ------------------------------------------------------------------------------------------------

class Step(NamedTuple):
    call: Callable[[Acceptance], Any]
    where: str          # it can run: "both", "gpu" or "emulated"
    limit: float        # seconds
    judges: bool = True         # whether its failure means that something is wrong


STEPS: dict[str, Step] = {
    FIRST: Step(environment, "both", 60), "random bits": Step(bits, "both", 60), "programs": Step(programs, "both", 90),
    "library calls": Step(library_calls, "both", 60),
    "bandwidth": Step(bandwidth, "gpu", 60), "host costs": Step(host_costs, "gpu", 40),
    "machine code": Step(machine_code, "both", 60), "memory traffic": Step(traffic, "emulated", 60),
    "ops": Step(ops, "both", 180), "beside JAX": Step(beside, "gpu", 100, judges=False),
    "beside PyTorch": Step(beside_torch, "gpu", 40, judges=False)}


def in_a_process(name: str, emulated: bool, limit: float) -> dict[str, Any]:
    """{"found": ..., "wrong": [...]} of a step, as far as it came."""
    with tempfile.TemporaryDirectory() as folder:
        part, reason = Path(folder) / "part.json", ""
        command = [sys.executable, __file__, "--step", name, "--out", str(part), "--limit", str(limit), *["--emulated"] * emulated]
        try:
            status = subprocess.run(command, timeout=limit, env={**os.environ, **SHARING}).returncode
            reason = f"ended with status {status}" if status else ""
        except subprocess.TimeoutExpired:
            reason = f"was stopped after {limit:.0f} s"
        nothing = {"found": {}, "wrong": [], "traceback": ""}
        kept = nothing | (json.loads(part.read_text()) if part.exists() else {})
    if reason:
        kept["wrong"].append(f"{name} {reason}")
    return kept


def all_steps(options: argparse.Namespace, out: Path) -> list[str]:
    """What is wrong, after each step that can run here and is asked for."""
    start, report, wrong = time.perf_counter(), {"emulated": options.emulated}, []
    for name, step in STEPS.items():
        if options.only not in name or step.where not in ("both", "emulated" if options.emulated else "gpu"):
            continue
        begin = time.perf_counter()
        kept = one_step(name, step, options, LIMIT - (begin - start), report)
        wrong += kept["wrong"] if step.judges else []
        report |= {name: kept["found"] or "; ".join(kept["wrong"]), "wrong": wrong, f"{name}, what failed": kept["wrong"]}
        if kept["traceback"]:
            report.setdefault("first error", kept["traceback"])
        out.write_text(json.dumps(report, indent=1, default=str))
        print(f"\n== {name} ({time.perf_counter() - begin:.1f} s)", flush=True)
        show(report[name])
        show([*kept["wrong"][:SHOWN], *[f"... and {len(kept['wrong']) - SHOWN} more"] * (len(kept["wrong"]) > SHOWN)])
    if "first error" in report:
        print(f"\n== the first error, in {report['first error']}")
    return wrong


def computes(environment: Any) -> bool:
    """Whether the first step ran a kernel, and rightly."""
    return isinstance(environment, dict) and environment.get(KERNEL) == "right"


def one_step(name: str, step: Step, options: argparse.Namespace, left: float, report: dict[str, Any]) -> dict[str, Any]:
    """What a step found; nothing where there is no time left, or no device that computes."""
    if left < 5 or FIRST in report and not computes(report[FIRST]):
        why = "no time" if left < 5 else "no device that computes"
        return {"found": f"left out: {why}", "wrong": [], "traceback": ""}
    return in_a_process(name, options.emulated, min(step.limit, left))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulated", action="store_true", help="on an emulated device")
    parser.add_argument("--only", default="", help="steps whose name has this in it")
    parser.add_argument("--out", type=Path, help="the JSON file; by default one under benchmarks/results/")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=LIMIT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        with config.setting(emulate_cuda=int(options.emulated)):
            run = Acceptance(options.emulated, options.out, seconds=options.limit)
            run.run(options.step)
        return 0
    out = options.out or RESULTS / f"gpu-{'emulated-' * options.emulated}{time.strftime('%Y%m%d-%H%M%S')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    wrong = all_steps(options, out)
    print(f"\n{'WRONG: ' + '; '.join(wrong[:SHOWN]) if wrong else 'all results are right'}\nwritten to {out}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
