"""Interpolations of the YAML files: ``${run_folder:}``, ``${basename:PATH}``, ``${precision_of:DEVICE}`` ..."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config import new_folders
from mcl.config.groups import check_groups
from mcl.config.objective import check_search
from mcl.errors import UserError
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.identity import run_folder


def register() -> None:
    """Make the interpolations known; again is harmless."""
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("basename", _basename, replace=True)
    OmegaConf.register_new_resolver("checksum_of", _checksum_of, replace=True)
    OmegaConf.register_new_resolver("precision_of", _precision_of, replace=True)
    OmegaConf.register_new_resolver("channels_last_of", _channels_last_of, replace=True)


def _run_folder(*, _root_: DictConfig) -> str:
    # Checked here because Hydra makes the folder before the task starts: a mistyped option leaves none behind.
    check_groups(_root_)
    check_search(_root_, _root_.hydra.sweeper)
    if _root_.init_from is not None and _root_.init_weights is None:
        raise UserError(
            f"init_from={_root_.init_from}: {checkpoint_of(Path(_root_.init_from))} is not there, or is not a"
            " checkpoint; give a run folder or a checkpoint."
        )
    folder = run_folder(_root_, _root_.hydra.runtime.choices)
    if ".." in Path(folder).parts or Path(folder).is_absolute():
        raise UserError(
            f"{_root_.runs}/{folder} would not lie in {_root_.runs}: give dataset.name, and what else names the folder,"
            " a name and no path, or choose a folder with hydra.run.dir=FOLDER."
        )
    new_folders.note(Path(_root_.hydra.sweep.dir, folder))
    return folder


def _basename(path: Any) -> str | None:
    return Path(str(path)).expanduser().resolve().name if path is not None else None


def _checksum_of(place: str | None) -> str | None:
    return None if place is None else read_checksum(checkpoint_of(Path(place)))


# The defaults that hang on the device are resolved inside the configuration, so that config.yaml and the identity of
# a run say which precision it really had. torch is imported only when one of them is needed.


def _precision_of(device: str) -> str:
    from mcl.devices import default_precision

    return default_precision(device)


def _channels_last_of(device: str) -> bool:
    from mcl.devices import default_channels_last

    return default_channels_last(device)
