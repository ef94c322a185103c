"""Donated arguments in native calls, as LLVM text: whose memory a result may take over, and what ends with the call."""
from __future__ import annotations

TEXT = r"""
; How many of n inputs lie at %data.
define internal i64 @times_given(ptr %data, ptr %ins, i64 %n) #0 {
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %step]
  %times = phi i64 [0, %entry], [%times1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %done
step:
  %other = item ptr, %ins, %i
  %same = icmp eq ptr %other, %data
  %one = zext i1 %same to i64
  %times1 = add i64 %times, %one
  %i1 = add i64 %i, 1
  br label %head
done:
  ret i64 %times
}

; A new Array with the memory of a donated one, or null if someone else may still use that memory.
define internal ptr @moved_array(ptr %given, ptr %info, ptr %ins, i64 %n) #0 {
entry:
  %data = get ptr, %given, DATA
  %block = get ptr, %given, BLOCK
  %exports = get i64, %given, EXPORTS
  %flights = load i64, ptr @tj_in_flight
  %class = get i64, %given, CLASS
  %wanted = get i64, %info, SIZE_CLASS
  %owns = icmp ne ptr %block, null
  %whole = icmp eq ptr %data, %block
  %users = or i64 %exports, %flights
  %unused = icmp eq i64 %users, 0
  %fits = icmp eq i64 %class, %wanted
  %a = and i1 %owns, %whole
  %b = and i1 %unused, %fits
  %possible = and i1 %a, %b
  br i1 %possible, label %count, label %no
count:
  %times = call i64 @times_given(ptr %data, ptr %ins, i64 %n)
  %alone = icmp eq i64 %times, 1
  br i1 %alone, label %make, label %no
make:
  %self = call ptr @bare_array(ptr %info)
  %failed = icmp eq ptr %self, null
  br i1 %failed, label %clear, label %move
clear:
  call void @PyErr_Clear()
  br label %no
move:
  put ptr %data, %self, DATA
  put ptr %block, %self, BLOCK
  put i64 %class, %self, CLASS
  put ptr null, %given, DATA
  put ptr null, %given, BLOCK
  ret ptr %self
no:
  ret ptr null
}

; Whether others can see the memory of a donated array, or it is another argument too: the code may overwrite it.
define internal i1 @is_any_shared(ptr %e, ptr %holders, ptr %ins, i64 %n_ins) #0 {
entry:
  %n = get i64, %e, E_N_CONSUMED
  %numbers = get ptr, %e, E_CONSUMED
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %look, label %no
look:
  %number = item i64, %numbers, %i
  %given = item ptr, %holders, %number
  %block = get ptr, %given, BLOCK
  %exports = get i64, %given, EXPORTS
  %borrows = icmp eq ptr %block, null
  %lends = icmp ne i64 %exports, 0
  %seen = or i1 %borrows, %lends
  %data = get ptr, %given, DATA
  %times = call i64 @times_given(ptr %data, ptr %ins, i64 %n_ins)
  %again = icmp ne i64 %times, 1
  %shares = or i1 %seen, %again
  br i1 %shares, label %yes, label %step
step:
  %i1 = add i64 %i, 1
  br label %head
yes:
  ret i1 true
no:
  ret i1 false
}

define internal void @delete_consumed(ptr %e, ptr %holders) #0 {
entry:
  %n = get i64, %e, E_N_CONSUMED
  %numbers = get ptr, %e, E_CONSUMED
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %done
step:
  %number = item i64, %numbers, %i
  %given = item ptr, %holders, %number
  call void @tj_array_delete(ptr %given)
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}
"""
