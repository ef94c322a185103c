"""explain_cache_misses says which argument, static value or setting was different."""
from __future__ import annotations

import numpy as np
import pytest

import tracejit as tj
from tracejit.config import config, explain_cache_misses


@pytest.fixture
def said(capsys: pytest.CaptureFixture):
    def last_line() -> str:
        lines = capsys.readouterr().err.splitlines()
        return lines[-1] if lines else ""
    return last_line


def test_reasons(said):
    def scale(params, x, n=1):
        return n * params["w"] * x
    f = tj.jit(scale, static_argnames="n")
    x, y = np.ones(3, np.float32), np.ones(4, np.float32)
    with explain_cache_misses():
        f({"w": x}, x)
        assert said() == "tracejit: scale is compiled: it was not called before"
        f({"w": x}, x)
        assert said() == ""
        f({"w": y}, y)
        assert said() == ("tracejit: scale is compiled again: args[0]['w'] is f32[4] and was f32[3]; "
                          "args[1] is f32[4] and was f32[3]")
        f({"w": x}, x, n=2)
        assert "the static arguments are {'n': 2} and were {}" in said()
        f({"w": x, "b": x}, x)
        assert "the arguments are PyTreeDef((({'b': *, 'w': *}, *), {}))" in said()
        with config.setting(inexact_rules=True):
            f({"w": x}, x)
        assert said().endswith("the setting inexact_rules is True and was False")


def test_silent_by_default(said):
    tj.jit(lambda x: x + 1)(1.0)
    assert said() == ""
