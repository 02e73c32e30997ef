import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from support.fake_wandb import FakeWandb
from support.wandb_files import final_summary, history, read, read_all, run_ids

from mcl.errors import UserError
from mcl.tracking import Background, LocalFiles, RunInfo, Trackers, WandbTracker

MakeRun = Callable[..., RunInfo]


@pytest.fixture(autouse=True)
def _alone(alone: None) -> None:
    """Use the `alone` fixture in every test of this file."""


def test_offline_run_logs_everything_and_prints_one_line(
    make_run: MakeRun, summary: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    run = make_run(
        group="study",
        job_type="train",
        tags=("digits", "lmcl"),
        config={"optimizer": {"lr": 0.1}, "seed": 7},
        overrides=["loss=lmcl"],
        code={"version": "0.1.0", "commit": "abc123", "dirty": False},
    )
    tracker = WandbTracker(project="digits")
    tracker.start(run)
    tracker.log({"train/total": 2.5}, step=10, epoch=1)
    tracker.log({"test/ensemble/top1": 94.0}, step=10, epoch=1)
    tracker.finish("finished", summary)

    (records,) = read_all(run.run_dir)
    (begin,) = [record["run"] for record in records if record["type"] == "run"]
    assert begin["project"] == "digits"
    assert begin["run_id"].startswith("0a1b2c3d-")
    assert begin["display_name"] == "a run"
    assert begin["run_group"] == "study"
    assert begin["job_type"] == "train"
    assert begin["tags"] == ["digits", "lmcl"]
    config = begin["config"]["update"]
    assert config["optimizer"] == {"lr": 0.1}
    assert config["overrides"] == ["loss=lmcl"]
    assert config["code"]["commit"] == "abc123"

    rows = history(records)
    assert [(row["_step"], row["step"], row["epoch"]) for row in rows] == [(0, 10, 1), (1, 10, 1)]
    assert rows[0]["train/total"] == 2.5
    assert rows[1]["test/ensemble/top1"] == 94.0
    axes = {m["glob_name"]: m["step_metric"] for r in records if "glob_name" in (m := r.get("metric", {}))}
    assert axes == {
        "train/*": "step",
        "meta/*": "step",
        "matching/*": "step",
        "test/*": "epoch",
        "validation/*": "epoch",
        "gradients/*": "epoch",
        "pictures/*": "epoch",
        "charts/*": "epoch",
        "tables/*": "epoch",
    }

    values = final_summary(records)
    assert values["first/top1_last"] == 93.125
    assert values["second/top1_last"] == 92.0
    assert values["first/top1_best"] == 93.5
    assert values["ensemble/top1_last"] == 94.75
    assert values["images_per_second"] == 12300.4
    assert [record["exit"].get("exit_code", 0) for record in records if record["type"] == "exit"] == [0]

    captured = capfd.readouterr()
    assert captured.err == ""
    (line,) = captured.out.splitlines()
    assert line.startswith("W&B: offline, saved in the run folder. To upload: python -m mcl sync ")
    assert line.endswith(str(run.run_dir))


@pytest.mark.parametrize(("given", "project"), [(None, "of-environment"), ("typed", "typed")])
def test_project_is_that_of_wandb_if_none_is_given(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, given: str | None, project: str
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "of-environment")
    run = make_run()
    tracker = WandbTracker(project=given)
    tracker.start(run)
    tracker.finish("finished", {})
    (records,) = read_all(run.run_dir)
    assert [record["run"]["project"] for record in records if record["type"] == "run"] == [project]


def test_wandb_sweep_run_uses_the_id_set_by_the_agent(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "asweep")
    monkeypatch.setenv("WANDB_RUN_ID", "named")
    first = WandbTracker(mode="offline")
    first.start(make_run())
    first.finish("interrupted")
    monkeypatch.delenv("WANDB_SWEEP_ID")  # resumed without the agent
    monkeypatch.delenv("WANDB_RUN_ID")
    wandb.teardown()
    again = WandbTracker(mode="offline")
    again.start(run := make_run(resumed_step=10))
    again.finish("finished")
    assert [run_ids(records)[0] for records in read_all(run.run_dir)] == ["named", "named"]


@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("interrupted", 255)])
def test_run_that_stops_ends_with_an_exit_code(make_run: MakeRun, status: Any, code: int) -> None:
    run, tracker = make_run(), WandbTracker(mode="offline")
    tracker.start(run)
    tracker.finish(status, error=RuntimeError("out of memory"))
    (records,) = read_all(run.run_dir)
    assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [code]


def test_runs_one_after_another_in_one_process_are_separate(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(run_dir=tmp_path / run_id, run_id=run_id) for run_id in ("one", "two")]
    left_open = WandbTracker(mode="offline")
    left_open.start(make_run(run_dir=tmp_path / "zero", run_id="zero"))
    for value, run in enumerate(runs):
        tracker = WandbTracker(mode="offline")
        tracker.start(run)
        tracker.log({"train/total": float(value)}, step=1, epoch=1)
        tracker.finish("finished", {})
    left_open.finish("finished", {})
    for value, run in enumerate(runs):
        (records,) = read_all(run.run_dir)
        assert run_ids(records)[0].startswith(run.run_id)
        assert [row["train/total"] for row in history(records)] == [value]


