"""Archived runs: committed reports are reproduced from them, and damaged or hostile archives are refused."""

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.drawings import _undrawn  # noqa: F401 - a fixture
from support.report_pages import study_of, three_seeds
from support.run_folders import write_run

from mcl.__main__ import main
from mcl.config.conf_folder import conf_folder
from mcl.errors import UserError
from mcl.reports.archive import pack_runs
from mcl.reports.report import write_report
from mcl.reports.results_table import read_runs
from mcl.runs.archived import ARCHIVE, archived_runs
from mcl.runs.reading import find_runs, read_run
from mcl.runs.stored_config import read_config, write_config

EXPERIMENTS = conf_folder().parent / "experiments"
STUDY = "title: Mine\nvary: {trainer.epochs: [1, 2]}\nbaseline: {trainer.epochs: 1}\nhold: [trainer.precision=float32]"


@pytest.mark.parametrize("name", sorted(file.parent.name for file in EXPERIMENTS.glob("*/RESULTS.md")))
def test_committed_report_is_reproduced_from_its_archive(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, copy = EXPERIMENTS / name, tmp_path / "experiments" / name
    if not (committed / ARCHIVE).is_file():
        pytest.skip("its runs are not committed")
    copy.mkdir(parents=True)
    shutil.copy(committed / "study.yaml", copy)
    shutil.copy(committed / ARCHIVE, copy)
    monkeypatch.chdir(tmp_path)
    assert main(["report", f"experiments/{name}"]) == 0
    for file in ("RESULTS.md", "results.csv"):
        drawn_again = (copy / file).read_text().replace(f"study=experiments/{name}`", f"study={name}`")  # it is a copy
        assert drawn_again == (committed / file).read_text()
    drawn = {picture.name for picture in copy.glob("*.png") if picture.stat().st_size > 0}
    assert drawn == {picture.name for picture in committed.glob("*.png")}


def test_every_study_and_every_report_is_listed() -> None:
    text = (EXPERIMENTS / "README.md").read_text()
    files = [*EXPERIMENTS.glob("*/study.yaml"), *EXPERIMENTS.glob("*/*.md")]
    assert [file for file in files if f"({file.relative_to(EXPERIMENTS)})" not in text] == []


def test_report_with_archive_equals_the_report_from_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, out = study_of(three_seeds(tmp_path / "runs"), [0, 1, 2]), tmp_path / "two"
    write_report(study, None, out, pack=True)
    written = {file.name: file.read_bytes() for file in out.iterdir()}
    shutil.rmtree("runs")
    write_report(study, None, out, archive=out / ARCHIVE, pack=True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == written
    assert b"two/runs/digits/resnet8/lmcl/" in written["results.csv"]


def test_archived_runs_equal_the_packed_ones(tmp_path: Path) -> None:
    folders = find_runs(three_seeds(tmp_path / "runs"))
    place = f"{tmp_path}/a folder whose name has spaces and is so long that a YAML file: breaks it"
    for folder in folders:
        config = read_config(folder)
        assert config is not None
        write_config(folder, {**config, "runs": place, "dataset": {**config["dataset"], "root": f"{place}/photos"}})
    packed = list(map(read_run, folders))
    assert {run.config["runs"] for run in packed} == {place}
    (tmp_path / ARCHIVE).write_bytes(pack_runs(packed))
    with archived_runs(tmp_path / ARCHIVE) as unpacked:
        assert [run.summary for run in unpacked] == [run.summary for run in packed]
        assert [run.evaluations for run in unpacked] == [run.evaluations for run in packed]
        assert [run.shown_folder for run in unpacked] == [run.folder for run in packed]
        assert {run.config["runs"] for run in unpacked} == {"runs"}
        assert {run.config["dataset"]["root"] for run in unpacked} == {"photos"}
        assert pack_runs(unpacked) == (tmp_path / ARCHIVE).read_bytes()
    assert not unpacked[0].folder.exists()


def test_older_run_keeps_the_path_that_its_hash_needs(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "runs", "lmcl", 0, [70, 70]))
    run.config |= {"init_from": "/base", "runs": "/runs"}  # and no init_weights, its checksum
    (tmp_path / ARCHIVE).write_bytes(pack_runs([run]))
    with archived_runs(tmp_path / ARCHIVE) as (unpacked,):
        assert (unpacked.config["init_from"], unpacked.config["runs"]) == ("/base", "runs")


def test_local_runs_have_precedence_over_the_archive(tmp_path: Path, page: Callable[..., str]) -> None:
    study = study_of(three_seeds(tmp_path / "runs"), [0, 1, 2])
    (tmp_path / ARCHIVE).write_bytes(b"never opened")
    assert "6 finished runs in 2 rows." in page(study=study, archive=tmp_path / ARCHIVE)


def test_archived_trials_count_beside_other_runs_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = EXPERIMENTS / "few_images_tuning_lmcl"
    monkeypatch.chdir(tmp_path)
    Path("search").mkdir()
    for file in ("study.yaml", ARCHIVE):
        shutil.copy(committed / file, "search")
    write_run(tmp_path, "lmcl", 0, [70, 70], folder=tmp_path / "runs" / "cifar10-jpeg" / "resnet8" / "lmcl" / "other")
    trials = (committed / "results.csv").read_text().splitlines()[1:]
    assert len(read_runs("search").finished) == len(trials) > 0


@pytest.mark.parametrize("options", [["--out", "elsewhere"], []])
def test_only_a_study_has_an_archive_beside_it(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    three_seeds(tmp_path / "runs")
    assert main(["report", "runs", "--archive", *options]) == 1
    assert capsys.readouterr().err.startswith("error: --archive: runs.tar.xz is written beside a study.yaml")


def test_unreadable_or_escaping_archives_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/study.yaml").write_text(STUDY)
    Path("mine", ARCHIVE).write_bytes(b"not an archive")
    assert main(["report", "mine"]) == 1
    assert f"error: mine/{ARCHIVE} cannot be unpacked: " in capsys.readouterr().err
    assert not Path("mine/RESULTS.md").exists()
    with tarfile.open(ARCHIVE, "w:xz") as archive:
        member = tarfile.TarInfo("../escaped")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with (
        pytest.raises(UserError, match=r"cannot be unpacked: \.\./escaped is not a file of a run"),
        archived_runs(tmp_path / ARCHIVE),
    ):
        pass
