"""One run: its folder, what is said before and after it, and how it ends."""

import logging
from pathlib import Path
from types import TracebackType

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mcl.config.identity import run_folder
from mcl.config.instantiate import build
from mcl.data.dataset import Splits
from mcl.data.preprocessing import Preprocessing
from mcl.errors import UserError
from mcl.tracking import LocalFiles, RunInfo, Status, Terminal, Trackers, print_plan, print_summary
from mcl.training.assemble import Parts
from mcl.training.fit import Fit
from mcl.training.initial_weights import start_from
from mcl.training.plan import plan
from mcl.training.results import Results
from mcl.training.run_folder import RunFolder
from mcl.training.signals import StopSignals

logger = logging.getLogger(__name__)


class Run:
    """A context around everything one run does, so that whatever ends it is written down and nothing is left open.

    Args:
        config: what Hydra composed. The run folder is the one Hydra gave the job.

    Raises:
        UserError: the folder holds a run of other settings or of other data, or another process works in it.
    """

    def __init__(self, config: DictConfig):
        hydra = HydraConfig.get()
        if not str(hydra.run.dir).strip():
            raise UserError("hydra.run.dir is empty: name a folder, or leave it out.")
        self.config = config
        self.choices = dict(hydra.runtime.choices)
        self.overrides = [str(override) for override in hydra.overrides.task]
        self.folder = RunFolder(Path(hydra.runtime.output_dir), config)
        self.trackers = Trackers()
        self.signals = StopSignals()
        self.code = self.folder.about["code"]
        self.summary = self.folder.summary
        self.finished = self.folder.finished
        if self.finished:
            self._refuse_other_data()

    def announce(self, parts: Parts) -> None:
        """Print what is about to run, before any image is read."""
        notes = dict.fromkeys([*parts.notes, *self.folder.notes])
        print_plan(plan(self.config, parts, self.choices, self.folder.path), notes=list(notes))

    def fit(self, parts: Parts, splits: Splits) -> None:
        """Train from the beginning or from the last checkpoint, and write the summary."""
        fingerprint = parts.dataset.fingerprint()
        fit = Fit(
            parts.trainer,
            parts.learner,
            splits,
            parts.dataset,
            parts.sampler,
            make_optimizer=parts.make_optimizer,
            schedule=parts.schedule,
            results=Results(parts.networks, chosen_on="test" if splits.validation is None else "validation"),
            seed=self.config.seed,
            data=fingerprint,
        )
        self.folder.refuse_other_data(fingerprint)
        if self.folder.saved is not None:
            fit.load_state_dict(self.folder.saved)
            self.folder.saved = None  # its tensors are in use or copied
        elif self.config.init_from is not None:
            start_from(Path(self.config.init_from), parts.learner.cohort)
        self.folder.open()
        self.folder.checkpoints.about |= {
            "classes": list(parts.dataset.spec.classes),
            "preprocessing": Preprocessing.of(parts.dataset).as_dict(),
        }
        self.trackers.extend([LocalFiles(), Terminal(), *parts.trackers.values()])
        self.trackers.start(self._info(parts, fit))
        with self.signals:
            fit.run(self.folder.checkpoints, self.trackers, self.signals)
        self.summary = {
            "seed": self.config.seed,
            "config_hash": self.folder.hash,
            "code": self.code,
            "data": fingerprint,
            **fit.summary(),
        }
        self.trackers.finish("finished", self.summary)
        self.trackers.clear()

    def report(self) -> float:
        """Tell again what a finished run found; one that has just ended has told it already.

        Returns:
            Mean last-epoch top-1 of the backbones, in percent.
        """
        assert self.summary is not None, "there is nothing to report before fit"
        if self.finished:
            print_summary(self.summary, self.folder.path)
        top1 = [network["top1_last"] for network in self.summary["networks"]]
        return float(sum(top1) / len(top1))

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            status: Status = "failed" if isinstance(error, Exception) else "interrupted"
            try:
                self.trackers.finish(status, error=error)
            except UserError as other:
                logger.warning("%s", other)  # what ended the run is the error to tell
            self.folder.forget_if_empty()
        self.folder.close()

    def _info(self, parts: Parts, fit: Fit) -> RunInfo:
        return RunInfo(
            run_dir=self.folder.path,
            name=run_folder(self.config, self.choices),
            run_id=self.folder.hash,
            total_steps=fit.total_steps,
            total_epochs=parts.trainer.epochs,
            networks=parts.networks,
            config=self.folder.config,
            overrides=self.overrides,
            code=self.code,
            resumed_step=fit.step,
        )

    def _refuse_other_data(self) -> None:
        try:
            data = build(self.config.dataset, path="dataset", allow=self.config.allow_modules).fingerprint()
        except UserError:
            return  # the images are gone; what was found with them can still be told
        self.folder.refuse_other_data(data)
