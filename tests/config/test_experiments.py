"""The published experiments, number by number: no default in conf/ and no device changes them.

Everything that makes the result is listed here, by hand from the papers' code. Where a default changes, the recipes
must go on to say what they said: write the old value into conf/experiment/.
"""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig

from mcl import devices
from mcl.config.checks import check_config
from mcl.config.instantiate import build
from mcl.data.imagenet import ImageNet
from mcl.runs.identity import identity
from mcl.runs.pair import networks_of

COMMON = {
    "seed": 0,
    "init_from": None,
    "dataset.mean": None,  # the set's own: see test_images_are_normalized_as_published
    "dataset.std": None,
    "dataset.limit": None,
    "dataset.validation": 0,
    "dataset.seed": 0,
    "optimizer._target_": "torch.optim.SGD",
    "optimizer.lr": 0.1,
    "optimizer.momentum": 0.9,
    "trainer._target_": "mcl.training.options.TrainerOptions",
    "trainer.max_steps": None,
    "trainer.evaluate_every": 1,
    "trainer.clip_norm": None,
    "trainer.precision": "float32",
    "trainer.channels_last": False,
    "trainer.overfit": False,
    "trainer.sync_batch_norm": False,
}
CIFAR100 = COMMON | {
    "dataset._target_": "mcl.data.cifar.Cifar100",
    "dataset.augmentation._target_": "mcl.data.augmentation.Augmentation",
    "dataset.augmentation.padding": 4,
    "dataset.augmentation.flip": True,
    "optimizer.nesterov": True,
    "optimizer.weight_decay": 5e-4,
    "schedule._target_": "mcl.training.schedules.Cosine",
    "schedule.warmup_epochs": 0,
    "trainer.epochs": 300,
    "trainer.batch_size": 128,
}
IMAGENET = COMMON | {
    "dataset._target_": "mcl.data.imagenet.ImageNet",
    "dataset.transform.0._target_": "torchvision.transforms.v2.RandomResizedCrop",
    "dataset.transform.0.size": 224,
    "dataset.transform.1._target_": "torchvision.transforms.v2.RandomHorizontalFlip",
    "dataset.image_size": 224,
    "dataset.resize": 256,
    "dataset.partial": False,
    "dataset.corrupt": "stop",
    "optimizer.nesterov": False,
    "optimizer.weight_decay": 1e-4,
    "schedule._target_": "mcl.training.schedules.MultiStep",
    "schedule.milestones.0": 30,
    "schedule.milestones.1": 60,
    "schedule.milestones.2": 90,
    "schedule.gamma": 0.1,
    "trainer.epochs": 100,
    "trainer.batch_size": 256,
}
SHUFFLE = {"sampler._target_": "mcl.data.samplers.Shuffle", "sampler.drop_last": False}
BALANCED = {
    "sampler._target_": "mcl.data.samplers.ClassBalanced",
    "sampler.per_class": 2,
    "sampler.replacement": False,
}
INDEPENDENT = {"loss._target_": "mcl.losses.independent.Independent", "loss.weights.classification": 1}
CONTRAST = {
    "loss.tau": 0.1,
    "loss.temperature": 3,
    "loss.dim": 128,
    "loss.weights.classification": 1,
    "loss.weights.vcl": 0.1,
    "loss.weights.soft_vcl": 1,
    "loss.weights.icl": 0.1,
    "loss.weights.soft_icl": 1,
}
MCL = {"loss._target_": "mcl.losses.mcl.MCL", **CONTRAST, "loss.gather": True}
LMCL = {
    "loss._target_": "mcl.losses.lmcl.LMCL",
    **CONTRAST,
    "loss.weights.distillation": 1,
    "loss.matching._target_": "mcl.losses.matching.LayerMatching",
    "loss.matching._partial_": True,
    "loss.matching.dim": 128,
    "loss.contrast._target_": "mcl.losses.contrast_sources.BatchContrast",
    "loss.contrast._partial_": True,
    "loss.contrast.gather": True,  # over several processes, all of whose samples make up the batch
    "loss.meta._target_": "mcl.losses.base.MetaSchedule",
    "loss.meta.interval": 50,
    "loss.meta.steps": 2,
    "loss.meta.lr": None,  # the current one of training
    "loss.meta.momentum": 0.9,
    "loss.meta.attach_features": True,
    "loss.meta.outer_batch": "same",
}
WITH_BANKS = {key: value for key, value in LMCL.items() if not key.startswith("loss.contrast.")} | {
    "loss.tau": 0.07,
    "loss.weights.vcl": 0.01,
    "loss.weights.icl": 0.01,
    "loss.meta.interval": 500,
    "loss.contrast._target_": "mcl.losses.contrast_sources.BankContrast",
    "loss.contrast._partial_": True,
    "loss.contrast.momentum": 0.5,
    "loss.contrast.pos_k": 1,
    "loss.contrast.neg_k": 8192,
    "loss.contrast.reproduce_official_bug": False,
    "loss.contrast.dtype": "float32",
    "loss.contrast.seed": 0,
}
DEEP_SUPERVISION = {
    "loss._target_": "mcl.losses.deep_supervision.DeepSupervision",
    "loss.weights.classification": 1,
}
RECIPES: dict[str, dict[str, Any]] = {
    "cifar100_baseline": CIFAR100 | SHUFFLE | INDEPENDENT,
    "cifar100_baseline_pair": CIFAR100 | BALANCED | INDEPENDENT,
    "cifar100_deep_supervision": CIFAR100 | BALANCED | DEEP_SUPERVISION,
    "cifar100_mcl": CIFAR100 | BALANCED | MCL | {"loss.weights.distillation": 0},
    "cifar100_mcl_kd": CIFAR100 | BALANCED | MCL | {"loss.weights.distillation": 1},
    "cifar100_lmcl": CIFAR100 | BALANCED | LMCL,
    "imagenet_baseline": IMAGENET | SHUFFLE | INDEPENDENT,
    "imagenet_lmcl": IMAGENET | SHUFFLE | WITH_BANKS | {"optimizer.nesterov": True},
}
ONE_NETWORK = ("cifar100_baseline", "imagenet_baseline")
# recipe=NAME: epochs, images of a batch, learning rate, nesterov, weight decay, milestones, gamma, padding
METHOD_RECIPES = {
    "byot": (200, 128, 0.1, False, 5e-4, [75, 130, 180], 0.1, "constant"),
    "dks": (200, 128, 0.1, False, 5e-4, [59, 119, 159], 0.2, "reflect"),
    "ffl": (301, 128, 0.1, True, 1e-4, [150, 225], 0.1, "reflect"),
    "kd": (240, 64, 0.05, False, 5e-4, [150, 180, 210], 0.1, "constant"),
    "okddip": (300, 128, 0.1, True, 5e-4, [150, 225], 0.1, "constant"),
    "one": (300, 128, 0.1, False, 1e-4, [151, 225], 0.1, "constant"),
    "switokd": (299, 128, 0.1, False, 5e-4, [139, 199, 249], 0.1, "constant"),
}


