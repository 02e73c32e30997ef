"""Interpolations of the YAML files: ``${run_folder:}``, ``${basename:PATH}``, ``${precision_of:DEVICE}`` ..."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.accelerators import surely_cpu
from mcl.config import new_folders, objective
from mcl.config.checks import check_targets, check_without_imports
from mcl.config.instantiate import build
from mcl.config.trial_build import try_building
from mcl.errors import UserError
from mcl.files import expand_home
from mcl.program import program
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.identity import config_hash, run_folder
from mcl.runs.summary import intact_summary
from mcl.runs.weights_places import checksum_of_place, places_of

NO_SEARCH = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # runs every job of the command line


def register() -> None:
    """Register the interpolations; calling it again is harmless."""
    for resolver in (
        _run_folder,
        _expand_home,
        program,
        _basename,
        _checksum_of,
        _checksums_of_weights,
        _precision_of,
        _channels_last_of,
    ):
        OmegaConf.register_new_resolver(resolver.__name__.removeprefix("_"), resolver, replace=True)


def leaves_precision_open(config: DictConfig) -> bool:
    """Return whether the GPU that a run gets decides its precision.

    Args:
        config: not yet resolved.
    """
    trainer = config.trainer
    if not OmegaConf.is_config(trainer):
        return False
    return OmegaConf.is_interpolation(trainer, "precision") and str(trainer.get("device")) not in ("cpu", "mps")


def _run_folder(*, _root_: DictConfig) -> str:
    # Checks run here because Hydra creates the folder before the task starts: a mistyped option leaves none behind.
    check_without_imports(_root_)
    folder = run_folder(_root_, _root_.hydra.runtime.choices)
    if not _has_finished(_root_, Path(_root_.hydra.sweep.dir, folder)):
        check_targets(_root_)
        try_building(_root_)
    check_search(_root_, _root_.hydra.sweeper)
    _check_initial_weights(_root_.init_from, _root_.init_weights)
    _check_weights(_root_.pair, _root_.weights_checksums)
    if ".." in Path(folder).parts or Path(folder).is_absolute():
        raise UserError(
            f"{_root_.runs}/{folder} would not lie in {_root_.runs}: give dataset.name, and whatever else names the"
            " folder, a name without a path, or choose a folder with hydra.run.dir=FOLDER."
        )
    new_folders.note(Path(_root_.hydra.sweep.dir, folder))
    return folder


def _check_initial_weights(places: Any, checksums: Any) -> None:
    """Raise UserError unless every place that initial weights come from has a checksum."""
    several = isinstance(places, Mapping)
    for key, place in places.items() if several else [("", places)]:
        checksum = checksums.get(key) if isinstance(checksums, Mapping) else checksums
        if place is not None and checksum is None:
            raise UserError(
                f"init_from={f'{{{key}: {place}}}' if several else place}: {checkpoint_of(Path(place))} does not exist"
                " or is not a checkpoint; give a run folder or a checkpoint."
            )


def _check_weights(pair: DictConfig, checksums: Any) -> None:
    """Raise UserError unless every file or run that ``pair.NETWORK.weights`` names has a checksum."""
    for key, place in places_of(pair).items():
        if (checksums or {}).get(key) is None:
            raise UserError(
                f"pair.{key}.weights={pair[key].weights}: there is no file {place.file}; give a file of weights, or a"
                " run as RUN, RUN:first or RUN:first:best."
            )


def _has_finished(config: DictConfig, folder: Path) -> bool:
    """Return whether a run with these settings finished in a folder: they passed the checks that take seconds."""
    summary = intact_summary(folder)
    return summary is not None and summary.get("config_hash") == config_hash(config)


def check_search(config: DictConfig, sweeper: Mapping[str, Any]) -> None:
    """Raise UserError if a sweeper goes the wrong way, or has no validation split to compare jobs on."""
    if sweeper.get("_target_") == NO_SEARCH:
        return
    objective.check_directions(config.objective, sweeper.get("direction", objective.directions(config.objective)))
    if config.dataset.get("validation"):
        return
    # Some datasets come with a validation split; no image is read to find out.
    if not build(config.dataset, path="dataset", allow=config.allow_modules).spec.has_validation:
        raise UserError(
            f"objective={config.objective}: the dataset has no validation split to search by. Hold one out of the"
            " training images: dataset.validation=0.1."
        )


def _expand_home(path: Any) -> str:
    return os.path.expanduser(str(path))


def _basename(path: Any) -> str | None:
    return expand_home(str(path)).resolve().name if path is not None else None


def _checksum_of(place: Any) -> Any:
    """Return the checksum of the weights at a place, or for a mapping those of its places."""
    if isinstance(place, Mapping):
        return {key: _checksum_of(each) for key, each in place.items()}
    return None if place is None else read_checksum(checkpoint_of(Path(place)))


def _checksums_of_weights(*, _root_: DictConfig) -> dict[str, str | None] | None:
    """Return the checksums of the places that ``pair.NETWORK.weights`` names, by network; None if none does."""
    return {key: checksum_of_place(place) for key, place in places_of(_root_.pair).items()} or None


# Defaults that depend on the device are resolved inside the configuration, so that config.yaml and the identity of a
# run hold the precision that it really had. torch is imported only when one of them depends on a GPU.


def _precision_of(device: str) -> str:
    if surely_cpu(device):
        return "float32"
    from mcl.devices import default_precision

    return default_precision(device)


def _channels_last_of(device: str) -> bool:
    if surely_cpu(device):
        return True
    from mcl.devices import default_channels_last

    return default_channels_last(device)
