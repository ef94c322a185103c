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
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for attribute, value in list(vars(module).items()):  # compiled functions are no Python functions: a finder skips them
        text = getattr(value, "__doc__", None)
        if getattr(value, "__module__", module.__name__) != module.__name__ or not isinstance(text, str) or ">>>" not in text:
            continue
        names = {**vars(module), "jnp": jnp, "np": np, "tj": tracejit}
        runner.run(doctest.DocTestParser().get_doctest(text, names, attribute, name, 0))
    assert runner.summarize(verbose=False).failed == 0
