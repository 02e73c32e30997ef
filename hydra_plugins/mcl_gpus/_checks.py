"""Compare the jobs of a multirun with one another and with finished runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config.dataset_fingerprint import data_fingerprint
from mcl.console import display_path
from mcl.errors import UserError
from mcl.runs.identity import differences, identity


class Fingerprints:
    """The fingerprints of the images of many jobs, each computed once."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def find(self, config: DictConfig) -> str | None:
        """Return the fingerprint for a job, None if there are no images, or ``""`` if only the job can compute it."""
        node = OmegaConf.to_container(config.dataset, resolve=True)
        key = json.dumps([node, list(config.allow_modules)], default=str)
        if key not in self._known:
            try:
                self._known[key] = data_fingerprint(config)
            except Exception:  # an error in a user's own class: the job reports it, with its traceback
                self._known[key] = ""
        return self._known[key]

    def agree(self, config: DictConfig, stored: Any) -> bool:
        """Return whether a finished run with this fingerprint counts as the job's, as in train.py."""
        return stored is None or self.find(config) in (None, stored)


def check_distinct_folders(
    configs: Sequence[DictConfig], folders: Sequence[Path], labels: Sequence[str], fingerprints: Fingerprints
) -> None:
    """Raise UserError if two jobs with one folder are different runs; equal jobs run once.

    Args:
        configs, folders: configuration and folder of each job.
        labels: the options that differ between the jobs, for messages.
        fingerprints: fingerprint of the images of each job.
    """
    first: dict[Path, int] = {}
    for i, folder in enumerate(folders):
        j = first.setdefault(folder, i)
        if i == j:
            continue
        if changed := differences(identity(configs[j]), identity(configs[i])):
            raise UserError(
                f"{labels[j]} and {labels[i]} are different runs ({'; '.join(changed)}) in one folder,"
                f" {display_path(folder)}: leave out hydra.sweep.subdir and hydra.sweep.dir, so that every run has its"
                " own folder."
            )
        if fingerprints.find(configs[j]) != fingerprints.find(configs[i]):
            raise UserError(
                f"{labels[j]} and {labels[i]} have different images, but one folder, {display_path(folder)}:"
                " start a multirun for each, and name its data with dataset.name=NAME."
            )
