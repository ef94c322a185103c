"""`Jitted(slow)`: a callable that runs compiled code for calls it knows and asks the Python function `slow` for others.

    f = Jitted(slow)                              # slow(*args, **kwargs) compiles, runs, and may call
    f.add_entry((t, t), executable, 0)            # from now on f(x, y) with two Arrays of type t takes 40 ns

Known calls depend on the settings they were compiled under; a change of settings hides the entries made under others.
"""
from __future__ import annotations

import ctypes
import inspect
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any

from tracejit.config import config
from tracejit.runtime import array, dispatch_text, executable, library, native, specs
from tracejit.runtime.dispatch_text import ENTRIES, KEEP, Entry
from tracejit.runtime.executable import Executable
from tracejit.runtime.pool import size_class
from tracejit.runtime.specs import Call, Const, HostArray, HostScalar, Node, Scalar, Static, Unsupported

__all__ = ["Call", "Const", "HostArray", "HostScalar", "Jitted", "Node", "Scalar", "Static", "Unsupported"]
MAX_ENTRIES = 4096
is_native = library.symbols is not None


# --- entries -----------------------------------------------------------------------------------------

def pointer_table(addresses: Sequence[int]) -> ctypes.Array:
    return (ctypes.c_void_p * max(len(addresses), 1))(*addresses)


def check_inputs(args: Sequence[Any], names: Sequence[str], code: Executable) -> list[Any]:
    leaves = specs.leaves_of_call(args, names)
    types = tuple(leaf if isinstance(leaf, array.ArrayType) else leaf.type for leaf in leaves)
    same = len(types) == len(code.in_types) and all(
        (t.shape, t.dtype) == (u.shape, u.dtype) for t, u in zip(types, code.in_types))
    if not same:
        raise ValueError(f"an entry for {types} cannot run code compiled for {code.in_types}")
    return leaves


def fill_arguments(entry: Entry, keep: list[Any], args: Sequence[Any], names: tuple[str, ...]) -> None:
    if not names and all(isinstance(spec, array.ArrayType) for spec in args):
        table = pointer_table([array.info_of(spec) for spec in args])
        entry.infos = ctypes.addressof(table)
        keep.append(table)
        return
    matcher = specs.Matcher()
    matcher.walk_call(args, names)
    program = specs.instructions(matcher.rows)
    entry.program, entry.n_cells = ctypes.addressof(program), matcher.n_cells
    entry.names = id(names) if names else None
    keep += [matcher.keep, program, names]


def fill_result(entry: Entry, keep: list[Any], result: Any, n_out: int) -> None:
    if type(result) is int and n_out == 1:
        entry.result = dispatch_text.SINGLE
    elif type(result) is tuple and n_out and result == tuple(range(n_out)):
        entry.result = dispatch_text.FLAT_TUPLE
    else:
        maker = specs.Maker()
        maker.walk(result)
        program = specs.instructions(maker.rows)
        entry.result, entry.build = dispatch_text.BUILT, ctypes.addressof(program)
        keep += [maker.keep, program]


def fill_code(entry: Entry, keep: list[Any], code: Executable) -> None:
    consts = pointer_table([id(x) for x in code.consts])
    outs = pointer_table([array.info_of(t) for t in code.out_types])
    entry.fn, entry.released = code.address, int(code.long_running)
    entry.consts, entry.outs = ctypes.addressof(consts), ctypes.addressof(outs)
    entry.arena_class = size_class(code.arena_bytes) if code.arena_bytes else -1
    keep += [consts, outs, code.consts, code.keep]


def i64_table(values: Sequence[int], keep: list[Any]) -> int:
    table = (ctypes.c_int64 * len(values))(*values)
    keep.append(table)
    return ctypes.addressof(table)


