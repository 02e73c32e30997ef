"""Probes of runs in a report: beside accuracy, with an interval over seeds or over test images."""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.report_pages import cells, three_seeds

from mcl.intervals import Interval
from mcl.reports import read_runs
from mcl.reports.archive import pack_runs
from mcl.runs.archived import ARCHIVE, unpack_runs
from mcl.runs.probe_record import Measure, NetworkProbe, ProbeRecord, find_probes, read_probe
from mcl.runs.reading import find_runs, read_run


def probed(run: Path, top1: Sequence[float], **changes: Any) -> None:
    """Write a probe of a run with two networks of one name."""
    networks = {
        key: NetworkProbe("resnet8", 64, 0.01, 50.0, {"linear": Measure(value, Interval(value - 3, value + 2))})
        for key, value in zip(("first", "second"), top1, strict=False)
    }
    fields: dict[str, Any] = {"dataset": "photos", "data": "f4c7", "selection": {}, "classes": 5, "train": 1000}
    fields |= {"validation": 200, "test": 300, "weights": "last", "step": read_run(run).summary["steps"]}
    fields |= {"finished": True, "overrides": [], "code": {}, "date": "", "networks": networks, **changes}
    record = ProbeRecord(**fields)
    record.write(run / "evaluation" / record.folder_name)


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, list[Path]]:
    found = find_runs(three_seeds(tmp_path / "runs"))
    return {loss: [run for run in found if loss in run.parts] for loss in ("independent", "lmcl")}


def test_networks_of_one_name_count_once_and_the_interval_is_over_seeds(
    runs: dict[str, list[Path]], tmp_path: Path, page: Callable[..., str]
) -> None:
    for run in runs["lmcl"]:
        seed = read_run(run).seed
        assert seed is not None
        probed(run, [60 + seed, 62 + seed])
    text = page(tmp_path / "runs")
    network, own, linear, interval, count = cells(text, "photos", "lmcl")
    assert (network, own, linear, count) == ("resnet8", "73.00 ± 1.00", "62.00 ± 1.00", "3")
    assert interval == "59.52 to 64.48"  # 62 ± 4.303 / sqrt(3)
    assert "5 classes, 1,000 training and 300 test images" in text
    assert "| independent" not in text.split("### photos")[1].split("\n#")[0]
    lines = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    values = {(line["loss"], line["seed"], line["key"]): line["probe_photos_linear"] for line in lines}
    assert values["lmcl", "1", "second"] == "63.0"
    assert values["independent", "1", "second"] == ""


def test_pandas_has_the_columns_of_probes_and_at_equal_cost(
    runs: dict[str, list[Path]], tmp_path: Path, page: Callable[..., str]
) -> None:
    pandas = pytest.importorskip("pandas")
    probed(runs["lmcl"][1], [60.0, 62.0])
    page(tmp_path / "runs")
    stored, frame = pandas.read_csv(tmp_path / "out" / "results.csv"), read_runs(tmp_path / "runs").to_pandas()
    for column in ("equal_cost", "top1_at_equal_cost", "epoch_at_equal_cost", "probe_photos_linear"):
        assert stored[column].notna().any()
        assert frame[column].fillna(-1).tolist() == stored[column].fillna(-1).tolist()


def test_one_run_has_the_interval_of_its_test_images(
    runs: dict[str, list[Path]], tmp_path: Path, page: Callable[..., str]
) -> None:
    probed(runs["lmcl"][0], [60.0])
    assert cells(page(tmp_path / "runs"), "photos", "lmcl")[2:] == ["60.00", "57.00 to 62.00", "1"]


def test_probes_of_other_weights_or_steps_do_not_count(
    runs: dict[str, list[Path]], tmp_path: Path, page: Callable[..., str]
) -> None:
    probed(runs["lmcl"][0], [60.0], weights="best")
    probed(runs["lmcl"][1], [60.0], step=1, finished=False)
    assert "Frozen features" not in page(tmp_path / "runs")
    assert "probe_" not in (tmp_path / "out" / "results.csv").read_text()


def test_other_images_have_a_table_of_their_own(
    runs: dict[str, list[Path]], tmp_path: Path, page: Callable[..., str]
) -> None:
    probed(runs["lmcl"][0], [60.0])
    probed(runs["lmcl"][1], [70.0], data="other")
    text = page(tmp_path / "runs", latex=True)
    assert text.count("### photos") == 2
    header = (tmp_path / "out" / "results.csv").read_text().splitlines()[0]
    assert header.count("probe_photos_") == 2
    labels = re.findall(r"\\label{tab:(probe-photos.*)}", (tmp_path / "out" / "tables.tex").read_text())
    assert len(set(labels)) == len(labels) == 2


def test_a_damaged_probe_is_named_and_left_out(
    runs: dict[str, list[Path]], tmp_path: Path, page: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    probed(runs["lmcl"][0], [60.0])
    (file,) = find_probes(runs["lmcl"][0])
    file.write_text("torn")
    assert "Frozen features" not in page(tmp_path / "runs")
    assert "is damaged, so this probe is left out" in capsys.readouterr().err


def test_an_archive_holds_the_probes(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    probed(runs["lmcl"][0], [60.0, 62.0])
    (tmp_path / ARCHIVE).write_bytes(pack_runs(map(read_run, find_runs(tmp_path / "runs"))))
    (tmp_path / "unpacked").mkdir()
    unpacked = unpack_runs(tmp_path / ARCHIVE, tmp_path / "unpacked")
    (probes,) = [run.probes for run in unpacked if run.probes]
    assert probes == [read_probe(find_probes(runs["lmcl"][0])[0])]
