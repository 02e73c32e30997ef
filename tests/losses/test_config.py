"""The choices of a loss on the command line."""

import dataclasses
import inspect
import re
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from mcl.losses.base import MetaSchedule
from mcl.losses.matching import FixedMatching, LayerMatching
from mcl.types import Batch, NetworkShape, Outputs

CONF = Path(__file__).parent.parent.parent / "conf" / "loss"
WIDTHS = [[4, 4], [6, 6]]


@pytest.fixture
def choose(tmp_path):
    """Compose the group of losses under a config that has nothing else."""
    for group in ("loss", "pair", "network"):
        shutil.copytree(CONF.parent / group, tmp_path / group)
    (tmp_path / "train.yaml").write_text("defaults:\n  - pair: resnet8\n  - loss: lmcl\n  - _self_\nseed: 3\n")

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            return compose("train", list(overrides)).loss

    return composed


def options(config: DictConfig) -> set[str]:
    return {str(name) for name in config if not str(name).startswith("_")}


METHODS = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem not in ("custom", "lmcl_imagenet"))


def sizes(config: DictConfig) -> dict[str, list]:
    """Return what training gives a loss: widths or shapes, of three networks for a leader and its peers."""
    if "widths" in inspect.signature(get_class(config._target_)).parameters:
        return {"widths": WIDTHS}
    networks = getattr(get_class(config._target_), "minimum_networks", 1)
    frozen = [config._target_.endswith(".KD") and i == 1 for i in range(max(2, networks))]
    return {"shapes": [NetworkShape([8, 8], [4, 8], 3, teacher, shared=1) for teacher in frozen]}


@pytest.mark.parametrize("name", METHODS)
def test_loss_files_list_every_option_and_train(choose, name):
    config = choose(f"loss={name}")
    given = sizes(config)
    assert options(config) | set(given) == set(inspect.signature(get_class(config._target_)).parameters)
    loss = instantiate(config, **given)
    assert set(config.weights) == set(loss.terms)
    widths = WIDTHS if "widths" in given else [shape.widths for shape in given["shapes"]]
    network_outputs = [
        Outputs(
            [torch.randn(4, w) for w in stages],
            [torch.randn(4, 3) for _ in stages],
            [torch.randn(4, c, 2, 2) for c in (4, 8)],
        )
        for stages in widths
    ]
    labels = torch.tensor([0, 0, 1, 1])
    teachers = {"teachers": network_outputs} if loss.needs_ema else {}
    terms = loss(network_outputs, Batch(torch.empty(0), labels, labels), **teachers)
    assert set(terms) <= set(loss.terms)
    assert loss.total(terms).isfinite()


@pytest.mark.parametrize("name", ["learned", "one", "one_to_one"])
def test_every_option_of_a_matching_is_in_its_file(choose, name):
    config = choose(f"loss/matching={name}")
    signature = set(inspect.signature(get_class(config.matching._target_)).parameters)
    assert options(config.matching) | {"widths"} == signature
    if config.meta is not None:
        assert options(config.meta) == set(inspect.signature(MetaSchedule).parameters)


@pytest.mark.parametrize("name", ["batch", "memory"])
def test_every_option_of_a_contrast_is_in_its_file_with_its_default(choose, name):
    config = choose(f"loss/contrast={name}", "loss.contrast.seed=0" if name == "memory" else "loss.dim=5").contrast
    parameters = inspect.signature(get_class(config._target_)).parameters
    assert {key: config[key] for key in options(config)} == {key: p.default for key, p in parameters.items()}


def test_memory_banks_are_seeded_by_the_run(choose):
    assert instantiate(choose("loss/contrast=memory"), widths=WIDTHS).contrast.seed == 3


@pytest.mark.parametrize("name", [file.stem for file in (CONF / "weights").glob("*.yaml")])
def test_every_file_of_weights_names_the_terms_of_the_mutual_losses(choose, name):
    for method in ("mcl", "lmcl"):
        loss = instantiate(choose(f"loss={method}", f"loss/weights={name}"), widths=WIDTHS)
        assert set(choose(f"loss/weights={name}").weights) == set(loss.terms)


