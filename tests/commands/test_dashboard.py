import json
from pathlib import Path
from typing import Any

import pytest

from mcl.__main__ import main

pytest.importorskip("wandb_workspaces")


@pytest.fixture
def panels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the panels of each section, as sent to W&B."""
    assert main(["dashboard", "--offline", "--networks", "3", "--out", str(tmp_path / "it.json")]) == 0
    assert capsys.readouterr().out.endswith("it.json\n")
    view = json.loads((tmp_path / "it.json").read_text())
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    (settings,) = view["spec"]["section"]["runSets"]
    pinned = [column for column, shown in settings["runFeed"]["columnPinned"].items() if shown]
    accuracies = [f"summary:{part}/top1_last" for part in ("first", "second", "third", "ensemble")]
    assert pinned == ["run:displayName", "run:group", *accuracies]  # every run has these: none is empty
    return {section["name"]: section["panels"] for section in sections}


def test_dashboard_has_all_sections(
    panels: dict[str, list[dict[str, Any]]],
) -> None:
    assert list(panels) == ["Accuracy", "Loss terms", "Matching", "Cost", "Comparison"]
    assert all(panels.values())


def test_accuracy_is_over_epochs_and_terms_over_steps(panels: dict[str, list[dict[str, Any]]]) -> None:
    accuracy, total = panels["Accuracy"][0]["config"], panels["Loss terms"][0]["config"]
    assert accuracy["xAxis"] == "epoch"
    assert "test/third/backbone/top1" in accuracy["metrics"]
    assert (total["xAxis"], total["metrics"]) == ("step", ["train/total"])


def test_invalid_number_of_networks_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--networks", "0"]) == 1
    assert "error: --networks 0" in capsys.readouterr().err
