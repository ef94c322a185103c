"""A mistake in the user's program -> an error that says what is wrong, where it was written, and the fix.

    ShapeError: dot: cannot contract f32[3,4] with f32[5,6]: axis 1 of x is 4, axis 0 of y is 5
      at model.py:42 in predict:   h = x @ w
      fix: w has 5 rows but x has 4 columns; did you mean x @ w.T?
"""
from __future__ import annotations

import functools
import inspect
import linecache
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from tracejit.config import config

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE = os.path.dirname(__file__) + os.sep
# A library callback into user code (a context manager, a cached method) is not where the user wrote the mistake.
BRIDGES = frozenset({functools.__file__, os.path.join(os.path.dirname(os.__file__), "contextlib.py")})
# Files of libraries that asked to be left out of messages and tracebacks.
EXCLUDED: list[str] = []


class Source(NamedTuple):
    """A line of the user's program; its text is read only when it is printed."""
    file: str
    line: int
    function: str

    @property
    def place(self) -> str:
        """`file:line`, relative to the working folder where that is shorter; a notebook's cell has no file name."""
        if f"{os.sep}ipykernel_" in self.file:
            return f"line {self.line} of a notebook cell"
        inside = self.file.startswith(os.getcwd() + os.sep)
        return f"{os.path.relpath(self.file) if inside else self.file}:{self.line}"

    @property
    def name_stack(self) -> str:
        """The names of the scopes around the line, as JAX's programs keep them: none are kept here."""
        return ""

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        where = self.place if self.function == "<module>" else f"{self.place} in {self.function}"
        return f"{where}:   {self.text}" if self.text else where


@functools.cache
def is_ours(file: str) -> bool:
    return file.startswith((PACKAGE, "<frozen ")) or file in BRIDGES


def is_internal(code: CodeType) -> bool:
    return is_ours(code.co_filename) or code.co_filename in EXCLUDED


def register_exclusion(path: str) -> None:
    """Leave a library's file out: errors then show the line of the program that called it."""
    if path not in EXCLUDED:
        EXCLUDED.append(path)


def user_source() -> Source | None:
    """The innermost line being run that is not inside this package.

    >>> user_source().function
    '<module>'
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_internal(frame.f_code):
        frame = frame.f_back
    return None if frame is None else Source(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """A warning about the innermost line being run that is not inside this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and is_internal(frame.f_code):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def called_by_program() -> bool:
    """Whether the user's program, and not another function of this package, called the function that asks."""
    return not is_internal(sys._getframe(2).f_code)


class TracejitError(Exception):
    """Base of every error below: `what` is wrong, `source` (the user's line), `fix` (what to write instead).

    Without a `source` the user's current line is taken; without a `fix` that of the class.
    """
    fix: str | None = None

    def __init__(self, what: str, source: Source | None = None, fix: str | None = None) -> None:
        self.what = what
        self.source = user_source() if source is None else source
        self.fix = fix or type(self).fix
        super().__init__(what, self.source, self.fix)

    def __str__(self) -> str:
        lines = [self.what]
        if self.source is not None:
            lines.append(f"  at {self.source}")
        if self.fix:
            lines.append("  fix: " + self.fix.replace("\n", "\n    "))
        return "\n".join(lines)


class ConcretizationTypeError(TracejitError, TypeError):
    """A traced value was used where Python needs its number: inside jit and vmap only its type is known."""
    fix = "mark the argument static (static_argnums, static_argnames), or compute with jnp and lax functions"


class TracerBoolConversionError(ConcretizationTypeError):
    """`if`, `while`, `and`, `or`, `not` or `bool()` on a traced value."""
    fix = "use jnp.where(c, a, b), lax.cond(c, f, g, x) or lax.while_loop(test, body, x); for `and`, `or`, `not`: & | ~"


class TracerArrayConversionError(TracejitError, TypeError):
    """A NumPy function, or `np.asarray`, was applied to a traced value."""
    fix = "call the function of the same name in tracejit.numpy, or lax's pure_callback to reach NumPy at run time"


class TracerIntegerConversionError(TracejitError, TypeError):
    """A traced value was used as a Python integer: `range(n)`, `some_list[i]`, a shape."""
    fix = "use lax.fori_loop for range, jnp.asarray(list)[i] for a list, and static_argnums for a shape"


class TracerHashError(TracejitError, TypeError):
    """A traced value was hashed: as a key of a dict, a member of a set, an argument of a function under functools.cache."""
    fix = "use what is known while tracing as the key, such as a name, x.shape or id(x); jnp.unique finds equal elements"


class UnexpectedTracerError(TracejitError, TypeError):
    """A traced value was used after the function that made it had been traced: it leaked through a side effect."""
    fix = "return the value from the function; do not store it in a global, a list or an object"


class OuterWriteError(TracejitError, ValueError):
    """A ref was written where its new value has no way out: under vmap, grad and the like, or after the function that made it."""
    fix = "return the new value from the function, or pass the ref as an argument of the transformed function"

    def __init__(self, what: str, source: Source | None = None, fix: str | None = None, cells: Sequence = ()) -> None:
        super().__init__(what, source, fix)
        self.cells = cells  # that were written


class NonConcreteBooleanIndexError(TracejitError, IndexError):
    """`x[mask]` with a traced mask: the size of the result would depend on its values."""
    fix = "use jnp.where(mask, x, 0), or jnp.nonzero(mask, size=n) for at most n elements"


class InconclusiveDimensionOperation(TracejitError, ValueError):
    """A function that is exported for sizes that are left open is not one program for all of them."""
    fix = "export it once for each size"


