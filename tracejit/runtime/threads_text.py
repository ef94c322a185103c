"""The thread pool, the Ctrl-C flag and calls without the GIL, as LLVM text (abbreviations: see native.py)."""
from __future__ import annotations

import platform
import sys

MAX_THREADS = 256
MAX_RANGES = 64       # more threads share ranges
MAX_CLAIMS = 1 << 20  # a range's word has 24 bits for the next unit; more units are claimed in blocks
PAUSE = {"x86_64": "pause", "amd64": "pause", "aarch64": "yield", "arm64": "yield"}.get(platform.machine().lower(), "")
SPIN_ROUNDS = 1500  # some 20-50 us of pauses before a worker sleeps
CONSTANTS = {"COARSE_CLOCK": 6 if sys.platform == "linux" else 1, "SPIN": SPIN_ROUNDS, "MAX_CLAIMS": MAX_CLAIMS,
             "LAST_CLAIM": MAX_CLAIMS - 1, "MAX_RANGES": MAX_RANGES, "CLAIM_BYTES": 64 * MAX_RANGES, "MAX_THREADS": MAX_THREADS,
             "SYS_FUTEX": {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)}

# A sleeping worker waits on @generation. With the lock variant, a mutex closes the gap between check and wait.
FUTEX = """
declare i64 @syscall(i64, ...)
define internal void @sleep_until_not(i32 %seen) #0 {
  %r = call i64 (i64, ...) @syscall(i64 $SYS_FUTEX, ptr @generation, i32 128, i32 %seen, ptr null, ptr null, i32 0)
  ret void
}
define internal void @wake(i64 %n) #0 {
  %r = call i64 (i64, ...) @syscall(i64 $SYS_FUTEX, ptr @generation, i32 129, i64 %n, ptr null, ptr null, i32 0)
  ret void
}
define internal void @reset_sleep() #0 {
  ret void
}
"""
CONDITION = """
@mutex = internal global [128 x i8] zeroinitializer, align 64
@condition = internal global [128 x i8] zeroinitializer, align 64
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
define internal void @sleep_until_not(i32 %seen) #0 {
entry:
  %a = call i32 @pthread_mutex_lock(ptr @mutex)
  br label %check
check:
  %now = load atomic i32, ptr @generation seq_cst, align 4
  %same = icmp eq i32 %now, %seen
  br i1 %same, label %wait, label %done
wait:
  %b = call i32 @pthread_cond_wait(ptr @condition, ptr @mutex)
  br label %check
done:
  %c = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}
define internal void @wake(i64 %n) #0 {
  %a = call i32 @pthread_mutex_lock(ptr @mutex)
  %b = call i32 @pthread_cond_broadcast(ptr @condition)
  %c = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}
define internal void @reset_sleep() #0 {
  %a = call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr @condition, ptr null)
  ret void
}
"""

