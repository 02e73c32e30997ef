"""Open a Weights & Biases run: online or offline, under which id."""

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from mcl.console import shortened
from mcl.runs.layout import WANDB
from mcl.runs.secret_values import without_secrets
from mcl.tracking.attempts import keep_id, kept_id
from mcl.tracking.tracker import RunInfo

if TYPE_CHECKING:
    import wandb

Mode = Literal["auto", "online", "offline"]

CONNECT_SECONDS = 5  # how long to look for the server before going offline
INIT_SECONDS = 30  # how long a server that was found may take to open the run
FINISH_SECONDS = 120  # how long to wait for the last uploads; what is left stays on disk for `wandb sync`
DISK_SECONDS = 500  # how long a machine that is busy or has a slow disk may take without a server
FLUSH_SECONDS = 0.5  # a killed process loses at most this much of what it logged
LONGEST_NAME, LONGEST_TAG = 128, 64  # letters that W&B takes

logger = logging.getLogger(__name__)


@contextmanager
def _arguments_without_secrets() -> Iterator[None]:
    """Hide the secrets in the command line, which W&B records by itself."""
    typed = sys.argv
    sys.argv = without_secrets(typed)
    try:
        yield
    finally:
        sys.argv = typed


class Session:
    """Decide where and how a run is opened.

    Args:
        project, entity, mode: as for `mcl.tracking.WandbTracker`.
    """

    def __init__(self, project: str | None, entity: str | None, mode: Mode):
        self.project = project
        self.entity = entity
        self.mode = mode

    def open(self, run: RunInfo) -> "wandb.Run":
        """Return the W&B run of a new or resumed run. It is offline if there is no login or no working server."""
        import wandb

        settings = wandb.setup(wandb.Settings(silent=True, x_service_wait=DISK_SECONDS)).settings
        self.project = self.project or project_of(settings)
        mode = self._choose_mode(settings)
        wandb_id = (None if sweep_run_id() else kept_id(run, WANDB)) or _new_id(run)
        try:
            return self._init(run, mode, wandb_id)
        except wandb.errors.CommError as error:
            if "deleted" in str(error):
                logger.warning("W&B: run %s was deleted there, so this continues as a new one.", wandb_id)
                return self._init(run, mode, _new_id(run))
            if mode == "offline":
                raise
            reason = str(error).strip().splitlines()[0]
            logger.warning("W&B: the server did not take this run, so it is written offline. %s", reason)
        wandb.teardown()  # else the id would be in use
        return self._init(run, "offline", wandb_id)

    @_arguments_without_secrets()
    def _init(self, run: RunInfo, mode: Any, wandb_id: str) -> "wandb.Run":
        import wandb

        return wandb.init(
            dir=run.run_dir,
            project=self.project,
            entity=self.entity,
            mode=mode,
            id=wandb_id,
            resume="allow",
            reinit="create_new",  # else a run that was not finished would be taken for this one
            name=shortened(run.name, LONGEST_NAME),
            group=run.group and shortened(run.group, LONGEST_NAME),
            job_type=run.job_type,
            tags=[shortened(tag, LONGEST_TAG) for tag in run.tags],
            config={**run.config, "overrides": run.overrides, "code": run.code},
            settings=wandb.Settings(
                silent=True,
                console="off",  # mcl.tracking.wandb_logs writes the Logs tab
                git_commit=run.code.get("commit"),
                init_timeout=INIT_SECONDS if mode == "online" else DISK_SECONDS,
                finish_timeout=FINISH_SECONDS if mode == "online" else DISK_SECONDS,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )

    def _choose_mode(self, settings: "wandb.Settings") -> Any:
        """Return a mode for ``wandb.init`` that never prompts and does not need an unreachable server."""
        import wandb

        if settings.mode != "online":
            return settings.mode
        if self.mode == "offline":
            return "offline"
        if not wandb.login(prompt=False, verify=False):
            if self.mode == "online":
                logger.warning("W&B: not logged in, so this run is written offline. To log in: wandb login")
            return "offline"
        if not _reachable(settings.base_url):
            logger.warning("W&B: %s cannot be reached, so this run is written offline.", settings.base_url)
            return "offline"
        return "online"


def project_of(settings: "wandb.Settings") -> str:
    """Return the project that W&B itself would take, from ``WANDB_PROJECT`` or its settings file, else ours."""
    return settings.project or "mcl"


def sweep_run_id() -> str | None:
    """Return the run id that the agent of a W&B sweep has set; None outside of such a sweep."""
    return os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None


def disabled() -> bool:
    """Return whether ``WANDB_MODE`` turns W&B off."""
    return os.environ.get("WANDB_MODE") == "disabled"


def _new_id(run: RunInfo) -> str:
    """Return an id for a new run, and store it in the run folder.

    Runs with the same settings get different ids: a repeated run must not overwrite an earlier one, and W&B does not
    accept the id of a deleted run again.
    """
    fresh = sweep_run_id() or f"{run.run_id}-{secrets.token_hex(4)}"
    keep_id(run, WANDB, fresh)
    return fresh


def _reachable(url: str) -> bool:
    """Return whether a server answers. A failed ``wandb.init`` would keep the run id in use."""
    import ssl  # slow to import
    import urllib.request
    from urllib.error import HTTPError, URLError

    try:
        urllib.request.urlopen(url, timeout=CONNECT_SECONDS).close()
    except HTTPError:
        return True  # it answers
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # W&B has certificates of its own
    except OSError:
        return False
    return True