def test_resumed_offline_run_continues_the_rows_of_the_metrics_file(make_run: MakeRun) -> None:
    for run, steps in ((make_run(), (1, 2, 3)), (make_run(resumed_step=2, resumed_lines=2), (3, 4))):
        trackers = Trackers([LocalFiles(), WandbTracker(mode="offline")])
        trackers.start(run)
        for step in steps:
            trackers.log({"train/total": 1.0}, step=step, epoch=1)
        trackers.finish("interrupted")
    first, second = read_all(run.run_dir)
    assert [(row["_step"], row["step"]) for row in history(first)] == [(0, 1), (1, 2), (2, 3)]
    assert [(row["_step"], row["step"]) for row in history(second)] == [(2, 3), (3, 4)]
    assert run_ids(first) == run_ids(second)


def test_run_that_starts_over_does_not_change_its_earlier_wandb_run(make_run: MakeRun) -> None:
    run = make_run()
    for _ in range(2):
        tracker = WandbTracker(mode="offline")
        tracker.start(run)
        tracker.finish("finished", {})
    first, second = read_all(run.run_dir)
    assert run_ids(first) != run_ids(second)


class FakeRun:
    """A run as ``wandb.init`` returns it for an id that the server knows."""

    url, offline, disabled = "https://wandb.example/run", False, False

    def __init__(self, starting_step: int, last_step: int) -> None:
        self.starting_step = starting_step
        self.summary = {"step": last_step}
        self.rows: list[tuple[int, int]] = []

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def write_logs(self, text: str) -> None:
        pass

    def log(self, row: dict[str, float], step: int, commit: bool) -> None:
        self.rows.append((step, int(row["step"])))


@pytest.mark.parametrize(
    ("kept_lines", "starting_step", "last_step", "sent"),
    [
        pytest.param(2, 4, 4, [(4, 5), (5, 6)], id="the server is ahead of the checkpoint"),
        pytest.param(2, 3, 3, [(3, 4), (4, 5), (5, 6)], id="the server has half of what is done again"),
        pytest.param(2, 1, 1, [(2, 3), (3, 4), (4, 5), (5, 6)], id="the server is behind the checkpoint"),
        pytest.param(2, 40, 4, [(40, 5), (41, 6)], id="the first attempt logged more often"),
    ],
)
def test_resumed_online_run_sends_only_missing_rows(
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    kept_lines: int,
    starting_step: int,
    last_step: int,
    sent: list[tuple[int, int]],
) -> None:
    run = make_run(resumed_step=kept_lines, resumed_lines=kept_lines)
    fake = FakeRun(starting_step, last_step)
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    tracker = WandbTracker()
    tracker.start(run)
    for step in range(kept_lines + 1, 7):
        tracker.log({"train/total": 1.0}, step=step, epoch=1)
    assert fake.rows == sent


def test_server_that_cannot_be_reached_means_offline_with_one_warning(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    run, tracker = make_run(), WandbTracker(mode="online")
    with caplog.at_level(logging.WARNING):
        tracker.start(run)
        tracker.log({"train/total": 1.0}, step=1, epoch=1)
        tracker.finish("finished", {})
    assert warnings_of(caplog) == ["W&B: http://127.0.0.1:9 cannot be reached, so this run is written offline."]
    (records,) = read_all(run.run_dir)
    assert len(history(records)) == 1


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("mcl")]


def play(tracker: WandbTracker, run: RunInfo) -> None:
    tracker.start(run)
    for step in (1, 2):
        tracker.log({"train/total": 1.0}, step=step, epoch=1)
    tracker.finish("finished", {})