def fill_donation(entry: Entry, keep: list[Any], code: Executable, leaves: Sequence[Any],
                  consumed: Sequence[int]) -> None:
    is_array = [isinstance(leaf, array.ArrayType) for leaf in leaves]
    given = {out: source for out, source in code.donated.items() if is_array[source]}
    if given:
        entry.donors = i64_table([given.get(i, -1) for i in range(len(code.out_types))], keep)
    gone = sorted({i for i in [*consumed, *given.values()] if is_array[i]})
    entry.n_consumed, entry.consumed = len(gone), i64_table(gone, keep)


def make_entry(args: Sequence[Any], code: Executable, result: Any, names: Sequence[str], consumed: Sequence[int],
               word: int) -> tuple[Entry, list]:
    leaves = check_inputs(args, names, code)
    keep: list[Any] = []
    entry = Entry(n_args=len(args), n_in=len(code.in_types), n_consts=len(code.consts), n_out=len(code.out_types),
                  config=word)
    fill_arguments(entry, keep, args, tuple(names))
    fill_result(entry, keep, result, len(code.out_types))
    fill_code(entry, keep, code)
    fill_donation(entry, keep, code, leaves, consumed)
    return entry, [entry, keep]


# --- settings ----------------------------------------------------------------------------------------

class Settings:
    """Keeps the native word for "the settings now", and the thread it holds for, in step with `config`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.words: dict[tuple, int] = {}
        self.overriding: dict[int, int] = {}  # thread -> word, for threads inside a `with config.setting(...)` block
        self.word = ctypes.c_int64.from_address(library.symbol("tj_config"))
        self.owner = ctypes.c_void_p.from_address(library.symbol("tj_config_owner"))
        config.listeners.append(self.follow)
        self.follow()

    def word_of(self, key: tuple) -> int:
        return self.words.setdefault(key, len(self.words))

    def current(self) -> int:
        return self.word_of(config.key())

    def follow(self) -> None:
        """The word belongs to all threads, or to the one that overrides settings; with several, no entry is used."""
        with self.lock:
            me = threading.get_ident()
            if config.thread.overrides:
                self.overriding[me] = self.current()
            else:
                self.overriding.pop(me, None)
            owners = list(self.overriding.items())
            if len(owners) == 1:
                self.owner.value, self.word.value = owners[0]
            else:
                self.owner.value = None
                self.word.value = dispatch_text.NO_CONFIG if owners else self.word_of(self.shared_key())

    @staticmethod
    def shared_key() -> tuple:
        return tuple([config.shared[name] for name in config.keyed])


# --- the native class ----------------------------------------------------------------------------------

retired: list[list] = []  # entries that were cleared while a call may still have been using one


def keep_of(jitted: Any) -> list:
    return ctypes.cast(native.read_i64(id(jitted) + KEEP), ctypes.py_object).value


class JittedMethods:
    """What a native Jitted can do from Python."""

    def add_entry(self, args: Sequence[Any], code: Executable, result: Any, names: Sequence[str] = (),
                  consumed: Sequence[int] = (), any_settings: bool = False) -> bool:
        """Run `code` for calls with arguments as `args` says (see specs.py), the last of them keywords called `names`.

        `result` tells what to return: an output number, or a tree of such. Inputs `consumed` are deleted after the
        call, as are those that `code` gives to outputs. With `any_settings` the entry holds whatever the settings are.
        False if native dispatch cannot describe the call, which then stays with the Python function. ValueError if the
        leaves are not what `code` was compiled for.
        """
        word = dispatch_text.ANY_CONFIG if any_settings else settings.current()
        try:
            entry, kept = make_entry(args, code, result, names, consumed, word)
        except Unsupported:
            return False
        keep = keep_of(self)
        if len(keep) >= MAX_ENTRIES:
            self.clear_entries()
        entry.next = native.read_i64(id(self) + ENTRIES) or None
        keep_of(self).append(kept)
        native.write_pointer(id(self) + ENTRIES, ctypes.addressof(entry))
        return True

    def clear_entries(self) -> None:
        """Forget all known calls."""
        native.write_pointer(id(self) + ENTRIES, None)
        for entry, _ in keep_of(self):
            entry.next = None   # a call that looks at one now does not put it back into the list
        if flights.value:
            retired.append(keep_of(self)[:])
        else:
            retired.clear()
        keep_of(self).clear()

    def entry_count(self) -> int:
        """How many kinds of call are known."""
        return len(keep_of(self))

    @property
    def __signature__(self) -> inspect.Signature:
        """The function's own signature, for inspect.signature(..., follow_wrapped=False) too."""
        try:
            return inspect.signature(self.__wrapped__)
        except ValueError as error:     # a builtin without one
            raise AttributeError(str(error)) from None

    def __repr__(self) -> str:
        try:
            return f"<PjitFunction of {self.__wrapped__!r}>"
        except Exception:   # of a function whose own repr fails, or that is not there
            return "<PjitFunction>"

    def __reduce__(self) -> Any:
        name = getattr(self, "__qualname__", None)
        if name is None:
            raise TypeError("a jitted function can be pickled only by its name, and this one has none")
        return name


