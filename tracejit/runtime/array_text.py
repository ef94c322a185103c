"""The native Array type as LLVM text: fields, deallocation, attribute getters, buffer protocol, DLPack export.

An Array owns a pool block (BLOCK), or shares the memory of another object (BASE). DATA is null once it was deleted.
EXPORTS counts the views, buffers and DLPack tensors into its memory: while there are any, the block is not given back.
Abbreviations are those of native.py.
"""
from __future__ import annotations

import ctypes

from tracejit.runtime.native import HEAD, TYPE_OFFSET, c_string


class Info(ctypes.Structure):
    """What native code knows about one ArrayType; the last eight are Python objects that attributes return."""
    _fields_ = [("nbytes", ctypes.c_int64), ("size_class", ctypes.c_int64), ("item_bytes", ctypes.c_int64),
                ("rank", ctypes.c_int64), ("format", ctypes.c_char_p), ("dims", ctypes.c_void_p),
                ("strides", ctypes.c_void_p), ("element_strides", ctypes.c_void_p), ("dlpack_dtype", ctypes.c_int64),
                ("type", ctypes.c_void_p), ("shape", ctypes.c_void_p), ("dtype", ctypes.c_void_p),
                ("weak_type", ctypes.c_void_p), ("ndim", ctypes.c_void_p), ("size", ctypes.c_void_p),
                ("nbytes_object", ctypes.c_void_p), ("itemsize", ctypes.c_void_p)]


DATA, INFO, BLOCK, BASE, WEAKREFS, EXPORTS, CLASS = range(HEAD, HEAD + 56, 8)
ARRAY_BYTES = HEAD + 56

CONSTANTS = {
    "TYPE": TYPE_OFFSET, "DATA": DATA, "INFO": INFO, "BLOCK": BLOCK, "BASE": BASE, "WEAKREFS": WEAKREFS,
    "EXPORTS": EXPORTS, "CLASS": CLASS,
    "NBYTES": Info.nbytes.offset, "SIZE_CLASS": Info.size_class.offset, "ITEM_BYTES": Info.item_bytes.offset,
    "RANK": Info.rank.offset, "FORMAT": Info.format.offset, "DIMS": Info.dims.offset, "STRIDES": Info.strides.offset,
    "ELEMENT_STRIDES": Info.element_strides.offset, "DLPACK_DTYPE": Info.dlpack_dtype.offset,
    "NUMPY_DATA": HEAD,
    # struct Py_buffer
    "V_DATA": 0, "V_OBJECT": 8, "V_BYTES": 16, "V_ITEM": 24, "V_READONLY": 32, "V_RANK": 36, "V_FORMAT": 40,
    "V_DIMS": 48, "V_STRIDES": 56, "V_SUBOFFSETS": 64, "V_INTERNAL": 72, "V_SIZE": 80,
    # struct DLManagedTensor
    "L_DATA": 0, "L_DEVICE": 8, "L_RANK": 16, "L_DTYPE": 20, "L_DIMS": 24, "L_STRIDES": 32, "L_OFFSET": 40,
    "L_CONTEXT": 48, "L_DELETER": 56, "L_SIZE": 64,
}

