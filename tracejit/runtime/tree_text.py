"""Nested arguments and results as LLVM text: walk an argument by a program, build a result by another.

Containers are matched by exact type; a dict also in another order of insertion. The leaves' objects are held for the
whole call, since other Python code may change the containers meanwhile. Abbreviations are those of native.py.
"""
from __future__ import annotations

from tracejit.runtime.native import c_string

TEXT = c_string("copy_text", "copy") + """
@_Py_TrueStruct = external global i8
declare i32 @PyDict_Next(ptr, ptr, ptr, ptr)
declare ptr @PyDict_GetItem(ptr, ptr)
declare i32 @PyDict_SetItem(ptr, ptr, ptr)
declare ptr @PyDict_Copy(ptr)
declare i64 @PyList_Size(ptr)
declare ptr @PyList_GetItem(ptr, i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare ptr @PyTuple_New(i64)
declare ptr @PyObject_Call(ptr, ptr, ptr)
declare ptr @PyObject_CallFunctionObjArgs(ptr, ...)
declare ptr @PyObject_CallMethod(ptr, ptr, ptr, ...)
@PyTuple_Type = external global i8
declare i32 @PyObject_RichCompareBool(ptr, ptr, i32)
declare double @PyFloat_AsDouble(ptr)
declare i64 @PyLong_AsLongAndOverflow(ptr, ptr)
declare double @PyComplex_RealAsDouble(ptr)
declare double @PyComplex_ImagAsDouble(ptr)

define internal ptr @run_general(ptr %self, ptr %before, ptr %e, ptr %args, i64 %n, ptr %names) #0 {
entry:
  %wanted = get ptr, %e, E_NAMES
  %same_names = call i1 @same_names(ptr %names, ptr %wanted)
  br i1 %same_names, label %prepare, label %elsewhere
prepare:
  %n_in = get i64, %e, E_N_IN
  %n_consts = get i64, %e, E_N_CONSTS
  %total = add i64 %n_in, %n_consts
  %n_out = get i64, %e, E_N_OUT
  %n_cells = get i64, %e, E_N_CELLS
  %ins = alloca ptr, i64 %total
  %holders = alloca ptr, i64 %n_in
  %made = alloca ptr, i64 %n_out
  %cells = alloca [16 x i8], i64 %n_cells, align 16
  %state = alloca [4 x ptr]
  %bytes = mul i64 %n_in, 8
  call void @llvm.memset.p0.i64(ptr %holders, i8 0, i64 %bytes, i1 false)
  %program = get ptr, %e, E_PROGRAM
  put ptr %program, %state, S_STEP
  put ptr %ins, %state, S_INS
  put ptr %holders, %state, S_HOLDERS
  put ptr %cells, %state, S_CELL
  call void @count_flight(i64 1)
  br label %head
head:
  %i = phi i64 [0, %prepare], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %run
step:
  %x = item ptr, %args, %i
  %fits = call i1 @match(ptr %x, ptr %state)
  %i1 = add i64 %i, 1
  br i1 %fits, label %head, label %drop
run:
  call void @to_front(ptr %self, ptr %before, ptr %e)
  ; before a donated array is taken over, which happens only where nothing is in flight
  call void @count_flight(i64 -1)
  %code = call i32 @execute(ptr %e, ptr %ins, ptr %holders, ptr %made)
  switch i32 %code, label %refused [ i32 0, label %finish
                                     i32 1, label %failed ]
refused:
  call void @count_flight(i64 1)
  br label %drop
finish:
  %result = call ptr @result_of(ptr %e, ptr %made)
  call void @release_all(ptr %holders, i64 %n_in)
  ret ptr %result
failed:
  call void @release_all(ptr %holders, i64 %n_in)
  ret ptr null
drop:
  call void @release_all(ptr %holders, i64 %n_in)
  call void @count_flight(i64 -1)
  br label %elsewhere
elsewhere:
  ret ptr inttoptr (i64 $ELSEWHERE to ptr)
}

; Keyword names are interned strings: equal ones are identical.
define internal i1 @same_names(ptr %a, ptr %b) #0 {
entry:
  %identical = icmp eq ptr %a, %b
  br i1 %identical, label %yes, label %both
both:
  %a_none = icmp eq ptr %a, null
  %b_none = icmp eq ptr %b, null
  %either = or i1 %a_none, %b_none
  br i1 %either, label %no, label %sizes
sizes:
  %n = get i64, %a, TUPLE_SIZE
  %m = get i64, %b, TUPLE_SIZE
  %a_items = at %a, TUPLE_ITEMS
  %b_items = at %b, TUPLE_ITEMS
  %equal = icmp eq i64 %n, %m
  br i1 %equal, label %head, label %no
head:
  %i = phi i64 [0, %sizes], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %yes
step:
  %x = item ptr, %a_items, %i
  %y = item ptr, %b_items, %i
  %same = icmp eq ptr %x, %y
  %i1 = add i64 %i, 1
  br i1 %same, label %head, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; Does %x fit the program from %state's step on? Advances the step over what was matched.
define internal i1 @match(ptr %x, ptr %state) #0 {
entry:
  %position = alloca i64
  %key_slot = alloca ptr
  %value_slot = alloca ptr
  %step = get ptr, %state, S_STEP
  %next = getelementptr i8, ptr %step, i64 $STEP
  put ptr %next, %state, S_STEP
  %op = get i64, %step, I_OP
  %n = get i64, %step, I_N
  %arg = get ptr, %step, I_ARG
  %type = get ptr, %x, TYPE
  switch i64 %op, label %no [ i64 $ARRAY, label %array
                              i64 $SAME, label %same
                              i64 $TUPLE, label %tuple
                              i64 $LIST, label %list
                              i64 $DICTIONARY, label %dict
                              i64 $EQUAL, label %equal
                              i64 $SCALAR, label %scalar
                              i64 $NUMPY, label %numpy
                              i64 $NODE, label %node
                              i64 $NUMPY_SCALAR, label %numpy_scalar ]
array:
  %array_type = load ptr, ptr @tj_array_type
  %is_array = icmp eq ptr %type, %array_type
  br i1 %is_array, label %array_info, label %no
array_info:
  %info = get ptr, %x, INFO
  %right_info = icmp eq ptr %info, %arg
  %array_data = get ptr, %x, DATA
  %alive = icmp ne ptr %array_data, null
  %usable = and i1 %right_info, %alive
  br i1 %usable, label %leaf, label %no
same:
  %identical = icmp eq ptr %x, %arg
  ret i1 %identical
scalar:
  %cell = get ptr, %state, S_CELL
  %is_scalar = icmp eq ptr %type, %arg
  br i1 %is_scalar, label %convert, label %no
convert:
  %next_cell = getelementptr i8, ptr %cell, i64 16
  put ptr %next_cell, %state, S_CELL
  %stored = call i1 @store_scalar(ptr %x, i64 %n, ptr %cell)
  br i1 %stored, label %leaf, label %no
numpy:
  %fits_spec = call i1 @fits_spec(ptr %x, ptr %arg)
  br i1 %fits_spec, label %numpy_flags, label %no
numpy_flags:
  %flags = get i32, %x, NUMPY_FLAGS
  %kept = and i32 %flags, $NUMPY_DENSE
  %dense = icmp eq i32 %kept, $NUMPY_DENSE
  br i1 %dense, label %numpy_leaf, label %numpy_copy
numpy_copy:
  %copy = call ptr (ptr, ptr, ptr, ...) @PyObject_CallMethod(ptr %x, ptr @copy_text, ptr null)
  %no_copy = icmp eq ptr %copy, null
  br i1 %no_copy, label %error, label %numpy_leaf
numpy_leaf:
  %host = phi ptr [%x, %numpy_flags], [%copy, %numpy_copy]
  %numpy_data = get ptr, %host, NUMPY_DATA
  br label %leaf
numpy_scalar:
  %is_numpy_scalar = icmp eq ptr %type, %arg
  %scalar_data = at %x, NUMPY_DATA
  br i1 %is_numpy_scalar, label %leaf, label %no
leaf:
  %data = phi ptr [%array_data, %array_info], [%scalar_data, %numpy_scalar], [%cell, %convert],
                  [%numpy_data, %numpy_leaf]
  %held = phi ptr [%x, %array_info], [%x, %numpy_scalar], [%x, %convert], [%host, %numpy_leaf]
  %number = get i64, %step, I_LEAF
  %ins = get ptr, %state, S_INS
  put_item ptr %data, %ins, %number
  %holders = get ptr, %state, S_HOLDERS
  put_item ptr %held, %holders, %number
  %is_new = icmp ne ptr %held, %x
  br i1 %is_new, label %yes, label %hold
hold:
  call void @Py_IncRef(ptr %x)
  br label %yes
equal:
  %is_same = icmp eq ptr %x, %arg
  br i1 %is_same, label %yes, label %equal_type
equal_type:
  %expected_type = get ptr, %arg, TYPE
  %one_type = icmp eq ptr %type, %expected_type
  br i1 %one_type, label %equal_ask, label %no
equal_ask:
  %answer = call i32 @PyObject_RichCompareBool(ptr %x, ptr %arg, i32 2)
  switch i32 %answer, label %error [ i32 1, label %yes
                                     i32 0, label %no ]
tuple:
  %is_tuple = icmp eq ptr %type, %arg
  br i1 %is_tuple, label %tuple_size, label %no
tuple_size:
  %t_size = get i64, %x, TUPLE_SIZE
  %t_items = at %x, TUPLE_ITEMS
  %t_right = icmp eq i64 %t_size, %n
  br i1 %t_right, label %tuple_head, label %no
tuple_head:
  %ti = phi i64 [0, %tuple_size], [%ti1, %tuple_step]
  %t_more = icmp ult i64 %ti, %n
  br i1 %t_more, label %tuple_step, label %yes
tuple_step:
  %t_child = item ptr, %t_items, %ti
  %t_fits = call i1 @match(ptr %t_child, ptr %state)
  %ti1 = add i64 %ti, 1
  br i1 %t_fits, label %tuple_head, label %no
list:
  %is_list = icmp eq ptr %type, %arg
  br i1 %is_list, label %list_size, label %no
list_size:
  %l_size = call i64 @PyList_Size(ptr %x)
  %l_right = icmp eq i64 %l_size, %n
  br i1 %l_right, label %list_head, label %no
list_head:
  %li = phi i64 [0, %list_size], [%li1, %list_match]
  %l_more = icmp ult i64 %li, %n
  br i1 %l_more, label %list_step, label %yes
list_step:
  %l_child = call ptr @PyList_GetItem(ptr %x, i64 %li)
  %l_gone = icmp eq ptr %l_child, null
  br i1 %l_gone, label %error, label %list_match
list_match:
  %l_fits = call i1 @match(ptr %l_child, ptr %state)
  %li1 = add i64 %li, 1
  br i1 %l_fits, label %list_head, label %no
dict:
  %d_type = get ptr, %step, I_LEAF
  %is_dict = icmp eq ptr %type, %d_type
  br i1 %is_dict, label %dict_size, label %no
dict_size:
  %d_size = call i64 @PyDict_Size(ptr %x)
  %d_keys = at %arg, TUPLE_ITEMS
  store i64 0, ptr %position
  %d_right = icmp eq i64 %d_size, %n
  br i1 %d_right, label %dict_head, label %no
dict_head:
  %di = phi i64 [0, %dict_size], [%di1, %dict_match]
  %d_more = icmp ult i64 %di, %n
  br i1 %d_more, label %dict_step, label %yes
dict_step:
  %d_found = call i32 @PyDict_Next(ptr %x, ptr %position, ptr %key_slot, ptr %value_slot)
  %d_end = icmp eq i32 %d_found, 0
  br i1 %d_end, label %no, label %dict_key
dict_key:
  %d_key = load ptr, ptr %key_slot
  %d_wanted = item ptr, %d_keys, %di
  %d_same = icmp eq ptr %d_key, %d_wanted
  br i1 %d_same, label %dict_match, label %other_head
dict_match:
  %d_child = load ptr, ptr %value_slot
  %d_fits = call i1 @match(ptr %d_child, ptr %state)
  %di1 = add i64 %di, 1
  br i1 %d_fits, label %dict_head, label %no
other_head:
  %oi = phi i64 [%di, %dict_key], [%oi1, %other_match]
  %o_more = icmp ult i64 %oi, %n
  br i1 %o_more, label %other_step, label %yes
other_step:
  %o_key = item ptr, %d_keys, %oi
  %o_child = call ptr @PyDict_GetItem(ptr %x, ptr %o_key)
  %o_absent = icmp eq ptr %o_child, null
  br i1 %o_absent, label %no, label %other_match
other_match:
  %o_fits = call i1 @match(ptr %o_child, ptr %state)
  %oi1 = add i64 %oi, 1
  br i1 %o_fits, label %other_head, label %no
node:
  %node_type = get ptr, %step, I_LEAF
  %is_node = icmp eq ptr %type, %node_type
  br i1 %is_node, label %node_flatten, label %no
node_flatten:
  %children = call ptr (ptr, ...) @PyObject_CallFunctionObjArgs(ptr %arg, ptr %x, ptr null)
  %n_failed = icmp eq ptr %children, null
  br i1 %n_failed, label %error, label %node_check
node_check:
  %c_type = get ptr, %children, TYPE
  %n_tuple = icmp eq ptr %c_type, @PyTuple_Type
  br i1 %n_tuple, label %node_size, label %node_drop
node_size:
  %n_size = get i64, %children, TUPLE_SIZE
  %n_items = at %children, TUPLE_ITEMS
  %n_right = icmp eq i64 %n_size, %n
  br i1 %n_right, label %node_head, label %node_drop
node_head:
  %ni = phi i64 [0, %node_size], [%ni1, %node_step]
  %n_more = icmp ult i64 %ni, %n
  br i1 %n_more, label %node_step, label %node_done
node_step:
  %n_child = item ptr, %n_items, %ni
  %n_fits = call i1 @match(ptr %n_child, ptr %state)
  %ni1 = add i64 %ni, 1
  br i1 %n_fits, label %node_head, label %node_drop
node_done:
  call void @Py_DecRef(ptr %children)
  br label %yes
node_drop:
  call void @Py_DecRef(ptr %children)
  br label %no
error:
  call void @PyErr_Clear()
  br label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; A NumPy array of the given type, dtype and shape.
define internal i1 @fits_spec(ptr %x, ptr %spec) #0 {
entry:
  %type = get ptr, %x, TYPE
  %right_type = get ptr, %spec, N_TYPE
  %is_numpy = icmp eq ptr %type, %right_type
  br i1 %is_numpy, label %fields, label %no
fields:
  %dtype = get ptr, %x, NUMPY_DTYPE
  %right_dtype = get ptr, %spec, N_DTYPE
  %same_dtype = icmp eq ptr %dtype, %right_dtype
  %rank = get i32, %x, NUMPY_RANK
  %rank64 = sext i32 %rank to i64
  %right_rank = get i64, %spec, N_RANK
  %same_rank = icmp eq i64 %rank64, %right_rank
  %both = and i1 %same_dtype, %same_rank
  %dims = get ptr, %x, NUMPY_DIMS
  %right_dims = get ptr, %spec, N_DIMS
  br i1 %both, label %head, label %no
head:
  %i = phi i64 [0, %fields], [%i1, %step]
  %more = icmp ult i64 %i, %rank64
  br i1 %more, label %step, label %yes
step:
  %d = item i64, %dims, %i
  %right_d = item i64, %right_dims, %i
  %same = icmp eq i64 %d, %right_d
  %i1 = add i64 %i, 1
  br i1 %same, label %head, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; A Python number as an element of the given kind; false if it does not fit.
define internal i1 @store_scalar(ptr %x, i64 %kind, ptr %cell) #0 {
entry:
  %overflow = alloca i32
  switch i64 %kind, label %no [ i64 $BOOL_CELL, label %bool
                                i64 $I32_CELL, label %integer
                                i64 $I64_CELL, label %integer
                                i64 $F32_CELL, label %float
                                i64 $F64_CELL, label %float
                                i64 $C64_CELL, label %complex
                                i64 $C128_CELL, label %complex ]
bool:
  %truth = icmp eq ptr %x, @_Py_TrueStruct
  %byte = zext i1 %truth to i8
  store i8 %byte, ptr %cell
  ret i1 true
integer:
  %wide = call i64 @PyLong_AsLongAndOverflow(ptr %x, ptr %overflow)
  %o = load i32, ptr %overflow
  %in_range = icmp eq i32 %o, 0
  br i1 %in_range, label %width, label %no
width:
  store i64 %wide, ptr %cell
  %is_wide = icmp eq i64 %kind, $I64_CELL
  %narrow = trunc i64 %wide to i32
  %back = sext i32 %narrow to i64
  %same = icmp eq i64 %back, %wide
  %fits = or i1 %is_wide, %same
  ret i1 %fits
float:
  %double = call double @PyFloat_AsDouble(ptr %x)
  %is_double = icmp eq i64 %kind, $F64_CELL
  br i1 %is_double, label %store_double, label %store_single
store_double:
  store double %double, ptr %cell
  ret i1 true
store_single:
  %single = fptrunc double %double to float
  store float %single, ptr %cell
  ret i1 true
complex:
  %re = call double @PyComplex_RealAsDouble(ptr %x)
  %im = call double @PyComplex_ImagAsDouble(ptr %x)
  %is_wide_complex = icmp eq i64 %kind, $C128_CELL
  br i1 %is_wide_complex, label %store_wide, label %store_narrow
store_wide:
  put_item double %re, %cell, 0
  put_item double %im, %cell, 1
  ret i1 true
store_narrow:
  %re32 = fptrunc double %re to float
  %im32 = fptrunc double %im to float
  put_item float %re32, %cell, 0
  put_item float %im32, %cell, 1
  ret i1 true
no:
  ret i1 false
}

; --- results --------------------------------------------------------------------------------------

; The Python value of the outputs %made, whose references are used up.
define internal ptr @result_of(ptr %e, ptr %made) #0 {
entry:
  %state = alloca [2 x ptr]
  %kind = get i64, %e, E_RESULT
  %n = get i64, %e, E_N_OUT
  switch i64 %kind, label %built [ i64 $SINGLE, label %single
                                   i64 $FLAT_TUPLE, label %flat ]
single:
  %one = item ptr, %made, 0
  ret ptr %one
flat:
  %tuple = call ptr @PyTuple_New(i64 %n)
  %none = icmp eq ptr %tuple, null
  br i1 %none, label %undo, label %move
undo:
  call void @release_all(ptr %made, i64 %n)
  ret ptr null
move:
  %items = at %tuple, TUPLE_ITEMS
  %bytes = mul i64 %n, 8
  call void @llvm.memcpy.p0.p0.i64(ptr %items, ptr %made, i64 %bytes, i1 false)
  ret ptr %tuple
built:
  %program = get ptr, %e, E_BUILD
  put ptr %program, %state, S_STEP
  put ptr %made, %state, S_OUTS
  call void @count_flight(i64 1)
  %result = call ptr @build(ptr %state)
  call void @release_all(ptr %made, i64 %n)
  call void @count_flight(i64 -1)
  ret ptr %result
}

; The value that the program says from %state's step on; null with an error set on failure.
define internal ptr @build(ptr %state) #0 {
entry:
  %step = get ptr, %state, S_STEP
  %next = getelementptr i8, ptr %step, i64 $STEP
  put ptr %next, %state, S_STEP
  %op = get i64, %step, I_OP
  %n = get i64, %step, I_N
  %arg = get ptr, %step, I_ARG
  switch i64 %op, label %object [ i64 $OUTPUT, label %output
                                  i64 $MAKE_LIST, label %list
                                  i64 $MAKE_DICT, label %dict
                                  i64 $MAKE_TUPLE, label %tuple
                                  i64 $MAKE_CALL, label %call ]
object:
  call void @Py_IncRef(ptr %arg)
  ret ptr %arg
output:
  %outs = get ptr, %state, S_OUTS
  %leaf = item ptr, %outs, %n
  call void @Py_IncRef(ptr %leaf)
  ret ptr %leaf
tuple:
  %made_tuple = call ptr @build_tuple(ptr %state, i64 %n)
  ret ptr %made_tuple
call:
  %children = call ptr @build_tuple(ptr %state, i64 %n)
  %no_children = icmp eq ptr %children, null
  br i1 %no_children, label %failed, label %apply
apply:
  %value = call ptr @PyObject_Call(ptr %arg, ptr %children, ptr null)
  call void @Py_DecRef(ptr %children)
  ret ptr %value
list:
  %made_list = call ptr @PyList_New(i64 %n)
  %no_list = icmp eq ptr %made_list, null
  br i1 %no_list, label %failed, label %list_head
list_head:
  %li = phi i64 [0, %list], [%li1, %list_store]
  %l_more = icmp ult i64 %li, %n
  br i1 %l_more, label %list_step, label %list_done
list_step:
  %l_child = call ptr @build(ptr %state)
  %l_bad = icmp eq ptr %l_child, null
  br i1 %l_bad, label %drop, label %list_store
list_store:
  %l_code = call i32 @PyList_SetItem(ptr %made_list, i64 %li, ptr %l_child)
  %li1 = add i64 %li, 1
  br label %list_head
list_done:
  ret ptr %made_list
dict:
  %template = get ptr, %step, I_LEAF
  %made_dict = call ptr @PyDict_Copy(ptr %template)
  %no_dict = icmp eq ptr %made_dict, null
  br i1 %no_dict, label %failed, label %dict_keys
dict_keys:
  %keys = at %arg, TUPLE_ITEMS
  br label %dict_head
dict_head:
  %di = phi i64 [0, %dict_keys], [%di1, %dict_store]
  %d_more = icmp ult i64 %di, %n
  br i1 %d_more, label %dict_step, label %dict_done
dict_step:
  %d_child = call ptr @build(ptr %state)
  %d_bad = icmp eq ptr %d_child, null
  br i1 %d_bad, label %drop, label %dict_store
dict_store:
  %d_key = item ptr, %keys, %di
  %d_code = call i32 @PyDict_SetItem(ptr %made_dict, ptr %d_key, ptr %d_child)
  call void @Py_DecRef(ptr %d_child)
  %di1 = add i64 %di, 1
  %d_ok = icmp eq i32 %d_code, 0
  br i1 %d_ok, label %dict_head, label %drop
dict_done:
  ret ptr %made_dict
drop:
  %container = phi ptr [%made_list, %list_step], [%made_dict, %dict_step], [%made_dict, %dict_store]
  call void @Py_DecRef(ptr %container)
  br label %failed
failed:
  ret ptr null
}

define internal ptr @build_tuple(ptr %state, i64 %n) #0 {
entry:
  %tuple = call ptr @PyTuple_New(i64 %n)
  %none = icmp eq ptr %tuple, null
  br i1 %none, label %failed, label %items
items:
  %places = at %tuple, TUPLE_ITEMS
  br label %head
head:
  %i = phi i64 [0, %items], [%i1, %store]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %step, label %done
step:
  %child = call ptr @build(ptr %state)
  %bad = icmp eq ptr %child, null
  br i1 %bad, label %drop, label %store
store:
  put_item ptr %child, %places, %i
  %i1 = add i64 %i, 1
  br label %head
done:
  ret ptr %tuple
drop:
  call void @Py_DecRef(ptr %tuple)
  br label %failed
failed:
  ret ptr null
}
"""
