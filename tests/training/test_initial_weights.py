"""``init_from=``: runs that start from the networks of other runs."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor

from mcl import build_network
from mcl.config.conf_folder import conf_folder
from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.archived import ARCHIVE, archived_runs
from mcl.runs.checkpoint_files import read_checksum
from mcl.runs.identity import VERSION, config_hash, identity
from mcl.runs.summary import with_checksum
from mcl.training.initial_weights import load_initial_weights, start_from

TINY = [
    *("dataset=synthetic", "dataset.classes=4", "dataset.image_size=8", "dataset.train_per_class=4"),
    *("dataset.test_per_class=2", "trainer.batch_size=4", "trainer.max_steps=1", "loss=deep_supervision"),
]
STANDING_STILL = ["optimizer.lr=0", "optimizer.weight_decay=0"]


def cohort(*names: str, branched: bool = True, classes: int = 4) -> Cohort:
    keys = ("first", "second")[: len(names)]
    factories = {key: partial(build_network, name, classes) for key, name in zip(keys, names, strict=True)}
    return Cohort(factories, branched=branched, seed=1)


def saved(networks: Cohort, path: Path) -> Path:
    checkpoints.save(path, {"step": 0, "learner": {f"cohort.{k}": t for k, t in networks.state_dict().items()}})
    return path


def same_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    keys = [key for key in one if key.startswith("cohort.") and key.endswith(("weight", "bias"))]
    return all(torch.equal(one[key], other[key]) for key in keys)


def last(folder: str) -> dict[str, Tensor]:
    return checkpoints.load(Path(folder) / "checkpoints" / "last.pt")["learner"]


def test_run_starts_from_the_networks_of_another(command: Callable) -> None:
    assert command(*TINY, "hydra.run.dir=one").status == 0
    other = command(*TINY, *STANDING_STILL, "seed=1", "init_from=one", "hydra.run.dir=other")
    assert other.status == 0, other.err
    assert "from one" in other.out
    assert same_weights(last("one"), last("other"))
    fresh = command(*TINY, *STANDING_STILL, "seed=1", "hydra.run.dir=fresh")
    assert fresh.status == 0
    assert not same_weights(last("one"), last("fresh"))


def test_home_folder_is_expanded(command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command(*TINY, "hydra.run.dir=one").status == 0
    for init_from in ('"~/one"', '{first: "~/one", second: "~/one"}'):
        other = command(*TINY, *STANDING_STILL, "seed=1", f"init_from={init_from}", 'runs="~/runs"')
        assert other.status == 0, other.err
        (summary,) = Path("runs").rglob("summary.json")
        assert same_weights(last("one"), last(str(summary.parent)))
        shutil.rmtree("runs")
    assert not Path("~").exists()


def test_initial_weights_but_not_their_path_are_part_of_the_identity(
    composed: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def base(folder: str, step: int) -> None:
        checkpoints.save(Path(folder) / "checkpoints" / "last.pt", {"step": step, "learner": {}})

    monkeypatch.chdir(tmp_path)
    base("base", 1)
    shutil.copytree("base", "copy")
    monkeypatch.setenv("HOME", str(tmp_path))
    spellings = ["base", "./base/", str(tmp_path / "base"), '"~/base"', "base/checkpoints/last.pt", "copy"]
    first = {config_hash(composed(f"init_from={place}")) for place in spellings}
    assert len(first) == 1
    base("base", 2)  # trained anew
    anew = {config_hash(composed(f"init_from={place}")) for place in spellings[:5]}
    assert len(anew | first | {config_hash(composed())}) == 3


def test_runs_from_before_weight_checksums_keep_their_hash(composed: Callable) -> None:
    now = OmegaConf.to_container(composed("trainer.device=cpu"), resolve=True)
    before = {key: value for key, value in now.items() if key != "init_weights"}
    assert config_hash(now) == config_hash(before)
    text = json.dumps({"version": VERSION, **identity(before)}, sort_keys=True)
    assert '"init_from": null' in text
    assert "init_weights" not in text
    assert config_hash(before | {"init_from": "one"}) != config_hash(before | {"init_from": "other"})
    archives = sorted((conf_folder().parent / "experiments").glob(f"*/{ARCHIVE}"))
    assert archives
    for archive in archives:
        with archived_runs(archive) as runs:
            stored = [yaml.safe_load((run.folder / "config.yaml").read_text()) for run in runs]
            assert [config_hash(config) for config in stored] == [run.folder.name for run in runs]


def test_run_that_stored_only_a_path_is_reported_and_resumed(command: Callable) -> None:
    assert command(*TINY, "hydra.run.dir=one").status == 0
    arguments = [*TINY, "init_from=one", "hydra.run.dir=other"]
    assert command(*arguments).status == 0
    config, summary = Path("other/config.yaml"), Path("other/summary.json")
    earlier = [line for line in config.read_text().splitlines() if not line.startswith("init_weights")]
    config.write_text("\n".join(earlier))
    content = json.loads(summary.read_text())
    del content["sha256"]
    content["config_hash"] = config_hash(yaml.safe_load(config.read_text()))
    summary.write_text(json.dumps(with_checksum(content)))
    again = command(*arguments)
    assert again.status == 0, again.err
    assert "step 1/1" not in again.out


def test_weights_that_changed_since_the_run_was_composed_are_refused(tmp_path: Path) -> None:
    networks = cohort("resnet8")
    file = saved(networks, tmp_path / "file.pt")
    load_initial_weights(networks, str(file), read_checksum(file))
    with pytest.raises(UserError, match="not init_weights=0123"):
        load_initial_weights(networks, str(file), "0123")


def test_resumed_run_uses_its_own_checkpoint(command: Callable) -> None:
    assert command(*TINY, "hydra.run.dir=one").status == 0
    command(*TINY, "init_from=one", "hydra.run.dir=other")
    trained, config = last("other"), (Path("other") / "config.yaml").read_text()
    (Path("other") / "summary.json").unlink()
    (Path("one") / "checkpoints" / "last.pt").unlink()  # no longer needed
    again = command(*TINY, "init_from=one", "hydra.run.dir=other")
    assert again.status == 0, again.err
    assert same_weights(trained, last("other"))
    assert (Path("other") / "config.yaml").read_text() == config
    assert json.loads((Path("other") / "summary.json").read_text())["config_hash"] == config_hash(
        yaml.safe_load(config)
    )
    once_more = command(*TINY, "init_from=one", "hydra.run.dir=other")
    assert once_more.status == 0, once_more.err


def test_missing_checkpoint_is_named(command: Callable) -> None:
    result = command(*TINY, "init_from=nowhere")
    assert result.status == 1
    assert "init_from=nowhere: nowhere does not exist or is not a checkpoint" in result.err
    assert not Path("runs").exists()


def test_branched_checkpoint_initializes_unbranched_networks(tmp_path: Path) -> None:
    branched, plain = cohort("resnet8", "resnet8"), cohort("resnet8", branched=False)
    start_from(saved(branched, tmp_path / "file.pt"), plain)
    weight = "networks.first.backbone.head.classifier.weight"
    assert torch.equal(plain.state_dict()[weight], branched.state_dict()[weight])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("resnet8", "resnet8"), r"have no networks\.first\.branches\.0.* more\. Choose the pair= and the loss="),
        (("resnet14", "resnet8"), r"have no networks\.first\.backbone\.stages\.0\.1"),
    ],
)
def test_mismatched_networks_are_refused_and_unchanged(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file = saved(cohort("resnet8", "resnet8", branched=False), tmp_path / "file.pt")
    target = cohort(*names)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises(UserError, match=message):
        start_from(file, target)
    assert all(torch.equal(tensor, before[key]) for key, tensor in target.state_dict().items())


def test_classifiers_of_another_number_of_classes_start_new(tmp_path: Path) -> None:
    source, target = cohort("resnet8"), cohort("resnet8", classes=5)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    (note,) = start_from(saved(source, tmp_path / "file.pt"), target)
    assert note.endswith("classifiers start new: 4 classes there, 5 here.")
    for key, tensor in target.state_dict().items():
        expected = before[key] if ".head.classifier." in key else source.state_dict()[key]
        assert torch.equal(tensor, expected), key


def test_one_network_starts_from_a_run_with_other_classes(tmp_path: Path) -> None:
    source, target = cohort("resnet8"), cohort("resnet8", classes=5)
    place = str(saved(source, tmp_path / "file.pt"))
    (note,) = load_initial_weights(target, {"first": place})
    assert note == f"init_from={{first: {place}}}: classifiers start new: 4 classes there, 5 here."
    assert torch.equal(target.backbones[0].stem[0].weight, source.backbones[0].stem[0].weight)


@pytest.mark.parametrize("several", [True, False])
def test_a_frozen_network_needs_its_own_classes(several: bool, tmp_path: Path) -> None:
    place = str(saved(cohort("resnet8", branched=False), tmp_path / "file.pt"))
    target = Cohort({"first": partial(build_network, "resnet8", 5)}, branched=False, seed=1, frozen=["first"])
    with pytest.raises(UserError, match=r"no classifier of as many classes as the dataset.*pair\.first\.freeze=NUMBER"):
        load_initial_weights(target, {"first": place} if several else place)


@pytest.mark.parametrize("several", [True, False])
def test_networks_that_share_stages_do_not_overwrite_each_others_weights(several: bool, tmp_path: Path) -> None:
    def sharing() -> Cohort:
        factories = {key: partial(build_network, "resnet8", 4) for key in ("first", "second")}
        return Cohort(factories, branched=False, seed=1, shared_stages=2)

    apart = str(saved(cohort("resnet8", "resnet8", branched=False), tmp_path / "apart.pt"))
    with pytest.raises(UserError, match=r"^pair\.shared_stages: the weights that first and second start from differ"):
        load_initial_weights(sharing(), {"first": apart, "second": apart} if several else apart)
    source, target = sharing(), sharing()
    with torch.no_grad():
        source.backbones[0].stem[0].weight.add_(1)
    alike = str(saved(source, tmp_path / "alike.pt"))
    load_initial_weights(target, {"first": alike, "second": alike} if several else alike)
    load_initial_weights(target, {"first": apart})
    assert torch.equal(target.backbones[1].stem[0].weight, target.backbones[0].stem[0].weight)


def test_null_for_a_network_leaves_its_random_weights() -> None:
    target = cohort("resnet8")
    before = target.backbones[0].stem[0].weight.clone()
    assert load_initial_weights(target, {"first": None}) == []  # type: ignore[dict-item]
    assert torch.equal(target.backbones[0].stem[0].weight, before)