def test_online_run_is_sent_to_the_server(
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with FakeWandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        play(WandbTracker(), make_run())
        wandb.teardown()
    assert [(row["_step"], row["step"], row["train/total"]) for row in server.rows] == [(0, 1, 1.0), (1, 2, 1.0)]
    assert server.exit_codes == [0]
    assert warnings_of(caplog) == []
    assert capsys.readouterr().out.startswith(f"W&B: {server.url}/me/mcl/runs/0a1b2c3d-")


@pytest.mark.parametrize("resumed", [False, True])
def test_server_that_refuses_the_run_means_offline_with_one_warning(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, resumed: bool
) -> None:
    if resumed:
        play(WandbTracker(mode="offline"), make_run())
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with FakeWandb(status=401) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        wandb.teardown()
        play(WandbTracker(), run := make_run(resumed_step=2 if resumed else 0, resumed_lines=2 if resumed else 0))
    (warning,) = warnings_of(caplog)
    assert "the server did not take this run, so it is written offline" in warning
    *earlier, last = read_all(run.run_dir)
    assert len(history(last)) == 2
    assert len({run_ids(records)[0] for records in [*earlier, last]}) == 1


def test_warns_and_keeps_data_on_disk_if_the_server_is_lost(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mcl.tracking.wandb_session.FINISH_SECONDS", 1)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    tracker, run = WandbTracker(), make_run()
    with FakeWandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        tracker.start(run)
    for step in (1, 2):
        tracker.log({"train/total": 1.0}, step=step, epoch=1)
    tracker.finish("finished", {})
    (warning,) = warnings_of(caplog)
    assert "not all of the run could be uploaded" in warning
    run_file = Path(warning.split()[-1])
    assert f"wandb sync --no-skip-online {run_file}" in warning
    assert len(history(read(run_file))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process by /proc")
def test_dead_wandb_service_warns_once_and_next_run_starts_a_new_one(
    make_run: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trackers = Trackers([Background(WandbTracker(mode="offline"))])
    trackers.start(make_run(run_dir=tmp_path / "killed"))
    while not list(tmp_path.glob("killed/wandb/offline-run-*/*.wandb")):
        time.sleep(0.1)
    for task in Path("/proc/self/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if "wandb-core" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(child, signal.SIGKILL)
    trackers.log({"train/total": 1.0}, step=1, epoch=1)
    trackers.finish("finished", {})
    (warning,) = warnings_of(caplog)
    assert warning.startswith(("W&B is switched off, training continues. It ", "W&B did not finish. It "))
    play(WandbTracker(mode="offline"), run := make_run(run_dir=tmp_path / "next"))
    (records,) = read_all(run.run_dir)
    assert len(history(records)) == 2


@pytest.mark.parametrize(("mode", "warnings"), [("auto", 0), ("online", 1)])
def test_without_a_login_only_online_warns(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, mode: Any, warnings: int
) -> None:
    tracker = WandbTracker(mode=mode)
    with caplog.at_level(logging.WARNING, logger="mcl"):
        tracker.start(make_run())
    tracker.finish("finished", {})
    assert sum("not logged in" in record.getMessage() for record in caplog.records) == warnings


def test_wandb_mode_comes_first(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run, tracker = make_run(), WandbTracker(mode="online")
    tracker.start(run)
    tracker.log({"train/total": 1.0}, step=1, epoch=1)
    tracker.finish("finished", {})
    assert not list(run.run_dir.rglob("*.wandb"))
    assert capsys.readouterr().out == ""


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"tracking\.wandb\.mode=onlin: it must be auto, online, offline"):
        WandbTracker(mode="onlin")  # type: ignore[arg-type]


def test_killed_process_loses_only_the_newest_rows(make_run: MakeRun) -> None:
    run = make_run()
    code = (
        "import sys, time; from pathlib import Path; from mcl.tracking import RunInfo, WandbTracker\n"
        "tracker = WandbTracker(mode='offline')\n"
        "tracker.start(RunInfo(Path(sys.argv[1]), 'a run', 'killed', 40, 4, []))\n"
        "for step in range(1, 6): tracker.log({'train/total': 1.0}, step=step, epoch=1)\n"
        "print('logged', flush=True); time.sleep(60)"
    )
    run.run_dir.mkdir()
    process = subprocess.Popen([sys.executable, "-c", code, str(run.run_dir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert any(line == "logged\n" for line in process.stdout)
        deadline = time.monotonic() + 10  # less than the 15 seconds after which W&B writes anyway
        while len(history(read_all(run.run_dir)[0])) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [row["step"] for row in history(read_all(run.run_dir)[0])] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("pictures", "group", "epochs"),
    [
        ("auto", None, [6, 12, 18, 20]),
        ("auto", "study", []),
        (0, None, []),
        (6, "study", [6, 12, 18, 20]),
    ],
)
def test_images_are_logged_at_intervals_and_in_multiruns_only_on_request(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, pictures: Any, group: str | None, epochs: list[int]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("mcl.tracking.pictures.monotonic", lambda: clock[0])
    run, tracker = make_run(total_epochs=20, group=group), WandbTracker(pictures=pictures)
    logged = []
    for epoch in range(1, 21):
        clock[0] += 10  # seconds an epoch; auto waits a minute
        if tracker.wants_snapshot(run, epoch):
            logged.append(epoch)
    assert logged == epochs


def test_resumed_run_deleted_at_the_server_becomes_a_new_one(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = WandbTracker(mode="offline")
    first.start(run := make_run())
    first.finish("interrupted")
    ids: list[str] = []

    def init(**options: Any) -> FakeRun:
        ids.append(options["id"])
        if len(ids) == 1:
            raise wandb.errors.CommError(f"run {options['id']} was previously created and deleted; try a new run name")
        return FakeRun(0, 0)

    monkeypatch.setattr(wandb, "init", init)
    WandbTracker().start(make_run(resumed_step=10))
    assert ids[0] != ids[1] == (run.run_dir / "wandb" / "run_id").read_text().strip()
    assert caplog.text.count("was deleted there") == 1