def settings(config: DictConfig) -> dict[str, Any]:
    """Return all settings that determine the result, except the networks."""
    return {key: value for key, value in identity(config).items() if not key.startswith("pair.")}


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_equals_the_published_one(name: str, composed: Callable[..., DictConfig]) -> None:
    config = composed(f"experiment={name}", *(["dataset.root=/images"] if name.startswith("imagenet") else []))
    check_config(config)
    assert settings(config) == RECIPES[name]


@pytest.mark.parametrize("name", METHOD_RECIPES)
@pytest.mark.parametrize("over", [[], ["experiment=cifar100_baseline_pair"]], ids=["alone", "over an experiment"])
def test_every_setting_of_a_method_equals_its_published_one(
    name: str, over: list[str], composed: Callable[..., DictConfig]
) -> None:
    config = composed("dataset=cifar100", f"recipe={name}", *over)
    check_config(config)
    trainer, optimizer, schedule = config.trainer, config.optimizer, config.schedule
    assert config.dataset.augmentation.padding == 4
    assert optimizer._target_ == "torch.optim.SGD"
    assert optimizer.momentum == 0.9
    assert schedule._target_ == "mcl.training.schedules.MultiStep"
    assert METHOD_RECIPES[name] == (
        *(trainer.epochs, trainer.batch_size, optimizer.lr, optimizer.nesterov, optimizer.weight_decay),
        *(schedule.milestones, schedule.gamma, config.dataset.augmentation.padding_mode),
    )