POOL = """
@claims = internal global [$MAX_RANGES x [64 x i8]] zeroinitializer, align 64   ; of each range: (end << 24) | next unit to claim
@ranges = internal global i64 0, align 64
@finished = internal global i64 0, align 64    ; units done
@generation = internal global i32 0, align 64  ; counts jobs; workers watch it
@sleepers = internal global i32 0, align 64
@busy = internal global i32 0, align 64
@body = internal global ptr null, align 64     ; these four are written before the ranges are published
@context = internal global ptr null
@count = internal global i64 0
@block = internal global i64 1                 ; how many i a unit holds
@helpers = internal global i64 0               ; how many workers may take part
@owner = internal global ptr null              ; the thread whose job the pool runs
@ids = internal global [$MAX_THREADS x ptr] zeroinitializer   ; the workers
@tj_threads = global i64 1, align 64           ; limit set from Python, the caller included
@tj_workers = global i64 0                     ; threads that exist in this process
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @sched_yield()
declare i64 @llvm.umin.i64(i64, i64)

define internal void @relax() #0 {
  call void asm sideeffect "$PAUSE_TEXT", "~{memory}"()
  ret void
}

define internal void @run_serial(ptr %fn, ptr %ctx, i64 %from, i64 %to) #0 {
entry:
  br label %head
head:
  %i = phi i64 [%from, %entry], [%i1, %step]
  %more = icmp ult i64 %i, %to
  br i1 %more, label %step, label %done
step:
  call void %fn(ptr %ctx, i64 %i)
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; Claim units until none is left: first of my own range, which lies where my range of the job before lay, so that what I wrote
; then is still in my caches; then of the others'. A worker that is late for its job may claim from the next one: all it uses was
; published before the ranges. Units are counted as finished only after their work.
define internal void @drain(i64 %me) #0 {
entry:
  %ranges = load atomic i64, ptr @ranges acquire, align 8
  br label %range
range:
  %k = phi i64 [0, %entry], [%k1, %next]
  %any = icmp ult i64 %k, %ranges
  br i1 %any, label %choose, label %done
choose:
  %sum = add i64 %me, %k
  %r = urem i64 %sum, %ranges
  %place = getelementptr [64 x i8], ptr @claims, i64 %r
  br label %peek
peek:
  %seen = load atomic i64, ptr %place acquire, align 8
  %seen_next = and i64 %seen, 16777215
  %seen_end = lshr i64 %seen, 24
  %open = icmp ult i64 %seen_next, %seen_end
  br i1 %open, label %claim, label %next
claim:
  %word = atomicrmw add ptr %place, i64 1 acq_rel
  %unit = and i64 %word, 16777215
  %end = lshr i64 %word, 24
  %mine = icmp ult i64 %unit, %end
  br i1 %mine, label %work, label %next
work:
  %fn = load ptr, ptr @body
  %ctx = load ptr, ptr @context
  %n = load i64, ptr @count
  %size = load i64, ptr @block
  %from = mul i64 %unit, %size
  %behind = add i64 %from, %size
  %to = call i64 @llvm.umin.i64(i64 %behind, i64 %n)
  call void @run_serial(ptr %fn, ptr %ctx, i64 %from, i64 %to)
  %before = atomicrmw add ptr @finished, i64 1 release
  br label %peek
next:
  %k1 = add i64 %k, 1
  br label %range
done:
  ret void
}

; Share the units out: range r of R is [units * r / R, units * (r + 1) / R).
define internal void @publish_ranges(i64 %units, i64 %threads) #0 {
entry:
  %few = call i64 @llvm.umin.i64(i64 %units, i64 %threads)
  %ranges = call i64 @llvm.umin.i64(i64 %few, i64 $MAX_RANGES)
  store atomic i64 %ranges, ptr @ranges release, align 8
  br label %head
head:
  %r = phi i64 [0, %entry], [%r1, %head]
  %begin = phi i64 [0, %entry], [%end, %head]
  %r1 = add i64 %r, 1
  %scaled = mul i64 %units, %r1
  %end = udiv i64 %scaled, %ranges
  %high = shl i64 %end, 24
  %word = or i64 %high, %begin
  %place = getelementptr [64 x i8], ptr @claims, i64 %r
  store atomic i64 %word, ptr %place release, align 8
  %more = icmp ult i64 %r1, %ranges
  br i1 %more, label %head, label %done
done:
  ret void
}

define internal ptr @worker(ptr %number) #0 {
entry:
  %me = ptrtoint ptr %number to i64
  %all = alloca [128 x i8]
  call void @llvm.memset.p0.i64(ptr %all, i8 -1, i64 128, i1 false)
  %ignored = call i32 @pthread_sigmask(i32 $SIG_SETMASK, ptr %all, ptr null)
  %first = load atomic i32, ptr @generation acquire, align 4
  %start = sub i32 %first, 1
  br label %watch
watch:
  %seen = phi i32 [%start, %entry], [%now, %go], [%now, %look]
  br label %spin
spin:
  %round = phi i64 [0, %watch], [%round1, %pause], [0, %sleep]
  %now = load atomic i32, ptr @generation acquire, align 4
  %new = icmp ne i32 %now, %seen
  br i1 %new, label %look, label %pause
pause:
  call void @relax()
  %round1 = add i64 %round, 1
  %tired = icmp ugt i64 %round1, $SPIN
  br i1 %tired, label %sleep, label %spin
sleep:
  %up = atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @sleep_until_not(i32 %seen)
  %down = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %spin
look:
  %allowed = load atomic i64, ptr @helpers acquire, align 8
  %mine = icmp ult i64 %me, %allowed
  br i1 %mine, label %go, label %watch
go:
  %id = add i64 %me, 1
  call void @drain(i64 %id)
  br label %watch
}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define internal void @start_workers(i64 %wanted) #0 {
entry:
  %thread = alloca ptr
  %have = load i64, ptr @tj_workers
  br label %head
head:
  %i = phi i64 [%have, %entry], [%i1, %made]
  %more = icmp ult i64 %i, %wanted
  br i1 %more, label %make, label %done
make:
  %number = inttoptr i64 %i to ptr
  %code = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %number)
  %ok = icmp eq i32 %code, 0
  br i1 %ok, label %made, label %done
made:
  %id = load ptr, ptr %thread
  put_item ptr %id, @ids, %i
  %ignored = call i32 @pthread_detach(ptr %id)
  %i1 = add i64 %i, 1
  store i64 %i1, ptr @tj_workers
  br label %head
done:
  ret void
}

; fn(ctx, i) for every i in [0, n).
define void @tj_parallel(ptr %fn, ptr %ctx, i64 %n) #0 {
  call void @run_parallel(ptr %fn, ptr %ctx, i64 %n, i1 false)
  ret void
}

; The same for units that look at tj_interrupt, after which the caller calls tj_leave.
define void @tj_parallel_loops(ptr %fn, ptr %ctx, i64 %n) #0 {
  call void @run_parallel(ptr %fn, ptr %ctx, i64 %n, i1 true)
  ret void
}

define internal void @run_parallel(ptr %fn, ptr %ctx, i64 %n, i1 %polls) #0 {
entry:
  %threads = load i64, ptr @tj_threads
  %many = icmp ugt i64 %threads, 1
  %several = icmp ugt i64 %n, 1
  %worth = and i1 %many, %several
  br i1 %worth, label %try, label %serial
try:
  %swap = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %got = extractvalue {i32, i1} %swap, 1
  br i1 %got, label %publish, label %serial
serial:
  call void @run_serial(ptr %fn, ptr %ctx, i64 0, i64 %n)
  ret void
publish:
  %extra = sub i64 %threads, 1
  %have = load i64, ptr @tj_workers
  %short = icmp ult i64 %have, %extra
  br i1 %short, label %start, label %fill
start:
  call void @start_workers(i64 %extra)
  br label %fill
fill:
  store ptr %fn, ptr @body
  store ptr %ctx, ptr @context
  store i64 %n, ptr @count
  %me = call ptr @pthread_self()
  store ptr %me, ptr @owner
  %n1 = add i64 %n, $LAST_CLAIM
  %size = udiv i64 %n1, $MAX_CLAIMS
  store i64 %size, ptr @block
  %n2 = add i64 %n, %size
  %n3 = sub i64 %n2, 1
  %units = udiv i64 %n3, %size
  store atomic i64 %extra, ptr @helpers release, align 8
  store atomic i64 0, ptr @finished release, align 8
  call void @publish_ranges(i64 %units, i64 %threads)
  %old = atomicrmw add ptr @generation, i32 1 seq_cst
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %any = icmp ne i32 %asleep, 0
  br i1 %any, label %rouse, label %work
rouse:
  %others = sub i64 %units, 1
  call void @wake(i64 %others)
  br label %work
work:
  call void @drain(i64 0)
  br label %wait
wait:
  %round = phi i64 [0, %work], [%round1, %pause], [0, %yield], [0, %poll]
  %done = load atomic i64, ptr @finished acquire, align 8
  %all = icmp eq i64 %done, %units
  br i1 %all, label %return, label %pause
pause:
  call void @relax()
  %round1 = add i64 %round, 1
  %long = icmp ugt i64 %round1, $SPIN
  br i1 %long, label %yield, label %wait
yield:
  %yielded = call i32 @sched_yield()
  %flag = load atomic i32, ptr @tj_interrupt monotonic, align 4
  %set = icmp ne i32 %flag, 0
  %ask = and i1 %set, %polls
  br i1 %ask, label %poll, label %wait
poll:
  %ignored = call i32 @tj_poll()
  br label %wait
return:
  store atomic i32 0, ptr @busy release, align 4
  ret void
}

; In the child of a fork no worker exists any more, and nobody works for the job that was in the pool: units of it that were
; open must not be there when the next job says how many ranges it has, before it says what they are.
define void @tj_forget_workers() #0 {
  store i64 0, ptr @tj_workers
  store i32 0, ptr @busy
  store i32 0, ptr @sleepers
  store i64 0, ptr @ranges
  call void @llvm.memset.p0.i64(ptr @claims, i8 0, i64 $CLAIM_BYTES, i1 false)
  call void @reset_sleep()
  ret void
}
"""

