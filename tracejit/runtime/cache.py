"""Text of a module + target + versions -> object file: a content-addressed, bounded cache on disk and in memory.

    load_module(text)      # {symbol: address}; compiled only if neither this process nor the disk has it
"""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import platform
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tracejit.config import config
from tracejit.runtime import llvm
from tracejit.runtime.forks import compiling

RUNTIME_VERSION = "1"  # part of every key: raise it when the contract between compiled code and runtime changes
MAGIC = b"tjobj1\0\0"
DIGEST_BYTES = 32
TRIM_TO = 0.8  # of the bound, so that not every new object causes a scan
LEDGER = "ledger"  # a file in the folder with one byte for every LEDGER_UNIT bytes that were put there since it was scanned
LEDGER_UNIT = 1024
unique = itertools.count()


def key_of(*parts: str) -> str:
    """The name under which the object made from `parts` is kept: equal parts, equal versions, equal name.

    >>> key_of("text", "cpu") == key_of("text", "cpu") != key_of("textc", "pu")
    True
    """
    digest = hashlib.sha256(f"{RUNTIME_VERSION}\0{llvm.version()}\0{platform.machine()}".encode())
    for part in parts:
        data = part.encode()
        digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()


class Stats:
    """How often an object was found in this process, on disk, or had to be compiled."""
    memory = disk = compiled = 0

    def __repr__(self) -> str:
        return f"Stats(memory={self.memory}, disk={self.disk}, compiled={self.compiled})"


stats = Stats()


