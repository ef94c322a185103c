"""The object cache: found again, damaged, full, read-only, bounded, written by several at once."""
from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

import llvmlite.binding as binding
import pytest
from runtime_harness import run_python

from tracejit.runtime import cache, llvm
from tracejit.runtime.cache import ObjectCache

NUMBER = "define i32 @test_number_{n}() {{ ret i32 {n} }}"


@pytest.fixture
def disk(tmp_path):
    return ObjectCache(tmp_path / "objects")


def only_file(disk):
    (_, _, path), = disk.entries()
    return path


def test_put_and_get(disk):
    key = cache.key_of("text")
    assert disk.get(key) is None
    disk.put(key, b"object" * 100)
    assert disk.get(key) == b"object" * 100 and disk.get(cache.key_of("other")) is None
    disk.clear()
    assert disk.get(key) is None and disk.size() == 0


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:20], lambda data: data[:-1], lambda data: data + b"x",
    lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], lambda data: b"x" + data[1:], lambda data: b"\0" * len(data)])
def test_a_damaged_file_is_a_miss_and_goes_away(disk, damage):
    disk.put("ab" * 32, os.urandom(500))
    path = only_file(disk)
    path.write_bytes(damage(path.read_bytes()))
    assert disk.get("ab" * 32) is None and not path.exists()
    disk.put("ab" * 32, b"again")
    assert disk.get("ab" * 32) == b"again"


def test_no_temporary_files_are_left(disk):
    for n in range(10):
        disk.put(cache.key_of(str(n)), b"x")
    assert len(disk.entries()) == 10 and all(path.suffix == ".o" for _, _, path in disk.entries())


def test_least_recently_used_objects_go_first(disk):
    disk.max_bytes = 10_000
    now = time.time()
    for n in range(9):
        disk.put(f"{n:064d}", b"x" * 1000)
        os.utime(disk.path_of(f"{n:064d}"), (now - 100 + n, now - 100 + n))
    assert disk.get(f"{0:064d}")  # used again: now the newest
    disk.put("f" * 64, b"x" * 1000)
    disk.put("e" * 64, b"x" * 1000)
    assert disk.size() <= 10_000
    assert disk.get(f"{0:064d}") and disk.get("e" * 64) and not disk.get(f"{1:064d}")


def test_a_new_process_does_not_look_at_every_file(disk, monkeypatch):
    for n in range(5):
        disk.put(cache.key_of(str(n)), b"x" * 1000)
    again = ObjectCache(disk.folder, max_bytes=20_000)
    monkeypatch.setattr(again, "size", lambda: pytest.fail("the folder was scanned"))
    for n in range(5, 10):
        again.put(cache.key_of(str(n)), b"x" * 1000)
    assert len(again.entries()) == 10


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""),
                                    lambda path: path.write_bytes(bytes(1 << 16))])
def test_the_bound_holds_again_after_the_ledger_is_lost(disk, damage):
    disk.max_bytes = 20_000
    for n in range(5):
        disk.put(cache.key_of(str(n)), b"x" * 1000)
    damage(disk.folder / cache.LEDGER)
    for n in range(5, 100):
        disk.put(cache.key_of(str(n)), b"x" * 1000)
    assert 10_000 < disk.size() <= 30_000


def test_no_bound(disk):
    disk.max_bytes = -1
    for n in range(5):
        disk.put(cache.key_of(str(n)), b"x" * 1000)
    assert len(disk.entries()) == 5


def test_a_folder_that_cannot_be_written(tmp_path, caplog):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    disk = ObjectCache(in_the_way)
    with caplog.at_level("DEBUG", logger="tracejit.cache"):
        for n in range(3):
            disk.put(cache.key_of(str(n)), b"x")
            assert disk.get(cache.key_of(str(n))) is None
    assert len(caplog.records) == 1


