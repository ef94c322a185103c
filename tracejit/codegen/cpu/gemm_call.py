"""How products are called: the record of a call, and its batch entries shared out over tasks.

A routine is `void ENTRY(ptr call)`. What it needs besides what is here is a function `product(ENTRY_PARAMS)`, which computes one
batch entry.
"""
from __future__ import annotations

from .gemm_text import RARELY, Function, Record

CALL = Record("*A", "*B", "*C", "*D", "M", "N", "K", "a_row", "a_col", "b_row", "b_col", "ldc", "ldd",
              "batch0", "batch1", "a0", "a1", "b0", "b1", "c0", "c1", "d0", "d1",
              "*epilogue", "*ctx", "*scratch", "scratch_bytes", "*kernels")

TASK_WORK = 1 << 20  # multiply-adds that are worth a task of their own
MOST_TASKS = 64

DECLARATIONS = """declare void @tj_parallel(ptr, ptr, i64)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
@zero = internal constant i64 0
"""

# What a product needs besides the call: one batch entry's pointers, its first row, may it fork?
ENTRY_PARAMS = "ptr %call, ptr %A, ptr %B, ptr %C, ptr %D, ptr %scratch, i64 %first_row, i64 %fork"
ENTRY_ARGS = (("ptr", "%call"), ("ptr", "%A"), ("ptr", "%B"), ("ptr", "%C"), ("ptr", "%D"), ("ptr", "%scratch"),
               ("i64", "%first_row"))


def run_tasks(f: Function, task: str, job: str, n: str, fork: str) -> None:
    f.call("@run", ("ptr", task), ("ptr", job), ("i64", n), ("i64", fork))


def zext(f: Function, condition: str) -> str:
    return f.value(f"zext i1 {condition} to i64")


_BATCH = Record("*call", "n_tasks", "count", "scratch_bytes")


def batch_task() -> str:
    """Task t computes an equal share of the batch; with one task, each entry may fork by itself."""
    f = Function("batch_task", "ptr %job, i64 %task", "internal", RARELY)
    call, n_tasks, count, share = _BATCH.get(f, "%job", "call", "n_tasks", "count", "scratch_bytes")
    m, batch1, scratch = CALL.get(f, call, "M", "batch1", "scratch")
    scratch = f.offset(scratch, f.mul("%task", share))
    fork = zext(f, f.compare("eq", n_tasks, 1))
    start, stop = (f.div(f.mul(count, f.add("%task", e)), n_tasks) for e in (0, 1))
    with f.loop(start, stop) as loop:
        i, j = f.div(loop.index, batch1), f.rem(loop.index, batch1)
        a, b, c, d = (_entry_pointer(f, call, name, i, j) for name in "ABCD")
        f.call("@product", ("ptr", call), ("ptr", a), ("ptr", b), ("ptr", c), ("ptr", d), ("ptr", scratch),
               ("i64", f.mul(loop.index, m)), ("i64", fork))
    return f.text()


def _entry_pointer(f: Function, call: str, name: str, i: str, j: str) -> str:
    low = name.lower()
    base, stride0, stride1 = CALL.get(f, call, name, f"{low}0", f"{low}1")
    at = f.add(f.mul(i, stride0), f.mul(j, stride1))
    moved = f.value(f"getelementptr %element, ptr {base}, i64 {at}")
    return f.select(f.compare("eq", base, "null", "ptr"), "null", moved, "ptr") if name == "D" else moved


def entry_text() -> str:
    """The public routine: nothing to do, one product, or a batch shared out over tasks."""
    f = Function("ENTRY", "ptr %call", attributes=RARELY)
    m, n, k, batch0, batch1 = CALL.get(f, "%call", "M", "N", "K", "batch0", "batch1")
    count, outputs = f.mul(batch0, batch1), f.mul(m, n)
    f.leave_when(f.compare("eq", f.mul(count, outputs), 0))
    with f.when(f.compare("eq", k, 0)):
        _zero_product(f)
        f.leave()
    work = f.mul(outputs, k)
    by_entry = f.both(f.compare("sgt", count, 1), f.compare("slt", work, 4 * TASK_WORK))
    wanted = f.div(f.mul(f.min(count, 1 << 20), work), TASK_WORK // 4)
    n_tasks = f.select(by_entry, f.max(f.min(f.min(wanted, count), MOST_TASKS), 1), 1)
    scratch_bytes, = CALL.get(f, "%call", "scratch_bytes")
    slices = f.min(count, MOST_TASKS)
    job = _BATCH.allocate(f)
    share = f.mul(f.div(f.div(scratch_bytes, slices), 64), 64)
    _BATCH.put(f, job, call="%call", n_tasks=n_tasks, count=count, scratch_bytes=share)
    run_tasks(f, "@batch_task", job, n_tasks, "1")
    return f.text()


def _zero_product(f: Function) -> None:
    """K = 0 is the same as K = 1 with a column and a row of zeros, so that no kernel need care."""
    call = CALL.allocate(f)
    for member, value in zip(CALL.members, CALL.get(f, "%call", *CALL.members)):
        CALL.put(f, call, **{member: value})
    strides = ("a_row", "a_col", "b_row", "b_col", "a0", "a1", "b0", "b1")
    CALL.put(f, call, A="@zero", B="@zero", K=1, **dict.fromkeys(strides, 0))
    f.call("@ENTRY", ("ptr", call))


def run_text() -> str:
    """@run(task, job, n, fork): all tasks, in parallel if that is wanted and there are several."""
    f = Function("run", "ptr %task, ptr %job, i64 %n, i64 %fork", "internal")
    with f.when(f.both(f.compare("ne", "%fork", 0), f.compare("sgt", "%n", 1))):
        f.call("@tj_parallel", ("ptr", "%task"), ("ptr", "%job"), ("i64", "%n"))
        f.leave()
    with f.loop(0, "%n") as loop:
        f.call("%task", ("ptr", "%job"), ("i64", loop.index))
    return f.text()
