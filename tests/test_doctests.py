"""Every example in a docstring of the package runs and prints what it says.

An example sees the names of its module and, as in the documentation of NumPy, the usual tj, jnp, lax, random and np.
Floating numbers may differ in the last digits: which instructions a machine has decides the rounding.
"""
from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import numpy
import pytest

import tracejit
import tracejit.numpy
import tracejit.random

USUAL = {"tj": tracejit, "jnp": tracejit.numpy, "lax": tracejit.lax, "random": tracejit.random, "np": numpy}
PACKAGE = Path(__file__).parent.parent / "tracejit"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?")


class Close(doctest.OutputChecker):
    """Text as usual, floating numbers to 5 digits."""

    def check_output(self, want: str, got: str, flags: int) -> bool:
        wanted, found = ([float(x) for x in FLOAT.findall(text)] for text in (want, got))
        if len(wanted) != len(found) or not numpy.allclose(found, wanted, rtol=1e-5, atol=1e-7):
            return super().check_output(want, got, flags)
        return super().check_output(*(" ".join(FLOAT.sub("# ", text).split()) for text in (want, got)), flags)


def module_names() -> list[str]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "cuda" not in parts and parts[-1] != "__main__":  # those need a GPU's packages, or run on import
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@pytest.mark.parametrize("name", module_names())
def test_examples(name: str):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(Close(), optionflags=FLAGS)
    report: list[str] = []
    for example in finder.find(module, name, globs=USUAL | vars(module)):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)
