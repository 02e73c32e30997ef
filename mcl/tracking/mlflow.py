"""Log to MLflow: a local database, or a server."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from mcl.extras import require
from mcl.runs.layout import MLFLOW, SUMMARY
from mcl.tracking.attempts import failure_reason, flat_config, flat_summary, keep_id, kept_id
from mcl.tracking.pictures import PictureLog, Pictures
from mcl.tracking.tracker import RunInfo, Status

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROW, STEP = "mcl.row", "mcl.step"  # tags: the last row that MLflow has, counted from 1, and its step
LONGEST, LARGEST_BATCH = 500, 100  # letters of a value, entries of one request
STATUS: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


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
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # otherwise MLflow reports its use to its makers
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self.begin(run)
        client = MlflowClient(tracking_uri=self.uri)
        try:
            tags = client.get_run(kept_id(run, MLFLOW) or "").data.tags
            self._id = kept_id(run, MLFLOW) or ""
        except MlflowException:  # a new run, or one that was deleted there
            self._id, tags = self._create(client, run), {}
        self._row, self._step = run.resumed_lines, run.resumed_step
        self._sent = int(tags.get(ROW, 0)), int(tags.get(STEP, 0))
        client.update_run(self._id, status="RUNNING")
        self._client = client

    def _create(self, client: "MlflowClient", run: RunInfo) -> str:
        from mlflow.entities import Param

        known = client.get_experiment_by_name(self.experiment)
        experiment = client.create_experiment(self.experiment) if known is None else known.experiment_id
        about = {"group": run.group, "job_type": run.job_type, "settings": run.run_id, "data": run.facts.get("data")}
        about |= {"tags": ", ".join(run.tags), "overrides": " ".join(run.overrides)}
        about |= {"mlflow.source.git.commit": run.code.get("commit"), "mlflow.source.name": "train.py"}
        tags = {name: str(value)[:LONGEST] for name, value in about.items() if value}
        created = str(client.create_run(experiment, tags=tags, run_name=run.name).info.run_id)
        params = [Param(name, str(value)[:LONGEST]) for name, value in flat_config(run.config).items()]
        for start in range(0, len(params), LARGEST_BATCH):
            client.log_batch(created, params=params[start : start + LARGEST_BATCH])
        keep_id(run, MLFLOW, created)
        return created

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        assert self._client is not None, "log comes after start"
        from mlflow.entities import RunTag

        self._row += 1
        if self._row > self._sent[0] or step > self._sent[1]:
            self._send({**metrics, "epoch": epoch}, step, [RunTag(ROW, str(self._row)), RunTag(STEP, str(step))])
        for name, image, _ in self.taken(metrics, epoch):
            self._client.log_image(self._id, image, artifact_file=f"pictures/{name}/epoch-{epoch}.png")
        self.reached(step)

    def _send(self, values: Mapping[str, float], step: int, tags: Sequence[Any] = ()) -> None:
        from mlflow.entities import Metric

        assert self._client is not None
        entries = [Metric(name, float(value), int(1000 * time()), step) for name, value in values.items()]
        for start in range(0, len(entries), LARGEST_BATCH):
            self._client.log_batch(self._id, metrics=entries[start : start + LARGEST_BATCH])
        self._client.log_batch(self._id, tags=tags)

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
        flat = flat_summary(summary or {}, self.keys)
        self._send({name: value for name, value in flat.items() if isinstance(value, (int, float))}, self._step)
        if summary:
            self._client.log_dict(self._id, dict(summary), SUMMARY)
        self._client.set_tag(self._id, "error", "" if error is None else failure_reason(error)[:LONGEST])
        client, self._client = self._client, None
        client.set_terminated(self._id, STATUS[status])
