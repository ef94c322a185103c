"""The examples in the documentation of tracejit.numpy are run."""
import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import tracejit
import tracejit.numpy as jnp

MODULES = sorted(m.name for m in pkgutil.iter_modules(jnp.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"tracejit.numpy.{name}")
    names = {"jnp": jnp, "np": np, "tj": tracejit, **vars(module)}
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(module, extraglobs=names):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
