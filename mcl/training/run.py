"""One run: open its folder, train, write the summary, and report how it ended."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mcl.config import new_folders, objective
from mcl.config.dataset_fingerprint import data_fingerprint
from mcl.config.grouping import current_group, multirun_name, varied_options
from mcl.config.targets import resolve
from mcl.data.dataset import Splits
from mcl.data.preprocessing import Preprocessing
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError
from mcl.files import expand_home
from mcl.runs.checkpoint_files import expand_places, read_checksum
from mcl.runs.hydra_folder import write_hydra_folder
from mcl.runs.identity import config_hash
from mcl.runs.metrics_file import count_kept_lines
from mcl.runs.run_folder import RunFolder
from mcl.runs.secret_values import without_secrets
from mcl.runs.unreadable import add_unreadable
from mcl.signals import Stopped, program_signals
from mcl.tracking import (
    Background,
    LocalFiles,
    RunInfo,
    Status,
    Terminal,
    Trackers,
    print_notes,
    print_plan,
    print_summary,
)
from mcl.training.agreement import check_same_classes, check_same_images
from mcl.training.estimates import check_disk, check_reader_memory
from mcl.training.initial_weights import load_initial_weights
from mcl.training.network_weights import weights_of
from mcl.training.overview import device_name, plan
from mcl.training.pruning import Pruned, Pruner
from mcl.training.run_labels import run_name, run_tags
from mcl.training.setup import Parts
from mcl.training.trainer import Trainer
from mcl.version import code_version, library_versions

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
            raise UserError("hydra.run.dir is empty: give a folder, or omit the option.")
        _refuse_place_in_data(config, Path(hydra.runtime.output_dir))
        self.config = config
        self.choices = dict(hydra.runtime.choices)
        overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
        assert isinstance(overrides, list)
        self.overrides = [str(override) for override in overrides]
        self.path = Path(hydra.runtime.output_dir)
        multirun = hydra.mode is RunMode.MULTIRUN
        self.group = current_group() or (multirun_name(sys.argv[1:]) if multirun else None)
        self.varied = varied_options() if self.group else []
        if multirun:  # also what a configuration file varies
            self.varied = list(dict.fromkeys([*self.varied, *(hydra.sweeper.get("params") or {})]))
        self.processes = ProcessGroup()
        self.added = set().union(*self.processes.all_gather_object(new_folders.made_for(self.path)))
        self.folder: RunFolder | None = None  # in the first process only
        self.summary: dict[str, Any] | None = None
        self.saved: dict[str, Any] | None = None  # the checkpoint to resume from
        self.overview: list[tuple[str, str]] = []
        self.notes: list[str] = []  # below the overview, or above the result of a finished run
        self.trackers = Trackers()
        self.signals = program_signals()
        self.began_at_once = self.signals.at_once

    def __enter__(self) -> "Run":
        try:
            self.signals.install()
            self.signals.cleanups.append(self._let_go)
            self.signals.at_once = False
            if self.processes.first:
                with self.signals:
                    self.folder = RunFolder(self.path, self.config)
                self.summary, self.saved = self.folder.summary, self.folder.saved
                if self.folder.finished:
                    self._check_same_data(self.folder)
            self.summary = self.processes.broadcast_object(self.summary)
            shared = self.processes.broadcast_state(self.saved and {**self.saved, "best": {}})
            if not self.processes.first:
                self.saved = shared  # without the best backbones, which only the first process saves
            self.finished = self.summary is not None
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def announce(self, parts: Parts) -> None:
        """Load initial weights and print an overview, before any image is read."""
        loaded: list[str] = []
        if self.saved is None and self.processes.first:  # data_parallel copies them to the others
            loaded = load_initial_weights(
                parts.learner.cohort,
                expand_places(self.config.init_from),
                self.config.init_weights,
                weights_of(self.config.pair, self.config.weights_checksums),
                parts.dataset,
            )
        if self.folder is not None:
            notes = dict.fromkeys([*loaded, *parts.notes, *self.folder.notes])
            before = (self.saved or {}).get("processes", self.processes.world_size)
            if before != self.processes.world_size:
                notes[f"processes: {before} until the checkpoint, now {self.processes.world_size}."] = None
            self.overview, self.notes = plan(self.config, parts, self.choices, self.path), list(notes)
            print_plan(self.overview, self.notes)

    def fit(self, parts: Parts, splits: Splits, pruner: Pruner | None = None) -> None:
        """Train from the start or from the last checkpoint, and write the summary.

        Args:
            parts: the parts of the run.
            splits: its images.
            pruner: decides after each evaluation whether to end the run early; None to train to the end.

        Raises:
            Pruned: the pruner ended the run; there is no summary.
            Stopped: a signal arrived; a checkpoint was saved first.
            UserError: the images, classes or memory do not fit the run, the loss is not finite, or a file cannot be
                written.
        """
        fingerprint = parts.dataset.fingerprint()
        check_same_images(self.processes, parts.dataset, splits, fingerprint)
        if self.folder is not None:
            if self.saved is not None:
                check_same_classes(
                    self.saved.get("classes", parts.dataset.spec.classes), parts.dataset.spec.classes, str(self.path)
                )
            self.folder.check_same_data(fingerprint)
        check_reader_memory(splits, parts.dataset, parts.options, processes=self.processes.world_size)
        trainer = parts.build_trainer(splits, seed=self.config.seed, data=fingerprint, processes=self.processes)
        if self.saved is not None:
            trainer.state.load_state_dict(self.saved)
            self.saved = None  # free it: its tensors are in use or copied
        with self.signals:
            self._train(parts, trainer, fingerprint, pruner)

    def _train(self, parts: Parts, trainer: Trainer, fingerprint: str, pruner: Pruner | None) -> None:
        checkpoints = None
        deployed = {} if parts.deployed == parts.learner.cohort.keys else {"deployed": parts.deployed}
        if self.folder is not None:
            self.folder.saved = None
            check_disk(trainer, self.path, parts.options)
            self.folder.open()
            write_hydra_folder(self.path, self.config, HydraConfig.get())
            add_unreadable(self.path, parts.dataset.unreadable)
            checkpoints = self.folder.checkpoints
            checkpoints.about |= {
                "classes": list(parts.dataset.spec.classes),
                "preprocessing": Preprocessing.of(parts.dataset).as_dict(),
                **deployed,
            }
            self.trackers.extend([LocalFiles(), Terminal(), *map(Background, parts.trackers.values())])
            self.trackers.start(self._info(self.folder, parts, trainer, fingerprint))
        code = code_version()  # before training, as the files may change meanwhile
        try:
            trainer.fit(checkpoints, self.trackers, self.signals, pruner if self.processes.first else None)
        except BaseException:
            self.trackers.reached(trainer.progress.step)  # which may be after the last one logged
            raise
        finally:
            add_unreadable(self.path, parts.dataset.unreadable)  # those that were met while reading from disk
        self.summary = {
            "seed": self.config.seed,
            "config_hash": config_hash(self.config) if self.folder is None else self.folder.hash,
            "code": code,
            "libraries": library_versions(),
            "device": device_name(parts.options.device),
            "data": fingerprint,
            "processes": self.processes.world_size,
            **trainer.summary(),
            **deployed,
        }
        if checkpoints is not None:
            self.summary["checkpoint"] = read_checksum(checkpoints.last)
        self.summary["objective"] = objective.value(self.summary, self.config.objective)
        remote = Trackers(tracker for tracker in self.trackers if isinstance(tracker, Background))
        Trackers(tracker for tracker in self.trackers if tracker not in remote).finish("finished", self.summary)
        self.trackers = remote

    def finish(self, exported: Sequence[Path] = ()) -> None:
        """Close the remote trackers, which may upload exported networks first."""
        trackers, self.trackers = self.trackers, Trackers()  # if this is interrupted, it is not tried again
        if exported:
            trackers.keep(exported)
        trackers.finish("finished", self.summary)

    def report(self) -> dict[str, Any]:
        """Return the summary, and print it, with notes, if the run had already finished before this command."""
        assert self.summary is not None, "there is nothing to report before fit"
        if self.finished and self.processes.first:
            print_notes(self.notes)
            print_summary(self.summary, self.path)
        return self.summary

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self.signals:
                if error is not None:
                    self._finish_trackers(error)
                self._let_go()
                if error is not None:
                    self._raise_for_all(error)
        finally:
            self.signals.at_once = self.began_at_once
            self.signals.uninstall()

    def _finish_trackers(self, error: BaseException) -> None:
        """Report how the run ended; a run that was stopped after its summary was written has finished."""
        status: Status = "failed" if isinstance(error, Exception) else "interrupted"
        if isinstance(error, Pruned):
            status = "pruned"
        if status == "interrupted" and self.summary is not None:
            status = "finished"
        try:
            self.trackers.finish(status, self.summary, self.processes.lost_another(error) or error)
        except UserError as tracker_error:
            logger.warning("%s", tracker_error)  # the error that ended the run is the one to raise

    def _let_go(self) -> None:
        """Release the lock, and remove the folders that were created for the run, as far as they are empty."""
        if self.folder is not None:
            self.folder.remove_created_folders(self.added)

    def _raise_for_all(self, error: BaseException) -> None:
        """Replace the error if needed: only one process reports it, and a lost process is named as the cause."""
        lost = self.processes.lost_another(error)
        if lost is not None and self.signals.received is not None:
            raise Stopped(self.signals.received) from error  # the same signal ended the other process first
        if isinstance(error, UserError) or lost is not None:
            if not self.processes.should_report():
                raise SystemExit(FAILED) from error
            if lost is not None:
                raise lost from error

    def _info(self, folder: RunFolder, parts: Parts, trainer: Trainer, fingerprint: str) -> RunInfo:
        overrides = without_secrets(self.overrides)  # trackers may send them to a server
        return RunInfo(
            run_dir=self.path,
            name=run_name(self.config, self.choices, overrides, self.varied),
            run_id=folder.hash,
            total_steps=trainer.progress.total_steps,
            total_epochs=trainer.progress.total_epochs,
            networks=parts.networks,
            config=without_secrets(folder.config),
            overrides=overrides,
            code=folder.about["code"],
            facts={
                "device": device_name(parts.options.device),
                "processes": self.processes.world_size,
                "data": fingerprint,
                "networks": list(trainer.cost.deployed.values()),
                "multiply_adds": {"step": trainer.cost.step, "meta_round": trainer.cost.meta_round},
            },
            overview=self.overview,
            notes=self.notes,
            group=self.group,
            job_type="train",
            tags=tuple(run_tags(self.config, self.choices)),
            resumed_step=trainer.progress.step,
            resumed_lines=count_kept_lines(self.path, trainer.progress.step, trainer.progress.evaluation_is_due),
            resumed_before_evaluation=trainer.progress.evaluation_is_due,
        )

    def _check_same_data(self, folder: RunFolder) -> None:
        """Raise UserError if a finished run was trained on other images; note it if these are not there."""
        fingerprint = data_fingerprint(self.config)
        if fingerprint is not None:
            folder.check_same_data(fingerprint)
            return
        self.notes.append(
            f"dataset.root={self.config.dataset.get('root')} does not exist, so its images were not compared: this is"
            " the result of the images that the run was trained on."
        )


def _refuse_place_in_data(config: DictConfig, folder: Path) -> None:
    """Raise UserError if a run folder lies among the class folders of its dataset, where it would be a class."""
    root = config.dataset.get("root")
    if not root or not getattr(
        resolve(config.dataset._target_, path="dataset", allow=config.allow_modules), "lists_classes", False
    ):
        return
    if folder.resolve().is_relative_to(expand_home(root).resolve()):
        raise UserError(
            f"hydra.run.dir={folder} lies in dataset.root={root}, where it would be taken for a class of images. Choose"
            " a folder outside the images."
        )
