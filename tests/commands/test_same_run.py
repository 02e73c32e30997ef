"""Run folders with files of several runs are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig
from support.small_runs import META, SMALL, Outcome

import mcl
from mcl.__main__ import main
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.run_folder import RunFolder
from mcl.runs.summary import with_checksum
from mcl.training.initial_weights import start_from


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def with_another_checkpoint(run: Path) -> Path:
    """Replace the run's checkpoint by one of the same settings with another seed."""
    last = run / "checkpoints" / "last.pt"
    state = checkpoints.load(last)
    checkpoints.save(last, {**state, "config": {**state["config"], "seed": 1}, "config_hash": "of seed 1"})
    return run


@pytest.mark.parametrize(
    "command",
    [["evaluate"], ["export", "--format", "torch"], ["export", "--format", "torch", "--weights", "best"], ["bundle"]],
)
def test_weights_of_another_run_are_refused(command: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command[0], str(with_another_checkpoint(run)), *command[1:]]) == 1
    message = capsys.readouterr().err
    assert f"{run}: its checkpoint checkpoints/last.pt is not of the same run" in message
    assert "seed: 0 -> 1" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_results_beside_the_settings_of_another_run_do_not_count(
    name: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "config.yaml":
        (run / name).write_text(yaml.safe_dump(yaml.safe_load((run / name).read_text()) | {"seed": 1}))
    else:
        stored = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(with_checksum(stored | {"config_hash": "0123456789"})))
    assert main(["report", "."]) == 0
    assert "run: does not count: summary.json is not of the same run as config.yaml" in capsys.readouterr().err


def test_weights_of_another_run_are_not_loaded_or_trained_on(run: Path, composed: Callable[..., DictConfig]) -> None:
    with_another_checkpoint(run)
    with pytest.raises(UserError, match="seed: 0 -> 1"):
        mcl.load(run)
    with pytest.raises(UserError, match=r"^init_from=.*seed: 0 -> 1"):
        start_from(run, Cohort.__new__(Cohort))
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match="seed: 1 -> 0"):
        RunFolder(run, composed(*SMALL, *META))


@pytest.mark.parametrize(("key", "value"), [("config_hash", "0123456789"), ("seed", 1), ("data", "other images")])
def test_summary_of_another_run_is_refused(key: str, value: object, run: Path) -> None:
    (run / "config.yaml").unlink()
    file = run / "summary.json"
    SavedRun(run)
    file.write_text(json.dumps(with_checksum({**json.loads(file.read_text()), key: value})))
    with pytest.raises(UserError, match=f"is not of the same run .*{key}: {value} -> "):
        SavedRun(run)


def test_run_with_altered_summary_is_not_bundled(run: Path) -> None:
    file = run / "summary.json"
    summary = json.loads(file.read_text()) | {"seconds": 1}
    for altered in (summary, {key: value for key, value in summary.items() if key != "sha256"}):
        file.write_text(json.dumps(altered))
        with pytest.raises(UserError, match=r"summary\.json was altered .*checksum"):
            SavedRun(run)


def test_checkpoints_without_hash_are_read(run: Path) -> None:
    last = run / "checkpoints" / "last.pt"
    checkpoints.save(last, {name: value for name, value in checkpoints.load(last).items() if name != "config_hash"})
    assert SavedRun(run).step == 10


def test_forced_run_is_read_with_a_warning_until_it_writes_a_checkpoint(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run / "summary.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["optimizer"]["lr"], config["resume"] = 0.2, "force"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert SavedRun(run).step == 10
    assert "optimizer.lr: 0.2 -> 0.1" in caplog.text
