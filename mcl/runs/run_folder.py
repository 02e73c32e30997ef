"""The folder of one run: who works in it, whether it is finished, and what to resume from."""

import contextlib
import itertools
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mcl.console import summarize
from mcl.data.fingerprint import same_images
from mcl.errors import UserError
from mcl.files import write_error
from mcl.runs import layout
from mcl.runs.checkpoints import Checkpoints
from mcl.runs.identity import WEIGHTS, changes, config_hash, differences, flatten
from mcl.runs.lock import FolderLock
from mcl.runs.pair import frozen_keys, frozen_stages
from mcl.runs.presence import Presence
from mcl.runs.renames import current_names
from mcl.runs.stored_config import plain, read_config, write_config
from mcl.runs.summary import read_summary
from mcl.untrusted.limits import MAX_METRICS
from mcl.untrusted.regular_files import open_file, refuse_outside_links
from mcl.version import code_version, library_versions

MADE_BY_A_RUN = (
    *layout.SIGNS_OF_A_RUN,
    layout.IMPORTED,
    layout.UNREADABLE,
    layout.CHECKPOINTS,
    layout.EVALUATION,
    layout.EXPORT,
)


class RunFolder:
    """The files of one run, and whether it is finished or can be resumed.

    Unless the run is finished, the folder is locked until `close`, so that only one process works in it.

    Args:
        path: the folder; need not exist.
        config: the resolved configuration of the run to start; its ``resume`` decides what happens to existing files.

    Raises:
        UserError: The folder holds a run with other settings, is in use by another process, or none of its checkpoints
            is intact, or a link in the folder leads elsewhere.
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
            path / layout.CHECKPOINTS,
            path / layout.METRICS,
            max_checkpoints=config.trainer.max_checkpoints,
            about=self.about,
        )
        self.saved: dict[str, Any] | None = None  # the checkpoint to resume from
        self.notes: list[str] = []  # printed before training starts
        self._lock: FolderLock | None = None
        refuse_outside_links(path, layout.WRITTEN)
        self._refuse_foreign_files()
        self.summary = self._summary()
        if self.summary is None:
            self._lock = FolderLock(path)
            try:
                self.checkpoints.home = Presence(path)
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
        """Whether a run with these settings has finished."""
        return self.summary is not None

    def check_same_data(self, fingerprint: str) -> None:
        """Raise UserError if the run in the folder has used images other than these."""
        stored: Mapping[str, Any] = self.summary or self.saved or {}
        if not same_images(stored.get("data", fingerprint), fingerprint):
            raise UserError(
                f"{self.path} holds a run that was trained on other images than those in dataset.root. Use another name"
                " (dataset.name=NAME), another folder (hydra.run.dir=FOLDER), or start over (resume=never)."
            )

    def open(self) -> None:
        """Prepare the folder for training.

        Raises:
            UserError: A file cannot be written or removed, a file is where the checkpoints would go, or
                ``resume=never`` would remove files that no run made.
        """
        checkpoints = self.path / layout.CHECKPOINTS
        if checkpoints.exists() and not checkpoints.is_dir():
            raise UserError(f"{checkpoints} is a file, but checkpoints go to a folder of this name: move it away.")
        try:
            if self.start_over:
                self._remove_run()
            for file in _unfinished_writes(self.path):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error
        write_config(self.path, self.config)

    def _refuse_foreign_files(self) -> None:
        """Raise UserError if the folder holds files that no run makes, and no sign of a run; or cannot hold a run."""
        try:
            names = {entry.name for entry in self.path.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise write_error(self.path, error) from error
        if layout.CHECKPOINTS in names and not (self.path / layout.CHECKPOINTS).is_dir():
            raise UserError(
                f"{self.path / layout.CHECKPOINTS} is a file, where the checkpoints would go: remove it, or choose"
                " another folder with hydra.run.dir=FOLDER."
            )
        if names.intersection((*layout.SIGNS_OF_A_RUN, layout.CHECKPOINTS)):
            return
        foreign = sorted(name for name in names if not name.startswith(".") and not _may_precede_a_run(name))
        if foreign:
            raise UserError(
                f"{self.path} holds {summarize(foreign, 3)}, but no run: a run there would mix its files with them."
                " Choose a new or empty folder with hydra.run.dir=FOLDER, or omit the option."
            )

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove_created_folders(self, created: Collection[Path]) -> None:
        """Release the lock and remove the folder and its parents, as far as they are empty and were created by the run.

        Args:
            created: folders that did not exist before the run; no other folder is removed.
        """
        self.close()
        if self.checkpoints.home is not None and self.checkpoints.home.lost():
            return  # what is there now is not ours
        with contextlib.suppress(OSError):  # the first that is not empty
            for folder in itertools.takewhile(created.__contains__, (self.path, *self.path.parents)):
                folder.rmdir()

    def _remove_run(self) -> None:
        """Remove the files of a run, and no others.

        Raises:
            UserError: There are files of these names, but no sign that a run made them.
        """
        present = [self.path / name for name in MADE_BY_A_RUN if (self.path / name).exists()]
        if present and not self._holds_run():
            raise UserError(
                f"{self.path} holds {', '.join(place.name for place in present)}, which do not look like the files of"
                " a run, so resume=never does not delete them. Use hydra.run.dir=FOLDER for another folder, or delete"
                " them yourself."
            )
        for place in present:
            if place.name == layout.CHECKPOINTS:
                for file in (*place.glob(layout.LAST), *place.glob(layout.EARLIER)):
                    file.unlink()
            elif place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink()

    def _holds_run(self) -> bool:
        """Return whether a run's configuration, summary or metrics lie here."""
        config = self._stored_config(broken_is_fatal=False) or {}
        if {"dataset", "pair", "loss", "trainer"} <= config.keys():
            return True
        for name, mark in ((layout.SUMMARY, b'"config_hash"'), (layout.METRICS, b'{"step"')):
            with contextlib.suppress(OSError, UserError), open_file(self.path / name, MAX_METRICS) as file:
                if mark in file.read(10_000):
                    return True
        return False

    def _summary(self) -> dict[str, Any] | None:
        """Return the results of the finished run; None if it is not finished or the user forces it to continue."""
        if self.start_over:
            return None
        file = self.path / layout.SUMMARY
        try:
            summary = read_summary(self.path)
        except (OSError, UserError) as error:
            raise UserError(f"{file} is broken ({error}). Delete it to resume from the last checkpoint.") from error
        if summary is None or summary.get("config_hash") == self.hash:
            return summary
        stored_hash, config = summary.get("config_hash"), self._stored_config() or {}
        if config.get("init_from") and config_hash(config) == stored_hash and not changes(config, self.config):
            return summary  # the weights that it started from no longer exist, or their checksum was not recorded
        if not self._accepts(config, str(file)):
            raise UserError(
                f"{file} belongs to a run with other settings (hash {stored_hash}, not {self.hash}). Delete it to"
                " resume from the last checkpoint, or use hydra.run.dir=FOLDER."
            )
        return None

    def _checkpoint(self) -> dict[str, Any] | None:
        """Return the checkpoint to resume from, if there is one and its settings are these."""
        saved = self.checkpoints.newest()
        if saved is None:
            config = self._stored_config()
            if config is not None:
                self._accepts(config, str(self.path))
            metrics = self.path / layout.METRICS
            if metrics.is_file() and metrics.stat().st_size:
                self.notes.append(f"{self.path} has metrics but no checkpoint: training starts from the beginning.")
            return None
        if "optimizers" not in saved:
            raise UserError(
                f"The checkpoint in {self.path} has no optimizer state (an imported checkpoint never has), so it cannot"
                f" be resumed. Start a run from its networks with init_from={self.path}, or start over with"
                " resume=never."
            )
        settings = saved.get("config")
        if isinstance(settings, Mapping):
            if self._accepts(settings, str(self.path)):
                saved.pop("meters", None)  # averages under other settings
                stored = current_names(settings)
                if _class_of(stored.get("optimizer")) != _class_of(self.config["optimizer"]):
                    saved.pop("optimizers")
                    self.notes.append("the optimizer is another one: its state starts anew")
                elif _frozen(stored.get("pair")) != _frozen(self.config["pair"]):  # equal networks would swap momentum
                    saved.pop("optimizers")
                    self.notes.append("other networks are frozen: the state of the optimizer starts anew")
            elif settings.get(WEIGHTS):  # its own, if the file it started from no longer exists
                self.config[WEIGHTS] = settings[WEIGHTS]
                self.hash = config_hash(self.config)
            config = self._stored_config(broken_is_fatal=False)
            if config is None or differences(flatten(config), flatten(settings)):
                self.notes.append(
                    f"{self.path / layout.CONFIG} was missing or altered: the checkpoint's settings count."
                )
        for versions in ("code", "libraries"):
            then = saved.get(versions)
            if isinstance(then, Mapping):
                changed = differences(then, self.about[versions])
                self.notes += [f"since the checkpoint, {versions}.{line}" for line in changed]
        return saved

    def _accepts(self, stored: Mapping[str, Any], place: str) -> bool:
        """Compare stored settings with the present ones; return True if ``resume=force`` accepts a difference.

        Raises:
            UserError: They differ in what changes the result, without ``resume=force``.
        """
        changed = changes(stored, self.config)
        harmless = [
            line
            for line in differences(flatten(stored), flatten(self.config))
            if line not in changed and not line.startswith(("resume:", "runs:", "tracking", f"{WEIGHTS}:"))
        ]
        if changed and not self.forced:
            lines = [f"  {line}" for line in changed]
            lines += [f"  {line}  (does not change the result)" for line in harmless]
            raise UserError(
                "\n".join([f"{place} holds a run of other settings:", *lines])
                + "\nUse another folder (hydra.run.dir=FOLDER), start over (resume=never), or resume anyway"
                " (resume=force)."
            )
        self.notes += [f"resuming with {line}" for line in harmless]
        self.notes += [f"forced to resume with {line}" for line in changed]
        return bool(changed)

    def _stored_config(self, *, broken_is_fatal: bool = True) -> dict[str, Any] | None:
        """Return the content of ``config.yaml``; None if there is none."""
        try:
            return read_config(self.path)
        except (OSError, UserError) as error:
            if not broken_is_fatal:
                return None
            file = self.path / layout.CONFIG
            raise UserError(
                f"{file} cannot be read ({error}). Restore it, or delete it to continue with the settings of this"
                " command."
            ) from error


def _class_of(part: Any) -> Any:
    """Return the ``_target_`` of a part of the settings."""
    return part.get("_target_") if isinstance(part, Mapping) else None


def _frozen(pair: Any) -> Any:
    """Return which networks are not trained, and how many first stages of others."""
    return (frozen_keys(pair), frozen_stages(pair)) if isinstance(pair, Mapping) else None


def _may_precede_a_run(name: str) -> bool:
    """Return whether a file may lie in a folder before its run: a lock, or the output of the command that starts it."""
    return name in MADE_BY_A_RUN or name in (layout.LOCK, "wandb") or name.endswith((".tmp", ".log", ".out", ".err"))


def _unfinished_writes(folder: Path) -> Iterator[Path]:
    """Yield the temporary files that a killed process left beside the files of a run."""
    for name in layout.SIGNS_OF_A_RUN:
        yield folder / f"{name}.tmp"
    for pattern in (layout.LAST, layout.EARLIER):
        yield from (folder / layout.CHECKPOINTS).glob(f"{pattern}.tmp")