SIGNALS = """
@tj_interrupt = global i32 0              ; set by Ctrl-C, polled by compiled loops
@tj_stopping = global i32 0               ; the handler has raised: what the main thread computes is not wanted any more
@main_inside = internal global i32 0      ; calls of the main thread without the interpreter's lock
@tj_main_thread = global ptr null
@earlier = internal global ptr null       ; the handler that was there when ours was installed last
@original = internal global ptr null      ; and when it was installed first: Python's
@depth = internal global i32 0
@last_tick = internal global i64 0
declare i32 @clock_gettime(i32, ptr)
declare i32 @sigaction(i32, ptr, ptr)
declare ptr @pthread_self()
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyErr_CheckSignals()

; A handler installed later may call ours in turn: then go on to the original one, not round in a circle.
define internal void @on_interrupt(i32 %signal, ptr %info, ptr %machine) #0 {
  store atomic i32 1, ptr @tj_interrupt release, align 4
  %level = atomicrmw add ptr @depth, i32 1 seq_cst
  %nested = icmp ne i32 %level, 0
  %first = load ptr, ptr @original
  %last = load ptr, ptr @earlier
  %next = select i1 %nested, ptr %first, ptr %last
  call void %next(i32 %signal, ptr %info, ptr %machine)
  %down = atomicrmw sub ptr @depth, i32 1 seq_cst
  ret void
}

; Ask again which handler there is, but at most once per tick of the coarse clock (some ms): asking is a system call.
define internal void @watch_now_and_then() #0 {
  %time = alloca [2 x i64]
  %ignored = call i32 @clock_gettime(i32 $COARSE_CLOCK, ptr %time)
  %seconds = item i64, %time, 0
  %part = item i64, %time, 1
  %shifted = shl i64 %seconds, 30
  %tick = or i64 %shifted, %part
  %last = load i64, ptr @last_tick
  %same = icmp eq i64 %tick, %last
  br i1 %same, label %done, label %watch
watch:
  store i64 %tick, ptr @last_tick
  call void @tj_watch_interrupt()
  br label %done
done:
  ret void
}

; Put our handler in front of the present one; Python's signal.signal may have replaced it. Default and ignore stay.
define void @tj_watch_interrupt() #0 {
  %action = alloca [256 x i8], align 16
  %code = call i32 @sigaction(i32 2, ptr null, ptr %action)
  %handler = load ptr, ptr %action
  %number = ptrtoint ptr %handler to i64
  %special = icmp ule i64 %number, 1
  br i1 %special, label %done, label %mine
mine:
  %ours = icmp eq ptr %handler, @on_interrupt
  br i1 %ours, label %done, label %install
install:
  store ptr %handler, ptr @earlier
  %first = load ptr, ptr @original
  %none = icmp eq ptr %first, null
  br i1 %none, label %remember, label %set
remember:
  store ptr %handler, ptr @original
  br label %set
set:
  store ptr @on_interrupt, ptr %action
  %changed = call i32 @sigaction(i32 2, ptr %action, ptr null)
  br label %done
done:
  ret void
}

; Called by a loop that has seen tj_interrupt: 1 = stop, what it computes is not wanted any more; 0 = go on.
; The main thread asks Python, whose handler may raise. Others stop if they work for it. A thread that works for itself goes
; on, and takes the flag down where the main thread is not in compiled code, which then runs the handler without it.
define i32 @tj_poll() #0 {
entry:
  %me = call ptr @pthread_self()
  %main = load ptr, ptr @tj_main_thread
  %stopping = load atomic i32, ptr @tj_stopping acquire, align 4
  %here = icmp eq ptr %me, %main
  br i1 %here, label %again, label %other
again:
  %known = icmp ne i32 %stopping, 0
  br i1 %known, label %stop, label %ask
ask:
  store atomic i32 0, ptr @tj_interrupt release, align 4
  %state = call i32 @PyGILState_Ensure()
  %raised = call i32 @PyErr_CheckSignals()
  call void @PyGILState_Release(i32 %state)
  %raises = icmp ne i32 %raised, 0
  br i1 %raises, label %tell, label %go_on
tell:
  store atomic i32 1, ptr @tj_stopping release, align 4
  store atomic i32 1, ptr @tj_interrupt release, align 4
  br label %stop
stop:
  ret i32 1
other:
  %works = call i1 @is_worker(ptr %me)
  br i1 %works, label %whose, label %own
whose:
  %owner = load ptr, ptr @owner
  %mains = icmp eq ptr %owner, %main
  %wanted = select i1 %mains, i32 %stopping, i32 0
  ret i32 %wanted
own:
  %inside = load atomic i32, ptr @main_inside acquire, align 4
  %busy = or i32 %inside, %stopping
  %main_sees = icmp ne i32 %busy, 0
  br i1 %main_sees, label %go_on, label %lower
lower:
  store atomic i32 0, ptr @tj_interrupt release, align 4
  br label %go_on
go_on:
  ret i32 0
}

; Called after a loop by the thread that began it: 1 = leave the entry point, a Python exception is set; 0 = go on.
define i32 @tj_leave() #0 {
entry:
  %stop = call i32 @tj_poll()
  %stops = icmp ne i32 %stop, 0
  br i1 %stops, label %lower, label %done
lower:
  store atomic i32 0, ptr @tj_stopping release, align 4
  store atomic i32 0, ptr @tj_interrupt release, align 4
  br label %done
done:
  ret i32 %stop
}

define internal i1 @is_worker(ptr %thread) #0 {
entry:
  %n = load i64, ptr @tj_workers
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %no
step:
  %id = item ptr, @ids, %i
  %same = icmp eq ptr %id, %thread
  %i1 = add i64 %i, 1
  br i1 %same, label %yes, label %head
yes:
  ret i1 true
no:
  ret i1 false
}

; From here to count_main(-1) the main thread sees the flag itself.
define internal void @count_main(i32 %by) #0 {
entry:
  %me = call ptr @pthread_self()
  %main = load ptr, ptr @tj_main_thread
  %here = icmp eq ptr %me, %main
  br i1 %here, label %count, label %done
count:
  %before = atomicrmw add ptr @main_inside, i32 %by release
  br label %done
done:
  ret void
}
"""

