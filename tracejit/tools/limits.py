"""What this machine does at best: bytes per second for data of each size, instructions per second; measured once and kept.

    python -m tracejit.tools.limits         # measure now and print the result as JSON
"""
from __future__ import annotations

import ctypes
import dataclasses
import functools
import json
import math
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracejit.codegen.cpu.isa import Isa, host_isa
from tracejit.config import config
from tracejit.ir.types import ArrayType
from tracejit.runtime import cache, threads
from tracejit.runtime.array import empty
from tracejit.runtime.work import Work

SIZES = tuple(1 << k for k in range(17, 28, 2))     # bytes that all threads together pass over: 128 KiB to 128 MiB
UNROLL = 8          # vectors per trip of the loops on memory; the chains of multiply-adds are half as many again
BURST = 4e-3        # seconds that one timed burst lasts at least
BURSTS = 7
NO_WORK = Work()
LOOP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True)
class Limits:
    """Rates of all threads together. `read`, `copy` and `fill` map the bytes passed over to bytes per second, read and written
    alike.

    >>> limits = Limits("", "avx2", 2, 1e11, 1e11, 1e10, {1 << 20: 2e10}, {1 << 20: 2e10}, {1 << 20: 1e10})
    >>> [round(s, 6) for s in (limits.seconds(reads=2e9), limits.seconds(reads=3e9, writes=1e9), limits.seconds(work=Work(1e11)))]
    [0.1, 0.2, 1.0]
    """
    processor: str
    isa: str
    threads: int
    flops: float                # float32 multiplications and additions per second, in multiply-adds
    instructions: float         # elements of 4 bytes that instructions of any kind go over in a second
    divisions: float            # float32 divisions per second
    read: dict[int, float]
    copy: dict[int, float]
    fill: dict[int, float]

    def memory_seconds(self, reads: float, writes: float) -> float:
        """As much as possible as copying, the rest as reading or filling: reads and writes may go on at the same time."""
        size, copied = reads + writes, min(reads, writes)
        rest = (reads - copied) / between(self.read, size) + (writes - copied) / between(self.fill, size)
        return 2 * copied / between(self.copy, size) + rest

    def arithmetic_seconds(self, work: Work, itemsize: int = 4) -> float:
        """Multiplications, divisions and other instructions may go on at the same time, and each takes a place among all.
        Products are on numbers of `itemsize` bytes; a multiplication and an addition of theirs are one instruction."""
        products = work.products * max(itemsize, 4) / 4
        return max((products + 2 * work.multiplications) / self.flops, (products / 2 + work.instructions) / self.instructions,
                   work.divisions / self.divisions)

    def seconds(self, reads: float = 0, writes: float = 0, work: Work = NO_WORK, itemsize: int = 4) -> float:
        """The least time for moving these bytes and for this work."""
        return max(self.memory_seconds(reads, writes), self.arithmetic_seconds(work, itemsize))

    def raised(self, other: Limits) -> Limits:
        """The higher of both rates: what else runs can only lower one."""
        rates = {name: {k: max(v, getattr(other, name).get(k, 0)) for k, v in getattr(self, name).items()}
                 for name in ("read", "copy", "fill")}
        return dataclasses.replace(self, **rates, **{name: max(getattr(self, name), getattr(other, name))
                                                     for name in ("flops", "instructions", "divisions")})

    def as_json(self) -> dict:
        return dataclasses.asdict(self)


def limits_from(found: dict) -> Limits:
    by_size = {name: {int(k): v for k, v in found[name].items()} for name in ("read", "copy", "fill")}
    return Limits(**found | by_size)


def between(rates: dict[int, float], size: float) -> float:
    """The rate at `size`, interpolated between those measured on logarithmic axes; beyond them the nearest."""
    known = sorted(rates)
    return float(np.exp(np.interp(math.log(max(size, 1)), [math.log(k) for k in known], [math.log(rates[k]) for k in known])))


