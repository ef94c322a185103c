"""Options and fixtures that every test sees."""
from __future__ import annotations

import os
import signal

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where JAX is the reference, it must not look for a GPU

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # pytest-xdist's processes ignore Ctrl-C, which is among what is tested
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what is printed now")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
