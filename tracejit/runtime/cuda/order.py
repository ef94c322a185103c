"""What Runtimes share about order: calls that wait for the device, which no graph can hold, and calls of several threads."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracejit.codegen.cuda.interface import View
from tracejit.errors import DeviceError


def waits(method: Callable[..., Any]) -> Callable[..., Any]:
    """A call that needs results now, and so cannot be part of a graph."""
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.is_capturing:
            raise DeviceError(f"{method.__name__} waits for the device and cannot be captured in a graph",
                              fix="capture only what runs without the host")
        return method(self, *args, **kwargs)
    return checked


def exclusive(method: Callable[..., Any]) -> Callable[..., Any]:
    """A call on the stream, of whatever thread; while one captures a graph the others wait, or they would get into it."""
    @functools.wraps(method)
    def locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.lock, self.current():
            return method(self, *args, **kwargs)
    return locked


class HostCalls:
    """Python functions in the middle of a program."""

    @waits
    def host_call(self, function: Callable[[list[np.ndarray]], Sequence[np.ndarray]], ins: Sequence[View],
                  outs: Sequence[View], why: str = "") -> None:
        results = function([self.download(v, why) for v in ins])
        for view, x in zip(outs, results, strict=True):
            self.upload(view.address, np.asarray(x, view.dtype).reshape(view.shape), why)
