"""Signals for the tests of launchers."""

import pytest
from fakes.small_jobs import hear_signals

_signals_are_heard = pytest.fixture(scope="session", autouse=True)(hear_signals)
