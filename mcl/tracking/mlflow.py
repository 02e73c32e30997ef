"""Log to MLflow: a local database, or a server."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from mcl.extras import require
from mcl.runs.layout import SUMMARY
from mcl.runs.metrics_file import read_metrics
from mcl.tracking.attempts import failure_reason, flat_summary
from mcl.tracking.mlflow_session import LONGEST_VALUE, accepted_name, open_run
from mcl.tracking.pictures import PictureLog, Pictures
from mcl.tracking.tracker import RunInfo, Status

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROW, STEP = "mcl.row", "mcl.step"  # tags: the last row that MLflow has, counted from 1, and its step
METRICS = 900  # of one request
STATUS: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}


class MlflowTracker(PictureLog):
    """Log each run to a run of MLflow. A resumed run continues it and sends only the rows that MLflow lacks.

    Args:
        uri: of the store, such as ``sqlite:///mlflow.db`` or ``http://host:5000``; None for MLflow's own choice:
            ``MLFLOW_TRACKING_URI``, or a database in the working folder.
        experiment: name of the experiment; created if necessary.
        pictures: epochs from one set of pictures to the next, as for `mcl.tracking.WandbTracker`.
        models: also store the networks that ``trainer.export`` writes.

    Raises:
        UserError: MLflow is not installed, or ``pictures`` is negative.
    """

    name = "MLflow"

    def __init__(
        self, uri: str | None = None, experiment: str = "mcl", pictures: Pictures = "auto", models: bool = False
    ) -> None:
        super().__init__(pictures, "tracking.mlflow.pictures")
        require("mlflow", asked="tracking=mlflow")
        self.uri = uri
        self.experiment = experiment
        self.models = models
        self._client: MlflowClient | None = None

    def start(self, run: RunInfo) -> None:
        self.begin(run)
        self._client, self._id, tags = open_run(self.uri, self.experiment, run)
        self._sent = int(tags.get(ROW, 0)), int(tags.get(STEP, 0))
        self._row, self._step = min(self._sent[0], run.resumed_lines), run.resumed_step
        if self._row < run.resumed_lines:  # rows that an attempt that was killed, or had no MLflow, did not send
            for _, line in islice(read_metrics(run.run_dir), self._row, run.resumed_lines):
                if line is not None:
                    values = {name: value for name, value in line.values.items() if name not in ("step", "time")}
                    self.log(values, step=line.step, epoch=line.epoch)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        assert self._client is not None, "log comes after start"
        self._row += 1
        if self._row > self._sent[0] or step > self._sent[1]:
            self._send(self._client, {**metrics, "epoch": epoch}, step, {ROW: self._row, STEP: step})
        for name, image, _ in self.taken(metrics, epoch):
            self._client.log_image(self._id, image, artifact_file=f"pictures/{name}/epoch-{epoch}.png")
        self.reached(step)

    def _send(self, client: "MlflowClient", values: Mapping[str, Any], step: int, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, RunTag

        numbers = {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
        metrics = [Metric(accepted_name(name), value, int(1000 * time()), step) for name, value in numbers.items()]
        for start in range(METRICS, len(metrics), METRICS):
            client.log_batch(self._id, metrics=metrics[start : start + METRICS])
        client.log_batch(self._id, metrics[:METRICS], tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def keep(self, files: Sequence[Path]) -> None:
        if self._client is not None and self.models:
            for file in files:
                self._client.log_artifact(self._id, str(file), "networks")

    def reached(self, step: int) -> None:
        self._step = step

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._client is None:
            return
        client, self._client = self._client, None
        reason = "" if error is None else failure_reason(error)[:LONGEST_VALUE]
        self._send(client, flat_summary(summary or {}, self.keys), self._step, {"error": reason})
        if summary:
            client.log_dict(self._id, dict(summary), SUMMARY)
        client.set_terminated(self._id, STATUS[status])
