"""Errors: the three parts of a message, the user's line, JAX's names, and the frames that a traceback shows."""
from __future__ import annotations

import inspect
import pickle
import traceback

import pytest

import tracejit.numpy as jnp
from tracejit import errors
from tracejit.config import config
from tracejit.errors import ShapeError, Source, TracejitError, filtered, strip, user_source, without_internal

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass)
           if issubclass(c, TracejitError) and c is not TracejitError]


def make_internal(text: str, name: str):
    """A function whose code claims to live inside the package, as any of its modules would."""
    scope = dict(vars(errors))
    exec(compile(text, errors.PACKAGE + "invented.py", "exec"), scope)
    return scope[name]


def test_message_has_three_parts():
    error = ShapeError("dot: cannot contract f32[3,4] with f32[5,6]", fix="did you mean x @ w.T?")
    what, where, fix = str(error).split("\n")
    assert what == "dot: cannot contract f32[3,4] with f32[5,6]"
    assert where.startswith("  at ") and "test_errors.py:" in where and where.endswith('fix="did you mean x @ w.T?")')
    assert " in test_message_has_three_parts:   error = ShapeError(" in where
    assert fix == "  fix: did you mean x @ w.T?"


def test_source_skips_internal_frames():
    source = make_internal("def inner(): return user_source()\ndef outer(): return inner()", "outer")()
    assert source.file == __file__ and source.function == "test_source_skips_internal_frames"
    assert "make_internal" in source.text


def test_source_without_file():
    scope = {"user_source": user_source}
    exec(compile("where = user_source()", "<made>", "exec"), scope)
    assert str(scope["where"]) == "<made>:1"


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda c: c.__name__)
def test_class_is_documented_and_pickles(error_class):
    assert error_class.__doc__ and error_class.__doc__ != TracejitError.__doc__
    error = error_class("wrong", Source("model.py", 3, "f"), "right")
    assert str(error) == "wrong\n  at model.py:3 in f\n  fix: right"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is error_class and str(copy) == str(error)


def test_names_and_kinds_are_those_of_jax():
    jax_errors = pytest.importorskip("jax").errors
    for name in vars(jax_errors):
        theirs, ours = getattr(jax_errors, name), getattr(errors, name, None)
        if isinstance(theirs, type) and ours is not None:
            kinds = [c for c in theirs.__mro__ if c.__module__ == "builtins"]
            if not name.startswith("JAX"):
                assert all(issubclass(ours, kind) for kind in kinds), name
    assert issubclass(errors.TracerBoolConversionError, errors.ConcretizationTypeError)


def lines_of(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def api_and_callback():
    api = make_internal("def step(f): f()\ndef api(f): step(f)", "api")
    def callback():
        raise ZeroDivisionError("user's")
    return filtered(api), callback


def test_filtered_keeps_only_user_frames():
    api, callback = api_and_callback()
    with pytest.raises(ZeroDivisionError) as caught:
        api(callback)
    assert lines_of(caught.value) == ["test_filtered_keeps_only_user_frames", "callback"]


def test_filtering_can_be_turned_off():
    api, callback = api_and_callback()
    with config.setting(traceback_filtering="off"), pytest.raises(ZeroDivisionError) as caught:
        api(callback)
    assert lines_of(caught.value)[1:] == ["boundary", "api", "step", "callback"]


def test_filtered_cleans_the_errors_behind():
    api = filtered(make_internal(
        "def api():\n try: int('x')\n except ValueError as e: raise TypeError('outer') from e", "api"))
    with pytest.raises(TypeError) as caught:
        api()
    assert lines_of(caught.value.__cause__) == []
    assert without_internal(None) is None
    loop = ValueError()
    loop.__cause__ = TypeError()
    loop.__cause__.__context__ = loop
    strip(loop)


def test_filtered_keeps_signature_and_result():
    def add(x: int, *, y: int = 2) -> int:
        "Adds."
        return x + y
    wrapped = filtered(add)
    assert wrapped(1) == 3 and wrapped.__doc__ == "Adds." and inspect.signature(wrapped) == inspect.signature(add)


def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Source(str(tmp_path / "a" / "m.py"), 7, "f").place == "a/m.py:7"
    assert Source("/elsewhere/m.py", 7, "f").place == "/elsewhere/m.py:7"
    assert str(Source("/tmp/ipykernel_12/345.py", 2, "<module>")) == "line 2 of a notebook cell"


def test_calls_outside_of_jit_show_user_frames_only():
    for wrong in (lambda x: x + jnp.ones(4), lambda x: jnp.sum(x, axis=2), lambda x: jnp.linalg.inv(x)):
        with pytest.raises(TracejitError) as caught:
            wrong(jnp.ones((2, 3)))
        assert {entry.path for entry in caught.traceback} == {caught.traceback[0].path}
