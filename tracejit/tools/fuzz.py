"""Random programs -> disagreements between their meaning, the passes, compiled code, derivatives and vmap.

    python -m tracejit.tools.fuzz --n 1000 --seed 0 --minutes 5

What a program means is given by the ops' `eval`. How far compiled code may be from it is measured: the program is
run again with every inexact result moved by a few units in the last place, and what these runs differ by is allowed.
A program that fails is made as small as possible and printed as a test.
"""
from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np

from tracejit.config import config
from tracejit.ir.graph import Eqn, Graph, Lit, Var, evaluate, fields_of, live_eqns, replay, subgraphs
from tracejit.ir.text import parse
from tracejit.ir.trace import trace, trace_closed
from tracejit.ir.types import bfloat16, is_float, is_inexact, real_dtype
from tracejit.ir.verify import verify
from tracejit.lax.kinds import Op, Reduction, View
from tracejit.runtime.array import from_numpy
from tracejit.runtime.compile import compile_graph
from tracejit.tools.random_programs import random_program
from tracejit.transforms.ad import jvp_graph, vjp_values
from tracejit.transforms.batching import Batch
from tracejit.transforms.passes.pipeline import PASSES

LANES = 3
TRIALS = 24     # so many that chance leaves no element of a large array where it was


@dataclass
class Problem:
    """A program with arguments for which a check fails."""
    check: str
    graph: Graph
    args: list[np.ndarray]
    message: str


# --- how far results may be apart ----------------------------------------------------------------------------------

def epsilon(dtype: np.dtype) -> float:
    return 2.0**-7 if dtype == bfloat16 else float(np.finfo(real_dtype(dtype)).eps)


def smallest(dtype: np.dtype) -> float:
    return 2.0**-133 if dtype == bfloat16 else float(np.finfo(real_dtype(dtype)).smallest_subnormal)


def moved(x: np.ndarray, ulp: float, rng: np.random.Generator) -> np.ndarray:
    x = np.asarray(x)
    if not is_inexact(x.dtype):
        return x
    if x.dtype.kind == "c":  # part by part: a complex product makes nan of infinities
        out = np.empty_like(x)
        out.real, out.imag = moved(x.real, ulp, rng), moved(x.imag, ulp, rng)
        # what operations do with infinite and undefined parts, implementations disagree about
        return np.where(np.isfinite(x) | (rng.random(x.shape) < 0.5), out, x.dtype.type(complex(np.nan, np.nan)))
    noise = ulp * rng.uniform(-1, 1, x.shape)
    out = np.asarray(wide(x) * (1 + noise * epsilon(x.dtype)) + noise * smallest(x.dtype)).astype(x.dtype)
    return np.where(np.isnan(x) & (rng.random(x.shape) < 0.5), -out, out)   # the sign of nan means nothing


def evaluate_moved(graph: Graph, args: Sequence, rng: np.random.Generator) -> list[np.ndarray]:
    """`evaluate` with each inexact result of an operation off by as much as compiled code may be, in loops too."""
    inner = functools.partial(run_moved, rng=rng)
    with contextlib.ExitStack() as patches:
        for name, module in list(sys.modules.items()):
            if name.startswith("tracejit.lax.") and hasattr(module, "evaluate"):
                patches.enter_context(mock.patch.object(module, "evaluate", inner))
        return run_moved(graph, [moved(x, 2, rng) for x in args], rng)


def run_moved(graph: Graph, args: Sequence, rng: np.random.Generator) -> list[np.ndarray]:
    def apply(eqn: Eqn, inputs):
        values = [np.asarray(x.value) if x.__class__ is Lit else x for x in inputs]
        outs = folded_in_parts(eqn.op, *values, rng) if isinstance(eqn.op, Reduction) and eqn.op.monoid else eqn.op.eval(*values)
        outs = outs if eqn.op.multiple else [outs]
        return outs if isinstance(eqn.op, View) else [moved(x, max(2 * eqn.op.ulp, 2), rng) for x in outs]
    outs = replay(graph, [np.asarray(x) for x in args], apply)
    return [np.asarray(x.value if x.__class__ is Lit else x) for x in outs]