def make_native_class() -> type:
    symbols = library.symbols
    slots = {native.TP_NEW: symbols["tj_jitted_new"], native.TP_DEALLOC: symbols["tj_jitted_dealloc"],
             native.TP_TRAVERSE: symbols["tj_jitted_traverse"], native.TP_CLEAR: symbols["tj_jitted_clear"],
             native.TP_DESCR_GET: symbols["tj_jitted_bind"], native.TP_CALL: native.c_address("PyVectorcall_Call")}
    members = [("__vectorcalloffset__", native.SIZE_MEMBER, dispatch_text.CALL),
               ("__dictoffset__", native.SIZE_MEMBER, dispatch_text.DICT),
               ("__weaklistoffset__", native.SIZE_MEMBER, dispatch_text.CALL_WEAKREFS)]
    flags = native.DEFAULT | native.HAVE_VECTORCALL | native.HAVE_GC | native.METHOD_DESCRIPTOR
    # By the name PjitFunction libraries tell jitted functions from others.
    made = native.make_type("tracejit.runtime.dispatch.PjitFunction", dispatch_text.JITTED_BYTES, flags, slots, members,
                            [("__dict__", native.c_address("PyObject_GenericGetDict"), None)])
    for name in ("add_entry", "clear_entries", "entry_count", "__repr__", "__reduce__", "__signature__"):
        setattr(made, name, vars(JittedMethods)[name])
    native.forever.append(made)
    return made


# --- the plain class -----------------------------------------------------------------------------------

class PlainJitted:
    """Jitted where types cannot be native: every call goes to the Python function."""

    def __init__(self, slow: Callable[..., Any]) -> None:
        self._slow = slow

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._slow(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def add_entry(self, args: Sequence[Any], code: Executable, result: Any, names: Sequence[str] = (),
                  consumed: Sequence[int] = (), any_settings: bool = False) -> bool:
        """Nothing is remembered here: False."""
        check_inputs(args, names, code)
        return False

    def clear_entries(self) -> None:
        """Nothing was remembered."""

    def entry_count(self) -> int:
        return 0

    __repr__, __reduce__, __signature__ = JittedMethods.__repr__, JittedMethods.__reduce__, JittedMethods.__signature__


def make_runner(code: Executable) -> Any:
    """`code` as a native callable of its inputs that returns a list; `run_checked` says what is wrong with others."""
    runner = Jitted(lambda *arrays: code.run_checked(arrays))
    runner.add_entry(code.in_types, code, list(range(len(code.out_types))), any_settings=True)
    return runner


if is_native:
    executable.make_runner = make_runner
    settings = Settings()
    flights = ctypes.c_int64.from_address(library.symbol("tj_in_flight"))
    native.forever.append(executable.raise_error)
    native.write_pointer(library.symbol("tj_error_handler"), id(executable.raise_error))
    Jitted = make_native_class()
else:
    Jitted = PlainJitted
