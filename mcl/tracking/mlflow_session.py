"""Open a run of MLflow: a new one, or the one that an earlier attempt has begun."""

import logging
import os
import re
from typing import TYPE_CHECKING

from mcl.runs.layout import MLFLOW
from mcl.tracking.attempts import flat_config, keep_id, kept_id
from mcl.tracking.tracker import RunInfo

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from mlflow.tracking import MlflowClient

LONGEST_VALUE = 500  # letters of a parameter or a tag; older servers take no more
PARAMS = 100  # of one request
PATIENCE_SECONDS = 600  # of waiting for a database that another job makes

logger = logging.getLogger(__name__)


def open_run(uri: str | None, experiment: str, run: RunInfo) -> "tuple[MlflowClient, str, dict[str, str]]":
    """Return a client, the id of the run there, and its tags, which are empty for a new run.

    Args:
        uri, experiment: as for `mcl.tracking.MlflowTracker`.
        run: the run; the id of a new one is kept in its folder.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # otherwise MLflow reports its use to its makers
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with _one_at_a_time():
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # makes the tables of a new database
    if (known := kept_id(run, MLFLOW)) is not None:
        try:
            client.update_run(known, status="RUNNING")
            return client, known, client.get_run(known).data.tags
        except MlflowException:  # it was deleted there, or the default store is that of another working folder
            logger.warning(
                "MLflow: run %s is not in this store, so this continues as a new one. tracking.mlflow.uri names another"
                " store.",
                known,
            )
    return client, _create(client, experiment, run), {}


def accepted_name(name: str) -> str:
    """Return a name that MLflow accepts for a metric or a parameter, such as ``kl_p__q_`` for a term ``kl(p||q)``."""
    return re.sub(r"[^/\w.\- ]", "_", name)


def _one_at_a_time() -> "BaseFileLock":
    """Wait for the other jobs of this user on this machine: MLflow fails if two of them make a database."""
    from filelock import FileLock

    from mcl.data.cache import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "mlflow.lock", timeout=PATIENCE_SECONDS)


def _create(client: "MlflowClient", experiment: str, run: RunInfo) -> str:
    from mlflow.entities import Param

    about = {"group": run.group, "job_type": run.job_type, "settings": run.run_id, "data": run.facts.get("data")}
    about |= {"tags": ", ".join(run.tags), "overrides": " ".join(run.overrides)}
    about |= {"mlflow.source.git.commit": run.code.get("commit"), "mlflow.source.name": "train.py"}
    tags = {name: str(value)[:LONGEST_VALUE] for name, value in about.items() if value}
    created = client.create_run(_experiment_id(client, experiment), tags=tags, run_name=run.name)
    run_id = str(created.info.run_id)
    params = [Param(accepted_name(name), str(value)[:LONGEST_VALUE]) for name, value in flat_config(run.config).items()]
    for start in range(0, len(params), PARAMS):
        client.log_batch(run_id, params=params[start : start + PARAMS])
    keep_id(run, MLFLOW, run_id)
    return run_id


def _experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of an experiment, which is created if necessary."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name))
    except MlflowException:  # it exists, perhaps since another run has created it just now
        known = client.get_experiment_by_name(name)
        if known is None:
            raise
        return str(known.experiment_id)