CALL = """
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

; An entry point, run with the GIL released.
define i32 @tj_call_released(ptr %fn, ptr %ins, ptr %outs, ptr %arena) #0 {
  call void @watch_now_and_then()
  call void @count_main(i32 1)
  %state = call ptr @PyEval_SaveThread()
  %code = call i32 %fn(ptr %ins, ptr %outs, ptr %arena)
  call void @PyEval_RestoreThread(ptr %state)
  call void @count_main(i32 -1)
  ret i32 %code
}
attributes #0 = { nounwind }
"""

# Without POSIX threads and signals every loop is serial, and only Python's own signal handling remains.
SERIAL = """
@tj_interrupt = global i32 0
@tj_stopping = global i32 0
@tj_main_thread = global ptr null
@tj_threads = global i64 1
@tj_workers = global i64 0
define void @tj_parallel(ptr %fn, ptr %ctx, i64 %n) #0 {
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %done
step:
  call void %fn(ptr %ctx, i64 %i)
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}
define void @tj_parallel_loops(ptr %fn, ptr %ctx, i64 %n) #0 {
  call void @tj_parallel(ptr %fn, ptr %ctx, i64 %n)
  ret void
}
define void @tj_forget_workers() #0 {
  ret void
}
define void @tj_watch_interrupt() #0 {
  ret void
}
define internal void @watch_now_and_then() #0 {
  ret void
}
define internal void @count_main(i32 %by) #0 {
  ret void
}
define i32 @tj_poll() #0 {
  ret i32 0
}
define i32 @tj_leave() #0 {
  ret i32 0
}
"""


def text_of(sleep: str) -> str:
    """The whole library; `sleep` says how an idle worker waits: FUTEX, CONDITION, or SERIAL for no workers at all."""
    if sleep is SERIAL:
        return SERIAL + CALL
    set_mask = "3" if sys.platform == "darwin" else "2"
    return sleep + POOL.replace("$PAUSE_TEXT", PAUSE).replace("$SIG_SETMASK", set_mask) + SIGNALS + CALL


def best_sleep() -> str:
    if sys.platform == "win32":
        return SERIAL
    return FUTEX if sys.platform == "linux" and CONSTANTS["SYS_FUTEX"] else CONDITION


TEXT = text_of(best_sleep())
