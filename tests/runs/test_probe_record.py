"""The record of a probe: written, found and read again; a damaged one is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from mcl.errors import UserError
from mcl.intervals import Interval
from mcl.runs.probe_record import Measure, NetworkProbe, ProbeRecord, find_probes, read_probe

RECORD = ProbeRecord(
    dataset="my digits",
    data="f4c7",
    selection={"limit": None, "probe.seed": 0},
    classes=10,
    train=100,
    validation=20,
    test=50,
    weights="last",
    step=7,
    finished=True,
    overrides=["dataset=digits"],
    code={"version": "0.1.0"},
    date="2026-01-01T00:00:00+00:00",
    networks={
        "first": NetworkProbe(
            "resnet8", 64, 0.01, 90.0, {"linear": Measure(91.0, Interval(88.0, 93.0)), "1-shot": Measure(40.0, None)}
        )
    },
)


def test_a_record_is_found_and_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "evaluation" / RECORD.folder_name)
    (file,) = find_probes(tmp_path)
    assert read_probe(file) == RECORD


def test_the_folder_names_what_was_probed() -> None:
    assert RECORD.folder_name.startswith("probe-my")
    others = [
        replace(RECORD, data="other"),
        replace(RECORD, selection={"limit": 5, "probe.seed": 0}),
        replace(RECORD, weights="best"),
        replace(RECORD, finished=False),
    ]
    assert len({record.folder_name for record in [RECORD, *others]}) == 5
    assert replace(RECORD, date="", overrides=["trainer.device=cpu"]).folder_name == RECORD.folder_name


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"networks": {"first": 1}}'])
def test_a_damaged_record_is_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "probe.json"
    file.write_text(damage)
    with pytest.raises(UserError, match="not a record of a probe"):
        read_probe(file)


@pytest.mark.parametrize("wrong", ['"high"', "NaN", "1e999", "null"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, wrong: str) -> None:
    RECORD.write(tmp_path)
    file = tmp_path / "probe.json"
    file.write_text(file.read_text().replace("91.0", wrong))
    with pytest.raises(UserError, match="not a record of a probe"):
        read_probe(file)