# --- the loops that are timed ----------------------------------------------------------------------------------------

def loop_text(name: str, isa: Isa, before: str, trip: str, after: str) -> str:
    """`void name(ptr x, ptr y, i64 trips, i64 repeats)`: the trip is repeated over %x and %y, as often as asked."""
    return f"""
define void @{name}(ptr %x, ptr %y, i64 %trips, i64 %repeats) #0 {{
entry:
  br label %again
again:
  %r = phi i64 [ 0, %entry ], [ %r2, %done ]
  br label %loop
loop:
  %i = phi i64 [ 0, %again ], [ %i2, %loop ]
{before}
  %at = mul i64 %i, {UNROLL * isa.vector_bits // 8}
{trip}
  %i2 = add i64 %i, 1
  %more = icmp ult i64 %i2, %trips
  br i1 %more, label %loop, label %done
done:
{after}
  %r2 = add i64 %r, 1
  %most = icmp ult i64 %r2, %repeats
  br i1 %most, label %again, label %end
end:
  ret void
}}
"""


def read_text(isa: Isa) -> str:
    vector, step = f"<{isa.vector_bits // 32} x i32>", isa.vector_bits // 8
    ks = range(UNROLL)
    before = "\n".join(f"  %s{k} = phi {vector} [ zeroinitializer, %again ], [ %n{k}, %loop ]" for k in ks)
    trip = "  %p = getelementptr i8, ptr %x, i64 %at\n" + "\n".join(
        f"  %p{k} = getelementptr i8, ptr %p, i64 {k * step}\n  %v{k} = load {vector}, ptr %p{k}, align {step}\n"
        f"  %n{k} = xor {vector} %s{k}, %v{k}" for k in ks)
    # The sum is kept in y, or the loads would be for nothing.
    after = "\n".join(f"  %a{k + 1} = xor {vector} {f'%a{k}' if k else 'zeroinitializer'}, %n{k}" for k in ks)
    return loop_text("limit_read", isa, before, trip, f"{after}\n  store {vector} %a{UNROLL}, ptr %y, align {step}")


def copy_text(name: str, isa: Isa, hint: str) -> str:
    vector, step = f"<{isa.vector_bits // 32} x i32>", isa.vector_bits // 8
    trip = "  %p = getelementptr i8, ptr %x, i64 %at\n  %q = getelementptr i8, ptr %y, i64 %at\n" + "\n".join(
        f"  %p{k} = getelementptr i8, ptr %p, i64 {k * step}\n  %q{k} = getelementptr i8, ptr %q, i64 {k * step}\n"
        f"  %v{k} = load {vector}, ptr %p{k}, align {step}\n  store {vector} %v{k}, ptr %q{k}, align {step}{hint}"
        for k in range(UNROLL))
    return loop_text(name, isa, "", trip, "")


def fill_text(name: str, isa: Isa, hint: str) -> str:
    vector, step = f"<{isa.vector_bits // 32} x i32>", isa.vector_bits // 8
    trip = "  %q = getelementptr i8, ptr %y, i64 %at\n" + "\n".join(
        f"  %q{k} = getelementptr i8, ptr %q, i64 {k * step}\n"
        f"  store {vector} zeroinitializer, ptr %q{k}, align {step}{hint}" for k in range(UNROLL))
    return loop_text(name, isa, "", trip, "")


def chains_of(isa: Isa) -> int:
    return UNROLL * 3 // 2


