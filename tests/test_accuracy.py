"""The tool that measures errors in ulp, and that the table it made is as small as it should be."""
from __future__ import annotations

import inspect
import json
from pathlib import Path

import mpmath
import numpy as np
import pytest

from tracejit.ir.types import bfloat16
from tracejit.lax.kinds import Elementwise
from tracejit.tools import accuracy
from tracejit.tools.random_programs import ops_of

F32, F64 = np.dtype("float32"), np.dtype("float64")
TABLE = json.loads((Path(__file__).parents[1] / "docs" / "accuracy.json").read_text())["functions"]


def test_every_inexact_function_has_a_reference():
    known = {accuracy.function(name).__name__.replace("_", "").lower() for name in accuracy.references()}
    inexact = [c for c in ops_of(Elementwise) if c.ulp > 1 and "f" in c.accepts and len(inspect.signature(c.eval).parameters) == 2
               and not c.__dataclass_fields__]
    assert [c.name for c in inexact if c.name.replace("_", "") not in known] == []


@pytest.mark.parametrize("dtype", [np.dtype("float16"), bfloat16])
def test_half_precision_is_rounded_correctly(dtype):
    found = accuracy.worst_narrow("expm1", dtype)
    assert found["tested"] == "all" and 0.49 < found["ulp"] < 0.51


def test_one_of_many_single_precision_numbers():
    found = accuracy.worst_narrow("log", F32, 1 << 12)
    assert found["tested"] == "1 of 4096" and 0.5 < found["ulp"] < 1.1


def test_against_mpmath():
    assert 0.5 < accuracy.worst_wide("exp", F64, 10)["ulp"] < 1.2
    assert 0.5 < accuracy.worst_wide("exp", np.dtype("complex128"), 10)["ulp"] < 4


def test_errors_are_in_units_of_the_true_result():
    error = lambda found, want, **kw: accuracy.error_in_ulp(F64.type(found), mpmath.mpf(want), F64, **kw)
    assert error(1 + 2**-52, 1) == 1 and error(2 - 2**-52, 2) == 0.5 and error(0, 5e-324) == 1
    assert error(np.nan, 1) == np.inf and error(np.inf, 1e300) == np.inf and error(1e-20, 0, least=1) < 1e-3
    beyond = mpmath.mpf(2) ** 1024
    assert error(np.inf, beyond * 2) == 0 and error(1.0, beyond * 2) == np.inf
    narrow = accuracy.ulp_errors(np.array([1, np.inf, np.nan, np.nan], F32), np.array([1 + 2.0**-23, 1e39, np.nan, 1]), F32)
    np.testing.assert_array_equal(narrow, [1, 0, 0, np.inf])


@pytest.mark.parametrize("name", TABLE)
def test_the_table_holds_what_is_promised(name):
    power = 128 if name == "pow" else 16     # the rounding of y log(x) shows
    most = {"float16": 0.51, "bfloat16": 0.51, "float32": 5, "float64": 16, "complex64": 16, "complex128": power}
    assert {d: x["ulp"] for d, x in TABLE[name].items() if not x["ulp"] <= most[d]} == {}