def folded_in_parts(op: Reduction, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fold with its elements taken together in another order."""
    axis = max(op.axes, key=lambda d: x.shape[d], default=None)
    if axis is None or x.shape[axis] < 2:
        return op.eval(x)
    pieces = np.array_split(rng.permutation(x, axis), int(rng.integers(1, min(x.shape[axis], 64) + 1)), axis)
    return functools.reduce(op.monoid.eval, map(op.eval, pieces))


def wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def parts(x: np.ndarray) -> np.ndarray:
    """A stack of the real and imaginary parts, in float64."""
    return np.stack([x.real, x.imag] if x.dtype.kind == "c" else [x]).astype(np.float64)


class Meaning:
    """What a program gives for its arguments, and how far results may be from it: runs with moved values are made when needed."""

    def __init__(self, graph: Graph, args: Sequence):
        self.graph, self.args, self.rng = graph, args, np.random.default_rng(0)
        self.wanted, self.moved = evaluate(graph, args), []

    def differs(self, found: Sequence, scale: float = 1) -> str | None:
        """Where results are further from the program's meaning than rounding explains."""
        for k, (a, b) in enumerate(zip(found, self.wanted, strict=True)):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                return f"result {k} is {a.dtype}{a.shape} instead of {b.dtype}{b.shape}"
        for trial in range(TRIALS + 1):
            bad = self.first_apart(found, trial, scale)
            if bad is None:
                return None
        return bad

    def first_apart(self, found: Sequence, trials: int, scale: float) -> str | None:
        if trials > len(self.moved):
            self.moved.append(evaluate_moved(self.graph, self.args, self.rng))
        for k, (a, b) in enumerate(zip(found, self.wanted)):
            bad = apart(a, b, [o[k] for o in self.moved[:trials]], scale)
            if np.any(bad):
                at = np.unravel_index(np.argmax(bad), bad.shape)
                return f"result {k} at {tuple(map(int, at))} is {a[at]!r} instead of {b[at]!r}"
        return None


def differs(found: Sequence, graph: Graph, args: Sequence, scale: float = 1) -> str | None:
    return Meaning(graph, args).differs(found, scale)


def apart(a: np.ndarray, b: np.ndarray, others: list[np.ndarray], scale: float) -> np.ndarray:
    least = 4 * epsilon(b.dtype) if is_inexact(b.dtype) else 0
    unstable = np.zeros(b.shape, bool)
    a, b, others = parts(a), parts(b), [parts(o) for o in others]
    spread, turn, size = np.zeros(unstable.shape), np.zeros(unstable.shape), np.max(np.where(np.isfinite(b), np.abs(b), 0), 0)
    for o in others:
        unstable |= np.any(np.isfinite(o) != np.isfinite(b), 0)
        spread = np.maximum(spread, np.max(np.nan_to_num(np.abs(o - b), nan=0, posinf=0), 0))
        turn = np.maximum(turn, np.max(np.nan_to_num(turned(o, b), nan=0), 0))
    close = (np.abs(a - b) <= 16 * scale * spread + least * size + 1e-37) | (turned(a, b) <= 16 * scale * turn)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if len(b) == 2:
        same |= ~np.isfinite(a).all(0) & ~np.isfinite(b).all(0)
    return ~(unstable | np.all(same | close, 0))


def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far apart numbers are where infinity is near: what passes a pole has no largest value."""
    return np.abs(np.arctan(a) - np.arctan(b))


# --- checks --------------------------------------------------------------------------------------------------------

def compiled(graph: Graph, args: Sequence) -> list[np.ndarray]:
    code = compile_graph(graph)
    return [np.asarray(x) for x in code.run([from_numpy(np.array(x, order="C")) for x in args])]


def check_text(graph: Graph, args: Sequence) -> str | None:
    return None if parse(str(graph)).key() == graph.key() else "the text does not read back"


def check_passes(graph: Graph, args: Sequence) -> str | None:
    after, meaning = graph, Meaning(graph, args)
    for name, change in PASSES:
        after = verify(change(after))
        found = meaning.differs(evaluate(after, args))
        if found:
            return f"after `{name}` {found}"
    return None


def check_compiled(graph: Graph, args: Sequence) -> str | None:
    return differs(compiled(graph, args), graph, args)


def moving(graph: Graph, args: Sequence) -> list[bool]:
    return [is_float(x.dtype) for x in args]


def directions(graph: Graph, args: Sequence, flags: Sequence[bool]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [np.asarray(rng.normal(size=x.shape)).astype(x.dtype) for x, f in zip(args, flags) if f]


def check_jvp(graph: Graph, args: Sequence) -> str | None:
    flags = moving(graph, args)
    derivative, _ = jvp_graph(graph, tuple(flags), None)
    return check_compiled(verify(derivative), [*args, *directions(graph, args, flags)])


def vjp_graph(graph: Graph, flags: list[bool]) -> tuple[Graph, list[int]]:
    """(args, cotangents of the float results) -> cotangents; and which results have one."""
    n, places = len(graph.params), [k for k, t in enumerate(graph.out_types) if is_float(t.dtype)]

    def run(*values):
        outs, pull = vjp_values(graph, values[:n], flags)
        cts = [None] * len(outs)
        for k, ct in zip(places, values[n:]):
            cts[k] = ct
        return [ct for ct in pull(cts) if ct is not None]
    return trace_closed(run, [*graph.in_types, *[graph.out_types[k].strong() for k in places]]), places


def check_vjp(graph: Graph, args: Sequence) -> str | None:
    flags = moving(graph, args)
    if not any(flags) or not any(is_float(t.dtype) for t in graph.out_types):
        return None
    pullback, places = vjp_graph(graph, flags)
    outs = [graph.out_types[k] for k in places]
    rng = np.random.default_rng(2)
    cts = [np.asarray(rng.normal(size=t.shape)).astype(t.dtype) for t in outs]
    return check_compiled(verify(pullback), [*args, *cts])


def check_adjoint(graph: Graph, args: Sequence) -> str | None:
    """<ct, jvp(t)> = <vjp(ct), t> in double precision."""
    flags = moving(graph, args)
    if not any(flags) or any(t.dtype not in (np.float64, np.float32, np.int32, np.bool_) for t in values_of(graph)):
        return None
    if any(op.rounds for op in ops_in(graph)):
        return None
    tangents = directions(graph, args, flags)
    derivative, out_flags = jvp_graph(graph, tuple(flags), None)
    found = evaluate(derivative, [*args, *tangents])[len(graph.results):]
    pullback, places = vjp_graph(graph, flags)
    cts = [np.asarray(np.random.default_rng(k).normal(size=graph.out_types[k].shape)).astype(graph.out_types[k].dtype)
           for k in places]
    given = iter(found)
    there = [(wide(next(given)), wide(cts[places.index(k)])) for k, f in enumerate(out_flags) if f and k in places]
    pulled = evaluate(pullback, [*args, *cts])
    live = [t for t, z in zip(tangents, nonzero_pulls(graph, flags, places)) if z]
    here = [(wide(t), wide(x)) for t, x in zip(live, pulled, strict=True)]
    left, right = (sum(float(np.sum(x * y)) for x, y in pairs) for pairs in (there, here))
    size = sum(float(np.sum(np.abs(x * y))) for x, y in there + here)
    if not np.isfinite(size) or size > 1e12 or abs(left - right) <= 1e-3 * size + 1e-6:
        return None
    return f"<ct, jvp(t)> is {left}, <vjp(ct), t> is {right}"


def nonzero_pulls(graph: Graph, flags: list[bool], places: list[int]) -> list[bool]:
    """Which moving params have a cotangent that is not known to be zero."""
    out: list[bool] = []

    def run(*values):
        outs, pull = vjp_values(graph, values[:len(graph.params)], flags)
        given = iter(values[len(graph.params):])
        out[:] = [ct is not None for ct in pull([next(given) if k in places else None for k in range(len(outs))])]
        return []
    trace(run, [*graph.in_types, *[graph.out_types[k].strong() for k in places]])
    return out


def ops_in(graph: Graph) -> Iterator[Op]:
    for eqn in graph.eqns:
        yield eqn.op
        for _, value in fields_of(eqn.op):
            for inner in subgraphs(value):
                yield from ops_in(inner)


def values_of(graph: Graph) -> list:
    return [*graph.in_types, *[v.type for eqn in graph.eqns for v in eqn.outputs if hasattr(v.type, "dtype")]]


def check_vmap(graph: Graph, args: Sequence) -> str | None:
    """Over lanes of which some arguments differ: like a loop, and compiled like evaluated."""
    rng = np.random.default_rng(3)
    flags = [bool(rng.integers(3)) for _ in args]
    stacked = [np.stack([x if k == 0 else rng.permutation(x.reshape(-1)).reshape(x.shape) for k in range(LANES)]) if f else x
               for x, f in zip(args, flags)]
    many, out_flags = Batch(LANES).batch(graph, flags)
    found = evaluate(verify(many), stacked)
    for lane in range(LANES):
        one = [x[lane] if f else x for x, f in zip(stacked, flags)]
        wrong = differs([x[lane] if f else x for x, f in zip(found, out_flags)], graph, one)
        if wrong:
            return f"lane {lane} of vmap: {wrong}"
    return check_compiled(many, stacked)


ALWAYS: tuple[Callable, ...] = (check_text, check_passes)
SOMETIMES: tuple[Callable, ...] = (check_compiled, check_compiled, check_jvp, check_vjp, check_adjoint, check_vmap)


def problem_of(check: Callable, graph: Graph, args: list) -> str | None:
    """What a check finds wrong: a message, or None."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return check(graph, args)
    except NotImplementedError:
        return None     # an op without this rule
    except Exception as error:  # whatever a check raises is a finding
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {last.filename.rsplit('/', 1)[-1]}:{last.name}: {str(error)[:300]}"


# --- making a failing program small -----------------------------------------------------------------------------------

def kind_of_problem(message: str) -> str:
    return message.split(":")[0][:40] if "Error" in message.split(":")[0] else "wrong"


def shrink(problem: Problem, check: Callable, seconds: float = 20) -> Problem:
    """The smallest program found that fails in the same way: fewer results, values given instead of computed."""
    end, best = time.monotonic() + seconds, problem
    graph, args = tidy(problem.graph, problem.args)
    message = problem_of(check, graph, args)
    if message:
        best = Problem(problem.check, graph, args, message)
    improved = True
    while improved and time.monotonic() < end:
        improved = False
        for graph, args in smaller(best):
            message = problem_of(check, graph, args)
            if message and kind_of_problem(message) == kind_of_problem(best.message):
                best, improved = Problem(problem.check, graph, args, message), True
                break
            if time.monotonic() > end:
                break
    return best


def smaller(problem: Problem):
    """Programs with one result, one equation, or one parameter less."""
    graph, args = problem.graph, problem.args
    if len(graph.results) > 1:
        for r in graph.results:
            yield tidy(Graph(graph.params, graph.eqns, [r]), args)
    for eqn in graph.eqns:      # earlier results: less program before the failure
        if len(graph.eqns) > 1 and eqn.outputs[0] is not graph.results[0]:
            yield tidy(Graph(graph.params, graph.eqns, [eqn.outputs[0]]), args)
    try:
        values = all_values(graph, args)
    except Exception:   # the reference meaning itself fails, which is the finding
        return
    for eqn in graph.eqns:      # values given instead of computed
        if len(graph.eqns) > 1:
            rest = [e for e in graph.eqns if e is not eqn]
            found = tidy(Graph([*graph.params, *eqn.outputs], rest, graph.results), [*args, *[values[v] for v in eqn.outputs]])
            if found[0].eqns and len(found[0].eqns) < len(graph.eqns):
                yield found


def all_values(graph: Graph, args: Sequence) -> dict[Var, np.ndarray]:
    every = [v for eqn in graph.eqns for v in eqn.outputs]
    with np.errstate(all="ignore"):
        return dict(zip(every, evaluate(Graph(graph.params, graph.eqns, every), args)))


def tidy(graph: Graph, args: Sequence) -> tuple[Graph, list]:
    """Without equations and params that nobody reads."""
    eqns = live_eqns(graph)
    read = {x for eqn in eqns for x in eqn.inputs if isinstance(x, Var)} | {r for r in graph.results if isinstance(r, Var)}
    kept = [(p, x) for p, x in zip(graph.params, args) if p in read]
    return Graph([p for p, _ in kept], eqns, graph.results), [x for _, x in kept]


def as_test(problem: Problem, seed: int) -> str:
    """The failing program as source text of a test."""
    numbers = lambda x: (x.astype(np.float64) if x.dtype == bfloat16 else x).tolist()
    literal = lambda x: f"np.array({numbers(x)!r}).astype({str(x.dtype)!r}).reshape({x.shape})"
    args = ",\n            ".join(literal(x) for x in problem.args)
    body = "\n    ".join(problem.graph.key().splitlines())
    return (f'def test_seed_{seed}():\n    """{problem.message}"""\n    graph = parse("""{body}""")\n'
            f"    args = [{args}]\n    assert fuzz.problem_of(fuzz.{problem.check}, graph, args) is None\n")


# --- running ---------------------------------------------------------------------------------------------------------

def try_seed(seed: int) -> tuple[Problem, Callable] | None:
    """One random program through its checks."""
    rng = np.random.default_rng(seed)
    graph, args = random_program(rng)
    if graph.effects:
        return None
    for check in (*ALWAYS, SOMETIMES[seed % len(SOMETIMES)]):
        message = problem_of(check, graph, args)
        if message:
            return Problem(check.__name__, graph, args, message), check
    return None


def run(n: int, seed: int, minutes: float, stop_after: int = 10, shrinking: float = 20, trace_to=None,
        tell: Callable[[str], None] | None = None) -> list[tuple[int, Problem]]:
    """Try n programs from a seed on, until time is up; the problems, made small, of which `tell` gets the tests."""
    end, found = time.monotonic() + 60 * minutes, []
    tried = 0
    with config.setting(enable_compilation_cache=False):
        for k in range(seed, seed + n):
            if time.monotonic() > end or len(found) >= stop_after:
                break
            if trace_to:
                trace_to.seek(0)
                trace_to.write(f"{k:12}\n")
                trace_to.flush()
            problem = try_seed(k)
            tried += 1
            if problem:
                found.append((k, shrink(*problem, shrinking)))
                if tell:
                    tell(as_test(found[-1][1], k))
    print(f"{tried} programs from seed {seed}, {len(found)} problems")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--stop-after", type=int, default=10, help="problems")
    parser.add_argument("--shrink", type=float, default=20, help="seconds spent on making one problem small")
    parser.add_argument("--trace", help="a file to which the seed of the program at work is written, to find a crash")
    given = parser.parse_args()
    faulthandler.enable()
    out = open(given.trace, "w") if given.trace else None
    found = run(given.n, given.seed, given.minutes, given.stop_after, given.shrink, out, functools.partial(print, flush=True))
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