def chains_text(name: str, isa: Isa, element: str, link: str) -> str:
    """Independent chains, enough of them to hide the latency of an operation, and few enough for the registers.

    `link` is the text that makes %n of %s and the vector %c; $v is the vector type, $k the chain.
    """
    n, step, ks = isa.vector_bits // 32, isa.vector_bits // 8, range(chains_of(isa))
    vector, one, add = f"<{n} x {element}>", *(("1.5", "fadd") if element == "float" else ("3", "add"))
    ones = f"<{', '.join([f'{element} {one}'] * n)}>"
    before = "\n".join(f"  %s{k} = phi {vector} [ {ones}, %again ], [ %n{k}, %loop ]" for k in ks)
    trip = "\n".join(link.replace("$v", vector).replace("$k", str(k)) for k in ks)
    after = "\n".join(f"  %a{k + 1} = {add} {vector} {f'%a{k}' if k else 'zeroinitializer'}, %n{k}" for k in ks)
    text = loop_text(name, isa, before, trip, f"{after}\n  store {vector} %a{len(ks)}, ptr %y, align {step}")
    return text.replace("entry:\n", f"entry:\n  %zero = load {vector}, ptr %x, align {step}\n  %c = {add} {vector} %zero, {ones}\n")


def arithmetic_texts(isa: Isa) -> str:
    """Multiply-adds; the simplest instructions, of which most go on at the same time; divisions."""
    intrinsic = f"@llvm.fma.v{isa.vector_bits // 32}f32"
    link = f"  %n$k = call $v {intrinsic}($v %c, $v %c, $v %s$k)" if isa.has_fma else \
        "  %m$k = fmul $v %s$k, %c\n  %n$k = fadd $v %m$k, %c"
    vector = f"<{isa.vector_bits // 32} x float>"
    return chains_text("limit_multiply_add", isa, "float", link) + \
        chains_text("limit_simple", isa, "i32", "  %m$k = xor $v %s$k, %c\n  %n$k = add $v %m$k, %c") + \
        chains_text("limit_divide", isa, "float", "  %n$k = fdiv $v %c, %s$k") + \
        (f"declare {vector} {intrinsic}({vector}, {vector}, {vector})\n" if isa.has_fma else "")


def loops(isa: Isa) -> dict[str, Callable]:
    past = ", !nontemporal !0"      # past the caches
    text = isa.header + read_text(isa) + copy_text("limit_copy", isa, "") + copy_text("limit_copy_past", isa, past) + \
        fill_text("limit_fill", isa, "") + fill_text("limit_fill_past", isa, past) + arithmetic_texts(isa) + \
        f"attributes #0 = {{ {isa.attributes} }}\n!0 = !{{ i32 1 }}\n"
    return {name: LOOP(address) for name, address in cache.load_module(text, isa.cpu, isa.features).items()}


# --- timing ----------------------------------------------------------------------------------------------------------

def together(calls: list[Callable[[], None]]) -> float:
    """Seconds from the first start to the last end of calls that run at the same time, each in its own thread."""
    barrier, spans = threading.Barrier(len(calls)), []

    def run(call: Callable[[], None]) -> None:
        barrier.wait()
        start = time.perf_counter()
        call()
        spans.append((start, time.perf_counter()))
    workers = [threading.Thread(target=run, args=(call,)) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)


def best_rate(work: float, calls_of: Callable[[int], list[Callable[[], None]]]) -> float:
    """The highest rate of several bursts; `calls_of(n)` does `work` n times."""
    repeats = 1
    while (spent := together(calls_of(repeats))) < BURST:
        repeats = max(2 * repeats, int(repeats * BURST / max(spent, 1e-9)))
    return max(repeats * work / together(calls_of(repeats)) for _ in range(BURSTS))


