"""Shell completion of ``mcl``."""

import shutil
import subprocess
import sys

import pytest

from mcl.__main__ import main


@pytest.mark.parametrize(
    ("line", "shell", "expected", "absent"),
    [
        ("mcl tr", "bash", "train", "sweep"),
        ("mcl ", "fish", "evaluate\n", "loss="),
        ("mcl train loss=d", "bash", "loss=dml", "loss=mcl"),
        ("mcl train trainer.ep", "fish", "trainer.epochs=", "optimizer"),
        ("mcl sweep study=qui", "bash", "study=quickstart", "study=methods"),
        ("mcl sweep optim", "bash", "optimizer=", "study"),
    ],
)
def test_shell_is_answered(
    line: str,
    shell: str,
    expected: str,
    absent: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["mcl"])
    assert main(["-sc", f"query={shell}"]) == 0
    answer = capsys.readouterr().out
    assert expected in answer
    assert absent not in answer


def test_script_for_bash_is_valid_and_completes_mcl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/mcl"])
    assert main(["-sc", "install=bash"]) == 0
    script = capsys.readouterr().out
    assert script.rstrip().endswith("hydra_bash_completion mcl")
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n"], input=script, text=True, check=True)
    assert main(["-sc"]) == 0
    assert 'eval "$(mcl -sc install=bash)"' in capsys.readouterr().out
