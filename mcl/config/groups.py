"""The parts of a configuration that are built, and the arguments each is given beside its own options."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config import objective
from mcl.config.instantiate import check
from mcl.config.schema import TrainConfig
from mcl.errors import UserError, did_you_mean
from mcl.runs.identity import flatten

SUPPLIED: dict[str, tuple[str, ...]] = {  # what is mistyped most comes first, what takes long to import last
    "trainer": (),
    "optimizer": ("params",),
    "schedule": (),
    "sampler": (),
    "dataset": (),
    "loss": ("widths",),
    "tracking": (),
    "pair": ("num_classes", "in_channels"),
}


def nodes(config: DictConfig) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """``(path, node, supplied argument names)`` of everything that will be built."""
    for group, supplied in SUPPLIED.items():
        if group in ("pair", "tracking"):  # several nodes, by name
            for key, node in config[group].items():
                yield f"{group}.{key}", node, supplied
        else:
            yield group, config[group], supplied


def check_groups(config: DictConfig) -> None:
    """Raise UserError for the first option that no constructor knows, or of the wrong type.

    Hydra's own part, if it is there, is not checked.
    """
    known = [field.name for field in fields(TrainConfig)]
    written = OmegaConf.to_container(config)  # unresolved
    assert isinstance(written, dict)
    written.pop("hydra", None)
    for key in map(str, written):
        if key not in known:  # added with a plus, which Hydra does not compare with the schema
            raise UserError(f"{key}: there is no such option.{did_you_mean(key, known)} Here are: {', '.join(known)}.")
    for key, value in sorted(flatten(written).items()):
        if value == "???":
            raise UserError(f"{key} is not set: give {key}=VALUE.")
    if not 0 <= config.seed < 2**63:
        raise UserError(f"seed={config.seed}: must be from 0 to 2^63 - 1.")
    if config.runs == "":
        raise UserError("runs is empty: name the folder for run folders, such as runs=runs.")
    objective.check(config.objective)
    for group in SUPPLIED:
        if config[group] is None:
            raise UserError(f"{group} is null: choose one with {group}=NAME.")
    if not config.pair:
        raise UserError("pair: no network chosen; give pair=NAME or network@pair.first=NAME.")
    found = []
    for path, node, supplied in nodes(config):  # importing takes seconds: what shows without it is told first
        given = _typed(node) if path == "trainer" else _resolved(node)
        check(given, path=path, allow=config.allow_modules, supplied=supplied, as_written=True)
        found.append((path, node if path == "trainer" else given, supplied))
    for path, given, supplied in found:
        check(given, path=path, allow=config.allow_modules, supplied=supplied)


def leaves_precision_open(config: DictConfig) -> bool:
    """Return whether the GPU that a run gets decides its precision.

    Args:
        config: not yet resolved.
    """
    trainer = config.trainer
    if not OmegaConf.is_config(trainer):
        return False
    return OmegaConf.is_interpolation(trainer, "precision") and str(trainer.get("device")) not in ("cpu", "mps")


def _typed(node: DictConfig) -> dict[str, Any]:
    """Without the defaults that hang on the device: to resolve those, torch is imported."""
    return {key: _resolved(node[key]) for key in map(str, node) if not OmegaConf.is_interpolation(node, key)}


def _resolved(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
