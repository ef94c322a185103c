"""The native callable `Jitted` as LLVM text: look a call up among the known ones, run the code, wrap the results.

A Jitted has a list of entries, one per kind of call that was compiled. An entry says what the arguments must be, either
one Array type per argument (INFOS), or a program of instructions that walks nested arguments (PROGRAM), and how to
build the result. No entry fits: the Python callable SLOW gets the call. Abbreviations are those of native.py.
"""
from __future__ import annotations

import ctypes

from tracejit.runtime.native import HEAD, c_string

CALL, ENTRIES, SLOW, KEEP, DICT, CALL_WEAKREFS = range(HEAD, HEAD + 48, 8)
JITTED_BYTES = HEAD + 48
ANY_CONFIG, NO_CONFIG = -1, -2  # an entry for all settings; settings that no entry was made under
ELSEWHERE = 1  # returned by a matcher: not this entry


class Entry(ctypes.Structure):
    """One kind of call. All pointers are into memory that the Jitted's KEEP list holds."""
    _fields_ = [("n_args", ctypes.c_int64), ("n_in", ctypes.c_int64), ("n_consts", ctypes.c_int64),
                ("n_out", ctypes.c_int64), ("fn", ctypes.c_void_p), ("infos", ctypes.c_void_p),
                ("program", ctypes.c_void_p), ("names", ctypes.c_void_p), ("consts", ctypes.c_void_p),
                ("outs", ctypes.c_void_p), ("donors", ctypes.c_void_p), ("build", ctypes.c_void_p),
                ("result", ctypes.c_int64), ("arena_class", ctypes.c_int64), ("released", ctypes.c_int64),
                ("config", ctypes.c_int64), ("n_cells", ctypes.c_int64), ("n_consumed", ctypes.c_int64),
                ("consumed", ctypes.c_void_p), ("next", ctypes.c_void_p)]


class Instruction(ctypes.Structure):
    """A step of a matching or a building program."""
    _fields_ = [("op", ctypes.c_int64), ("n", ctypes.c_int64), ("arg", ctypes.c_void_p), ("leaf", ctypes.c_int64)]


class NumpySpec(ctypes.Structure):
    """What a NumPy argument must be for its memory, or a dense copy, to be used as it is."""
    _fields_ = [("type", ctypes.c_void_p), ("dtype", ctypes.c_void_p), ("rank", ctypes.c_int64),
                ("dims", ctypes.c_void_p)]


# Results: one Array, a tuple of all outputs, or what the building program says.
SINGLE, FLAT_TUPLE, BUILT = 0, 1, 2
# Matching instructions.
ARRAY, SAME, TUPLE, LIST, DICTIONARY, EQUAL, SCALAR, NUMPY, NODE, NUMPY_SCALAR = range(10)
# Kinds of a scalar's cell.
BOOL_CELL, I32_CELL, I64_CELL, F32_CELL, F64_CELL, C64_CELL, C128_CELL = range(7)
# Building instructions.
OUTPUT, OBJECT, MAKE_TUPLE, MAKE_LIST, MAKE_DICT, MAKE_CALL = range(6)

CONSTANTS = {
    **{f"E_{name.upper()}": getattr(Entry, name).offset for name, _ in Entry._fields_},
    **{f"I_{name.upper()}": getattr(Instruction, name).offset for name, _ in Instruction._fields_},
    **{f"N_{name.upper()}": getattr(NumpySpec, name).offset for name, _ in NumpySpec._fields_},
    "CALL": CALL, "ENTRIES": ENTRIES, "SLOW": SLOW, "KEEP": KEEP, "DICT": DICT, "CALL_WEAKREFS": CALL_WEAKREFS,
    "STEP": ctypes.sizeof(Instruction), "ELSEWHERE": ELSEWHERE, "ANY_CONFIG": ANY_CONFIG,
    "NO_CONFIG": NO_CONFIG,
    "S_STEP": 0, "S_INS": 8, "S_HOLDERS": 16, "S_CELL": 24, "S_OUTS": 8,
    "ARRAY": ARRAY, "SAME": SAME, "TUPLE": TUPLE, "LIST": LIST, "DICTIONARY": DICTIONARY, "EQUAL": EQUAL,
    "SCALAR": SCALAR, "NUMPY": NUMPY, "NODE": NODE, "NUMPY_SCALAR": NUMPY_SCALAR,
    "OUTPUT": OUTPUT, "OBJECT": OBJECT, "MAKE_TUPLE": MAKE_TUPLE, "MAKE_LIST": MAKE_LIST,
    "MAKE_DICT": MAKE_DICT, "MAKE_CALL": MAKE_CALL, "SINGLE": SINGLE, "FLAT_TUPLE": FLAT_TUPLE,
    "BOOL_CELL": BOOL_CELL, "I32_CELL": I32_CELL, "I64_CELL": I64_CELL, "F32_CELL": F32_CELL, "F64_CELL": F64_CELL,
    "C64_CELL": C64_CELL, "C128_CELL": C128_CELL,
    "TUPLE_SIZE": HEAD, "TUPLE_ITEMS": tuple.__basicsize__,
    # PyArrayObject_fields; flags C_CONTIGUOUS and ALIGNED
    "NUMPY_RANK": HEAD + 8, "NUMPY_DIMS": HEAD + 16, "NUMPY_DTYPE": HEAD + 40, "NUMPY_FLAGS": HEAD + 48,
    "NUMPY_DENSE": 0x101,
}

