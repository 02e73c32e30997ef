"""Options that the pages mention exist, outside commands too."""

import re
from dataclasses import fields
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support.doc_pages import PAGES, spans

from mcl.config.conf_folder import conf_folder
from mcl.config.schema import SweepConfig, register
from mcl.runs.renames import current_overrides

WORD = re.compile(r"(?P<plus>\+{0,2})(?P<key>[a-z_]+(?:[@./][a-z_0-9]+)*)=(?P<value>.*)")
CONTEXTS = [  # one of these has any option
    [],
    *([f"loss={file.stem}"] for file in sorted((conf_folder() / "loss").glob("*.yaml")) if file.stem != "custom"),
    ["dataset=folder", "dataset.root=D"],
    ["dataset=csv", "dataset.root=labels.csv"],
    ["dataset=hf", "dataset.root=FOLDER"],
    ["dataset=imagenet", "dataset.root=D"],
    ["schedule=multistep", "optimizer=adamw"],
    ["network@pair.first=imagenet/resnet50"],
    ["network@pair.first=timm/test_resnet"],
    ["network@pair.second=imagenet/resnet50", *current_overrides(["pair.second.frozen=true"])],
    current_overrides(["pair.first.freeze=0", "pair.first.weights_strict=true", "pair.second.deployed=null"]),
    current_overrides(["optimizer.head_lr_factor=1", "optimizer.layer_decay=1"]),
    ["tracking=[tensorboard,mlflow]"],
    ["hydra/launcher=gpus"],
    ["hydra/launcher=slurm"],
    ["hydra/sweeper=optuna", "hydra/sweeper/pruner=asha"],
]
# Choices that Hydra and its plugins bring.
OF_HYDRA = {"default", "basic", "joblib", "ray", "submitit_local", "submitit_slurm"}
GROUPS = {str(file.parent.relative_to(conf_folder())) for file in conf_folder().rglob("*/*.yaml")}
OF_RAY = "hydra.launcher.ray."  # composes only if Ray's plugin is installed
OF_STUDIES = {field.name for field in fields(SweepConfig)}
MENTIONED = sorted(
    {
        (page.name, word)
        for page in PAGES
        for span in spans(page)
        if all(WORD.fullmatch(word) for word in span.split(" "))
        for word in span.split(" ")
    }
)


@pytest.fixture(scope="module")
def configs() -> list[dict[str, Any]]:
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = [compose("train", overrides=each, return_hydra_config=True) for each in CONTEXTS]
    return [OmegaConf.to_container(each, resolve=False) for each in composed]  # type: ignore[misc]


def has(config: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


@pytest.mark.parametrize(("page", "word"), MENTIONED, ids=lambda value: value)
def test_option_exists(page: str, word: str, configs: list[dict[str, Any]]) -> None:
    match = WORD.fullmatch(word)
    assert match
    key, value = match["key"], match["value"]
    group = key.partition("@")[0]
    if any(word in context for context in CONTEXTS):
        return  # composed above
    if (group in GROUPS or group == "hydra/job_logging") and not value.startswith("["):
        of_hydra = group.startswith("hydra/") and value in OF_HYDRA
        of_a_library = group == "network" and value.startswith(("timm/", "torchvision/"))
        own = (conf_folder() / group / f"{value}.yaml").is_file()
        assert value in ("", "NAME") or of_hydra or of_a_library or own
    elif not (match["plus"] or key in OF_STUDIES or key.startswith(OF_RAY)):
        names = (key, f"tracking.wandb.{key}") if page == "tracking.md" else (key,)
        assert any(has(config, name) for config in configs for name in names)
