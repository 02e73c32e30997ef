"""study.yaml: valid contents, and the runs that it plans."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from support.report_pages import study_of, three_seeds
from support.run_folders import write_run

from mcl.commands.shown_plan import print_plan
from mcl.errors import UserError
from mcl.runs.identity import config_hash
from mcl.runs.reading import read_run
from mcl.studies.plan import plan_rows
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study, find_study, load_study, only, studies_folder, study_names
from mcl.studies.study_page import Search

PAGE = """
title: Two losses, two sizes
hold: [dataset=synthetic, trainer.max_steps=2]
vary:
  loss: [independent, lmcl]
  size:
    small: [pair=resnet8]
    large: [pair=resnet20, optimizer.lr=0.05]
seeds: [3, 5]
baseline: {loss: independent}
published:
  - source: a paper
    runs: 3
    rows:
      - {loss: lmcl, size: small, top1: {resnet8: 70.5}, deviation: {resnet8: 0.2}}
"""


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Study]:
    """``page(old, new)``: the study above, read after replacing ``old`` by ``new``."""

    def read(old: str = "", new: str = "", **options: list[str] | list[int]) -> Study:
        folder = tmp_path / "sizes"
        folder.mkdir(exist_ok=True)
        assert old in PAGE
        (folder / "study.yaml").write_text(PAGE.replace(old, new) if old else PAGE)
        return load_study(folder, **options)  # type: ignore[arg-type]

    return read


def test_runs_are_all_combinations_ordered_by_seed(page: Callable[..., Study]) -> None:
    study = page()
    assert study.name == "sizes"
    assert [(run.seed, *run.labels.values()) for run in study.runs] == [
        *((3, loss, size) for loss in ("independent", "lmcl") for size in ("small", "large")),
        *((5, loss, size) for loss in ("independent", "lmcl") for size in ("small", "large")),
    ]
    assert study.runs[3].overrides == [
        *("dataset=synthetic", "trainer.max_steps=2"),
        *("loss=lmcl", "pair=resnet20", "optimizer.lr=0.05", "seed=3"),
    ]
    (number,) = study.published
    assert (number.labels, number.network, number.top1, number.deviation, number.runs) == (
        {"loss": "lmcl", "size": "small"},
        *("resnet8", 70.5, 0.2, 3),
    )


def test_studies_of_one_name_with_other_runs_have_other_groups(page: Callable[..., Study]) -> None:
    group = page().group
    assert group.startswith("sizes ")
    assert page("seeds: [3, 5]", "seeds: [4]").group == group  # more seeds belong to the same group
    changed = [
        page("trainer.max_steps=2", "trainer.max_steps=3"),
        page("pair=resnet20", "pair=wrn_16_2"),
        page(extra=["dataset.limit=5"]),
    ]
    assert len({group, *(study.group for study in changed)}) == 4


def test_what_varies_in_a_study_is_what_not_all_runs_have(page: Callable[..., Study]) -> None:
    assert page().varied == ["loss", "pair", "optimizer.lr", "seed"]
    assert page("seeds: [3, 5]", "seeds: [4]").varied == ["loss", "pair", "optimizer.lr", "seed"]


def test_a_run_lies_where_train_py_would_put_it(page: Callable[..., Study], composed: Callable[..., object]) -> None:
    run = page().runs[0]
    assert run.folder == Path("runs/synthetic/resnet8/independent") / config_hash(composed(*run.overrides))  # type: ignore[arg-type]


def test_overrides_have_precedence_over_the_study_file(page: Callable[..., Study]) -> None:
    study = page(extra=["trainer.max_steps=1", "runs=elsewhere"], seeds=[7])
    assert {run.seed for run in study.runs} == {7}
    assert study.runs[0].folder.parts[0] == "elsewhere"
    assert study.runs[0].overrides[-2:] == ["trainer.max_steps=1", "runs=elsewhere"]
    assert study.runs[0].folder.name != page(seeds=[7]).runs[0].folder.name


def test_rows_can_be_skipped(page: Callable[..., Study]) -> None:
    study = page("seeds: [3, 5]", "seeds: [0]\nskip: [{loss: lmcl, size: large}]")
    assert [tuple(run.labels.values()) for run in study.runs] == [
        ("independent", "small"),
        ("independent", "large"),
        ("lmcl", "small"),
    ]


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ("pair=resnet8", 1),
        ("pair=resnet8, network@pair.second=resnet20", 2),
        ("pair=resnet8, network@pair.second=resnet20, pair.leader=second", 1),
        ("pair=resnet8, network@pair.second=resnet20, pair.second.deployed=false", 1),
        ("pair=resnet8, network@pair.second=resnet20, +network@pair.third=resnet8", 2),
    ],
)
def test_a_planned_run_knows_how_many_networks_it_deploys(page: Callable[..., Study], options: str, kinds: int) -> None:
    study = page("small: [pair=resnet8]", f"small: [{options}]", seeds=[0])
    assert {run.kinds for run in study.runs if run.labels["size"] == "small"} == {kinds}


def test_rows_can_have_fewer_seeds(page: Callable[..., Study]) -> None:
    skip = "skip: [{loss: lmcl, size: [small, large], seed: [4, 5]}, {size: large, seed: 5}]"
    study = page("seeds: [3, 5]", f"seeds: [3, 4, 5]\n{skip}")
    seeds: dict[tuple[str, ...], list[int]] = {}
    for run in study.runs:
        seeds.setdefault(tuple(run.labels.values()), []).append(run.seed)
    assert seeds == {
        ("independent", "small"): [3, 4, 5],
        ("independent", "large"): [3, 4],
        ("lmcl", "small"): [3],
        ("lmcl", "large"): [3],
    }
    more = page("seeds: [3, 5]", f"seeds: [3, 4, 5]\n{skip}", seeds=[5, 6, 3])
    assert [run.seed for run in more.runs if run.labels == {"loss": "lmcl", "size": "small"}] == [3]
    assert [run.seed for run in more.runs if run.labels == {"loss": "independent", "size": "large"}] == [3]
    assert [run.seed for run in more.runs if run.labels == {"loss": "independent", "size": "small"}] == [5, 6, 3]
    rows = {tuple(row.labels.values()): len(row.planned) for row in plan_rows(study, estimate=False)}
    assert rows == {labels: len(own) for labels, own in seeds.items()}


def test_seeds_on_the_command_line_may_leave_out_rows_of_a_claim(page: Callable[..., Study]) -> None:
    named = "skip: [{loss: lmcl, seed: 5}]\nseeds: [3, 5]\nclaim: {method: {loss: lmcl}}"
    assert {run.labels["loss"] for run in page("seeds: [3, 5]", named, seeds=[5]).runs} == {"independent"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds:", "sedes:", "sedes: there is no such option. Did you mean 'seeds'?"),
        ("title: Two losses, two sizes", "", "title is not set"),
        ("seeds: [3, 5]", "seeds: [3, 3]", "none twice"),
        ("seeds: [3, 5]", "seeds: [x]", "seeds"),
        ("seeds: [3, 5]", "seeds: [{a: 3}]", "seeds must be a list of whole numbers"),
        ("hold: [dataset=synthetic,", "hold: [[a],", "hold must be a list of overrides"),
        ("loss: [independent, lmcl]", "loss: [independent, lmlc]", "Did you mean 'lmcl'?"),
        ("loss: [independent, lmcl]", "loss: []", "vary.loss must be a list"),
        ("loss: [independent, lmcl]", "loss: [independent, independent]", "vary.loss must be a list of different"),
        ("small: [pair=resnet8]", "small: pair=resnet8", "vary.size.small must be a list of overrides"),
        ("optimizer.lr=0.05", "optimizer.l=0.05", "optimizer.l"),
        ("baseline: {loss: independent}", "baseline: {los: independent}", "Did you mean 'loss'?"),
        ("baseline: {loss: independent}", "baseline: {loss: independant}", "Did you mean 'independent'?"),
        ("top1: {resnet8: 70.5}", "top1: 70.5", "needs top1 by network"),
        ("loss: lmcl, size: small, top1", "loss: lmcl, size: smal, top1", "Did you mean 'small'?"),
        ("resnet8: 70.5", "resnet8: much", "much is not a number"),
        ("deviation: {resnet8: 0.2}", "deviation: {resnet8: little}", "little is not a number"),
        ("deviation: {resnet8: 0.2}", "deviation: {resnet9: 0.2}", "deviation names resnet9, which has no top1"),
        ("title:", "title: [", "study.yaml: line 3: not valid YAML"),
        ("title: Two losses, two sizes", "title: [Two losses]", "study.yaml: title must be a single value"),
        ("seeds: [3, 5]", "seeds: 3", "study.yaml: seeds must be a list of whole numbers, such as [0, 1]."),
        ("hold: [dataset=synthetic, trainer.max_steps=2]", "hold: loss=mcl", "hold must be a list of overrides"),
        ("seeds: [3, 5]", "teachers: {big: loss=dml}", "teachers.big must be a list of overrides"),
        ("seeds: [3, 5]", "skip: {loss: lmcl}", "skip must be a list of mappings"),
        ("seeds: [3, 5]", "skip: [lmcl]", "skip[0] must be a mapping"),
        ("seeds: [3, 5]", "claim: lmcl", "claim must be a mapping"),
        ("seeds: [3, 5]", "claim: {method: {loss: lmcl}, ablations: {a: {loss: mcl}}}", "claim.ablations.a must be a"),
        ("baseline: {loss: independent}", "baseline: {loss: }", "baseline.loss must be a single value"),
        ("trainer.max_steps=2]", "seed=4]", "seed=4: seeds stand under seeds"),
        (
            "pair=resnet20, optimizer.lr=0.05",
            "pair=resnet8",
            "small and independent, large give the same run",
        ),
        ("seeds: [3, 5]", "skip: [{loss: lmcl}, {loss: independent}]", "skip leaves no row"),
        ("seeds: [3, 5]", "skip: [{loss: [lmcl, independant]}]", "skip: loss has no independant. Did you mean"),
        ("seeds: [3, 5]", "skip: [{loss: []}]", "skip: loss has no label: give at least one"),
        ("seeds: [3, 5]", "skip: [{loss: lmcl, seed: 4}]", "skip: seeds has no 4. It has 0."),
        ("seeds: [3, 5]", "skip: [{loss: lmcl, seed: []}]", "skip: seed is an empty list"),
        ("seeds: [3, 5]", "search: {options: {}}", "a search takes its settings from search.options"),
    ],
)
def test_errors_in_a_study_file_name_the_file(page: Callable[..., Study], old: str, new: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        page(old, new)
    assert message in str(error.value)
    assert "study.yaml" in str(error.value)


def test_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:  # it has vanished, as during a sweep
        load_study(tmp_path)
    assert str(error.value) == f"{tmp_path / 'study.yaml'}: No such file or directory."


def test_study_is_found_by_name_or_by_folder_and_a_near_name_is_suggested(tmp_path: Path) -> None:
    assert find_study("quickstart") == studies_folder() / "quickstart"
    (tmp_path / "study.yaml").write_text(PAGE)
    assert find_study(str(tmp_path)) == tmp_path
    assert find_study(str(tmp_path / "study.yaml")) == tmp_path
    with pytest.raises(UserError, match="Did you mean 'quickstart'"):
        find_study("quikstart")
    with pytest.raises(UserError, match="exists"):  # not the study of this folder
        find_study("")
    another = tmp_path / "another"  # not the study of the folder above
    for nowhere in (another, another / "study.yaml"):
        with pytest.raises(UserError, match=rf"^study={nowhere}: there is no {another}/study\.yaml\. Studies: "):
            find_study(str(nowhere))


def test_overrides_must_keep_rows_different(page: Callable[..., Study]) -> None:
    with pytest.raises(UserError, match="independent, small and lmcl, small give the same run"):
        page(extra=["loss=lmcl"])


def test_study_in_the_documentation_is_valid(tmp_path: Path) -> None:
    manual = (studies_folder().parent / "docs" / "studies.md").read_text()
    first, taught = (text.partition("```")[0] for text in re.split("```yaml\n(?=title|hold: .*\nteachers)", manual)[1:])
    (tmp_path / "study.yaml").write_text(first)
    study = load_study(tmp_path)
    assert len(study.runs) == 3 * 2 + 1  # of the large networks, one row and one seed
    assert len(study.published) == 1
    (tmp_path / "study.yaml").write_text(f"title: Teachers\n{taught}")
    study = load_study(tmp_path)
    assert [len(study.teachers), len(study.runs)] == [1, 2]


ROWS = {  # what is shipped -> how many runs of each seed it is
    "quickstart": 4,
    "cifar100_homogeneous": 9 * 3,
    "cifar100_heterogeneous": 8 * 2,
    "imagenet_homogeneous": 3 * 2,
    "imagenet_heterogeneous": 3 * 2,
    "methods": 26,
    "few_images": 13,
    "few_images_100_per_class": 18,
    "few_images_100_per_class_variants": 7 + 4,
    "few_images_500_per_class": 5,
    "fashion_mnist_100_per_class": 10,
    "fashion_mnist_100_per_class_tuning": 0,
    "fashion_mnist_100_per_class_tuning_lmcl": 0,
    "few_images_tuned": 4,
    "few_images_heterogeneous": 3,
    "few_images_tuning": 0,
    "few_images_100_per_class_tuning": 0,
    "few_images_tuning_lmcl": 0,
    "methods_few_images": 33,
    "methods_100_per_class": 16,
    "few_images_length": 5 + 4,
    "timm_partners": 3,
    "loss_terms": 6,
    "matching": 3,
    "cohort_size": 4,
    "loss_weights": 0,  # a search knows its trials once they have run
    "tiny_imagenet_100": 2 * 4,
}


def test_shipped_studies_equal_the_expected_list() -> None:
    assert study_names() == sorted(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_shipped_study_plans_its_runs(name: str, composed: Callable[..., object]) -> None:
    study = load_study(studies_folder() / name, seeds=[0])
    assert len(study.runs) == len({run.folder for run in study.runs}) == ROWS[name]
    assert study.title
    assert study.text
    if name == "cifar100_homogeneous":
        check_experiments(study.runs, composed)
    for number in study.published:
        front, _, last = number.labels.get("pair", "resnet32").rpartition("/")
        assert number.network.removeprefix(f"{front}/") in last.split("-")
        assert 60 < number.top1 < 90


def check_experiments(runs: list[PlannedRun], composed: Callable[..., object]) -> None:
    """Assert that the runs of a study are those of the experiments of the same name."""
    for loss in ("mcl", "lmcl"):
        (run,) = [run for run in runs if run.labels == {"pair": "resnet56", "loss": loss}]
        assert run.folder.name == config_hash(composed(f"experiment=cifar100_{loss}", "pair=resnet56"))  # type: ignore[arg-type]


def test_rows_that_do_not_exist_cannot_be_chosen(page: Callable[..., Study]) -> None:
    study = page("seeds: [3, 5]", "skip: [{loss: lmcl, size: large}]")
    assert [run.labels["size"] for run in only(study, {"loss": "lmcl"})] == ["small"]
    with pytest.raises(UserError, match="only: the study skips these combinations"):
        only(study, {"loss": "lmcl", "size": "large"})


def test_search_has_no_rows_and_one_seed(page: Callable[..., Study]) -> None:
    search = "hold: [dataset=synthetic, dataset.validation=0.5]\nsearch: {options: {loss.dim: '16,32'}}\n"
    study = page(PAGE[PAGE.index("hold:") :], search)
    assert only(study, {}) == []
    with pytest.raises(UserError, match="only: a search has no rows"):
        only(study, {"loss": "lmcl"})
    with pytest.raises(UserError, match="one seed"):
        page(PAGE[PAGE.index("hold:") :], search, seeds=[1, 2])


def test_folders_of_a_warm_start_may_have_any_name() -> None:
    places = ["runs", "/data/lr=0.1 (old), é's", "~/runs", "1e3"]
    override = OverridesParser.create().parse_override(Search(warm_start=places).settings[-1])
    assert override.key_or_group == "hydra.sweeper.warm_start"
    assert list(map(str, override.value())) == [*places[:2], str(Path.home() / "runs"), "1e3"]  # type: ignore[arg-type]
    assert Search(warm_start="runs").settings[-1] == "hydra.sweeper.warm_start=['runs']"


def test_runs_at_the_same_time_take_as_long_as_the_longest(
    page: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    study = page("seeds: [3, 5]", "seeds: [3]")
    rows = [replace(row, seconds=60.0, how="known") for row in plan_rows(study, estimate=False)[:3]]
    print_plan(study, rows, 2)
    assert "about 3:00 one after another, 1:30 with 2 at a time" in capsys.readouterr().out
    print_plan(study, rows, 8)
    assert "about 3:00 one after another, 1:00 with 8 at a time" in capsys.readouterr().out


def test_truth_values_name_rows_as_hydra_writes_them(page: Callable[..., Study]) -> None:
    varied = "vary:\n  trainer.test: [true, false]\n  size: {true: [pair=resnet8], false: [pair=resnet20]}"
    text = PAGE[PAGE.index("vary:") :]
    study = page(text, f"{varied}\nskip: [{{trainer.test: true, size: false}}]\nbaseline: {{trainer.test: false}}\n")
    assert study.baseline == {"trainer.test": "false"}
    assert [tuple(run.labels.values()) for run in study.runs] == [
        ("true", "true"),
        ("false", "true"),
        ("false", "false"),
    ]
    assert [run.labels for run in only(study, {"trainer.test": True})] == [{"trainer.test": "true", "size": "true"}]


def test_numbers_name_rows_wherever_a_page_names_some(page: Callable[..., Study]) -> None:
    varied = "vary:\n  optimizer.lr: [0.1, 0.5, 1.5]\n  trainer.epochs: [1, 2]"
    claim = "{method: {optimizer.lr: 0.5}, ablations: {rate: [{optimizer.lr: 1.5}]}}"
    named = f"skip: [{{optimizer.lr: 0.5, trainer.epochs: 2}}]\nbaseline: {{optimizer.lr: 0.1}}\nclaim: {claim}\n"
    study = page(PAGE[PAGE.index("vary:") :], f"{varied}\n{named}")
    rows = [" ".join(run.labels.values()) for run in study.runs]
    assert rows == ["0.1 1", "0.1 2", "0.5 1", "1.5 1", "1.5 2"]


@pytest.mark.parametrize("epochs", ["x", None, [1]])
def test_plan_of_a_run_with_odd_settings_is_shown(epochs: object, page: Callable[..., Study], tmp_path: Path) -> None:
    planned = replace(page().runs[0], folder=write_run(tmp_path, "independent", 3, [70.0, 70.0], finished=False))
    file = planned.folder / "config.yaml"
    for trainer in ({"epochs": epochs}, epochs):
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "trainer": trainer}))
        (row,) = plan_rows(replace(page(), runs=[planned]), estimate=False)
        assert row.standing().startswith("1 unfinished at epoch 4 of ")
        assert row.seconds_left is None


def test_plan_of_a_run_that_max_steps_ends_counts_its_steps(page: Callable[..., Study], tmp_path: Path) -> None:
    settings = {"trainer__epochs": 100, "trainer__max_steps": 80}
    folder = write_run(tmp_path, "independent", 3, [70.0, 70.0], settings=settings, finished=False)
    (row,) = plan_rows(replace(page(), runs=[replace(page().runs[0], folder=folder)]), estimate=False)
    assert replace(row, seconds=60.0).seconds_left == 30.0  # 40 of 80 steps


def test_plan_with_an_estimate_reads_every_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, read = study_of(three_seeds(tmp_path), [0, 1, 2]), []
    monkeypatch.setattr("mcl.studies.plan.read_run", lambda folder: read.append(folder) or read_run(folder))
    (row,) = plan_rows(study, study.runs[:2], estimate=True)
    assert row.seconds == 20.5
    assert sorted(read) == sorted(run.folder for run in study.runs)
