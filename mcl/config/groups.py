"""Which parts of a configuration are built, and what each is given beside its own options."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config.instantiate import check
from mcl.config.schema import TrainConfig
from mcl.errors import UserError, did_you_mean

SUPPLIED: dict[str, tuple[str, ...]] = {
    "dataset": (),
    "pair": ("num_classes", "in_channels"),
    "sampler": (),
    "loss": ("widths",),
    "optimizer": ("params",),
    "schedule": (),
    "trainer": (),
    "tracking": (),
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
    """Raise UserError for the first option that no constructor knows, or of the wrong type."""
    known = [field.name for field in fields(TrainConfig)]
    for key in map(str, config):
        if key not in known:  # added with a plus, which Hydra does not compare with the schema
            raise UserError(f"{key}: there is no such option.{did_you_mean(key, known)} Here are: {', '.join(known)}.")
    for key in sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"{key} is not set: give {key}=VALUE.")
    if config.seed < 0:
        raise UserError(f"seed={config.seed}: must not be negative.")
    if not config.pair:
        raise UserError("pair: no network chosen; give pair=NAME or network@pair.first=NAME.")
    for path, node, supplied in nodes(config):
        check(node, path=path, allow=config.allow_modules, supplied=supplied)
