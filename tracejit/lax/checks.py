"""Checks that a program makes while it runs: a Check op, and the places of a program where something can fail.

A *failure* is a list of values [code, *payload]: code is the number of the Site that failed first, or -1, and the payload
holds, for every Site, the arrays that its message shows.
"""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tracejit.errors import Source, TracejitRuntimeError
from tracejit.ir.trace import bind, hooks
from tracejit.ir.types import ArrayType
from tracejit.lax.compare import ge
from tracejit.lax.dynamic import dynamic_index_in_dim
from tracejit.lax.elementwise import add
from tracejit.lax.kinds import Opaque, op_dataclass
from tracejit.lax.reduce import argmax
from tracejit.pytree import PyTreeDef, unflatten

CODE = np.dtype("int32")


class FailedCheck(Exception):
    """What went wrong while a checked program ran; subclasses are the categories that checkify is asked for."""

    def __init__(self, message: str, source: Source | None = None) -> None:
        super().__init__(message)
        self.source = source


class DivisionByZeroError(FailedCheck):
    """A divisor was zero."""


class NaNError(FailedCheck):
    """A result of an operation was nan."""


class OOBError(FailedCheck):
    """An index was outside of the array."""


class FailedCheckError(FailedCheck):
    """The predicate of a `check` was false."""


class JaxRuntimeError(TracejitRuntimeError, ValueError):
    """A check failed; its cause is the FailedCheck."""


@dataclass(frozen=True)
class Site:
    """A place of a program where something can fail: its category, its message, and the arrays that belong in it."""
    category: type[FailedCheck]
    message: str                    # a format string of the arguments that the payload holds
    arguments: PyTreeDef            # of (args, kwargs)
    source: Source | None

    @property
    def size(self) -> int:
        """How many arrays of the payload are this site's."""
        return self.arguments.num_leaves

    def exception(self, payload: Sequence[Any]) -> FailedCheck:
        args, kwargs = unflatten(self.arguments, [hooks.as_array(np.asarray(x)) for x in payload])
        return self.category(self.message.format(*args, **kwargs), self.source)


def exception_of(sites: Sequence[Site], failure: Sequence[Any]) -> FailedCheck | None:
    """The exception of a failure whose values are known, or None if nothing failed."""
    code = int(np.asarray(failure[0]))
    if code < 0:
        return None
    first = 1 + sum(site.size for site in sites[:code])
    return sites[code].exception(failure[first:first + sites[code].size])


def raise_failure(sites: Sequence[Site], failure: Sequence[Any]) -> None:
    error = exception_of(sites, failure)
    if error is not None:
        raise JaxRuntimeError(str(error), error.source) from error


@op_dataclass
class Check(Opaque):
    """Raises what a failure says; checkify makes it a result instead. With `debug`, it does nothing by itself."""
    sites: tuple[Site, ...]
    debug: bool
    multiple: ClassVar[bool] = True
    has_effects: ClassVar[bool] = True

    def infer(self, *types: ArrayType): return ()
    def jvp(self, ctx, primals, tangents): return bind(self, *primals), []

    def eval(self, *failure):
        if not self.debug:
            raise_failure(self.sites, failure)
        return ()

    def call(self, b, ins, outs, types):
        if self.debug:
            return
        name = f"tj_check_{hashlib.sha256(repr(self.sites).encode()).hexdigest()[:16]}"
        failed = b.ge(b.load(CODE, ins[0]), b.const(0, CODE))
        b.when(failed, lambda: b.host_call(name, lambda arrays: self.eval(*arrays), ins, types, [], ()))

    def batch(self, ctx, args, batched):
        """The failure of the first lane that has one."""
        code, *payload = [ctx.materialize(x, b) for x, b in zip(args, batched)]
        lane = argmax(ge(code, 0), 0, CODE)
        return bind(self, *[dynamic_index_in_dim(x, lane, 0, False) for x in (code, *payload)]), []

    def checked(self, ctx, args):
        kept = [site.category in ctx.enabled for site in self.sites]
        if any(kept):
            ctx.add(*selected(self.sites, args, kept))
        return []


def selected(sites: Sequence[Site], failure: Sequence[Any], kept: Sequence[bool]) -> tuple[list[Site], list[Any]]:
    """The sites that are kept, and the failure among them."""
    payload, own = iter(failure[1:]), []
    for site, keep in zip(sites, kept):
        values = [next(payload) for _ in range(site.size)]
        own += values if keep else []
    numbers = np.where(kept, np.cumsum(kept) - 1, -1).astype(CODE)
    code = failure[0] if all(kept) else lookup([-1, *numbers], failure[0])
    return [site for site, keep in zip(sites, kept) if keep], [code, *own]


def lookup(table: Sequence[int], code: Any) -> Any:
    """table[code + 1]."""
    return dynamic_index_in_dim(np.asarray(table, CODE), add(code, CODE.type(1)), 0, False)
