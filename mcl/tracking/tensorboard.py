"""Log to TensorBoard's event files in the run folder."""

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from mcl.extras import require
from mcl.runs.layout import TENSORBOARD
from mcl.runs.metrics_file import read_metrics
from mcl.tracking.attempts import failure_reason, flat_config, flat_summary
from mcl.tracking.pictures import PictureLog, Pictures
from mcl.tracking.tracker import RunInfo, Status

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FLUSH_SECONDS = 5  # a killed process loses at most this much of what it logged


class TensorBoardTracker(PictureLog):
    """Log each run to ``RUN/tensorboard``, so that ``tensorboard --logdir runs`` shows them all. The axis is the step.

    A resumed run withdraws the points after its checkpoint and logs them again.

    Args:
        pictures: epochs from one set of pictures to the next, as for `mcl.tracking.WandbTracker`.

    Raises:
        UserError: TensorBoard is not installed, or ``pictures`` is negative.
    """

    name = "TensorBoard"

    def __init__(self, pictures: Pictures = "auto") -> None:
        super().__init__(pictures, "tracking.tensorboard.pictures")
        require("tensorboard", asked="tracking=tensorboard")
        self._writer: SummaryWriter | None = None

    def start(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.begin(run)
        kept = run.resumed_step and not run.resumed_before_evaluation  # else the step itself is logged again
        purged = run.resumed_step + 1 if kept else run.resumed_step
        self._writer = SummaryWriter(str(run.run_dir / TENSORBOARD), purge_step=purged, flush_secs=FLUSH_SECONDS)
        accuracies = dict.fromkeys([f"test/{key}/backbone/top1" for key, _ in run.networks], 0.0)  # by tag: columns
        for part in hparams(flat_config(run.config), accuracies)[:2]:
            self._writer._get_file_writer().add_summary(part)
        self._writer.add_text("overrides", " ".join(run.overrides), run.resumed_step)
        if run.resumed_before_evaluation:
            for _, line in islice(read_metrics(run.run_dir), run.resumed_lines):
                if line is not None and line.step == run.resumed_step:
                    values = {name: value for name, value in line.values.items() if value is not None}
                    self.log(values, step=line.step, epoch=line.epoch)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        assert self._writer is not None, "log comes after start"
        for name, value in {**metrics, "epoch": epoch}.items():
            if name not in ("step", "time"):
                self._writer.add_scalar(name, value, step)
        for name, image, _ in self.taken(metrics, epoch):
            self._writer.add_image(f"pictures/{name}", image, step, dataformats="HWC")
        self.reached(step)

    def reached(self, step: int) -> None:
        self._step = step

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        for name, value in flat_summary(summary or {}, self.keys).items():
            if isinstance(value, (int, float)):
                writer.add_scalar(f"summary/{name}", value, self._step)
        writer.add_text("status", status if error is None else f"{status}: {failure_reason(error)}", self._step)
        writer.close()