TEXT = "\n".join([
    c_string("new_text", "Jitted() takes one argument, the callable for calls that are not known yet"),
    c_string("cleared_text", "this function was already destroyed"),
    c_string("code_format", "i"),
    c_string("no_arena_text", "not enough memory for the values between the steps of a compiled function"),
    c_string("handler_text", "compiled code failed and the error handler did not raise"),
]) + """
@PyExc_TypeError = external global ptr
@PyExc_SystemError = external global ptr
@_Py_NoneStruct = external global i8
@tj_error_handler = global ptr null   ; a Python callable: code -> raises
@tj_config = global i64 0             ; number of the settings that entries must have been made under
@tj_config_owner = global ptr null    ; the only thread that these settings hold for, null = all
declare ptr @PyType_GenericAlloc(ptr, i64)
declare ptr @PyList_New(i64)
declare ptr @PyTuple_GetItem(ptr, i64)
declare i64 @PyTuple_Size(ptr)
declare i64 @PyDict_Size(ptr)
declare ptr @PyMethod_New(ptr, ptr)
declare void @PyObject_GC_UnTrack(ptr)
declare void @PyObject_GC_Del(ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare ptr @PyObject_CallFunction(ptr, ptr, ...)
declare ptr @PyErr_Occurred()
declare void @PyErr_Clear()
declare ptr @pthread_self()
declare i32 @tj_call_released(ptr, ptr, ptr, ptr)

; --- the type -------------------------------------------------------------------------------------

define ptr @tj_jitted_new(ptr %type, ptr %args, ptr %kwargs) #0 {
entry:
  %named = icmp ne ptr %kwargs, null
  br i1 %named, label %count_names, label %count
count_names:
  %names = call i64 @PyDict_Size(ptr %kwargs)
  %none = icmp eq i64 %names, 0
  br i1 %none, label %count, label %wrong
count:
  %n = call i64 @PyTuple_Size(ptr %args)
  %one = icmp eq i64 %n, 1
  br i1 %one, label %make, label %wrong
wrong:
  %class = load ptr, ptr @PyExc_TypeError
  call void @PyErr_SetString(ptr %class, ptr @new_text)
  ret ptr null
make:
  %keep = call ptr @PyList_New(i64 0)
  %no_list = icmp eq ptr %keep, null
  br i1 %no_list, label %failed, label %allocate
allocate:
  %self = call ptr @PyType_GenericAlloc(ptr %type, i64 0)
  %no_self = icmp eq ptr %self, null
  br i1 %no_self, label %undo, label %fill
undo:
  call void @Py_DecRef(ptr %keep)
  br label %failed
failed:
  ret ptr null
fill:
  %slow = call ptr @PyTuple_GetItem(ptr %args, i64 0)
  call void @Py_IncRef(ptr %slow)
  put ptr @tj_call, %self, CALL
  put ptr %slow, %self, SLOW
  put ptr %keep, %self, KEEP
  ret ptr %self
}

define i32 @tj_jitted_traverse(ptr %self, ptr %visit, ptr %arg) #0 {
entry:
  %a = at %self, SLOW
  %r0 = call i32 @visit_field(ptr %a, ptr %visit, ptr %arg)
  %bad0 = icmp ne i32 %r0, 0
  br i1 %bad0, label %stop, label %keep
keep:
  %b = at %self, KEEP
  %r1 = call i32 @visit_field(ptr %b, ptr %visit, ptr %arg)
  %bad1 = icmp ne i32 %r1, 0
  br i1 %bad1, label %stop, label %dict
dict:
  %c = at %self, DICT
  %r2 = call i32 @visit_field(ptr %c, ptr %visit, ptr %arg)
  %bad2 = icmp ne i32 %r2, 0
  br i1 %bad2, label %stop, label %type
type:
  %d = at %self, TYPE
  %r3 = call i32 @visit_field(ptr %d, ptr %visit, ptr %arg)
  br label %stop
stop:
  %r = phi i32 [%r0, %entry], [%r1, %keep], [%r2, %dict], [%r3, %type]
  ret i32 %r
}

define internal i32 @visit_field(ptr %field, ptr %visit, ptr %arg) #0 {
  %value = load ptr, ptr %field
  %none = icmp eq ptr %value, null
  br i1 %none, label %skip, label %call
call:
  %code = call i32 %visit(ptr %value, ptr %arg)
  ret i32 %code
skip:
  ret i32 0
}

define i32 @tj_jitted_clear(ptr %self) #0 {
  put ptr null, %self, ENTRIES
  %a = at %self, SLOW
  call void @clear_field(ptr %a)
  %b = at %self, KEEP
  call void @clear_field(ptr %b)
  %c = at %self, DICT
  call void @clear_field(ptr %c)
  ret i32 0
}

define internal void @clear_field(ptr %field) #0 {
  %value = load ptr, ptr %field
  store ptr null, ptr %field
  %none = icmp eq ptr %value, null
  br i1 %none, label %done, label %release
release:
  call void @Py_DecRef(ptr %value)
  br label %done
done:
  ret void
}

define void @tj_jitted_dealloc(ptr %self) #0 {
  call void @PyObject_GC_UnTrack(ptr %self)
  %refs = get ptr, %self, CALL_WEAKREFS
  %watched = icmp ne ptr %refs, null
  br i1 %watched, label %forget, label %clear
forget:
  call void @PyObject_ClearWeakRefs(ptr %self)
  br label %clear
clear:
  %ignored = call i32 @tj_jitted_clear(ptr %self)
  %type = get ptr, %self, TYPE
  call void @PyObject_GC_Del(ptr %self)
  call void @Py_DecRef(ptr %type)
  ret void
}

; Found on a class, the function binds to the instance.
define ptr @tj_jitted_bind(ptr %self, ptr %instance, ptr %class) #0 {
  %absent = icmp eq ptr %instance, null
  %none = icmp eq ptr %instance, @_Py_NoneStruct
  %alone = or i1 %absent, %none
  br i1 %alone, label %itself, label %bound
itself:
  call void @Py_IncRef(ptr %self)
  ret ptr %self
bound:
  %method = call ptr @PyMethod_New(ptr %self, ptr %instance)
  ret ptr %method
}

; --- the call -------------------------------------------------------------------------------------

define ptr @tj_call(ptr %self, ptr %args, i64 %flagged, ptr %names) #0 {
entry:
  %positional = and i64 %flagged, 9223372036854775807
  %owner = load ptr, ptr @tj_config_owner
  %for_all = icmp eq ptr %owner, null
  br i1 %for_all, label %count, label %whose
whose:
  %me = call ptr @pthread_self()
  %mine = icmp eq ptr %me, %owner
  br label %count
count:
  %holds = phi i1 [true, %entry], [%mine, %whose]
  %nameless = icmp eq ptr %names, null
  br i1 %nameless, label %search, label %named
named:
  %more = call i64 @PyTuple_Size(ptr %names)
  br label %search
search:
  %extra = phi i64 [0, %count], [%more, %named]
  %n = add i64 %positional, %extra
  %word = load i64, ptr @tj_config
  %config = select i1 %holds, i64 %word, i64 $NO_CONFIG
  %head = get ptr, %self, ENTRIES
  br label %next
next:
  %e = phi ptr [%head, %search], [%following, %miss]
  %before = phi ptr [null, %search], [%e, %miss]
  %end = icmp eq ptr %e, null
  br i1 %end, label %slow, label %look
look:
  ; read before the entry may move to the front, from where it would lead round and round
  %following = get ptr, %e, E_NEXT
  %e_args = get i64, %e, E_N_ARGS
  %e_config = get i64, %e, E_CONFIG
  %same_n = icmp eq i64 %e_args, %n
  %same_config = icmp eq i64 %e_config, %config
  %any_config = icmp eq i64 %e_config, $ANY_CONFIG
  %right_config = or i1 %same_config, %any_config
  %candidate = and i1 %same_n, %right_config
  br i1 %candidate, label %kind, label %miss
kind:
  %infos = get ptr, %e, E_INFOS
  %nested = icmp eq ptr %infos, null
  br i1 %nested, label %general, label %flat
flat:
  %array = load ptr, ptr @tj_array_type
  br i1 %nameless, label %compare, label %miss
compare:
  %i = phi i64 [0, %flat], [%i1, %equal]
  %through = icmp eq i64 %i, %n
  br i1 %through, label %hit, label %one
one:
  %x = item ptr, %args, %i
  %type = get ptr, %x, TYPE
  %is_array = icmp eq ptr %type, %array
  br i1 %is_array, label %typed, label %miss
typed:
  %info = get ptr, %x, INFO
  %wanted = item ptr, %infos, %i
  %fits = icmp eq ptr %info, %wanted
  br i1 %fits, label %equal, label %miss
equal:
  %i1 = add i64 %i, 1
  br label %compare
hit:
  call void @to_front(ptr %self, ptr %before, ptr %e)
  %flat_result = call ptr @run_flat(ptr %e, ptr %args)
  br label %answer
general:
  %result = call ptr @run_general(ptr %self, ptr %before, ptr %e, ptr %args, i64 %n, ptr %names)
  br label %answer
answer:
  %r = phi ptr [%flat_result, %hit], [%result, %general]
  %elsewhere = icmp eq ptr %r, inttoptr (i64 $ELSEWHERE to ptr)
  br i1 %elsewhere, label %miss, label %return
return:
  ret ptr %r
miss:
  br label %next
slow:
  %python = get ptr, %self, SLOW
  %gone = icmp eq ptr %python, null
  br i1 %gone, label %dead, label %ask
dead:
  %class = load ptr, ptr @PyExc_RuntimeError
  call void @PyErr_SetString(ptr %class, ptr @cleared_text)
  ret ptr null
ask:
  %answered = call ptr @PyObject_Vectorcall(ptr %python, ptr %args, i64 %flagged, ptr %names)
  ret ptr %answered
}

; Entries that are looked at or used are kept while Python code runs, which may clear them.
define internal void @count_flight(i64 %by) #0 {
  %before = load i64, ptr @tj_in_flight
  %after = add i64 %before, %by
  store i64 %after, ptr @tj_in_flight
  ret void
}

; What was called last is looked at first. The list may have changed since %before was read (a comparison of static
; arguments runs Python code): then leave it.
define internal void @to_front(ptr %self, ptr %before, ptr %e) #0 {
  %first = icmp eq ptr %before, null
  br i1 %first, label %done, label %check
check:
  %linked = get ptr, %before, E_NEXT
  %still = icmp eq ptr %linked, %e
  br i1 %still, label %move, label %done
move:
  %after = get ptr, %e, E_NEXT
  put ptr %after, %before, E_NEXT
  %head = get ptr, %self, ENTRIES
  put ptr %head, %e, E_NEXT
  put ptr %e, %self, ENTRIES
  br label %done
done:
  ret void
}

define internal ptr @run_flat(ptr %e, ptr %args) #0 {
entry:
  %n = get i64, %e, E_N_IN
  %n_consts = get i64, %e, E_N_CONSTS
  %total = add i64 %n, %n_consts
  %n_out = get i64, %e, E_N_OUT
  %ins = alloca ptr, i64 %total
  %made = alloca ptr, i64 %n_out
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %store]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %read, label %run
read:
  %x = item ptr, %args, %i
  %data = get ptr, %x, DATA
  %deleted = icmp eq ptr %data, null
  br i1 %deleted, label %elsewhere, label %store
store:
  put_item ptr %data, %ins, %i
  %i1 = add i64 %i, 1
  br label %head
run:
  %code = call i32 @execute(ptr %e, ptr %ins, ptr %args, ptr %made)
  switch i32 %code, label %elsewhere [ i32 0, label %finish
                                       i32 1, label %failed ]
finish:
  %result = call ptr @result_of(ptr %e, ptr %made)
  ret ptr %result
failed:
  ret ptr null
elsewhere:
  ret ptr inttoptr (i64 $ELSEWHERE to ptr)
}

; Allocate outputs and arena, run. 0 = done, 1 = a Python error is set, 2 = a constant is deleted or a donated array is shared.
; %holders are the argument objects by input number; a donated one hands its memory to an output.
define internal i32 @execute(ptr %e, ptr %ins, ptr %holders, ptr %made) #0 {
entry:
  %n = get i64, %e, E_N_IN
  %n_consts = get i64, %e, E_N_CONSTS
  %total = add i64 %n, %n_consts
  %n_out = get i64, %e, E_N_OUT
  %outs = alloca ptr, i64 %n_out
  %consts = get ptr, %e, E_CONSTS
  %infos = get ptr, %e, E_OUTS
  %donors = get ptr, %e, E_DONORS
  %nothing_donated = icmp eq ptr %donors, null
  %shared = call i1 @is_any_shared(ptr %e, ptr %holders, ptr %ins, i64 %n)
  br i1 %shared, label %deleted, label %const
const:
  %c = phi i64 [0, %entry], [%c1, %const_store]
  %c_more = icmp ult i64 %c, %n_consts
  br i1 %c_more, label %const_read, label %out
const_read:
  %c_object = item ptr, %consts, %c
  %c_data = get ptr, %c_object, DATA
  %c_deleted = icmp eq ptr %c_data, null
  br i1 %c_deleted, label %deleted, label %const_store
const_store:
  %c_place = add i64 %n, %c
  put_item ptr %c_data, %ins, %c_place
  %c1 = add i64 %c, 1
  br label %const
deleted:
  ret i32 2
out:
  %j = phi i64 [0, %const], [%j1, %out_store]
  %j_more = icmp ult i64 %j, %n_out
  br i1 %j_more, label %out_make, label %arena
out_make:
  %info = item ptr, %infos, %j
  br i1 %nothing_donated, label %fresh, label %donor
donor:
  %d = item i64, %donors, %j
  %is_given = icmp sge i64 %d, 0
  br i1 %is_given, label %reuse, label %fresh
reuse:
  %given = item ptr, %holders, %d
  %moved = call ptr @moved_array(ptr %given, ptr %info, ptr %ins, i64 %total)
  %not_moved = icmp eq ptr %moved, null
  br i1 %not_moved, label %fresh, label %out_store
fresh:
  %new = call ptr @tj_array_new(ptr %info)
  %no_new = icmp eq ptr %new, null
  br i1 %no_new, label %no_memory, label %out_store
out_store:
  %object = phi ptr [%moved, %reuse], [%new, %fresh]
  put_item ptr %object, %made, %j
  %data = get ptr, %object, DATA
  put_item ptr %data, %outs, %j
  %j1 = add i64 %j, 1
  br label %out
no_memory:
  call void @release_all(ptr %made, i64 %j)
  ret i32 1
arena:
  %class = get i64, %e, E_ARENA_CLASS
  %needs_arena = icmp sge i64 %class, 0
  br i1 %needs_arena, label %take, label %run
take:
  %block = call ptr @tj_take(i64 %class)
  %no_block = icmp eq ptr %block, null
  br i1 %no_block, label %no_arena, label %run
no_arena:
  %memory_error = load ptr, ptr @PyExc_MemoryError
  call void @PyErr_SetString(ptr %memory_error, ptr @no_arena_text)
  br label %undo
run:
  %scratch = phi ptr [null, %arena], [%block, %take]
  %fn = get ptr, %e, E_FN
  call void @count_flight(i64 1)
  %flag = get i64, %e, E_RELEASED
  %released = icmp ne i64 %flag, 0
  br i1 %released, label %free_run, label %held_run
free_run:
  %code_free = call i32 @tj_call_released(ptr %fn, ptr %ins, ptr %outs, ptr %scratch)
  br label %ran
held_run:
  %code_held = call i32 %fn(ptr %ins, ptr %outs, ptr %scratch)
  br label %ran
ran:
  %code = phi i32 [%code_free, %free_run], [%code_held, %held_run]
  call void @count_flight(i64 -1)
  br i1 %needs_arena, label %give, label %check
give:
  call void @tj_give(ptr %scratch, i64 %class)
  br label %check
check:
  call void @delete_consumed(ptr %e, ptr %holders)
  %ok = icmp eq i32 %code, 0
  br i1 %ok, label %done, label %failed
done:
  ret i32 0
failed:
  call void @set_error(i32 %code)
  br label %undo
undo:
  call void @release_all(ptr %made, i64 %n_out)
  ret i32 1
}

; Make sure that a Python error is set for a code that compiled code returned.
define internal void @set_error(i32 %code) #0 {
  %present = call ptr @PyErr_Occurred()
  %set = icmp ne ptr %present, null
  br i1 %set, label %done, label %ask
ask:
  %handler = load ptr, ptr @tj_error_handler
  %answer = call ptr (ptr, ptr, ...) @PyObject_CallFunction(ptr %handler, ptr @code_format, i32 %code)
  %raised = icmp eq ptr %answer, null
  br i1 %raised, label %done, label %wrong
wrong:
  call void @Py_DecRef(ptr %answer)
  %class = load ptr, ptr @PyExc_SystemError
  call void @PyErr_SetString(ptr %class, ptr @handler_text)
  br label %done
done:
  ret void
}
"""
