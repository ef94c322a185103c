"""Short-hand LLVM text -> functions and Python types: what array, dispatch, pool and threads are made with.

The text may use a few abbreviations besides plain IR (NAME is a field offset, `$NAME` any constant):

    %v = get ptr, %object, NAME        load a field         %v = item i64, %table, %i     load an element
    put ptr %v, %object, NAME          store a field        put_item ptr %v, %table, %i   store an element
    %p = at %object, NAME              address of a field
"""
from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tracejit.config import config
from tracejit.runtime import cache, llvm

HEAD = object.__basicsize__  # bytes of a PyObject header
TYPE_OFFSET = HEAD - ctypes.sizeof(ctypes.c_void_p)  # ob_type is its last word

RULES: list[tuple[re.Pattern[str], str]] = [(re.compile(pattern), template) for pattern, template in [
    (r"^ *(%[\w.]+) = get ([\w ]+), ([%@][\w.]+), (\w+)$",
     "  {t} = getelementptr i8, ptr {2}, i64 {3}\n  {0} = load {1}, ptr {t}"),
    (r"^ *put (\w+) (\S+), ([%@][\w.]+), (\w+)$",
     "  {t} = getelementptr i8, ptr {2}, i64 {3}\n  store {0} {1}, ptr {t}"),
    (r"^ *(%[\w.]+) = item (\w+), ([%@][\w.]+), (\S+)$",
     "  {t} = getelementptr {1}, ptr {2}, i64 {3}\n  {0} = load {1}, ptr {t}"),
    (r"^ *put_item (\w+) (\S+), ([%@][\w.]+), (\S+)$",
     "  {t} = getelementptr {0}, ptr {2}, i64 {3}\n  store {0} {1}, ptr {t}"),
    (r"^ *(%[\w.]+) = at ([%@][\w.]+), (\w+)$", "  {0} = getelementptr i8, ptr {1}, i64 {2}"),
]]


def expand(text: str, constants: Mapping[str, int]) -> str:
    """Plain LLVM IR from text with abbreviations.

    >>> print(expand("  %d = get ptr, %s, DATA", {"DATA": 16}))
      %t0 = getelementptr i8, ptr %s, i64 16
      %d = load ptr, ptr %t0
    """
    return "\n".join(expand_line(line, f"%t{number}", constants) for number, line in enumerate(text.split("\n")))


def expand_line(line: str, temporary: str, constants: Mapping[str, int]) -> str:
    line = re.sub(r"\$([A-Z]\w*)", lambda match: str(constants[match[1]]), line)
    for pattern, template in RULES:
        match = pattern.match(line)
        if match:
            return template.format(*[str(constants.get(word, word)) for word in match.groups()], t=temporary)
    return line


def c_string(name: str, text: str) -> str:
    """A private constant @name with a zero-terminated ASCII text.

    >>> c_string("greeting", "hi")
    '@greeting = private constant [3 x i8] c"hi\\\\00"'
    """
    return f'@{name} = private constant [{len(text) + 1} x i8] c"{text}\\00"'


def can_be_native() -> bool:
    """Can types be made from native code here? Not where objects lack a global lock, nor in a second interpreter."""
    return (config.native_dispatch and sys.implementation.name == "cpython" and sys.platform != "win32"
            and ctypes.sizeof(ctypes.c_void_p) == 8
            and "t" not in getattr(sys, "abiflags", "") and not hasattr(sys, "getobjects"))


def refuse_subinterpreter() -> None:
    api = llvm.api
    api.PyInterpreterState_Get.restype = api.PyInterpreterState_Main.restype = ctypes.c_void_p
    if api.PyInterpreterState_Get() != api.PyInterpreterState_Main():
        raise ImportError("tracejit works only in the main interpreter of a process")


refuse_subinterpreter()

def load(text: str, constants: Mapping[str, int]) -> dict[str, int]:
    """{symbol: address} of text with abbreviations; expanded and compiled only if the disk cache lacks it."""
    cpu, features = llvm.host_cpu()
    key = cache.key_of("native", text, repr(sorted(constants.items())), cpu, features)
    disk = cache.object_cache()
    data = disk.get(key) if disk else None
    if data is None:
        data = llvm.compile_module(expand(text, constants), cpu, features, opt=2)
        if disk:
            disk.put(key, data)
    return llvm.load_object(data, llvm.defined_symbols(text), llvm.external_symbols(text))


# --- types -------------------------------------------------------------------------------------------

class Slot(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("pointer", ctypes.c_void_p)]


class Spec(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("basicsize", ctypes.c_int), ("itemsize", ctypes.c_int),
                ("flags", ctypes.c_uint), ("slots", ctypes.c_void_p)]


class Member(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("offset", ctypes.c_ssize_t),
                ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


class GetSet(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("get", ctypes.c_void_p), ("set", ctypes.c_void_p),
                ("doc", ctypes.c_char_p), ("closure", ctypes.c_void_p)]


# Slot numbers, type flags and member kinds of the stable ABI.
BF_GETBUFFER, BF_RELEASEBUFFER = 1, 2
TP_CALL, TP_CLEAR, TP_DEALLOC, TP_DESCR_GET, TP_NEW, TP_TRAVERSE, TP_MEMBERS, TP_GETSET = 50, 51, 52, 54, 65, 71, 72, 73
DEFAULT, NO_INSTANTIATION, HAVE_VECTORCALL, HAVE_GC, METHOD_DESCRIPTOR = 1 << 18, 1 << 7, 1 << 11, 1 << 14, 1 << 17
OBJECT_MEMBER, SIZE_MEMBER, READONLY = 6, 19, 1

forever: list[Any] = []  # C structures that the interpreter keeps pointers into


def table_of(kind: type[ctypes.Structure], rows: Sequence[tuple]) -> int:
    table = (kind * (len(rows) + 1))(*rows)
    forever.append(table)
    return ctypes.addressof(table)


def make_type(name: str, basicsize: int, flags: int, slots: Mapping[int, int], members: Sequence[tuple],
              getset: Sequence[tuple] = ()) -> type:
    """A heap type made of native functions. `members` are (name, kind, offset), `getset` (name, getter, closure)."""
    fields = [(n.encode(), kind, offset, READONLY, None) for n, kind, offset in members]
    getters = [(n.encode(), get, None, None, closure) for n, get, closure in getset]
    rows = [*slots.items(), (TP_MEMBERS, table_of(Member, fields)), (TP_GETSET, table_of(GetSet, getters))]
    spec = Spec(name.encode(), basicsize, 0, flags, table_of(Slot, rows))
    forever.append(spec)
    make = llvm.api.PyType_FromSpec
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p]
    return make(ctypes.addressof(spec))


def c_address(name: str) -> int:
    """The address of a function of Python's C API."""
    address = llvm.c_function(name)
    if address is None:
        raise RuntimeError(f"this Python has no {name}")
    return address


def write_pointer(address: int, value: int | None) -> None:
    ctypes.c_void_p.from_address(address).value = value


def read_i64(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def write_i64(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = value
