"""``init_from=``: a run that starts from the networks of another one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mcl import build_network
from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.training import checkpoints
from mcl.training.initial_weights import start_from

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


def test_where_a_run_starts_from_is_part_of_who_it_is(composed: Callable) -> None:
    from mcl.config.identity import config_hash

    hashes = {config_hash(composed(f"init_from={place}")) for place in ("null", "one", "other")}
    assert len(hashes) == 3


def test_resumed_run_goes_on_from_its_own_checkpoint(command: Callable) -> None:
    assert command(*TINY, "hydra.run.dir=one").status == 0
    command(*TINY, "init_from=one", "hydra.run.dir=other")
    trained = last("other")
    (Path("other") / "summary.json").unlink()
    (Path("one") / "checkpoints" / "last.pt").unlink()  # no longer needed
    again = command(*TINY, "init_from=one", "hydra.run.dir=other")
    assert again.status == 0, again.err
    assert same_weights(trained, last("other"))


def test_missing_checkpoint_is_named(command: Callable) -> None:
    typed = command(*TINY, "init_from=nowhere")
    assert typed.status == 1
    assert "init_from=nowhere: there is no file nowhere" in typed.err
    assert not Path("runs").exists()


def test_backbones_of_a_branched_pair_serve_networks_without_branches(tmp_path: Path) -> None:
    branched, plain = cohort("resnet8", "resnet8"), cohort("resnet8", branched=False)
    start_from(saved(branched, tmp_path / "file.pt"), plain)
    weight = "networks.first.backbone.head.classifier.weight"
    assert torch.equal(plain.state_dict()[weight], branched.state_dict()[weight])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("resnet8", "resnet8"), r"have no networks\.first\.branches\.0.* more\. Choose pair= and loss="),
        (("resnet14", "resnet8"), r"have no networks\.first\.backbone\.stages\.0\.1"),
    ],
)
def test_networks_that_do_not_fit_are_refused_and_left_alone(
    names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    file = saved(cohort("resnet8", "resnet8", branched=False), tmp_path / "file.pt")
    target = cohort(*names)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises(UserError, match=message):
        start_from(file, target)
    assert all(torch.equal(tensor, before[key]) for key, tensor in target.state_dict().items())


def test_other_number_of_classes_names_the_shapes(tmp_path: Path) -> None:
    file = saved(cohort("resnet8"), tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"shape \(4, 64\) there and \(5, 64\) here.*dataset="):
        start_from(file, cohort("resnet8", classes=5))
