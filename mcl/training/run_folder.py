"""The folder of one run: who it belongs to, whether it is finished, where its files are."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config.identity import config_hash, differences, identity
from mcl.errors import UserError
from mcl.files import write_atomically

MADE_BY_A_RUN = ("config.yaml", "metrics.jsonl", "summary.json", "failure.json", "checkpoints")


class RunFolder:
    """Files of one run: ``config.yaml``, ``metrics.jsonl``, ``summary.json`` or ``failure.json``, ``checkpoints/``.

    Args:
        path: the folder; need not exist.
        config: the resolved configuration of what is about to run.
        start_over: whatever is there belongs to a run that shall be forgotten.

    Raises:
        UserError: the folder holds a run of other settings.
    """

    def __init__(self, path: Path, config: DictConfig, *, start_over: bool):
        self.path = path
        self.config = config
        self.hash = config_hash(config)
        self.start_over = start_over
        self.checkpoint = path / "checkpoints" / "last.pt"
        if not start_over:
            self._refuse_other_settings()

    def summary(self) -> dict[str, Any] | None:
        """What the finished run found, or None while it is not finished."""
        file = self.path / "summary.json"
        if self.start_over or not file.is_file():
            return None
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise UserError(f"{file} is broken ({error}). Delete it to train on from the last checkpoint.") from error
        assert isinstance(found, dict)
        return found

    def refuse_other_data(self, summary_or_checkpoint: Mapping[str, Any], fingerprint: str) -> None:
        """Raise UserError when what the folder holds was made from other images than these."""
        if summary_or_checkpoint.get("data", fingerprint) != fingerprint:
            raise UserError(
                f"{self.path} belongs to other images than those of dataset.root: give this data a name of its own"
                " (dataset.name=NAME), another folder (hydra.run.dir=FOLDER), or start over (resume=never)."
            )

    def open(self) -> bool:
        """Make the folder ready for training. True when there is a checkpoint to go on from."""
        if self.start_over:
            for name in MADE_BY_A_RUN:
                place = self.path / name
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(self.config, resolve=True))
        return self.checkpoint.is_file()

    def forget_if_empty(self) -> None:
        """Remove the folder, and those above it, as long as they are empty: a run that never began leaves no trace."""
        with contextlib.suppress(OSError):  # the first that is not empty
            for folder in (self.path, *self.path.parents):
                folder.rmdir()

    def _refuse_other_settings(self) -> None:
        file = self.path / "config.yaml"
        if not file.is_file():
            return
        try:
            theirs = OmegaConf.load(file)
            assert isinstance(theirs, DictConfig)
            changed = differences(identity(theirs), identity(self.config))
        except Exception as error:  # YAML and OmegaConf raise many kinds for a damaged file
            raise UserError(f"{file} cannot be read ({error}). Delete it if you know what the folder holds.") from error
        if changed:
            raise UserError(
                f"{self.path} holds a run of other settings:\n  "
                + "\n  ".join(changed)
                + "\nChoose another hydra.run.dir, or start over with resume=never."
            )