def test_images_are_normalized_as_published(composed: Callable[..., DictConfig]) -> None:
    dataset = build(composed("experiment=cifar100_lmcl").dataset, path="dataset")
    assert dataset.mean == (0.5071, 0.4867, 0.4408)
    assert dataset.std == (0.2675, 0.2565, 0.2761)
    assert ImageNet.own_mean == (0.485, 0.456, 0.406)
    assert ImageNet.own_std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("name", RECIPES)
def test_experiments_do_not_depend_on_the_device(
    name: str, composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "default_precision", lambda device: "bfloat16")
    monkeypatch.setattr(devices, "default_channels_last", lambda device: True)
    assert composed("trainer.device=cuda").trainer.precision == "bfloat16"  # as without a recipe
    assert settings(composed(f"experiment={name}", "trainer.device=cuda")) == RECIPES[name]


def test_baseline_is_one_network_and_the_others_are_pairs(composed: Callable[..., DictConfig]) -> None:
    networks = {name: list(networks_of(composed(f"experiment={name}").pair)) for name in RECIPES}
    assert all(networks.pop(name) == ["first"] for name in ONE_NETWORK)
    assert all(keys == ["first", "second"] for keys in networks.values())


def test_experiments_accept_any_pair_and_network(composed: Callable[..., DictConfig]) -> None:
    pair = composed("experiment=cifar100_lmcl", "pair=wrn_16_2").pair
    assert [network.name for network in networks_of(pair).values()] == ["wrn_16_2", "wrn_16_2"]
    alone = composed("experiment=cifar100_baseline", "network@pair.first=wrn_16_2").pair
    assert [network.name for network in networks_of(alone).values()] == ["wrn_16_2"]
    pair = composed("experiment=imagenet_lmcl", "pair=imagenet/shufflenetv2_1x-resnet50").pair
    assert [network.name for network in networks_of(pair).values()] == ["imagenet/shufflenetv2_1x", "imagenet/resnet50"]
    alone = composed("experiment=imagenet_baseline", "network@pair.first=imagenet/resnet34").pair
    assert [network.name for network in networks_of(alone).values()] == ["imagenet/resnet34"]


@pytest.mark.parametrize(
    ("override", "option", "value"),
    [
        ("loss/matching=one", "loss.meta", None),
        ("loss/weights=imagenet", "loss.weights.vcl", 0.01),
        ("loss/contrast=memory", "loss.contrast.neg_k", 8192),
        ("loss=independent", "loss._target_", "mcl.losses.independent.Independent"),
        ("sampler=shuffle", "sampler._target_", "mcl.data.samplers.Shuffle"),
        ("dataset=cifar10", "dataset._target_", "mcl.data.cifar.Cifar10"),
        ("schedule=constant", "schedule._target_", "mcl.training.schedules.Constant"),
        ("trainer.epochs=3", "trainer.epochs", 3),
        ("loss.meta.interval=10", "loss.meta.interval", 10),
    ],
)
def test_single_settings_of_an_experiment_can_be_overridden(
    override: str, option: str, value: object, composed: Callable[..., DictConfig]
) -> None:
    config = composed("experiment=cifar100_lmcl", override)
    check_config(config)
    values = settings(config)
    assert values[option] == value
    group = option.rpartition(".")[0] if "=" in override and "." in override.partition("=")[0] else option.split(".")[0]
    untouched = {key: v for key, v in RECIPES["cifar100_lmcl"].items() if not key.startswith(group)}
    assert {key: values[key] for key in untouched} == untouched


def test_speed_fast_changes_only_precision(composed: Callable[..., DictConfig]) -> None:
    published, fast = (settings(composed("experiment=cifar100_lmcl", *more)) for more in ([], ["speed=fast"]))
    assert {key: value for key, value in fast.items() if value != published[key]} == {
        "trainer.precision": "bfloat16",
        "trainer.channels_last": True,
    }
