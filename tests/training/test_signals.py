"""Reactions of a process to stop signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcl.signals import Stopped, StopSignals

ROOT = Path(__file__).resolve().parents[2]


def send(*numbers: int, pause: float = 0.0) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(pause)


def in_block(signals: StopSignals, *actions: Callable[[], object]) -> None:
    with signals:
        for act in actions:
            act()


def test_in_a_block_the_first_signal_is_heard_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signals, heard = StopSignals(), []
    acts = (signals.check, lambda: send(signal.SIGTERM), lambda: heard.append("later"), signals.check, heard.clear)
    with pytest.raises(Stopped, match="SIGTERM") as stopped:
        in_block(signals, *acts)
    assert (stopped.value.code, heard) == (75, ["later"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_after_the_last_check_is_heard_at_the_end_of_the_outermost_block() -> None:
    signals, left = StopSignals(), []
    with pytest.raises(Stopped, match="SIGHUP"):
        in_block(signals, lambda: in_block(signals, lambda: send(signal.SIGHUP)), lambda: left.append("inner"))
    assert left == ["inner"]


def test_outside_a_block_a_signal_stops_at_once() -> None:
    signals = StopSignals()
    signals.install()
    try:
        with pytest.raises(Stopped, match="SIGUSR2"):
            send(signal.SIGUSR2)
        send(signal.SIGTERM)  # an echo of the same request
    finally:
        signals.uninstall()
    assert signals.received == "SIGUSR2"


def test_two_signals_at_once_are_one_request() -> None:
    signals = StopSignals()
    with pytest.raises(Stopped, match="SIGINT"):
        in_block(signals, lambda: send(signal.SIGINT, signal.SIGTERM, signal.SIGINT))


def test_a_later_ctrl_c_stops_at_once() -> None:
    signals = StopSignals()
    signals.echo = 0.0
    with pytest.raises(KeyboardInterrupt):
        in_block(signals, lambda: send(signal.SIGINT, signal.SIGINT, pause=0.01))


def test_nohup_keeps_ignoring_sighup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


EARLY = """
import os, signal, sys
from mcl.signals import catch_stop_signals
signals = catch_stop_signals()
signals.cleanups.append(lambda: print("cleaned up"))
{act}
print("not reached")
"""


@pytest.mark.parametrize(
    ("act", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", 75),
        ("os.kill(os.getpid(), signal.SIGINT)", 130),
        ("signals.at_once = False; sys.path.insert(0, '.'); import imported", 75),
        ("__builtins__.print('begun'); signals.at_once = False; os.kill(os.getpid(), signal.SIGUSR1)", 75),
    ],
)
def test_a_program_ends_in_order_before_anything_has_begun_and_in_imports(
    act: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "imported.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGHUP)\nexcept BaseException:\n    pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", EARLY.format(act=act)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == status
    assert "Traceback" not in ended.stderr
    assert "not reached" not in ended.stdout
    assert ("cleaned up" in ended.stdout) == ("begun" not in ended.stdout)


def test_signal_closes_trackers_and_is_recorded_in_the_folder(
    small: Callable[..., Any], during_step: Callable[..., None]
) -> None:
    during_step(6, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    done = small("run")
    assert done.status == 75
    failure = json.loads(Path("run/failure.json").read_text())
    assert (failure["status"], failure["message"]) == ("interrupted", "stopped by SIGUSR1")
    assert "run the same command again" in done.out
    assert not Path("run/lock").exists()


PROGRAMS = {"train": ["train.py"], "sweep": ["sweep.py", "study=quickstart"], "mcl": ["-m", "mcl", "report", "."]}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_during_start_up_leaves_nothing_behind(program: str, number: int, status: int, tmp_path: Path) -> None:
    """The program stops itself while it imports its first module after the handlers."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in ('argparse', 'inspect', 'omegaconf') and 'mcl.signals' in sys.modules:\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    (tmp_path / "work").mkdir()
    typed = [str(ROOT / word) if word.endswith(".py") else word for word in PROGRAMS[program]]
    ended = subprocess.run(
        [sys.executable, *typed],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr.strip()) == (status, f"Stopped by {signal.Signals(number).name}.")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_signal_before_the_first_step_leaves_no_folder(
    small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl.training.run import Run

    monkeypatch.setattr(Run, "announce", lambda *_: os.kill(os.getpid(), signal.SIGHUP))
    done = small("runs/new")
    assert (done.status, done.err.strip()) == (75, "Stopped by SIGHUP.")
    assert not Path("runs").exists()


def test_a_signal_when_the_summary_is_written_comes_too_late(
    small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcl.runs.writer import RunWriter

    finish = RunWriter.finish

    def finish_and_signal(writer: RunWriter, summary: Any) -> None:
        finish(writer, summary)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunWriter, "finish", finish_and_signal)
    assert small("run").status == 75
    assert Path("run/summary.json").is_file()
    assert not Path("run/failure.json").exists()
    assert not Path("run/lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 75), (signal.SIGHUP, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)],
)
def test_a_process_leaves_with_the_documented_status(number: int, status: int, tmp_path: Path) -> None:
    process = train(tmp_path)
    wait_for(tmp_path / "run" / "metrics.jsonl")
    process.send_signal(number)
    assert process.wait(60) == status
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


@pytest.mark.slow
def test_second_signal_ends_a_process_that_hangs(tmp_path: Path) -> None:
    code = (
        "import signal, time, sys\nfrom mcl.signals import StopSignals\n"
        "with StopSignals():\n    print('ready', flush=True)\n    while True: time.sleep(1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    time.sleep(1.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def train(folder: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(ROOT / "train.py"), "trainer.epochs=200", "trainer.log_every=1"]
    return subprocess.Popen(
        [*command, f"hydra.run.dir={folder / 'run'}", *overrides],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # pytest itself may run under nohup
    )


def wait_for(file: Path) -> None:
    for _ in range(600):
        if file.exists() and file.stat().st_size:
            return
        time.sleep(0.1)
    raise AssertionError(f"{file} does not come")


def test_a_closed_terminal_stops_in_order(tmp_path: Path) -> None:
    """SIGHUP arrives when the terminal cannot be written to any more."""
    code = (
        "import os, signal, sys, time\nfrom mcl.signals import Stopped, catch_stop_signals, report_stop\n"
        "catch_stop_signals().at_once = False\n"
        "try:\n    print('ready', flush=True)\n"
        "    while True:\n        time.sleep(0.01)\n"  # no signal interrupts a sleep that begins just after it
        "except Stopped as stop:\n    report_stop(stop)\n    raise\n"
    )
    ours, theirs = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        assert terminal.readline() == b"ready\r\n"  # all of it: what is still to be written would fail
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 75