class KeyReuseError(TracejitError, TypeError):
    """A random key was used twice, which gives the same numbers twice."""
    fix = "key, subkey = random.split(key), and use each once"


class ShapeError(TracejitError, TypeError, ValueError):
    """The shapes of the arguments do not fit together."""


class DtypeError(TracejitError, TypeError, ValueError):
    """An operation is not defined for the dtypes of its arguments."""


class TreeError(TracejitError, ValueError, TypeError):
    """Pytrees that must have the same structure differ; the message names the first path where they do."""


class AxisError(TracejitError, ValueError, IndexError):
    """An axis number is out of range or repeated."""


class AxisNameError(TracejitError, NameError):
    """A collective such as psum names an axis that no enclosing vmap binds."""
    fix = "give the enclosing vmap the name: vmap(f, axis_name='...')"


class DonatedArrayError(TracejitError, RuntimeError):
    """An array was used after its memory had been given away (donate_argnums) or deleted."""
    fix = "use the result instead, or do not donate this argument"


class ImmutableArrayError(TracejitError, TypeError):
    """An assignment to elements of an array: arrays never change."""
    fix = "x = x.at[index].set(value)"


class LossError(TracejitError, TypeError):
    """grad needs a function that returns one real scalar."""
    fix = "reduce the loss, for example with jnp.mean; for other results use vjp, jacrev or jacfwd"


class CarryTypeError(TracejitError, TypeError):
    """A loop body or branch returns another structure, shape or dtype than the loop carries."""
    fix = "give the initial value the type that the body returns, for example jnp.zeros(shape, dtype)"


class StaticArgumentError(TracejitError, ValueError, TypeError):
    """A static argument is not hashable, or its position or name does not exist."""
    fix = "static arguments are dictionary keys: pass a tuple for a list, and arrays as ordinary arguments"


class NonFiniteError(TracejitError, FloatingPointError):
    """A nan or an infinity was made while the setting debug_nans or debug_infs was on."""
    fix = "look at what goes into this operation; to compute on, turn debug_nans and debug_infs off"


class CompileError(TracejitError, RuntimeError):
    """The compiler reached a state that it must not reach: a bug in tracejit."""
    fix = "report it with the output of TRACEJIT_CHECK=1 TRACEJIT_DEBUG=4"


class TracejitRuntimeError(TracejitError, RuntimeError):
    """A compiled function stopped with an error."""


class DeviceError(TracejitError, RuntimeError):
    """A GPU, its driver or its libraries are not there, or failed."""
    fix = "python -m tracejit.tools.doctor says what is missing"


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has no memory left; the message names its largest arrays and who made them."""
    fix = "use smaller batches, donate_argnums for what is not needed any more, or x.delete()"


# JAX's names for the bases and the run-time error, for `except` clauses.
JAXTypeError = TracejitError
JAXIndexError = NonConcreteBooleanIndexError
JaxRuntimeError = TracejitRuntimeError


def frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def without_internal(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback with only the frames of the user and of other packages."""
    kept: TracebackType | None = None
    for entry in reversed(list(frames(traceback))):
        if not is_internal(entry.tb_frame.f_code):
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def strip(error: BaseException) -> None:
    """Remove this package's frames from the error and from those that it was raised from."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = without_internal(current.__traceback__)
            pending += [current.__cause__, current.__context__]


def strip_unless_shown(error: BaseException) -> None:
    if config.traceback_filtering != "off":
        strip(error)


def tracer_hash_error(error: TypeError) -> TracerHashError:
    """What Python says of a traced value that is hashed, with the line of the user's and what to write instead."""
    strip(error)
    last = [Source(e.tb_frame.f_code.co_filename, e.tb_lineno, e.tb_frame.f_code.co_name) for e in frames(error.__traceback__)][-1:]
    made = TracerHashError("unhashable type: 'Tracer': a traced value was used as a key of a dict, as a member of a set, or as an "
                           "argument of a cached function", *last)
    return made.with_traceback(error.__traceback__)


def check_callable(fun: Any) -> None:
    """What is transformed must be a function that returns its result."""
    if isinstance(fun, staticmethod):
        raise TypeError(f"staticmethod arguments are not supported, got {fun!r}")
    if not callable(fun):
        raise TypeError(f"Expected a callable value, got {fun!r}")
    if inspect.isgeneratorfunction(fun):
        raise TypeError(f"Expected a function, got a generator function: {fun!r}")


def wraps(fun: Callable[..., Any], doc: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """functools.wraps for any callable: a `__name__` that is no string, as an object's field may be, is not taken. `doc`
    says what was done to the function (`{fun}`) before the function's own words."""
    check_callable(fun)
    kinds = {"__name__": str, "__qualname__": str, "__annotations__": dict}
    named = [name for name in functools.WRAPPER_ASSIGNMENTS if isinstance(getattr(fun, name, None), kinds.get(name, object))]

    def finish(wrapper: Callable[P, R]) -> Callable[P, R]:
        made = functools.update_wrapper(wrapper, fun, named)
        if doc and getattr(fun, "__doc__", None):
            made.__doc__ = f"{doc.format(fun=getattr(fun, '__name__', 'fun'))}\n\nOriginal documentation:\n\n{fun.__doc__}"
        return made
    return finish


def filtered(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose errors show the user's frames only (setting traceback_filtering=off shows all)."""
    @wraps(function)
    def boundary(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if error.__class__ is TypeError and "unhashable type: 'Tracer'" in str(error):
                raise tracer_hash_error(error) from None
            strip_unless_shown(error)
            raise  # a bare raise adds no entry for this frame
    return boundary