class ObjectCache:
    """Objects in a folder, the least recently used removed beyond `max_bytes` (-1: no bound).

    Safe against concurrent writers (a file appears by an atomic rename), against damage (a checksum; a bad file is
    removed and counts as absent), and against a full or read-only disk (nothing is kept, nothing is raised).
    """

    def __init__(self, folder: Path, max_bytes: int = 1 << 30) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.has_failed = False
        self.lock = threading.Lock()

    def path_of(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.o"

    def get(self, key: str) -> bytes | None:
        """The object called `key`, or None."""
        path = self.path_of(key)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            return None
        body = data[len(MAGIC) + DIGEST_BYTES:]
        if data[:len(MAGIC)] != MAGIC or data[len(MAGIC):len(MAGIC) + DIGEST_BYTES] != hashlib.sha256(body).digest():
            self.remove(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return body

    def put(self, key: str, data: bytes) -> None:
        """Keep an object; on any failure of the disk do without."""
        path = self.path_of(key)
        temporary = path.with_name(f"{key}.{os.getpid()}.{next(unique)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(MAGIC + hashlib.sha256(data).digest() + data)
            os.replace(temporary, path)
        except OSError as error:
            self.remove(temporary)
            if not self.has_failed:
                import logging  # seldom needed, and not quick to load
                logging.getLogger("tracejit.cache").debug("objects are not kept in %s: %s", self.folder, error)
            self.has_failed = True
            return
        self.bound(len(MAGIC) + DIGEST_BYTES + len(data))

    def bound(self, added: int) -> None:
        """Enter `added` bytes in the ledger, and remove objects if there are now too many."""
        with self.lock, contextlib.suppress(OSError):
            if self.entered(added) > self.max_bytes >= 0:
                self.trim(self.max_bytes, int(self.max_bytes * TRIM_TO))

    def entered(self, added: int) -> int:
        """About how many bytes the folder holds, after `added` more. All processes share the ledger, and none needs to look at
        every file, of which there may be hundreds of thousands."""
        ledger = self.folder / LEDGER
        units = -(-added // LEDGER_UNIT) if ledger.exists() else self.size() // LEDGER_UNIT
        with open(ledger, "ab") as file:
            file.write(bytes(units))
            return file.tell() * LEDGER_UNIT

    def entries(self) -> list[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of each object."""
        found = []
        for bucket in self.buckets():
            with contextlib.suppress(OSError), os.scandir(bucket) as files:
                for file in files:
                    with contextlib.suppress(OSError):
                        status = file.stat()
                        found.append((status.st_mtime, status.st_size, Path(file.path)))
        return found

    def buckets(self) -> list[str]:
        """The folders that hold the objects."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            return [bucket.path for bucket in found if len(bucket.name) == 2]
        return []

    def size(self) -> int:
        """Bytes in the folder now."""
        return sum(size for _, size, _ in self.entries())

    def trim(self, bound: int, left: int) -> None:
        """If there are more than `bound` bytes, remove the least recently used until at most `left` are; correct the ledger."""
        entries = sorted(self.entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= bound:
                break
            bound = left
            self.remove(path)
            total -= size
        with contextlib.suppress(OSError), open(self.folder / LEDGER, "ab") as file:
            file.truncate(total // LEDGER_UNIT)

    def clear(self) -> None:
        with self.lock:
            self.trim(0, 0)

    @staticmethod
    def remove(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


def default_folder() -> Path:
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tracejit"


@functools.lru_cache(maxsize=8)
def cache_in(folder: str | None, max_bytes: int) -> ObjectCache:
    return ObjectCache(Path(folder) if folder else default_folder(), max_bytes)


def object_cache() -> ObjectCache | None:
    """The disk cache that the settings ask for, or None."""
    if not config.enable_compilation_cache:
        return None
    return cache_in(config.compilation_cache_dir, config.compilation_cache_max_size)


# --- from text to addresses --------------------------------------------------------------------------

loaded: dict[str, dict[str, int]] = {}  # key of a module -> its symbols; what is loaded cannot be unloaded


@dataclasses.dataclass(frozen=True)
class Object:
    """A compiled module: its key, the symbols that it defines and those that it needs."""
    key: str
    defined: tuple[str, ...]
    external: tuple[str, ...]


def target_of(cpu: str | None, features: str | None) -> tuple[str, str]:
    return llvm.host_cpu() if cpu is None else (cpu, features or "")


def load_module(text: str, cpu: str | None = None, features: str | None = None, opt: int = 2) -> dict[str, int]:
    """{symbol: address} of the functions that a module of LLVM IR text defines.

    It is compiled if it is neither in this process nor on disk. LLVMError for bad text or a missing external symbol.

    >>> sorted(load_module("define i32 @doctest_one() { ret i32 1 }"))
    ['doctest_one']
    """
    return load_modules([text], cpu, features, lambda _: opt)[0]


def load_modules(texts: Sequence[str], cpu: str | None = None, features: str | None = None,
                 effort: Callable[[str], int] = lambda text: 2, n_threads: int = 1) -> list[dict[str, int]]:
    """`load_module` of each text, callees before their callers; what must be compiled is, on up to `n_threads` threads.

    `effort(text)` is the `opt` for each.
    """
    return [loaded[made.key] for made in make_objects(texts, cpu, features, effort, n_threads)]


def make_objects(texts: Sequence[str], cpu: str | None, features: str | None, effort: Callable[[str], int],
                 n_threads: int) -> list[Object]:
    """The object of each text, loaded. A fork waits until it is done."""
    cpu, features = target_of(cpu, features)
    with compiling:
        made = [Object(key_of(text, cpu, features, str(effort(text))), tuple(llvm.defined_symbols(text)),
                       tuple(llvm.external_symbols(text))) for text in texts]
        absent = {o: text for o, text in zip(made, texts) if o.key not in loaded}
        stats.memory += len(texts) - len(absent)
        found = objects_of({o.key: text for o, text in absent.items()}, effort, n_threads, cpu=cpu, features=features)
        for o in absent:
            load(o, found[o.key])
    return made


def load(made: Object, data: bytes) -> None:
    loaded[made.key] = llvm.load_object(data, made.defined, made.external)


def address_of(symbol: str, objects: Sequence[Object]) -> int:
    """Where a function of loaded objects is."""
    return next(loaded[o.key][symbol] for o in objects if symbol in o.defined)


def load_kept(objects: Sequence[Object]) -> bool:
    """Load objects from disk, callees before their callers; False, and nothing is loaded, if one is not there."""
    disk = object_cache()
    absent = [o for o in objects if o.key not in loaded]
    found = [disk.get(o.key) if disk else None for o in absent]
    if None in found:
        return False
    stats.memory += len(objects) - len(absent)
    stats.disk += len(absent)
    for o, data in zip(absent, found):
        load(o, data)
    return True


def objects_of(texts: dict[str, str], effort: Callable[[str], int], n_threads: int, **target: Any) -> dict[str, bytes]:
    disk = object_cache()
    found = {key: disk.get(key) if disk else None for key in texts}
    objects = {key: data for key, data in found.items() if data is not None}
    missing = [key for key in texts if key not in objects]
    stats.disk += len(objects)
    stats.compiled += len(missing)
    for key, data in zip(missing, llvm.compile_many([texts[key] for key in missing], n_threads, effort, **target)):
        objects[key] = data
        if disk:
            disk.put(key, data)
    return objects
