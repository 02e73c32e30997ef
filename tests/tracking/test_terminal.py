import io
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcl.console import format_duration
from mcl.tracking import RunInfo, Terminal, print_plan, print_summary
from mcl.tracking import terminal as terminal_module

MakeRun = Callable[..., RunInfo]

TRAIN = {"train/classification": 3.0, "train/total": 4.2104, "train/lr": 0.05, "train/images_per_second": 12300.4}
TEST = {
    "test/first/stage1/top1": 88.0,
    "test/first/backbone/top1": 93.14,
    "test/first/aggregated/top1": 93.9,
    "test/second/backbone/top1": 92.75,
    "test/ensemble/top1": 94.0,
}


class Clock:
    """Fake clock of the terminal tracker."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal_module, "monotonic", clock)
    return clock


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def open_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], FakeTerminal]:
    """Open a screen. Call it inside the test, because pytest replaces standard output after the fixtures."""

    def open_screen() -> FakeTerminal:
        for name, value in {"TERM": "xterm-256color", "COLUMNS": "120"}.items():
            monkeypatch.setenv(name, value)
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        screen = FakeTerminal()
        monkeypatch.setattr(sys, "stdout", screen)
        return screen

    return open_screen


def text(screen: FakeTerminal) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_plain_line_for_every_evaluation(make_run: MakeRun, time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Terminal()
    tracker.start(make_run())
    tracker.log(TRAIN, step=5, epoch=1)
    assert capsys.readouterr().out == ""
    time.now += 5
    tracker.log(TRAIN, step=10, epoch=1)
    tracker.log(TEST, step=10, epoch=1)
    assert capsys.readouterr().out == (
        "epoch 1/4  step 10/40  loss 4.210  first 93.1  second 92.8  ensemble 94.0  12,300 images/s  left 0:30\n"
    )


def test_several_loss_terms_have_a_plain_line_of_their_own(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Terminal()
    tracker.start(make_run(total_steps=78_200, total_epochs=300))
    terms = ("classification", "distillation", "vcl", "soft_vcl", "icl", "soft_icl")
    weighted = {f"train/weighted/{term}": 1.0 for term in terms}
    norm = {"train/grad_norm": 2.0, "train/top1/first": 50.0}
    tracker.log({**TRAIN, **{f"train/{term}": 86.984 for term in terms}, **weighted, **norm}, step=10, epoch=1)
    tracker.log(TEST, step=10, epoch=1)
    progress, loss = capsys.readouterr().out.splitlines()
    assert progress == "epoch   1/300  step    10/78200  first 93.1  second 92.8  ensemble 94.0  12,300 images/s"
    assert loss == "  loss 4.210" + "".join(f"  {term} 86.984" for term in terms)
    assert max(len(progress), len(loss)) < 120


def test_plain_line_for_an_epoch_without_evaluation(
    make_run: MakeRun, time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Terminal()
    tracker.start(make_run())
    tracker.log(TRAIN, step=10, epoch=1)
    tracker.log(TRAIN, step=11, epoch=2)
    assert capsys.readouterr().out == "epoch 1/4  step 10/40  loss 4.210  12,300 images/s\n"


def test_long_epoch_prints_lines_in_between(make_run: MakeRun, time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Terminal()
    tracker.start(make_run())
    for step in range(1, 8):
        time.now += 20
        tracker.log(TRAIN, step=step, epoch=1)
    assert capsys.readouterr().out.count("\n") == 2


def test_accuracies_are_not_repeated_on_later_lines(
    make_run: MakeRun, time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Terminal()
    tracker.start(make_run())
    tracker.log(TEST, step=10, epoch=1)
    tracker.log(TRAIN, step=20, epoch=2)
    tracker.log(TRAIN, step=30, epoch=3)
    assert "ensemble" not in capsys.readouterr().out.splitlines()[1]


def test_validation_accuracies_are_shown_without_test_accuracies(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Terminal()
    tracker.start(make_run())
    tracker.log({"validation/first/backbone/top1": 81.0}, step=10, epoch=1)
    tracker.log({"validation/first/backbone/top1": 82.0, "test/first/backbone/top1": 79.0}, step=20, epoch=2)
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("first 81.0")
    assert "first 79.0" in second


def test_resumed_run_prints_its_starting_point(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().start(make_run(resumed_step=20))
    assert capsys.readouterr().out == "resuming from step 20 of 40\n"


def test_stopped_run_prints_step_and_remedy(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Terminal()
    tracker.start(make_run())
    tracker.log(TRAIN, step=7, epoch=1)
    tracker.finish("interrupted", error=KeyboardInterrupt())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1/4  step  7/40  loss 4.210")
    assert lines[1] == (
        "interrupted at step 7 of 40; run the same command again to start anew, as there is no checkpoint yet"
    )


@pytest.mark.parametrize(
    ("overrides", "again"),
    [
        ([], "again to resume from the last checkpoint"),
        (["resume=never"], "without resume=never to resume from the last checkpoint"),
    ],
)
def test_stopped_run_with_a_checkpoint_says_how_to_resume(
    overrides: list[str], again: str, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(overrides=overrides)
    (run.run_dir / "checkpoints").mkdir(parents=True)
    (run.run_dir / "checkpoints" / "last.pt").touch()
    tracker = Terminal()
    tracker.start(run)
    tracker.finish("interrupted", error=KeyboardInterrupt())
    assert capsys.readouterr().out.splitlines()[-1] == f"interrupted at step 0 of 40; run the same command {again}"


def test_display_shows_progress_losses_and_accuracies(
    make_run: MakeRun, time: Clock, open_screen: Callable[[], FakeTerminal]
) -> None:
    screen = open_screen()
    tracker = Terminal()
    tracker.start(make_run())
    for step in (10, 20):
        time.now += 10
        tracker.log({**TRAIN, **TEST}, step=step, epoch=step // 10)
    shown = text(screen)
    for part in ("50%", "20/40 steps", "12,300 images/s", "0:20 left", "epoch 2/4", "lr 0.050", "loss 4.210"):
        assert part in shown
    assert "classification 3.000" in shown
    assert re.search(r"first resnet8 +93\.1 +aggregated 93\.9", shown)
    assert re.search(r"second wrn_16_2 +92\.8 *\n", shown)
    assert re.search(r"ensemble +94\.0", shown)
    tracker.finish("failed", error=RuntimeError())


def test_display_is_drawn_at_most_twice_a_second(
    make_run: MakeRun, time: Clock, open_screen: Callable[[], FakeTerminal]
) -> None:
    screen = open_screen()
    tracker = Terminal()
    tracker.start(make_run(total_steps=1000))
    before = text(screen).count("steps")
    for step in range(1, 1000):
        time.now += 0.01
        tracker.log(TRAIN, step=step, epoch=1)
    assert 15 <= text(screen).count("steps") - before <= 20
    tracker.finish("failed", error=RuntimeError())


def test_log_lines_and_streams_survive_the_display(make_run: MakeRun, open_screen: Callable[[], FakeTerminal]) -> None:
    screen = open_screen()
    handler = logging.StreamHandler(sys.stdout)
    logging.root.addHandler(handler)
    try:
        tracker = Terminal()
        tracker.start(make_run())
        logging.getLogger("elsewhere").warning("checkpoint written")
        drawn_again = text(screen).split("checkpoint written\n")[1]
        assert "0/40 steps" in drawn_again  # the display moved down, below the line
        tracker.finish("failed", error=RuntimeError())
        assert sys.stdout is screen
        assert handler.stream is screen
    finally:
        logging.root.removeHandler(handler)


def test_no_color_is_respected(
    make_run: MakeRun, time: Clock, open_screen: Callable[[], FakeTerminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = open_screen()
    color = re.compile(r"\x1b\[[0-9;]*\b(3[0-9]|38)\b[0-9;]*m")

    def play() -> str:
        screen.seek(0)
        screen.truncate()
        tracker = Terminal()
        tracker.start(make_run(resumed_step=20))
        time.now += 1
        tracker.log({**TRAIN, **TEST}, step=21, epoch=1)
        tracker.finish("interrupted", error=KeyboardInterrupt())
        return screen.getvalue()

    assert color.search(play())
    monkeypatch.setenv("NO_COLOR", "1")
    shown = play()
    assert "ensemble" in shown
    assert not color.search(shown)


def test_final_table_has_every_number(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary |= {"top1_max_over_run": 94.25, "best_epoch_chosen_on": "validation"}
    print_summary(summary, tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith(("resnet8", "wrn_16_2", "ensemble"))] == [
        ["resnet8", "93.12", "99.50", "93.50", "3", "94.25"],
        ["wrn_16_2", "92.00", "99.50", "93.50", "3", "94.25"],
        ["ensemble", "94.75"],
    ]
    best = "best of any stage of any network, over all epochs of the test split: 94.25"
    assert f"best epoch chosen on the validation split; {best}" in lines
    assert "4 epochs, 40 steps in 1:02:05, 12,300 images/s, seed 7" in lines
    assert str(tmp_path / "run") in lines


def test_final_table_of_one_network_with_few_classes(
    summary: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary |= {"networks": [{**summary["networks"][0], "top5_last": None}], "ensemble": None, "epochs": 1}
    print_summary(summary, tmp_path)
    out = capsys.readouterr().out
    assert "ensemble" not in out
    assert "1 epoch, " in out
    assert re.search(r"resnet8 +93\.12 +- +93\.50", out)


def test_plan_escapes_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan([("loss", "[bold] :smile:"), ("run folder", "x" * 90)], notes=["two [red]networks[/red]"])
    out = capsys.readouterr().out
    assert re.search(r"^loss +\[bold\] :smile:", out, re.MULTILINE)
    assert re.search(rf"^run folder +{'x' * 90}\n", out, re.MULTILINE)
    assert "note: two [red]networks[/red]\n" in out


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05"), (183845, "2d 03:04:05")]
)
def test_durations_are_formatted_like_a_clock(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown
