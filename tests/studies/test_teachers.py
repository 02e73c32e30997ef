"""Teachers of a study: runs that are trained before its rows, and whose weights rows start from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mcl.errors import UserError
from mcl.runs.checkpoints import save
from mcl.runs.reading import Run
from mcl.studies import teachers as module
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study, load_study
from mcl.studies.teachers import Teacher, find_teacher, with_teachers

PAGE = """
title: A teacher
hold: [dataset=synthetic, trainer.max_steps=2, trainer.precision=float32]
teachers:
  resnet14: [loss=independent, pair=single, network@pair.first=resnet14]
vary:
  loss:
    independent: [loss=independent, pair=resnet8]
    kd: [loss=kd, network@pair.first=resnet8, network@pair.second=resnet14, pair.second.frozen=true,
         "pair.second.weights={resnet14}"]
seeds: [0, 1]
baseline: {loss: independent}
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """``page(old, new, extra=...)``: the study above, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def read(old: str = "", new: str = "", extra: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Study:
        assert old in PAGE
        Path("study").mkdir(exist_ok=True)
        Path("study/study.yaml").write_text(PAGE.replace(old, new) if old else PAGE)
        return load_study(Path("study"), extra, seeds)

    return read


def finish(run: PlannedRun, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """Let a run count as finished, with a checkpoint that holds a value."""
    save(run.folder / "checkpoints" / "last.pt", {"value": value})
    read = module.read_run
    monkeypatch.setattr(
        module,
        "read_run",
        lambda folder: replace(read(folder), status="finished") if folder == run.folder else read(folder),
    )


def test_teachers_may_be_in_a_folder_of_any_name(page: Callable[..., Study]) -> None:
    study = page(extra=["runs='é/a~b'"])
    assert all("é/a~b" in str(teacher.folder) for teacher in study.teachers)
    assert [run.stand_ins != () for run in study.runs] == [False, True] * 2


def test_every_row_has_the_teacher_of_its_seed(page: Callable[..., Study]) -> None:
    study = page()
    assert [(run.labels, run.seed) for run in study.teachers] == [({"teacher": "resnet14"}, seed) for seed in (0, 1)]
    assert len({run.folder for run in (*study.teachers, *study.runs)}) == 6
    for run in study.runs:
        if run.labels["loss"] == "independent":
            assert not run.teachers
            assert not run.stand_ins
            continue
        (teacher,) = run.teachers.values()
        assert teacher.seed == run.seed
        assert teacher.overrides[:3] == study.common
        assert f"++pair.second.weights={teacher.folder}" in run.overrides
        assert run.stand_ins == (f'weights_checksums={{second: "run_{teacher.folder.name}"}}',)


def test_folder_of_a_taught_run_depends_on_the_weights(
    page: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = page(seeds=[0])
    folders = {before.runs[1].folder}
    for value in (1.0, 2.0):
        finish(before.teachers[0], monkeypatch, value)
        study = page(seeds=[0])
        assert not study.runs[1].stand_ins
        folders.add(study.runs[1].folder)
        assert study.runs[0].folder == before.runs[0].folder
    assert len(folders) == 3


def test_settings_do_not_name_the_folders_of_teachers(page: Callable[..., Study]) -> None:
    study = page()
    moved = page(extra=["runs=elsewhere"])
    assert study.group == page(seeds=[0]).group == page(seeds=[5, 6]).group != moved.group
    assert study.group != page("network@pair.first=resnet14", "network@pair.first=resnet20").group
    assert not any("runs/" in setting for setting in study.runs[1].settings)
    assert study.varied == ["loss", "pair", "network@pair.first", "network@pair.second", "pair.second.frozen", "seed"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights={resnet14}", "weights={resnet41}", "pair.second.weights=resnet41: there is no such teacher. Did you"),
        ("pair.second.weights={", "init_from={", r"init_from=\{resnet14\}: \{resnet14\} is a teacher: its place is"),
        ("pair=single", "pair=singel", "study.yaml, resnet14: .*singel"),
        ("loss=independent, pair=single", "seed=3, pair=single", "seeds stand under seeds"),
        ("  resnet14: [loss=", "  resnet14: loss=[", "teachers"),
    ],
)
def test_wrong_teacher_is_one_line(page: Callable[..., Study], old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        page(old, new)
    assert "study.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_search_has_no_teachers(page: Callable[..., Study]) -> None:
    search = "hold: [dataset.validation=0.2]\nsearch: {options: {optimizer.lr: 'interval(0.01, 1)'}}\n"
    with pytest.raises(UserError, match="no teachers"):
        page(PAGE[PAGE.index("hold:") : PAGE.index("teachers:")], search)


def test_place_of_a_teacher_is_quoted_and_two_teachers_have_two_checksums(tmp_path: Path) -> None:
    runs = {name: PlannedRun({"teacher": name}, 0, [], tmp_path / "a, (b)" / name) for name in ("one", "own recipe")}
    known = {name: Teacher(run, f"sum of {name}", False) for name, run in runs.items()}
    taught = with_teachers(
        ["loss=kd", "pair.second.weights={one}", "+pair.third.weights={own recipe}", "x={a: 1}"], known
    )
    assert taught.overrides == [
        "loss=kd",
        f"pair.second.weights='{tmp_path}/a, (b)/one'",
        f"+pair.third.weights='{tmp_path}/a, (b)/own recipe'",
        "x={a: 1}",
    ]
    assert taught.teachers == {"pair.second.weights": runs["one"], "pair.third.weights": runs["own recipe"]}
    assert taught.stand_ins == ('weights_checksums={second: "sum of one", third: "sum of own recipe"}',)


@pytest.mark.parametrize("here", [True, False])
def test_checksum_of_a_teacher_without_weights_is_the_recorded_one(tmp_path: Path, here: bool) -> None:
    planned = PlannedRun({"teacher": "one"}, 0, [], tmp_path / "0123456789")
    archived = Run(tmp_path / "0123456789", status="finished", summary={"checkpoint": "recorded"})
    found = find_teacher(planned, lambda: {"0123456789": archived} if here else {})
    assert found == Teacher(planned, "recorded" if here else "run_0123456789", False)


def test_unfinished_teacher_has_a_stand_in(tmp_path: Path) -> None:
    planned = PlannedRun({"teacher": "one"}, 0, [], tmp_path / "0123456789")
    save(planned.folder / "checkpoints" / "last.pt", {"weights": torch.zeros(1)})
    assert find_teacher(planned, dict) == Teacher(planned, "run_0123456789", False)