def test_files_of_defaults_agree_with_the_constructors(choose):
    for method in ("mcl", "lmcl"):
        config = choose(f"loss={method}")
        parameters = inspect.signature(get_class(config._target_)).parameters
        for name in ("tau", "temperature", "dim"):
            assert config[name] == parameters[name].default
        loss = instantiate(config, widths=WIDTHS)
        assert loss.weights == instantiate(config, widths=WIDTHS, weights=None).weights
    assert instantiate(choose().meta) == MetaSchedule()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("mcl", "lmcl")])
def test_files_of_the_other_methods_have_the_defaults_of_the_constructors(choose, name):
    config = choose(f"loss={name}")
    parameters = inspect.signature(get_class(config._target_)).parameters
    for key in options(config) - {"weights"}:
        assert config[key] == parameters[key].default, key
    loss = instantiate(config, **sizes(config))
    plain = get_class(config._target_)(**sizes(config))
    assert (loss.weights, loss.ramps) == (plain.weights, plain.ramps)


def test_weights_are_numbers_or_ramps_on_the_command_line(choose):
    ramp = "{_target_: mcl.losses.ramps.Linear, weight: 2.0, length: 4}"
    config = choose("loss=dml", f"loss.weights.distillation={ramp}", "loss.weights.classification=0.5")
    loss = instantiate(config, **sizes(config), _convert_="all")
    factors = []
    for epoch in (0, 1, 4, 9):
        loss.set_epoch(epoch)
        factors.append((loss.weights["classification"], loss.weights["distillation"]))
    assert factors == [(0.5, 0.0), (0.5, 0.5), (0.5, 2.0), (0.5, 2.0)]
    (note,) = loss.unfinished_ramps(3)
    assert "loss.weights.distillation: the run has 3 epochs, and the ramp ends at epoch 4; it gets to 1." in note
    assert loss.unfinished_ramps(5) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=dml", "loss.weights.distillation={_target_: mcl.losses.ramps.Linear, weight: 2.5, length: 40}"],
        ["loss=pcl", "loss.reproduce_official_bug=true"],
    ],
    ids=["weight", "ramp of a method"],
)
def test_the_shorter_ramp_that_a_note_suggests_differs_in_its_length_alone(choose, overrides):
    config = choose(*overrides)
    loss = instantiate(config, **sizes(config), _convert_="all")
    (note,) = loss.unfinished_ramps(1)
    suggested = re.search(r"'(loss\.weights\.(\w+)=.*)'", note)
    config = choose(*(each for each in overrides if "weights" not in each), suggested[1])
    shorter = instantiate(config, **sizes(config), _convert_="all").ramps[suggested[2]]
    assert shorter == dataclasses.replace(loss.ramps[suggested[2]], length=1)


def test_choices_combine_on_the_command_line(choose):
    config = choose("loss=lmcl", "loss/weights=imagenet", "loss/matching=one", "loss.tau=0.2", "loss.weights.vcl=0.3")
    loss = instantiate(config, widths=WIDTHS)
    assert loss.tau == 0.2
    assert (loss.weights["vcl"], loss.weights["icl"]) == (0.3, 0.01)
    assert isinstance(loss.matching, FixedMatching)
    assert loss.meta is None
    assert not loss.meta_parameters()


def test_meta_round_is_set_and_switched_off_on_the_command_line(choose):
    assert instantiate(choose("loss.meta.interval=10"), widths=WIDTHS).meta == MetaSchedule(interval=10)
    loss = instantiate(choose("loss.meta=null"), widths=WIDTHS)
    assert loss.meta is None
    assert isinstance(loss.matching, LayerMatching)


def test_one_to_one_matches_equal_stages(choose):
    loss = instantiate(choose("loss/matching=one_to_one"), widths=WIDTHS)
    assert loss.matching.weights[:2, 2:].tolist() == [[1, 0], [0, 1]]
