"""The objective of a search: a number of the validation part. The test part must not choose."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from mcl.config.instantiate import build
from mcl.errors import UserError, did_you_mean

NAMES = ("validation/top1_last", "validation/top1_best")
NO_SEARCH = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # takes every job as it was typed


def check(name: str) -> None:
    """Raise UserError unless ``name`` is one of `NAMES`."""
    if name.startswith("test"):
        raise UserError(
            f"objective={name}: settings chosen on the test part make its accuracy too good to be true, so a search"
            f" maximises one of {', '.join(NAMES)}."
        )
    if name not in NAMES:
        raise UserError(f"objective={name}: one of {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")


def check_search(config: DictConfig, sweeper: Mapping[str, Any]) -> None:
    """Raise UserError when a sweeper searches, and its jobs have nothing to be judged by, or the worst would win.

    Args:
        config: of a job.
        sweeper: the node ``hydra.sweeper``.
    """
    if sweeper.get("_target_") == NO_SEARCH:
        return
    direction = sweeper.get("direction", "maximize")
    if getattr(direction, "name", direction) != "maximize":
        raise UserError(
            f"hydra.sweeper.direction={getattr(direction, 'name', direction)}: {config.objective} is an accuracy, and"
            " the only objective. Give hydra.sweeper.direction=maximize."
        )
    if not _has_validation(config):
        raise UserError(
            f"objective={config.objective}: the dataset has no validation part to search by. Hold one out of the"
            " training images: dataset.validation=0.1."
        )


def value(summary: Mapping[str, Any], name: str) -> float | None:
    """What a finished run reached: the mean over its networks, in percent; None where it had no validation part.

    Args:
        summary: as in ``summary.json``.
        name: one of `NAMES`.
    """
    found = [network.get(name.replace("/", "_")) for network in summary["networks"]]
    return None if None in found else float(sum(found) / len(found))


def _has_validation(config: DictConfig) -> bool:
    if config.dataset.get("validation"):
        return True
    dataset = build(config.dataset, path="dataset", allow=config.allow_modules)  # it may come with one; reads no image
    return bool(dataset.spec.has_validation)
