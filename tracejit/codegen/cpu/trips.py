"""The trips of a loop without a carry -> one function, `void trips(ptr context, i64 share)`, that threads run side by side.

Each share has scratch memory of its own, takes the next trip that nobody has taken, and ends when none is left: a thread whose
values fit in its cache finds them there again. What a trip itself would run in parallel it then runs alone.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from tracejit.codegen.cpu.builder import PTR, Builder, Value
from tracejit.codegen.cpu.expressions import I64
from tracejit.codegen.cpu.register_loops import unless_stopped
from tracejit.codegen.lower import control_bytes
from tracejit.codegen.schedule import TASK_COST
from tracejit.codegen.steps import ControlStep, KernelStep, Program, Step
from tracejit.ir.graph import Eqn
from tracejit.lax.kinds import Contraction
from tracejit.lax.loops import Scan

MOST_SHARES = 64
SHARES_BYTES = 1 << 26  # of scratch memory for all shares: a loop may be there because its trips need much
IDLE = 4                # a thread may do nothing for one trip in that many, else the steps inside of a trip are shared out


def shares_of(eqn: Eqn, programs: Sequence[Program]) -> int:
    """How many trips of a loop may run at once; 1: they run one after another."""
    op = eqn.op
    if not isinstance(op, Scan) or op.n_carry or op.length is None or not all(map(runs_anywhere, programs[0].steps)):
        return 1
    if work_of(programs[0]) < TASK_COST:
        return 1
    return max(1, min(op.length, MOST_SHARES, SHARES_BYTES // control_bytes(eqn, programs)))


def runs_anywhere(step: Step) -> bool:
    """Whether a step may run on any thread: it neither leaves the program early nor changes what belongs to the process."""
    if isinstance(step, ControlStep):
        return isinstance(step.eqn.op, Scan) and step.eqn.op.length is not None and \
            not (step.registers and step.registers.may_not_end) and \
            all(runs_anywhere(s) for program in step.programs for s in program.steps)
    return isinstance(step, KernelStep) or isinstance(step.eqn.op, Contraction)


def work_of(program: Program) -> float:
    """About how many operations on single elements a program takes."""
    return sum(map(work_of_step, program.steps))


def work_of_step(step: Step) -> float:
    if isinstance(step, KernelStep):
        return step.kernel.size * max(1, len(step.kernel.eqns))
    if isinstance(step, ControlStep):
        return step.eqn.op.length * sum(map(work_of, step.programs))
    return step.eqn.op.flops(*[x.type for x in step.eqn.inputs]) / 2


def emit_trips(emitter, step: ControlStep, n: int, pointers: Sequence[Value], region: Value,
               trip: Callable[[Value, Sequence[Value], Value], None]) -> Callable[[], None]:
    """What emits a run of all n trips; `trip(i, pointers, scratch)` emits one."""
    b = emitter.b
    taken = b.alloca(8)
    b.store(b.const(0, I64), taken)
    table = emitter.table([*pointers, region, taken])
    with emitter.task() as f:
        context, share = f.params
        *given, memory, counter = [f.load(PTR, f.gep(context, k, PTR)) for k in range(len(pointers) + 2)]
        scratch = f.gep(memory, f.mul(share, step.region.nbytes // step.shares))

        def following() -> Value:
            """The next trip that nobody has taken; n after Ctrl-C."""
            return unless_stopped(f, f.impure(f"atomicrmw add ptr {counter.name}, i64 1 monotonic", I64), f.const(n, I64))

        def body(carries: list[Value]) -> list[Value]:
            trip(carries[0], given, scratch)
            return [following()]
        f.while_loop([following()], lambda carries: f.lt(carries[0], n), body)
        f.ret()
        f.finish()
    return lambda: b.cond(are_shared_out(b, n, step.shares), lambda: b.parallel(f.name, table, step.shares, polls=True),
                          lambda: b.parallel(f.name, table, 1))


def are_shared_out(b: Builder, n: int, shares: int) -> Value:
    """Whether so many trips keep the threads busy."""
    b.module.declare_global("tj_threads", "i64")
    threads = b.min(b.impure("load atomic i64, ptr @tj_threads monotonic, align 8", I64), b.const(shares, I64))
    rounds = b.div(b.add(threads, n - 1), threads)
    return b.le(b.mul(b.sub(b.mul(rounds, threads), n), IDLE), n)
