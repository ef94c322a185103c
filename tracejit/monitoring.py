"""Named events that a program or a library records, and the functions that want to hear of them.

Compilations are recorded here by their own means (`config.log_compiles`, `tools.explain`); what comes through this module is
what programs record themselves.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tracejit.absent import getter

Value = str | int | float | bool
Listener = Callable[..., None]

events: list[Listener] = []
durations: list[Listener] = []
time_spans: list[Listener] = []
scalars: list[Listener] = []


def record_event(event: str, **kwargs: Value) -> None:
    """Tell the listeners that something happened.

    >>> heard = []
    >>> register_event_listener(lambda event, **details: heard.append((event, details)))
    >>> record_event("/app/restart", step=3)
    >>> heard
    [('/app/restart', {'step': 3})]
    >>> clear_event_listeners()
    """
    for listener in list(events):
        listener(event, **kwargs)


def record_event_duration_secs(event: str, duration: float, **kwargs: Value) -> None:
    """Tell the listeners how many seconds something took."""
    for listener in list(durations):
        listener(event, duration, **kwargs)


def record_event_time_span(event: str, start_time: float, end_time: float, **kwargs: Value) -> None:
    """Tell the listeners from when to when something took place, in seconds."""
    for listener in list(time_spans):
        listener(event, start_time, end_time, **kwargs)


def record_scalar(event: str, value: float | int, **kwargs: Value) -> None:
    """Tell the listeners a number."""
    for listener in list(scalars):
        listener(event, value, **kwargs)


def register_event_listener(callback: Listener) -> None:
    """From now on, callback(event, **details) for each event."""
    events.append(callback)


def register_event_duration_secs_listener(callback: Listener) -> None:
    """From now on, callback(event, seconds, **details) for each duration."""
    durations.append(callback)


def register_event_time_span_listener(callback: Listener) -> None:
    """From now on, callback(event, start, end, **details) for each time span."""
    time_spans.append(callback)


def register_scalar_listener(callback: Listener) -> None:
    """From now on, callback(event, value, **details) for each number."""
    scalars.append(callback)


def unregister(listeners: list[Listener], callback: Any) -> None:
    if callback not in listeners:
        raise ValueError(f"monitoring: {callback!r} is not registered")
    listeners.remove(callback)


def unregister_event_listener(callback: Listener) -> None:
    """No more events for it. ValueError if it is not registered."""
    unregister(events, callback)


def unregister_event_duration_listener(callback: Listener) -> None:
    """No more durations for it. ValueError if it is not registered."""
    unregister(durations, callback)


def unregister_event_time_span_listener(callback: Listener) -> None:
    """No more time spans for it. ValueError if it is not registered."""
    unregister(time_spans, callback)


def unregister_scalar_listener(callback: Listener) -> None:
    """No more numbers for it. ValueError if it is not registered."""
    unregister(scalars, callback)


def clear_event_listeners() -> None:
    """Forget all listeners."""
    for listeners in (events, durations, time_spans, scalars):
        listeners.clear()


__getattr__ = getter(__name__)
