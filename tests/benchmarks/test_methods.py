"""The command that compares the methods, at sizes whose results mean nothing."""

import json
import math
import subprocess
import sys
from pathlib import Path

import methods
import pytest

PROGRAM = Path(methods.__file__)
TINY = ["--batch", "4", "--rounds", "2", "--device", "cpu"]


def cells(page: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table, without the head."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {name: values for name, *values in rows[2:]}


def check(page: str, file: Path, names: list[str]) -> None:
    """Check that the table and the file have these rows, and that all numbers are finite."""
    assert list(cells(page)) == names
    found = json.loads(file.read_text())["found"]["rows"]
    assert list(found) == names
    for name, (_, ratio, _, work, memory, _) in cells(page).items():
        assert all(math.isfinite(float(number)) for number in (ratio, work, memory.replace(",", "")))
        assert all(seconds > 0 for pair in found[name]["seconds"] for seconds in pair)


def test_chosen_methods_are_compared_with_their_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(methods, "in_new_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(methods, "WARM_UP", 1)
    methods.main(["one", "kd", *TINY, "--json", str(tmp_path / "found.json")])
    page = capsys.readouterr().out
    check(page, tmp_path / "found.json", ["independent", "kd", "independent/stem", "one"])
    work = {name: row[3] for name, row in cells(page).items()}
    assert work.pop("kd") == "0.67"  # one of two networks without its backward pass
    assert set(work.values()) == {"1.00"}
    assert "batches of 4 images, 2 turns" in page


@pytest.mark.slow
def test_all_methods_are_compared_in_processes_of_their_own(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), *TINY, "--json", str(tmp_path / "found.json")]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    check(page, tmp_path / "found.json", [*methods.TWO, *methods.STEM])


def test_every_loss_is_a_row() -> None:
    losses = {file.stem for file in (PROGRAM.parents[1] / "conf" / "loss").glob("*.yaml")}
    assert {name.partition("/")[0] for name in methods.TWO + methods.STEM} == losses - {"custom", "lmcl_imagenet"}
    assert {*methods.META, *methods.OPTIONS} <= {*methods.TWO, *methods.STEM}


def test_a_method_that_does_not_exist_and_a_single_turn_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in ((["mlc"], "unknown method: mlc"), (["--rounds", "1"], "give at least 2")):
        with pytest.raises(SystemExit):
            methods.main(arguments)
        assert message in capsys.readouterr().err
