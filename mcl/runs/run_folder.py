"""The folder of one run: its owner, whether it is finished, where its files are."""

import contextlib
import itertools
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mcl.data.fingerprint import same_images
from mcl.errors import UserError
from mcl.files import write_error
from mcl.runs.checkpoints import Checkpoints
from mcl.runs.identity import WEIGHTS, changes, config_hash, differences, flatten
from mcl.runs.layout import (
    CHECKPOINTS,
    CONFIG,
    EARLIER,
    EVALUATION,
    EXPORT,
    FAILURE,
    LAST,
    METRICS,
    SIGNS_OF_A_RUN,
    SUMMARY,
)
from mcl.runs.lock import FolderLock
from mcl.runs.stored_config import plain, read_config, write_config
from mcl.runs.summary import read_summary
from mcl.version import code_version, library_versions

MADE_BY_A_RUN = (CONFIG, METRICS, SUMMARY, FAILURE, CHECKPOINTS, EVALUATION, EXPORT)


class RunFolder:
    """Files of one run: ``config.yaml``, ``metrics.jsonl``, ``summary.json`` or ``failure.json``, ``checkpoints/``.

    Unless the run is finished the folder is locked until ``close``, so that one process alone works in it.

    Args:
        path: the folder; need not exist.
        config: the resolved configuration of what is about to run; its ``resume`` says what to do with what is there.

    Raises:
        UserError: the folder holds a run of other settings, belongs to another process, or has no usable checkpoint
            where there were some.
    """

    def __init__(self, path: Path, config: DictConfig):
        self.path = path
        self.config = plain(config)
        self.hash = config_hash(config)
        self.start_over = config.resume.name == "never"
        self.forced = config.resume.name == "force"
        self.about: dict[str, Any] = {
            "config": self.config,
            "config_hash": self.hash,
            "code": code_version(),
            "libraries": library_versions(),
        }
        self.checkpoints = Checkpoints(
            path / CHECKPOINTS,
            path / METRICS,
            max_checkpoints=config.trainer.max_checkpoints,
            about=self.about,
        )
        self.saved: dict[str, Any] | None = None  # the checkpoint to go on from
        self.notes: list[str] = []  # worth saying before training starts
        self._lock: FolderLock | None = None
        self.summary = self._summary()
        if self.summary is None:
            self._lock = FolderLock(path)
            try:
                self.summary = self._summary()  # another process may have finished it meanwhile
                if self.summary is None and not self.start_over:
                    self.saved = self._checkpoint()
            except BaseException:
                self.close()
                raise
            if self.summary is not None:
                self.close()

    @property
    def finished(self) -> bool:
        """Whether the run of these settings has ended well."""
        return self.summary is not None

    def refuse_other_data(self, fingerprint: str) -> None:
        """Raise UserError when what the folder holds was made from other images than these."""
        found: Mapping[str, Any] = self.summary or self.saved or {}
        if not same_images(found.get("data", fingerprint), fingerprint):
            raise UserError(
                f"{self.path} belongs to other images than those of dataset.root: give this data a name of its own"
                " (dataset.name=NAME), another folder (hydra.run.dir=FOLDER), or start over (resume=never)."
            )

    def open(self) -> None:
        """Make the folder ready for training."""
        try:
            if self.start_over:
                self._forget()
            for left in _left_aside(self.path):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error
        write_config(self.path, self.config)

    def _forget(self) -> None:
        """Remove what a run made here, and nothing else.

        Raises:
            UserError: there are files of these names, and nothing says that a run made them.
        """
        present = [self.path / name for name in MADE_BY_A_RUN if (self.path / name).exists()]
        if present and not self._is_of_a_run():
            raise UserError(
                f"{self.path} holds {', '.join(place.name for place in present)}, but nothing says that a run made"
                " them: resume=never would remove them. Choose another hydra.run.dir, or remove them yourself."
            )
        for place in present:
            if place.name == CHECKPOINTS:
                for file in (*place.glob(LAST), *place.glob(EARLIER)):
                    file.unlink()
            else:
                shutil.rmtree(place) if place.is_dir() else place.unlink()

    def _is_of_a_run(self) -> bool:
        """Whether a configuration, a summary or a line of metrics of ours lies here."""
        written = self._written_config(broken_is_fatal=False) or {}
        if {"dataset", "pair", "loss", "trainer"} <= written.keys():
            return True
        for name, mark in ((SUMMARY, '"config_hash"'), (METRICS, '{"step"')):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if mark in (self.path / name).read_text()[:10_000]:
                    return True
        return False

    def close(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def forget_if_empty(self, added: Collection[Path]) -> None:
        """Remove the folder and those above it, as long as they are empty and were added for this run.

        Args:
            added: folders that did not exist before the run; others stay, whoever made them.
        """
        self.close()
        with contextlib.suppress(OSError):  # the first that is not empty
            for folder in itertools.takewhile(added.__contains__, (self.path, *self.path.parents)):
                folder.rmdir()

    def _summary(self) -> dict[str, Any] | None:
        """What the finished run found; None while it is not finished, or is to be gone on with by force."""
        if self.start_over:
            return None
        file = self.path / SUMMARY
        try:
            found = read_summary(self.path)
        except (OSError, UserError) as error:
            raise UserError(f"{file} is broken ({error}). Delete it to train on from the last checkpoint.") from error
        if found is None:
            return None
        theirs = found.get("config_hash")
        if theirs != self.hash:
            written = self._written_config() or {}
            if written.get("init_from") and config_hash(written) == theirs and not changes(written, self.config):
                return found  # the weights that it started from are no longer there, or it did not write down which
            if not self._accepts(written, str(file)):
                raise UserError(
                    f"{file} is of a run with another hash of its settings: {theirs}, not {self.hash}. Delete it to"
                    " train on from the last checkpoint, or choose another hydra.run.dir."
                )
            return None
        return found

    def _checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint to go on from, if its settings are these."""
        saved = self.checkpoints.newest()
        if saved is None:
            written = self._written_config()
            if written is not None:
                self._accepts(written, str(self.path))
            metrics = self.path / METRICS
            if metrics.is_file() and metrics.stat().st_size:
                self.notes.append(f"{self.path} has metrics but no checkpoint: training starts from the beginning.")
            return None
        if "optimizers" not in saved:
            raise UserError(
                f"{self.path} holds networks alone, as an imported checkpoint does, and cannot be gone on with. Start a"
                f" run from them with init_from={self.path}, or start over with resume=never."
            )
        theirs = saved.get("config")
        if isinstance(theirs, Mapping):
            if self._accepts(theirs, str(self.path)):
                saved.pop("meters", None)  # averages begun under other settings
            elif theirs.get(WEIGHTS):  # its own, if the file it started from is gone
                self.config[WEIGHTS] = theirs[WEIGHTS]
                self.hash = config_hash(self.config)
            written = self._written_config(broken_is_fatal=False)
            if written is None or differences(flatten(written), flatten(theirs)):
                self.notes.append(f"{self.path / CONFIG} was missing or altered: the checkpoint's settings count.")
        for what in ("code", "libraries"):
            then = saved.get(what)
            if isinstance(then, Mapping):
                self.notes += [f"since the checkpoint, {what}.{line}" for line in differences(then, self.about[what])]
        return saved

    def _accepts(self, theirs: Mapping[str, Any], where: str) -> bool:
        """Compare the settings a run had with the present ones. True when they differ and force accepts that.

        Raises:
            UserError: they differ in what changes the result, and nothing forces it.
        """
        changed = changes(theirs, self.config)
        harmless = [
            line
            for line in differences(flatten(theirs), flatten(self.config))
            if line not in changed and not line.startswith(("resume:", "runs:", "tracking.", f"{WEIGHTS}:"))
        ]
        if changed and not self.forced:
            also = [f"  {line}  (does not change the result)" for line in harmless]
            raise UserError(
                "\n".join([f"{where} holds a run of other settings:", *(f"  {line}" for line in changed), *also])
                + "\nChoose another hydra.run.dir, start over with resume=never, or go on all the same with"
                " resume=force."
            )
        self.notes += [f"going on with {line}" for line in harmless]
        self.notes += [f"forced to go on with {line}" for line in changed]
        return bool(changed)

    def _written_config(self, *, broken_is_fatal: bool = True) -> dict[str, Any] | None:
        """What config.yaml says, None where there is none."""
        try:
            return read_config(self.path)
        except (OSError, UserError, UnicodeDecodeError) as error:
            if broken_is_fatal:
                raise UserError(
                    f"{self.path / CONFIG} cannot be read ({error}). Delete it if you know what the folder holds."
                ) from error
            return None


def _left_aside(folder: Path) -> Iterator[Path]:
    """Files that an interrupted write left beside the files of a run; nobody else's."""
    for name in SIGNS_OF_A_RUN:
        yield folder / f"{name}.tmp"
    for pattern in (LAST, EARLIER):
        yield from (folder / CHECKPOINTS).glob(f"{pattern}.tmp")
