"""Log to Weights & Biases."""

import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mcl.config.grouping import environment_variable
from mcl.console import display_path
from mcl.errors import UserError
from mcl.runs.layout import METRICS
from mcl.runs.metrics_file import read_metrics
from mcl.tracking.attempts import failure_reason, flat_summary
from mcl.tracking.pictures import Pictures, PictureSchedule
from mcl.tracking.tracker import Histogram, RunInfo, Snapshot, Status, Tracker
from mcl.tracking.wandb_artifacts import log_code, log_networks, use_dataset
from mcl.tracking.wandb_session import Mode, Session, disabled, sweep_run_id

if TYPE_CHECKING:
    import wandb

    from mcl.tracking.wandb_logs import LogsTab
    from mcl.tracking.wandb_media import SnapshotMedia

LONGEST_ALERT_TITLE = 64  # letters
AXES = {
    "step": ("train", "meta", "matching"),
    "epoch": ("test", "validation", "gradients", "pictures", "charts", "tables"),
}
BEST = {"top1": "max", "top5": "max", "loss": "min"}  # of the quantities of an evaluation
# 255 is W&B's own code for Ctrl-C.
EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "interrupted": 255, "pruned": 0}

logger = logging.getLogger(__name__)


class WandbTracker(Tracker):
    """Log each run to its own W&B run, with the files in the run folder.

    Resuming continues the W&B run; starting over creates a new one.

    Row k of the W&B history (its ``_step``) is line k of ``metrics.jsonl``, counted from 0. So a resumed run continues
    after the kept lines and does not send again what the server already has. Training metrics are plotted
    against ``step``, evaluations against ``epoch``.

    Args:
        project: the W&B project; None for W&B's own choice, such as ``WANDB_PROJECT``, else ``mcl``.
        entity: the team or user it belongs to; None for the default of the login.
        mode: ``"auto"`` is online when logged in and offline otherwise; ``"online"`` warns when not logged in. There is
            never a prompt, and a server that cannot be reached means offline. The mode set by ``WANDB_MODE`` or
            ``wandb offline`` comes first.
        pictures: epochs from one set of pictures to the next: matching weights as a heat map, confusion matrices,
            sample predictions; the latter two as charts and tables, too. 0 for none; ``"auto"`` for up to ten
            sets a run, a minute apart, the last epoch's among them, and none in a study or sweep.
        gradients: epochs from one set of histograms of the gradients to the next, by network and stage; 0 for none.
        artifacts: link the run to artifacts: its dataset (the fingerprint of the images) as input, and the networks
            that ``trainer.export`` writes, with the aliases ``best`` and ``latest``, as output.
        code: log the source files of this package and of the modules that ``allow_modules`` names.

    Raises:
        UserError: ``mode``, ``pictures`` or ``gradients`` is none of these.
    """

    name = "W&B"

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: Mode = "auto",
        pictures: Pictures = "auto",
        gradients: int = 0,
        artifacts: bool = False,
        code: bool = False,
    ) -> None:
        if mode not in get_args(Mode):
            raise UserError(f"tracking.wandb.mode={mode}: it must be {', '.join(get_args(Mode))}.")
        if gradients < 0:
            raise UserError(f"tracking.wandb.gradients={gradients}: epochs between two sets, or 0 for none.")
        self.project = project
        self.entity = entity
        self.mode: Mode = mode
        self.pictures = PictureSchedule(pictures, "tracking.wandb.pictures")
        self.epochs_between_gradients = gradients
        self.artifacts = artifacts
        self.code = code
        self._run: wandb.Run | None = None
        self._logs: LogsTab | None = None

    def start(self, run: RunInfo) -> None:
        if disabled():
            return
        from mcl.tracking.wandb_logs import LogsTab

        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # W&B's own: repeats that no server is reached
        self._info = run
        self._keys = [key for key, _ in run.networks]
        self._row = run.resumed_lines
        self._media: SnapshotMedia | None = None  # for the next row
        self._gradients: dict[str, Histogram] = {}  # for the next row
        self._matching: dict[str, float] = {}  # the latest weights
        self._best = _best_values(run)
        self._run = Session(self.project, self.entity, self.mode).open(run)
        self._sent_row = self._run.starting_step  # where the server's history ends: 0 for a new run, and offline
        self._sent_step = self._run.summary.get("step", 0)
        for axis, families in AXES.items():
            self._run.define_metric(axis, hidden=True)
            for family in families:
                self._run.define_metric(f"{family}/*", step_metric=axis)
        self._defined: set[str] = set()  # evaluations whose best value is in the summary
        if run.resumed_step:
            self._run.summary["error"] = None
            del self._run.summary["error"]  # why the previous attempt failed; it may be on the server only
        self._run.summary.update(flat_summary(run.facts, self._keys))
        with self._files_in_run_folder():
            if self.artifacts:
                use_dataset(self._run, run)
            if self.code:
                log_code(self._run, run)
        self._logs = LogsTab(self._run, run)
        if self._run.offline:
            place = shlex.quote(display_path(run.run_dir))
            print(f"W&B: offline, saved in the run folder. To upload: python -m mcl sync {place}", flush=True)
        elif not self._run.disabled:
            print(f"W&B: {self._run.url}", flush=True)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        if self._run is None:
            return
        self._matching |= {name: value for name, value in metrics.items() if name.startswith("matching/")}
        media = self._encode_media(epoch)
        self._define_best(metrics)
        if self._row >= self._sent_row or step > self._sent_step:
            self._row = max(self._row, self._sent_row)
            with self._files_in_run_folder():
                # Without commit W&B would hold the row back until the next one.
                self._run.log({**metrics, **media, "step": step, "epoch": epoch}, step=self._row, commit=True)
        self._row += 1
        self._update_summary(metrics)
        assert self._logs is not None, "it is opened with the run"
        self._logs.log(metrics, step=step, epoch=epoch)

    def _encode_media(self, epoch: int) -> dict[str, Any]:
        """Return pictures, tables and histograms for the next row, and forget them."""
        media: dict[str, Any] = {}
        if self._media is not None:
            with self._files_in_run_folder():
                media |= self._media.logged(epoch)
            self._media = None
        if self._gradients:
            from mcl.tracking.wandb_media import wandb_histogram

            media |= {f"gradients/{name}": wandb_histogram(each) for name, each in self._gradients.items()}
            self._gradients = {}
        return media

    def _define_best(self, metrics: Mapping[str, float]) -> None:
        """Let W&B keep the best value of each evaluation in its summary, beside the last."""
        assert self._run is not None
        for name in metrics:
            if name not in self._defined and (best := _best_of(name)):
                self._run.define_metric(name, step_metric="epoch", summary=f"{best},last")
                self._defined.add(name)

    def _update_summary(self, metrics: Mapping[str, float]) -> None:
        """Update the accuracies that the summary has under short names: ``first/top1_last``, ``ensemble/top1_last``."""
        assert self._run is not None
        short = {f"test/{key}/backbone/top1": f"{key}/top1_last" for key in self._keys}
        short["test/ensemble/top1"] = "ensemble/top1_last"
        values: dict[str, Any] = {short[name]: value for name, value in metrics.items() if name in short}
        for name, value in metrics.items():
            if kind := _best_of(name):
                self._best[name] = {"max": max, "min": min}[kind](value, self._best.get(name, value))
                if self._info.resumed_step:  # W&B knows only the rows of this attempt
                    values[name] = {kind: self._best[name], "last": value}
        if values:
            self._run.summary.update(values)

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        if disabled() or (self.pictures.every == "auto" and sweep_run_id()):
            return False
        return self.pictures.due(run, epoch)

    def snapshot(self, snapshot: Snapshot) -> None:
        if self._run is None:
            return
        from mcl.tracking.wandb_media import SnapshotMedia

        self._media = SnapshotMedia(snapshot, self._matching, self._info)

    def wants_gradients(self, run: RunInfo, epoch: int) -> bool:
        if disabled() or not self.epochs_between_gradients:
            return False
        return epoch % self.epochs_between_gradients == 0 or epoch >= run.total_epochs

    def gradients(self, histograms: Mapping[str, Histogram]) -> None:
        self._gradients = dict(histograms)

    def keep(self, files: Sequence[Path]) -> None:
        if self._run is None or not self.artifacts:
            return
        log_networks(self._run, self._info, files, self._best)

    def reached(self, step: int) -> None:
        if self._logs is not None:
            self._logs.reached(step)

    def abandon(self) -> None:
        import wandb

        if self._logs is not None:
            self._logs.detach()
        self._run = None
        wandb.teardown(EXIT_CODES["failed"])  # the next run must not use a service that may have died

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        assert self._logs is not None, "it is opened with the run"
        self._logs.finish(status, summary, error)
        run.summary.update(flat_summary(summary or {}, self._keys))
        if status == "pruned" or run.summary.get("pruned"):
            run.summary["pruned"] = status == "pruned"
        if status == "failed":
            reason = failure_reason(error)
            run.summary["error"] = reason
            if not run.offline:
                run.alert(f"failed: {self._info.name}"[: LONGEST_ALERT_TITLE - 1], reason, level="ERROR")
        try:
            run.finish(exit_code=EXIT_CODES[status])
        except TimeoutError:
            folder = shlex.quote(display_path(run.settings.sync_dir))
            if run.offline:
                logger.warning("W&B: the disk is too slow; the last rows may be missing in %s.", folder)
            else:
                logger.warning(
                    "W&B: not all of the run could be uploaded. To upload the rest: wandb sync --no-skip-online %s",
                    folder,
                )

    @contextmanager
    def _files_in_run_folder(self) -> Iterator[None]:
        """Let W&B keep copies of tables in the run folder instead of the home folder, until they are uploaded."""
        if "WANDB_DATA_DIR" in os.environ:
            yield
            return
        with environment_variable("WANDB_DATA_DIR", str(self._info.run_dir / "wandb" / "data")):
            yield


def _best_of(name: str) -> str | None:
    """Return ``"max"`` or ``"min"`` for a quantity of an evaluation, else None."""
    family, _, rest = name.partition("/")
    return BEST.get(rest.rpartition("/")[2]) if family in ("test", "validation") else None


def _best_values(run: RunInfo) -> dict[str, float]:
    """Return the best values of the evaluations before a resumed run continues; empty for a new one."""
    best: dict[str, float] = {}
    if not run.resumed_step or not (run.run_dir / METRICS).exists():
        return best
    for _, line in read_metrics(run.run_dir, "test/", "validation/"):
        for name, value in line.values.items() if line is not None else ():
            if (kind := _best_of(name)) and value is not None:
                best[name] = {"max": max, "min": min}[kind](value, best.get(name, value))
    return best
