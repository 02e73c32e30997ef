"""Commands of ``train.py`` and their results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mcl.config.conf_folder import conf_folder

SHORT = ["trainer.max_steps=3", "trainer.log_every=1", "trainer.batch_size=20"]
Command = Callable[..., Any]


def only_run(folder: Path = Path("runs")) -> Path:
    (summary,) = folder.rglob("summary.json")
    return summary.parent


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_run_leaves_a_complete_folder_and_a_table(command: Command) -> None:
    done = command(*SHORT)
    assert done.status == 0, done.err
    run = only_run()
    assert run.parts[:4] == ("runs", "digits", "resnet8", "lmcl")
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "metrics.jsonl", "summary.json", "checkpoints"}
    assert (run / "checkpoints" / "last.pt").is_file()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["config_hash"] == run.name
    assert summary["steps"] == 3
    assert summary.keys() >= {"seed", "code", "epochs", "networks", "ensemble", "seconds", "images_per_second"}
    assert summary["networks"][0].keys() >= {
        *("name", "top1_last", "top5_last", "top1_best", "best_epoch", "top1_max_over_heads")
    }
    assert run.name in done.out
    assert "resnet8" in done.out
    rows = metrics(run)
    assert [row["step"] for row in rows if "train/total" in row] == [1, 2, 3]
    assert rows[0]["train/total"] == pytest.approx(
        sum(value for name, value in rows[0].items() if name.startswith("train/weighted/")), rel=1e-5
    )
    assert rows[0]["train/weighted/vcl"] == pytest.approx(0.1 * rows[0]["train/vcl"], rel=1e-5)
    assert "meta/outer_loss" in rows[0]
    assert "meta/outer_loss" not in rows[1]


def test_finished_run_prints_its_result_without_training(command: Command) -> None:
    command(*SHORT)
    file = only_run() / "metrics.jsonl"
    before = file.read_bytes(), file.stat().st_mtime_ns
    again = command(*SHORT)
    assert again.status == 0
    assert "ensemble" in again.out
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_unfinished_run_resumes_and_equals_an_uninterrupted_one(command: Command) -> None:
    overrides = ["trainer.epochs=3", "dataset.limit=10", "trainer.batch_size=50", "loss.meta.interval=2"]
    command(*overrides, "hydra.run.dir=undisturbed")

    import mcl.training.evaluator

    evaluate, calls = mcl.training.evaluator.evaluate, []

    def dies_in_the_second_epoch(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("power cut")
        return evaluate(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mcl.training.evaluator, "evaluate", dies_in_the_second_epoch)
        with pytest.raises(RuntimeError, match="power cut"):
            command(*overrides, "hydra.run.dir=disturbed")
    assert json.loads(Path("disturbed/failure.json").read_text())["message"] == "power cut"
    assert not Path("disturbed/summary.json").exists()
    assert command(*overrides, "hydra.run.dir=disturbed").status == 0

    def results(run: str) -> list[dict[str, Any]]:
        unsteady = ("time", "train/images_per_second")
        return [{k: v for k, v in row.items() if k not in unsteady} for row in metrics(Path(run))]

    assert results("disturbed") == results("undisturbed")
    assert not Path("disturbed/failure.json").exists()


def test_resume_never_starts_over(command: Command) -> None:
    command(*SHORT)
    first = (only_run() / "summary.json").stat().st_mtime_ns
    assert command(*SHORT, "resume=never").status == 0
    assert (only_run() / "summary.json").stat().st_mtime_ns > first


def test_starting_over_removes_only_the_files_of_a_run(command: Command) -> None:
    command(*SHORT, "hydra.run.dir=mine")
    user_files = [Path("mine/notes.tmp"), Path("mine/deep/thesis.tmp"), Path("mine/checkpoints/theirs.pt")]
    for file in user_files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("dear to somebody")
    assert command(*SHORT, "hydra.run.dir=mine", "resume=never").status == 0
    assert all(file.read_text() == "dear to somebody" for file in user_files)


def test_starting_over_does_not_touch_a_folder_without_a_run(command: Command) -> None:
    Path("other/checkpoints").mkdir(parents=True)
    Path("other/config.yaml").write_text("x: 1")
    Path("other/checkpoints/last.pt").write_text("of another program")
    refused = command(*SHORT, "hydra.run.dir=other", "resume=never")
    assert refused.status == 1
    assert "do not look like the files of a run" in refused.err
    assert Path("other/config.yaml").read_text() == "x: 1"
    assert Path("other/checkpoints/last.pt").read_text() == "of another program"


def test_folder_of_another_run_is_not_changed(command: Command) -> None:
    command(*SHORT, "hydra.run.dir=mine")
    before = (Path("mine") / "summary.json").read_bytes()
    refused = command(*SHORT, "hydra.run.dir=mine", "optimizer.lr=0.05")
    assert refused.status == 1
    assert "optimizer.lr: 0.1 -> 0.05" in refused.err
    assert (Path("mine") / "summary.json").read_bytes() == before


@pytest.mark.parametrize("loss", ["independent", "deep_supervision", "mcl", "lmcl"])
@pytest.mark.parametrize("sampler", ["class_balanced", "shuffle"])
def test_every_loss_trains_with_every_sampler(loss: str, sampler: str, command: Command) -> None:
    done = command(f"loss={loss}", f"sampler={sampler}", "trainer.max_steps=2", "trainer.batch_size=32")
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    "overrides",
    [
        ["pair=single", "loss=independent"],
        ["+network@pair.third=resnet8"],
        ["network@pair.second=resnet14"],
        ["loss/matching=one"],
        pytest.param(["loss/matching=one_to_one"], marks=pytest.mark.slow),
        pytest.param(["loss.meta.outer_batch=next"], marks=pytest.mark.slow),
        pytest.param(["loss.meta.memory=recompute"], marks=pytest.mark.slow),
        pytest.param(["loss.meta.attach_features=false"], marks=pytest.mark.slow),
        pytest.param(["loss.meta.lr=0.01"], marks=pytest.mark.slow),
        ["trainer.precision=bfloat16"],
        pytest.param(["trainer.channels_last=true"], marks=pytest.mark.slow),
        ["trainer.clip_norm=1"],
        ["optimizer=adamw"],
        pytest.param(["schedule=multistep"], marks=pytest.mark.slow),
        ["dataset.validation=0.2"],
        pytest.param(["dataset.limit=10"], marks=pytest.mark.slow),
        ["dataset=synthetic", "dataset.channels=3", "dataset.image_size=12", "dataset.classes=4"],
        ["loss=mcl", "loss.weights.distillation=1"],
        ["debug=dry"],
    ],
    ids=" ".join,
)
def test_runs_with_other_options_train(overrides: list[str], command: Command) -> None:
    done = command("trainer.max_steps=2", "trainer.batch_size=32", *overrides)
    assert done.status == 0, done.err


def test_schedule_that_changes_nothing_is_noted(command: Command) -> None:
    note = "schedule.milestones=[150, 225]: the run has 20 epochs, so the learning rate does not fall at 150, 225."
    assert note in command("schedule=multistep", "debug=dry", "loss=independent").out
    assert "note" not in command("schedule=constant", "debug=dry", "loss=independent").out
    assert "note" not in command("schedule.warmup_epochs=1", "debug=dry", "loss=independent").out


@pytest.mark.slow
def test_overfitting_one_batch_reduces_the_loss(command: Command) -> None:
    done = command("debug=overfit", "loss=independent")
    assert done.status == 0, done.err
    rows = [row for row in metrics(only_run()) if "train/total" in row]
    losses = [row["train/total"] for row in rows]
    assert rows[-1]["step"] == 100
    assert losses[-1] < 0.05 * losses[0]


def test_validation_chooses_the_best_epoch(command: Command) -> None:
    assert command(*SHORT, "dataset.validation=0.2").status == 0
    assert json.loads((only_run() / "summary.json").read_text())["best_epoch_chosen_on"] == "validation"
    assert any("validation/first/backbone/top1" in row for row in metrics(only_run()))


def test_meta_round_that_is_not_finite_stops_before_anything_is_saved(command: Command) -> None:
    done = command("loss=lmcl", "loss.meta.lr=1e20", "trainer.max_steps=1")
    assert done.status == 1
    assert "the meta round is not finite: outer_loss=nan" in done.err
    assert not list(Path("runs").rglob("last.pt"))
    done = command("loss=lmcl", "loss.meta.lr=1e20", "trainer.max_steps=3")
    assert "the meta round is not finite: outer_loss=nan" in done.err
    assert "After it, the loss is not finite at step 1: train/" in done.err


def test_non_finite_loss_stops_and_names_the_step(command: Command) -> None:
    done = command("optimizer.lr=1e12", "loss=independent", "trainer.max_steps=30", "trainer.log_every=10")
    assert done.status == 1
    assert "not finite at step" in done.err
    assert "train/classification=" in done.err
    (failure,) = Path("runs").rglob("failure.json")
    assert json.loads(failure.read_text())["error"] == "NonFiniteLoss"


def test_divergence_in_the_last_step_is_an_error(command: Command) -> None:
    done = command("optimizer.lr=1e30", "loss=independent", "trainer.max_steps=1")
    assert done.status == 1
    assert "diverged by step 1" in done.err
    assert not list(Path("runs").rglob("summary.json"))


def test_jobs_of_a_multirun_get_separate_folders(command: Command) -> None:
    done = command("-m", "seed=0,1", "loss=independent,mcl", "trainer.max_steps=1", "trainer.batch_size=32")
    assert done.status == 0, done.err
    folders = {summary.parent for summary in Path("runs").rglob("summary.json")}
    assert len(folders) == 4
    assert {folder.parent.name for folder in folders} == {"independent", "mcl"}
    alone = command("seed=1", "loss=mcl", "trainer.max_steps=1", "trainer.batch_size=32")
    assert alone.status == 0
    assert len(list(Path("runs").rglob("summary.json"))) == 4, "a single run finds the folder of the multirun's job"


def test_help_lists_the_groups_with_their_choices(command: Command) -> None:
    shown = command("--help").out
    for part in ("dataset: ", "digits", "pair: ", "resnet32", "loss/matching: ", "debug: dry, overfit"):
        assert part in shown
    assert shown.count("  python train.py") >= 6


WRONG = {  # what is typed: what the one line must name
    "pair=resnet33": ["pair=resnet33", "'resnet32'"],
    "trainer.epoch=3": ["trainer.epoch", "Write trainer.epochs=3."],
    "loss.tua=0.2": ["loss.tua", "'tau'"],
    "+loss.tua=0.2": ["loss.tua", "'tau'"],
    "+sed=1": ["sed", "'seed'"],
    "piar=resnet8": ["piar", "'pair'"],
    "network@pair.second=resnet9": ["resnet9", "'resnet8'"],
    "network@pair.secnd=resnet8": ["network@pair.secnd", "network@pair.second"],
    "dataset=folder": ["dataset.root"],
    "dataset=folder dataset.root=/nowhere": ["dataset.root=/nowhere"],
    "trainer.batch_size=1": ["trainer.batch_size=1", "2"],
    "trainer.batch_size=5000": ["5000", "1438"],
    "dataset=synthetic dataset.classes=3 dataset.train_per_class=30": ["90", "128"],
    "optimizer.lr=abc": ["optimizer.lr=abc", "a number"],
    "optimizer.lr=-1": ["optimizer", "learning rate", "-1"],
    "trainer.device=tpu9": ["trainer.device=tpu9", "cpu"],
    "trainer.device=cuda:99": ["trainer.device=cuda:99", "cpu"],
    "trainer.precision=float31": ["trainer.precision=float31", "'float32'"],
    "trainer.epochs=1.5": ["trainer.epochs=1.5", "a whole number"],
    "trainer.epochs=0": ["trainer.epochs=0"],
    "trainer.epochs=[": ["trainer.epochs=["],
    "seed=a": ["seed=a", "whole number"],
    "seed=-1": ["seed=-1"],
    "seed=99999999999999999999999": ["seed=9999"],
    "pair=null": ["null", "pair=NAME"],
    "loss=null": ["null", "loss=NAME"],
    "runs=": ["runs"],
    "loss.weights.vcl=-1": ["loss.weights.vcl=-1"],
    "loss.tau=nan": ["loss.tau=nan", "a number"],
    "pair=single": ["LMCL", "at least 2", "loss=independent"],
    "network@pair.first=resnet8 dataset=synthetic dataset.image_size=2": ["resnet8", "2", "4"],
    "loss.meta.interval=0": ["loss.meta.interval=0"],
    "loss.weights.vclx=1": ["loss.weights.vclx", "'vcl'"],
    "loss._target_=os.system": ["loss._target_=os.system"],
    "resume=maybe": ["resume", "auto, never"],
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_input_prints_one_line_and_leaves_no_files(arguments: str, command: Command) -> None:
    done = command(*arguments.split())
    assert done.status == 1
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    for part in WRONG[arguments]:
        assert part in lines[0]
    assert not Path("runs").exists()


TYPOS = {  # file, what is changed, what the line must name
    ("trainer/default.yaml", "clip_norm:", "clipnorm:"): ["trainer.clipnorm", "'clip_norm'"],
    ("trainer/default.yaml", "epochs: 20", "epochs: many"): ["trainer.epochs=many", "a whole number"],
    ("loss/lmcl.yaml", "tau:", "tua:"): ["loss.tua", "'tau'"],
    ("loss/weights/cifar.yaml", "soft_icl:", "soft_ilc:"): ["loss.weights.soft_ilc", "'soft_icl'"],
    ("loss/matching/learned.yaml", "interval:", "intervall:"): ["loss.meta.intervall", "'interval'"],
    ("optimizer/sgd.yaml", "nesterov:", "nestrov:"): ["optimizer.nestrov", "'nesterov'"],
    ("network/resnet8.yaml", "depths:", "depth:"): ["pair.first.depth", "'depths'"],
    ("pair/resnet8.yaml", "resnet8", "resnet7"): ["resnet7", "'resnet8'"],
    ("optimizer/sgd.yaml", "lr: 0.1", "lr:0.1"): ["optimizer/sgd.yaml", "line", "YAML"],
    ("train.yaml", "seed: 0", "sede: 0"): ["sede", "'seed'"],
    ("train.yaml", "seed: 0", "seed: none"): ["seed", "none"],
    ("dataset/digits.yaml", "flip:", "flips:"): ["dataset.augmentation.flips", "'flip'"],
}


@pytest.mark.parametrize("typo", TYPOS, ids=lambda typo: f"{typo[0]} {typo[2]}")
def test_typo_inside_a_yaml_file_is_an_error(
    typo: tuple[str, str, str], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import mcl.config.entry

    shutil.copytree(conf_folder(), tmp_path / "conf")
    file = tmp_path / "conf" / typo[0]
    assert typo[1] in file.read_text()
    file.write_text(file.read_text().replace(typo[1], typo[2]))
    monkeypatch.setattr(mcl.config.entry, "conf_folder", lambda: tmp_path / "conf")
    done = command()
    assert done.status == 1
    assert len(done.err.strip().splitlines()) == 1, done.err
    for part in TYPOS[typo]:
        assert part in done.err


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Make four classes with twelve training and three test images of 12 x 12."""
    for split, count in (("train", 12), ("val", 3)):
        for label in range(4):
            folder = tmp_path / "pictures" / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (12, 12), (60 * label, 20 * i, 100)).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def test_folder_of_images_trains_and_is_named_after_itself(images: Path, command: Command) -> None:
    done = command("dataset=folder", f"dataset.root={images}", "trainer.batch_size=16", "trainer.max_steps=2")
    assert done.status == 0, done.err
    assert only_run().parts[1] == "pictures"


def test_same_name_with_other_images_is_noticed(images: Path, command: Command) -> None:
    overrides = ["dataset=folder", f"dataset.root={images}", "trainer.batch_size=16", "trainer.max_steps=1"]
    assert command(*overrides).status == 0
    (images / "train" / "class0" / "0.png").unlink()
    refused = command(*overrides)
    assert refused.status == 1
    assert "dataset.name" in refused.err


def test_empty_class_folder_and_a_text_named_jpg_are_named(images: Path, command: Command) -> None:
    overrides = ["dataset=folder", f"dataset.root={images}", "trainer.batch_size=16"]
    (images / "train" / "class1" / "text.jpg").write_text("not an image")
    refused = command(*overrides)
    assert refused.status == 1
    assert "text.jpg" in refused.err
    for file in (images / "train" / "class1").iterdir():
        file.unlink()
    refused = command(*overrides)
    assert refused.status == 1
    assert "class1" in refused.err
    assert not Path("runs").exists()
