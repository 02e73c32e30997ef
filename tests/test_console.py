"""Messages while work takes long."""

import time

import pytest

from mcl.console import announced


def test_only_long_work_is_announced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with announced("counting"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("mcl.console.ANNOUNCE_AFTER", 0.01)
    deadline = time.monotonic() + 30.0
    printed = ""
    with announced("counting"):
        while not printed and time.monotonic() < deadline:
            time.sleep(0.01)
            printed = capsys.readouterr().err
    assert printed == "counting ...\n"
