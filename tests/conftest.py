"""Options and fixtures that every test sees."""
from __future__ import annotations

import os
import signal
import sys

import numpy as np
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where JAX is the reference, it must not look for a GPU

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # pytest-xdist's processes ignore Ctrl-C, which is among what is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what is printed now")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


HELPERS = ("oracle", "samples", "programs", "device_harness")  # modules whose functions draw random numbers for a test
START = np.random.default_rng(0).bit_generator.state


@pytest.fixture(autouse=True)
def same_random_numbers(request: pytest.FixtureRequest) -> None:
    """Every test draws the numbers that it draws when run alone, whichever tests ran before it in this process."""
    for module in (request.module, *(sys.modules[name] for name in HELPERS if name in sys.modules)):
        for generator in (getattr(module, "rng", None), getattr(module, "RNG", None)):
            if isinstance(generator, np.random.Generator):
                generator.bit_generator.state = START
            elif isinstance(generator, np.random.RandomState):
                generator.seed(0)