def test_a_full_disk(disk, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    disk.put("ab" * 32, b"x")
    assert disk.get("ab" * 32) is None and disk.entries() == []


def test_several_writers(disk):
    data = {cache.key_of(str(n)): os.urandom(20_000) for n in range(5)}
    wrong = []

    def work():
        for _ in range(20):
            for key, value in data.items():
                disk.put(key, value)
                if disk.get(key) not in (value, None):
                    wrong.append(key)
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and all(disk.get(key) == value for key, value in data.items())


def test_keys():
    assert cache.key_of("a", "bc") != cache.key_of("ab", "c") and len(cache.key_of("")) == 64
    before = cache.key_of("a")
    assert before == cache.key_of("a") != cache.key_of("b")


# --- modules ---------------------------------------------------------------------------------------------

def test_modules_are_compiled_once():
    text = NUMBER.format(n=11)
    first = cache.load_module(text)
    seen = cache.stats.memory
    assert cache.load_module(text) is first and cache.stats.memory == seen + 1
    assert ctypes.CFUNCTYPE(ctypes.c_int)(first["test_number_11"])() == 11


USE = """
import ctypes
from tracejit.runtime import cache
address = cache.load_module("define i32 @test_use() { ret i32 42 }")["test_use"]
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)(), cache.stats.disk, cache.stats.compiled)
"""


def test_the_next_process_finds_the_object(tmp_path):
    folder = {"TRACEJIT_COMPILATION_CACHE_DIR": str(tmp_path)}
    assert run_python(USE, **folder) == "42 0 1\n"
    assert run_python(USE, **folder) == "42 1 0\n"
    for path in tmp_path.glob("??/*.o"):
        path.write_bytes(path.read_bytes()[:-5])
    assert run_python(USE, **folder) == "42 0 1\n"
    assert run_python(USE, **folder, TRACEJIT_ENABLE_COMPILATION_CACHE="0") == "42 0 1\n"


def test_the_native_runtime_survives_a_damaged_cache(tmp_path):
    code = "from tracejit.runtime import array; print(array.from_numpy(3))"
    folder = {"TRACEJIT_COMPILATION_CACHE_DIR": str(tmp_path)}
    assert run_python(code, **folder) == "3\n"
    files = list(tmp_path.glob("??/*.o"))
    assert files
    for path in files:
        path.write_bytes(os.urandom(len(path.read_bytes())))
    assert run_python(code, **folder) == "3\n"
    (tmp_path / "file").write_text("")
    assert run_python(code, TRACEJIT_COMPILATION_CACHE_DIR=str(tmp_path / "file")) == "3\n"


def test_several_processes_at_once(tmp_path):
    results = []
    folder = {"TRACEJIT_COMPILATION_CACHE_DIR": str(tmp_path)}
    workers = [threading.Thread(target=lambda: results.append(run_python(USE, **folder)[:3])) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == ["42 "] * 3


def test_compiling_on_several_threads_gives_the_same_objects():
    texts = [NUMBER.format(n=1000 + n) for n in range(12)]
    assert llvm.compile_many(texts, 3) == llvm.compile_many(texts, 1)
    addresses = cache.load_modules(texts, n_threads=3)
    assert [ctypes.CFUNCTYPE(ctypes.c_int)(table[f"test_number_{1000 + n}"])() for n, table in enumerate(addresses)] == \
        list(range(1000, 1012))


def test_python_threads_load_the_same_module():
    results, text = [], NUMBER.format(n=77)
    workers = [threading.Thread(target=lambda: results.append(cache.load_module(text)["test_number_77"])) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(results)) == 1 and len(results) == 6


def test_others_find_the_options_of_llvm_as_they_were():
    text = """define float @f(ptr %x, i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %sum = phi float [ 0.0, %entry ], [ %more, %loop ]
  %far = mul i64 %i, 24
  %place = getelementptr i8, ptr %x, i64 %far
  %value = load float, ptr %place
  %more = fadd float %sum, %value
  %next = add i64 %i, 1
  %again = icmp slt i64 %next, %n
  br i1 %again, label %loop, label %end
end:
  ret float %more
}"""
    machine = binding.Target.from_triple(llvm.host_triple()).create_target_machine(opt=2)
    before = machine.emit_assembly(binding.parse_assembly(text))
    own = llvm.assembly_of(text)
    llvm.compile_many([text, text], 2)
    assert machine.emit_assembly(binding.parse_assembly(text)) == before
    with llvm.addresses_as_written, llvm.addresses_as_written:
        assert llvm.assembly_of(text) == own
        assert machine.emit_assembly(binding.parse_assembly(text)) != before


@pytest.mark.parametrize("text", ["define i32 @f() { ret i64 1 }", "no llvm", "define i32 @f() {\n  %a = add i32 %b, 1\n"
                                  "  %b = add i32 %a, 1\n  ret i32 %a\n}"])
def test_bad_text(text):
    with pytest.raises(llvm.LLVMError):
        cache.load_module(text)


def test_a_missing_symbol_is_an_error_not_an_abort():
    text = "declare void @no_such_symbol()\ndefine void @test_missing() {\n  call void @no_such_symbol()\n  ret void\n}"
    with pytest.raises(llvm.LLVMError, match="no_such_symbol"):
        cache.load_module(text)


def test_library_routines():
    text = """
declare double @scipy_ddot(ptr, ptr, ptr, ptr, ptr)
declare double @sqrt(double)
define double @test_norm(ptr %n, ptr %x, ptr %one) {
  %d = call double @scipy_ddot(ptr %n, ptr %x, ptr %one, ptr %x, ptr %one)
  %r = call double @sqrt(double %d)
  ret double %r
}
"""
    norm = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_void_p] * 3)(cache.load_module(text)["test_norm"])
    n, one, x = ctypes.c_int(2), ctypes.c_int(1), (ctypes.c_double * 2)(3, 4)
    assert norm(ctypes.addressof(n), ctypes.addressof(x), ctypes.addressof(one)) == 5
    assert llvm.symbol_of("zheevd") and "scipy.linalg.cython_lapack" in sys.modules
    with pytest.raises(llvm.LLVMError):
        llvm.symbol_of("no_such_routine")


def test_assembly():
    assert "ret" in llvm.assembly_of("define void @f() { ret void }")
    wasm = llvm.defined_symbols("define internal void @a() {\n}\ndefine i32 @b(ptr %x) {\n}\n@c = global i32 0")
    assert wasm == ["b", "c"]