def measure() -> Limits:
    """Measure now, in about two seconds. Run it while nothing else does."""
    isa, n_threads = host_isa(), threads.thread_count()
    loop, trip_bytes = loops(isa), UNROLL * isa.vector_bits // 8
    buffers = [[memory(SIZES[-1] // n_threads) for _ in range(2)] for _ in range(n_threads)]

    def rate(name: str, size: int, bytes_per_trip: int) -> float:
        trips = max(1, size // n_threads // bytes_per_trip)
        return best_rate(trips * n_threads * bytes_per_trip, lambda repeats: [
            functools.partial(loop[name], x._data, y._data, trips, repeats) for x, y in buffers])

    def arithmetic(name: str, per_link: int) -> float:
        trips, per_trip = 1 << 12, per_link * chains_of(isa) * isa.vector_bits // 32
        return best_rate(trips * per_trip * n_threads, lambda repeats: [
            functools.partial(loop[name], x._data, y._data, trips, repeats) for x, y in buffers])

    read = {size: rate("limit_read", size, trip_bytes) for size in SIZES}
    copy = {size: max(rate(name, size, 2 * trip_bytes) for name in ("limit_copy", "limit_copy_past")) for size in SIZES}
    fill = {size: max(rate(name, size, trip_bytes) for name in ("limit_fill", "limit_fill_past")) for size in SIZES}
    flops, simple, divide = (arithmetic(name, per_link) for name, per_link in
                             (("limit_multiply_add", 2), ("limit_simple", 2), ("limit_divide", 1)))
    return Limits(processor(), isa.name, n_threads, flops, simple, divide, read, copy, fill)


def memory(nbytes: int):
    array = empty(ArrayType((nbytes,), np.dtype("uint8")))
    ctypes.memset(array._data, 0, nbytes)   # pages exist only once they were written
    return array


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    family = [line.split(":")[1].strip() for line in lines[:12] if line.startswith(("cpu family", "model\t"))]
    return f"{model} ({', '.join(family)})" if family else model


# --- kept --------------------------------------------------------------------------------------------------------------

known: dict[tuple, Limits] = {}     # in this process


def key() -> tuple[str, str, int]:
    return processor(), host_isa().name, threads.thread_count()


def name_of(key: tuple) -> str:
    return "; ".join(map(str, key))


def kept_limits() -> Limits | None:
    """The limits for the settings that hold now, if they were measured before."""
    if key() not in known and name_of(key()) in (kept := read_kept()):
        known[key()] = limits_from(kept[name_of(key())])
    return known.get(key())


def machine_limits(again: bool = False) -> Limits:
    """The limits for the settings that hold now: those of this process, else those kept in the cache folder, else measured."""
    found = None if again else kept_limits()
    if found is None:
        found = keep(measure())
    return found


def measured_again(found: Limits) -> Limits:
    """These limits, raised to what a second measurement finds, and kept."""
    return keep(found.raised(measure()))


def kept_at() -> Path | None:
    folder = cache.object_cache() if config.enable_compilation_cache else None
    return folder.folder / "limits.json" if folder else None


def read_kept() -> dict[str, dict]:
    """What was kept, without what another version wrote in another form."""
    path, names = kept_at(), {f.name for f in dataclasses.fields(Limits)}
    try:
        found = json.loads(path.read_text()) if path else {}
        return {name: kept for name, kept in found.items() if set(kept) == names}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def keep(found: Limits) -> Limits:
    """Write them down; on any failure of the disk do without."""
    known[key()], path = found, kept_at()
    if path is None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(read_kept() | {name_of(key()): found.as_json()}, indent=1) + "\n")
    except OSError as error:
        cache.logger.debug("the limits of this machine are not kept in %s: %s", path, error)
    return found


def lines(limits: Limits) -> list[tuple[str, str]]:
    """(what, how much) for people."""
    rows = [("limits of", f"{limits.processor}, {limits.isa}, {limits.threads} threads"),
            ("multiply-adds", f"{limits.flops / 1e9:.0f} GFLOP/s in float32"),
            ("any instruction", f"{limits.instructions / 1e9:.0f} 10^9 elements of 4 bytes per second"),
            ("divisions", f"{limits.divisions / 1e9:.1f} 10^9 per second in float32")]
    for size in limits.read:
        rates = ", ".join(f"{name} {of[size] / 1e9:.1f}" for name, of in
                          (("read", limits.read), ("copy", limits.copy), ("fill", limits.fill)))
        rows.append((f"{size >> 10} KiB", f"{rates} GB/s"))
    return rows


if __name__ == "__main__":
    print(json.dumps(machine_limits(again=True).as_json(), indent=1))