TEXT = "\n".join([
    c_string("deleted_text", "Array has been deleted"),
    c_string("no_memory_text", "not enough memory for an array of %lld bytes"),
    c_string("writable_text", "an Array is immutable: its memory cannot be viewed as writable"),
    c_string("format_text", "this dtype has no format in Python's buffer protocol"),
    c_string("order_text", "the memory of an Array is in C order"),
    c_string("dltensor", "dltensor"),
]) + """
@tj_array_type = global ptr null
@tj_in_flight = global i64 0       ; calls that may be running while other Python code runs
@PyExc_BufferError = external global ptr
@PyExc_RuntimeError = external global ptr
declare ptr @_PyObject_New(ptr)
declare void @PyObject_Free(ptr)
declare void @PyObject_ClearWeakRefs(ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare void @PyErr_SetString(ptr, ptr)
declare ptr @PyErr_NoMemory()
declare ptr @PyErr_Format(ptr, ptr, ...)
@PyExc_MemoryError = external global ptr
declare ptr @malloc(i64)
declare ptr @PyCapsule_New(ptr, ptr, ptr)
declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare i32 @PyCapsule_IsValid(ptr, ptr)
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
attributes #0 = { nounwind }

; --- making ---------------------------------------------------------------------------------------

define internal ptr @bare_array(ptr %info) #0 {
  %type = load ptr, ptr @tj_array_type
  %self = call ptr @_PyObject_New(ptr %type)
  %failed = icmp eq ptr %self, null
  br i1 %failed, label %done, label %fill
fill:
  put ptr null, %self, DATA
  put ptr %info, %self, INFO
  put ptr null, %self, BLOCK
  put ptr null, %self, BASE
  put ptr null, %self, WEAKREFS
  put i64 0, %self, EXPORTS
  br label %done
done:
  ret ptr %self
}

; An Array of the type with memory from the pool, not initialised. Null with MemoryError set on failure.
define ptr @tj_array_new(ptr %info) #0 {
  %class = get i64, %info, SIZE_CLASS
  %block = call ptr @tj_take(i64 %class)
  %none = icmp eq ptr %block, null
  br i1 %none, label %no_memory, label %make
make:
  %self = call ptr @bare_array(ptr %info)
  %failed = icmp eq ptr %self, null
  br i1 %failed, label %undo, label %own
own:
  put ptr %block, %self, DATA
  put ptr %block, %self, BLOCK
  put i64 %class, %self, CLASS
  ret ptr %self
undo:
  call void @tj_give(ptr %block, i64 %class)
  ret ptr null
no_memory:
  %class_of_error = load ptr, ptr @PyExc_MemoryError
  %bytes = get i64, %info, NBYTES
  %ignored = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %class_of_error, ptr @no_memory_text, i64 %bytes)
  ret ptr null
}

; A copy of the bytes at %source.
define ptr @tj_array_copy(ptr %info, ptr %source) #0 {
  %self = call ptr @tj_array_new(ptr %info)
  %failed = icmp eq ptr %self, null
  br i1 %failed, label %done, label %copy
copy:
  %data = get ptr, %self, DATA
  %bytes = get i64, %info, NBYTES
  call void @llvm.memcpy.p0.p0.i64(ptr %data, ptr %source, i64 %bytes, i1 false)
  br label %done
done:
  ret ptr %self
}

; A copy of the elements of a NumPy array in C order.
define ptr @tj_array_from_numpy(ptr %info, ptr %ndarray) #0 {
  %source = get ptr, %ndarray, NUMPY_DATA
  %self = call ptr @tj_array_copy(ptr %info, ptr %source)
  ret ptr %self
}

; An Array on memory that %base keeps alive.
define ptr @tj_array_view(ptr %info, ptr %data, ptr %base) #0 {
  %self = call ptr @bare_array(ptr %info)
  %failed = icmp eq ptr %self, null
  br i1 %failed, label %done, label %hold
hold:
  put ptr %data, %self, DATA
  put ptr %base, %self, BASE
  call void @Py_IncRef(ptr %base)
  call void @count_view(ptr %base, i64 1)
  br label %done
done:
  ret ptr %self
}

; If %base is an Array, note that it has one view more or less.
define internal void @count_view(ptr %base, i64 %change) #0 {
  %type = get ptr, %base, TYPE
  %array = load ptr, ptr @tj_array_type
  %is = icmp eq ptr %type, %array
  br i1 %is, label %count, label %done
count:
  %old = get i64, %base, EXPORTS
  %new = add i64 %old, %change
  put i64 %new, %base, EXPORTS
  br label %done
done:
  ret void
}

define internal void @release_all(ptr %objects, i64 %n) #0 {
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%i1, %step]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %look, label %done
look:
  %x = item ptr, %objects, %i
  %none = icmp eq ptr %x, null
  br i1 %none, label %step, label %release
release:
  call void @Py_DecRef(ptr %x)
  br label %step
step:
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}

; --- ending ---------------------------------------------------------------------------------------

; Mark as deleted; the memory goes back now unless something may still look at it, else with the object.
define void @tj_array_delete(ptr %self) #0 {
  put ptr null, %self, DATA
  %block = get ptr, %self, BLOCK
  %none = icmp eq ptr %block, null
  br i1 %none, label %done, label %check
check:
  %exports = get i64, %self, EXPORTS
  %flights = load i64, ptr @tj_in_flight
  %users = or i64 %exports, %flights
  %free = icmp eq i64 %users, 0
  br i1 %free, label %give, label %done
give:
  put ptr null, %self, BLOCK
  %class = get i64, %self, CLASS
  call void @tj_give(ptr %block, i64 %class)
  br label %done
done:
  ret void
}

define void @tj_array_dealloc(ptr %self) #0 {
  %refs = get ptr, %self, WEAKREFS
  %watched = icmp ne ptr %refs, null
  br i1 %watched, label %clear, label %memory
clear:
  call void @PyObject_ClearWeakRefs(ptr %self)
  br label %memory
memory:
  %block = get ptr, %self, BLOCK
  %shared = icmp eq ptr %block, null
  br i1 %shared, label %look, label %give
give:
  %class = get i64, %self, CLASS
  call void @tj_give(ptr %block, i64 %class)
  br label %look
look:
  %base = get ptr, %self, BASE
  %alone = icmp eq ptr %base, null
  br i1 %alone, label %free, label %release
release:
  call void @count_view(ptr %base, i64 -1)
  call void @Py_DecRef(ptr %base)
  br label %free
free:
  %type = get ptr, %self, TYPE
  call void @PyObject_Free(ptr %self)
  call void @Py_DecRef(ptr %type)
  ret void
}

; --- attributes: %closure is the offset of an object in the type's Info ------------------------------

define ptr @tj_array_get(ptr %self, ptr %closure) #0 {
  %info = get ptr, %self, INFO
  %offset = ptrtoint ptr %closure to i64
  %place = getelementptr i8, ptr %info, i64 %offset
  %value = load ptr, ptr %place
  call void @Py_IncRef(ptr %value)
  ret ptr %value
}

; --- buffer protocol ------------------------------------------------------------------------------

define i32 @tj_array_getbuffer(ptr %self, ptr %view, i32 %flags) #0 {
entry:
  call void @llvm.memset.p0.i64(ptr %view, i8 0, i64 $V_SIZE, i1 false)
  %data = get ptr, %self, DATA
  %info = get ptr, %self, INFO
  %deleted = icmp eq ptr %data, null
  br i1 %deleted, label %fail, label %writable
writable:
  %w = and i32 %flags, 1
  %wants_write = icmp ne i32 %w, 0
  br i1 %wants_write, label %fail, label %format
format:
  %f = and i32 %flags, 4
  %wants_format = icmp ne i32 %f, 0
  %text = get ptr, %info, FORMAT
  %nameless = icmp eq ptr %text, null
  %impossible = and i1 %wants_format, %nameless
  br i1 %impossible, label %fail, label %order
order:
  %rank = get i64, %info, RANK
  %o = and i32 %flags, 64
  %wants_fortran = icmp ne i32 %o, 0
  %matrix = icmp ugt i64 %rank, 1
  %wrong = and i1 %wants_fortran, %matrix
  br i1 %wrong, label %fail, label %fill
fail:
  %message = phi ptr [@deleted_text, %entry], [@writable_text, %writable], [@format_text, %format],
                     [@order_text, %order]
  %class = load ptr, ptr @PyExc_BufferError
  call void @PyErr_SetString(ptr %class, ptr %message)
  ret i32 -1
fill:
  put ptr %data, %view, V_DATA
  put ptr %self, %view, V_OBJECT
  %bytes = get i64, %info, NBYTES
  put i64 %bytes, %view, V_BYTES
  %item = get i64, %info, ITEM_BYTES
  put i64 %item, %view, V_ITEM
  put i32 1, %view, V_READONLY
  %rank32 = trunc i64 %rank to i32
  %n = and i32 %flags, 8
  %wants_dims = icmp ne i32 %n, 0
  %shown_rank = select i1 %wants_dims, i32 %rank32, i32 1
  put i32 %shown_rank, %view, V_RANK
  %shown_text = select i1 %wants_format, ptr %text, ptr null
  put ptr %shown_text, %view, V_FORMAT
  %dims = get ptr, %info, DIMS
  %shown_dims = select i1 %wants_dims, ptr %dims, ptr null
  put ptr %shown_dims, %view, V_DIMS
  %s = and i32 %flags, 16
  %wants_strides = icmp ne i32 %s, 0
  %strides = get ptr, %info, STRIDES
  %shown_strides = select i1 %wants_strides, ptr %strides, ptr null
  put ptr %shown_strides, %view, V_STRIDES
  call void @Py_IncRef(ptr %self)
  call void @count_view(ptr %self, i64 1)
  ret i32 0
}

define void @tj_array_releasebuffer(ptr %self, ptr %view) #0 {
  call void @count_view(ptr %self, i64 -1)
  ret void
}

; --- DLPack ---------------------------------------------------------------------------------------

; A capsule that holds the Array until the consumer is done with its memory.
define ptr @tj_array_dlpack(ptr %self) #0 {
  %tensor = call ptr @malloc(i64 $L_SIZE)
  %none = icmp eq ptr %tensor, null
  br i1 %none, label %no_memory, label %fill
no_memory:
  %ignored = call ptr @PyErr_NoMemory()
  ret ptr null
fill:
  call void @llvm.memset.p0.i64(ptr %tensor, i8 0, i64 $L_SIZE, i1 false)
  %data = get ptr, %self, DATA
  put ptr %data, %tensor, L_DATA
  put i64 1, %tensor, L_DEVICE
  %info = get ptr, %self, INFO
  %rank = get i64, %info, RANK
  %rank32 = trunc i64 %rank to i32
  put i32 %rank32, %tensor, L_RANK
  %dtype = get i64, %info, DLPACK_DTYPE
  %dtype32 = trunc i64 %dtype to i32
  put i32 %dtype32, %tensor, L_DTYPE
  %dims = get ptr, %info, DIMS
  put ptr %dims, %tensor, L_DIMS
  %strides = get ptr, %info, ELEMENT_STRIDES
  put ptr %strides, %tensor, L_STRIDES
  put ptr %self, %tensor, L_CONTEXT
  put ptr @dlpack_deleter, %tensor, L_DELETER
  %capsule = call ptr @PyCapsule_New(ptr %tensor, ptr @dltensor, ptr @dlpack_destructor)
  %failed = icmp eq ptr %capsule, null
  br i1 %failed, label %undo, label %hold
undo:
  call void @free(ptr %tensor)
  ret ptr null
hold:
  call void @Py_IncRef(ptr %self)
  call void @count_view(ptr %self, i64 1)
  ret ptr %capsule
}

; Called by the consumer, on any thread.
define internal void @dlpack_deleter(ptr %tensor) #0 {
  %state = call i32 @PyGILState_Ensure()
  %self = get ptr, %tensor, L_CONTEXT
  call void @count_view(ptr %self, i64 -1)
  call void @Py_DecRef(ptr %self)
  call void @PyGILState_Release(i32 %state)
  call void @free(ptr %tensor)
  ret void
}

; A capsule that nobody consumed still has its first name.
define internal void @dlpack_destructor(ptr %capsule) #0 {
  %code = call i32 @PyCapsule_IsValid(ptr %capsule, ptr @dltensor)
  %unused = icmp ne i32 %code, 0
  br i1 %unused, label %delete, label %done
delete:
  %tensor = call ptr @PyCapsule_GetPointer(ptr %capsule, ptr @dltensor)
  call void @dlpack_deleter(ptr %tensor)
  br label %done
done:
  ret void
}
"""
