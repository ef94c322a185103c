"""Bytes -> a 64-byte aligned block, reused from a free list of its size class, so that steady work faults no pages.

Block sizes go in four steps per power of two. Idle blocks together never exceed 256 MB, or what large arrays recently
held at once (two windows of five seconds) if that is more, within a quarter of the machine's memory. Beyond it all idle
blocks go back to the system. Called with the GIL held.
"""
from __future__ import annotations

import bisect
import ctypes
import os
import sys

ALIGNMENT = 64
FLOOR_BYTES = 256 << 20
BIG_BYTES = 1 << 20  # from here on blocks are counted, and asked for in huge pages
WINDOW_NS = 5_000_000_000


def class_sizes() -> list[int]:
    sizes = [64, 128, 192, 256]
    while sizes[-1] < 1 << 46:
        sizes += [sizes[-1] * k // 4 for k in (5, 6, 7, 8)]
    return sizes


SIZES = class_sizes()


def size_class(nbytes: int) -> int:
    """The number of the smallest class whose blocks hold `nbytes`.

    >>> SIZES[size_class(0)], SIZES[size_class(65)], SIZES[size_class(1000)]
    (64, 128, 1024)
    """
    return bisect.bisect_left(SIZES, nbytes)


def physical_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


CONSTANTS = {"N_CLASSES": len(SIZES), "BIG": BIG_BYTES, "WINDOW": WINDOW_NS, "FLOOR": FLOOR_BYTES,
             "HUGE": 2 << 20, "HUGE_FROM": 4 << 20, "MADV_HUGEPAGE": 14 if sys.platform == "linux" else 0}

TEXT = f"""
@class_bytes = private constant [{len(SIZES)} x i64] [{", ".join(f"i64 {size}" for size in SIZES)}]
""" + """
@idle_blocks = internal global [$N_CLASSES x ptr] zeroinitializer   ; a list per class, linked through the first word
@tj_pool_idle = global i64 0       ; bytes in those lists
@tj_pool_live = global i64 0       ; bytes in big blocks that are in use
@tj_pool_limit = global i64 $FLOOR ; what idle may reach
@tj_pool_cap = global i64 $FLOOR   ; what limit may reach
@peak = internal global i64 0      ; most live bytes in this window
@past_peak = internal global i64 0 ; and in the one before
@window = internal global i64 0    ; when this window began
declare i32 @posix_memalign(ptr, i64, i64)
declare i32 @madvise(ptr, i64, i32)
declare void @free(ptr)
declare i32 @clock_gettime(i32, ptr)
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)

; A block of class %class, or null without memory (no Python error is set).
define ptr @tj_take(i64 %class) #0 {
  %bytes = item i64, @class_bytes, %class
  %big = icmp uge i64 %bytes, $BIG
  br i1 %big, label %count, label %look
count:
  call void @took_big(i64 %bytes)
  br label %look
look:
  %block = item ptr, @idle_blocks, %class
  %none = icmp eq ptr %block, null
  br i1 %none, label %fresh, label %reuse
reuse:
  %next = load ptr, ptr %block
  put_item ptr %next, @idle_blocks, %class
  %idle = load i64, ptr @tj_pool_idle
  %rest = sub i64 %idle, %bytes
  store i64 %rest, ptr @tj_pool_idle
  ret ptr %block
fresh:
  %first = call ptr @allocate(i64 %bytes)
  %failed = icmp eq ptr %first, null
  br i1 %failed, label %again, label %done
again:
  call void @tj_trim()
  %second = call ptr @allocate(i64 %bytes)
  br label %done
done:
  %made = phi ptr [%first, %fresh], [%second, %again]
  ret ptr %made
}

define internal ptr @allocate(i64 %bytes) #0 {
  %slot = alloca ptr
  %huge = icmp uge i64 %bytes, $HUGE_FROM
  %alignment = select i1 %huge, i64 $HUGE, i64 64
  %code = call i32 @posix_memalign(ptr %slot, i64 %alignment, i64 %bytes)
  %ok = icmp eq i32 %code, 0
  br i1 %ok, label %made, label %failed
made:
  %block = load ptr, ptr %slot
  br i1 %huge, label %advise, label %done
advise:
  %ignored = call i32 @madvise(ptr %block, i64 %bytes, i32 $MADV_HUGEPAGE)
  br label %done
done:
  ret ptr %block
failed:
  ret ptr null
}

; Give a block of class %class back.
define void @tj_give(ptr %block, i64 %class) #0 {
  %bytes = item i64, @class_bytes, %class
  %big = icmp uge i64 %bytes, $BIG
  br i1 %big, label %count, label %check
count:
  call void @gave_big(i64 %bytes)
  br label %check
check:
  %idle = load i64, ptr @tj_pool_idle
  %sum = add i64 %idle, %bytes
  %limit = load i64, ptr @tj_pool_limit
  %fits = icmp ule i64 %sum, %limit
  br i1 %fits, label %keep, label %full
full:
  call void @tj_trim()
  %alone = icmp ule i64 %bytes, %limit
  br i1 %alone, label %keep, label %drop
drop:
  call void @free(ptr %block)
  ret void
keep:
  %total = phi i64 [%sum, %check], [%bytes, %full]
  %next = item ptr, @idle_blocks, %class
  store ptr %next, ptr %block
  put_item ptr %block, @idle_blocks, %class
  store i64 %total, ptr @tj_pool_idle
  ret void
}

; Return every idle block to the system.
define void @tj_trim() #0 {
entry:
  br label %class
class:
  %i = phi i64 [0, %entry], [%i1, %next]
  %more = icmp ult i64 %i, $N_CLASSES
  br i1 %more, label %first, label %done
first:
  %head = item ptr, @idle_blocks, %i
  br label %block
block:
  %b = phi ptr [%head, %first], [%after, %release]
  %end = icmp eq ptr %b, null
  br i1 %end, label %next, label %release
release:
  %after = load ptr, ptr %b
  call void @free(ptr %b)
  br label %block
next:
  put_item ptr null, @idle_blocks, %i
  %i1 = add i64 %i, 1
  br label %class
done:
  store i64 0, ptr @tj_pool_idle
  ret void
}

define internal void @took_big(i64 %bytes) #0 {
  %before = load i64, ptr @tj_pool_live
  %live = add i64 %before, %bytes
  store i64 %live, ptr @tj_pool_live
  %old = load i64, ptr @peak
  %new = call i64 @llvm.umax.i64(i64 %old, i64 %live)
  store i64 %new, ptr @peak
  call void @set_limit()
  ret void
}

define internal void @gave_big(i64 %bytes) #0 {
  %time = alloca [2 x i64]
  %before = load i64, ptr @tj_pool_live
  %live = sub i64 %before, %bytes
  store i64 %live, ptr @tj_pool_live
  %ignored = call i32 @clock_gettime(i32 1, ptr %time)
  %seconds = item i64, %time, 0
  %part = item i64, %time, 1
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %part
  %start = load i64, ptr @window
  %age = sub i64 %now, %start
  %old = icmp ugt i64 %age, $WINDOW
  br i1 %old, label %turn, label %done
turn:
  %peak = load i64, ptr @peak
  store i64 %peak, ptr @past_peak
  store i64 %live, ptr @peak
  store i64 %now, ptr @window
  call void @set_limit()
  br label %done
done:
  ret void
}

define internal void @set_limit() #0 {
  %a = load i64, ptr @peak
  %b = load i64, ptr @past_peak
  %recent = call i64 @llvm.umax.i64(i64 %a, i64 %b)
  %wanted = call i64 @llvm.umax.i64(i64 %recent, i64 $FLOOR)
  %cap = load i64, ptr @tj_pool_cap
  %limit = call i64 @llvm.umin.i64(i64 %wanted, i64 %cap)
  store i64 %limit, ptr @tj_pool_limit
  ret void
}
"""


class Pool:
    """The native pool seen from Python."""

    def __init__(self, symbols: dict[str, int]) -> None:
        self.take_block = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)(symbols["tj_take"])
        self.give_block = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(symbols["tj_give"])
        self.trim = ctypes.PYFUNCTYPE(None)(symbols["tj_trim"])
        self.idle = ctypes.c_int64.from_address(symbols["tj_pool_idle"])
        self.limit = ctypes.c_int64.from_address(symbols["tj_pool_limit"])
        ctypes.c_int64.from_address(symbols["tj_pool_cap"]).value = max(FLOOR_BYTES, physical_bytes() // 4)

    @property
    def idle_bytes(self) -> int:
        """Bytes that are kept for reuse."""
        return self.idle.value

    @property
    def limit_bytes(self) -> int:
        """What `idle_bytes` may reach at present."""
        return self.limit.value
