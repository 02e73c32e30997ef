"""One run: open its folder, train, write the summary, and report how it ended."""

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mcl.config import new_folders, objective
from mcl.config.dataset_fingerprint import data_fingerprint
from mcl.config.grouping import current_group, sweep_name
from mcl.data.dataset import Splits
from mcl.data.preprocessing import Preprocessing
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError
from mcl.runs.identity import choice_name, config_hash, identity, run_folder
from mcl.runs.metrics_file import count_kept_lines
from mcl.runs.run_folder import RunFolder
from mcl.tracking import Background, LocalFiles, RunInfo, Status, Terminal, Trackers, print_plan, print_summary
from mcl.training.agreement import check_same_classes, check_same_images
from mcl.training.initial_weights import load_initial_weights
from mcl.training.overview import device_name, plan
from mcl.training.setup import Parts
from mcl.training.signals import StopSignals
from mcl.training.trainer import Trainer
from mcl.version import code_version, library_versions

SIGNAL_ECHO = 2.0  # seconds to ignore a repeated signal: Ctrl-C reaches a process from the terminal and from torchrun
FAILED = 1

logger = logging.getLogger(__name__)


class Run:
    """Context manager for one run: records in the run folder how the run ended, and closes everything.

    Args:
        config: the composed configuration. Hydra's output folder is the run folder.

    Raises:
        UserError: the folder holds a run with other settings or data, or another process uses it.
    """

    def __init__(self, config: DictConfig):
        hydra = HydraConfig.get()
        if not str(hydra.run.dir).strip():
            raise UserError("hydra.run.dir is empty: set hydra.run.dir=FOLDER, or leave the option out.")
        self.config = config
        self.choices = dict(hydra.runtime.choices)
        overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
        assert isinstance(overrides, list)
        self.overrides = [str(override) for override in overrides]
        self.path = Path(hydra.runtime.output_dir)
        self.multirun = hydra.mode is RunMode.MULTIRUN
        self.processes = ProcessGroup()
        self.created_folders = set().union(*self.processes.all_gather_object(new_folders.added_for(self.path)))
        self.folder: RunFolder | None = None  # None except in the first process
        self.summary: dict[str, Any] | None = None
        self.saved: dict[str, Any] | None = None  # the checkpoint to resume from
        self.trackers = Trackers()
        self.signals = StopSignals(echo=SIGNAL_ECHO if self.processes.world_size > 1 else 0.0)

    def __enter__(self) -> "Run":
        try:
            if self.processes.first:
                self.folder = RunFolder(self.path, self.config)
                self.summary, self.saved = self.folder.summary, self.folder.saved
                if self.folder.finished:
                    self._check_same_data(self.folder)
            self.summary = self.processes.broadcast_object(self.summary)
            shared = self.processes.broadcast_state(self.saved and {**self.saved, "best": {}})
            if not self.processes.first:
                self.saved = shared  # without the best backbones, which only the first process saves
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        self.finished = self.summary is not None
        return self

    def announce(self, parts: Parts) -> None:
        """Load initial weights and print an overview, before any image is read."""
        if self.saved is None and self.processes.first:  # data_parallel copies them to the others
            load_initial_weights(parts.learner.cohort, self.config.init_from, self.config.init_weights)
        if self.folder is not None:
            notes = dict.fromkeys([*parts.notes, *self.folder.notes])
            world_size = self.processes.world_size
            saved_world_size = (self.saved or {}).get("processes", world_size)
            if saved_world_size != world_size:
                notes[
                    f"the checkpoint was written by {saved_world_size} processes; this run continues with {world_size}."
                ] = None
            print_plan(plan(self.config, parts, self.choices, self.path), notes=list(notes))

    def fit(self, parts: Parts, splits: Splits) -> None:
        """Train from the start or from the last checkpoint, and write the summary."""
        fingerprint = parts.dataset.fingerprint()
        check_same_images(self.processes, parts.dataset, splits, fingerprint)
        if self.folder is not None:
            if self.saved is not None:
                check_same_classes(
                    self.saved.get("classes", parts.dataset.spec.classes), parts.dataset.spec.classes, str(self.path)
                )
            self.folder.check_same_data(fingerprint)
        trainer = parts.build_trainer(splits, seed=self.config.seed, data=fingerprint, processes=self.processes)
        if self.saved is not None:
            trainer.state.load_state_dict(self.saved)
            self.saved = None  # free it: its tensors are in use or copied
        checkpoints = None
        if self.folder is not None:
            self.folder.saved = None
            self.folder.open()
            checkpoints = self.folder.checkpoints
            checkpoints.about |= {
                "classes": list(parts.dataset.spec.classes),
                "preprocessing": Preprocessing.of(parts.dataset).as_dict(),
            }
            self.trackers.extend([LocalFiles(), Terminal(), *map(Background, parts.trackers.values())])
            self.trackers.start(self._info(self.folder, parts, trainer))
        code = code_version()  # before training, as the files may change meanwhile
        with self.signals:
            trainer.fit(checkpoints, self.trackers, self.signals)
        self.summary = {
            "seed": self.config.seed,
            "config_hash": config_hash(self.config) if self.folder is None else self.folder.hash,
            "code": code,
            "libraries": library_versions(),
            "device": device_name(parts.options.device),
            "data": fingerprint,
            "processes": self.processes.world_size,
            **trainer.summary(),
        }
        self.summary["objective"] = objective.value(self.summary, self.config.objective)
        remote = Trackers(tracker for tracker in self.trackers if isinstance(tracker, Background))
        Trackers(tracker for tracker in self.trackers if tracker not in remote).finish("finished", self.summary)
        self.trackers = remote

    def finish(self, exported: Sequence[Path] = ()) -> None:
        """Close the remote trackers, which may upload exported networks first."""
        if exported:
            self.trackers.keep(exported)
        self.trackers.finish("finished", self.summary)
        self.trackers.clear()

    def report(self) -> float | None:
        """Print the summary if the run had already finished before this command; otherwise it has been printed.

        Returns:
            The ``objective`` in percent, for a search to maximize; None without a validation split.
        """
        assert self.summary is not None, "there is nothing to report before fit"
        if self.finished and self.processes.first:
            print_summary(self.summary, self.path)
        return objective.value(self.summary, self.config.objective)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.folder is None:
            if error is not None:
                self._raise_for_all(error)
            return
        if error is not None:
            status: Status = "failed" if isinstance(error, Exception) else "interrupted"
            try:
                self.trackers.finish(status, error=self.processes.lost_another(error) or error)
            except UserError as tracker_error:
                logger.warning("%s", tracker_error)  # the error that ended the run is the one to raise
            self.folder.remove_created_folders(self.created_folders)
        self.folder.close()
        if error is not None:
            self._raise_for_all(error)

    def _raise_for_all(self, error: BaseException) -> None:
        """Replace the error if needed: only one process reports it, and a lost process is named as the cause."""
        lost = self.processes.lost_another(error)
        if isinstance(error, UserError) or lost is not None:
            if not self.processes.should_report():
                raise SystemExit(FAILED) from error
            if lost is not None:
                raise lost from error

    def _info(self, folder: RunFolder, parts: Parts, trainer: Trainer) -> RunInfo:
        return RunInfo(
            run_dir=self.path,
            name=" ".join(self._name()),
            run_id=folder.hash,
            total_steps=trainer.progress.total_steps,
            total_epochs=trainer.progress.total_epochs,
            networks=parts.networks,
            config=folder.config,
            overrides=self.overrides,
            code=folder.about["code"],
            group=current_group() or (sweep_name(sys.argv[1:]) if self.multirun else None),
            job_type="train",
            tags=tuple(self._tags()),
            resumed_step=trainer.progress.step,
            resumed_lines=count_kept_lines(self.path, trainer.progress.step, trainer.progress.evaluation_is_due),
            resumed_before_evaluation=trainer.progress.evaluation_is_due,
        )

    def _name(self) -> Iterator[str]:
        """Yield ``digits/resnet8/lmcl``, ``seed=0``, and every other override that can change the result."""
        yield run_folder(self.config, self.choices).rpartition("/")[0]
        yield f"seed={self.config.seed}"
        settings = identity(self.config)
        for override in self.overrides:
            key = override.lstrip("+").partition("=")[0]
            if key != "seed" and key in settings:
                yield override

    def _tags(self) -> Iterator[str]:
        """Yield the choices of the groups that distinguish runs."""
        yield choice_name(self.choices.get("dataset"), self.config.dataset)
        yield choice_name(self.choices.get("loss"), self.config.loss)
        yield from dict.fromkeys(
            choice_name(self.choices.get(f"network@pair.{key}"), node) for key, node in self.config.pair.items()
        )
        for group in ("experiment", "speed", "debug"):
            if self.choices.get(group):
                yield str(self.choices[group])

    def _check_same_data(self, folder: RunFolder) -> None:
        fingerprint = data_fingerprint(self.config)
        if fingerprint is not None:  # None if the images are gone; the results can still be printed
            folder.check_same_data(fingerprint)
