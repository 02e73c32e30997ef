"""Weights & Biases: the numbers on a dashboard, beside those of every other run."""

import logging
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.tracking.base import RunInfo, Status, Tracker
from mcl.tracking.local import METRICS
from mcl.tracking.tables import shown

if TYPE_CHECKING:
    import wandb

Mode = Literal["auto", "online", "offline"]

CONNECT_SECONDS = 5  # how long to look for the server before going offline
INIT_SECONDS = 30  # how long a server that was found may take to open the run
FINISH_SECONDS = 120  # how long to wait for the last uploads; what is left stays on disk for `wandb sync`
FLUSH_SECONDS = 0.5  # a killed process loses at most this much of what it logged
EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "interrupted": 255}  # 255 is W&B's own code for Ctrl-C

logger = logging.getLogger(__name__)


class WandbTracker(Tracker):
    """One W&B run per run, with its files in the run folder. Resuming goes on with it; starting over makes a new one.

    Row k of the W&B history (its ``_step``) is line k of ``metrics.jsonl``, counted from 0. So a resumed run goes on
    after the lines that were kept, and does not send again what the server already has. Training metrics are plotted
    against ``step``, evaluations against ``epoch``.

    Args:
        project: the W&B project.
        entity: the team or user it belongs to; None for the default of the login.
        mode: ``"auto"`` is online when logged in and offline otherwise; ``"online"`` warns when not logged in. There is
            never a prompt, and a server that cannot be reached means offline. The mode set by ``WANDB_MODE`` or
            ``wandb offline`` comes first.

    Raises:
        UserError: if ``mode`` is none of these.
    """

    name = "W&B"

    def __init__(self, project: str = "mcl", entity: str | None = None, mode: Mode = "auto") -> None:
        if mode not in get_args(Mode):
            raise UserError(f"tracking.wandb.mode={mode}: it must be {', '.join(get_args(Mode))}.")
        self.project = project
        self.entity = entity
        self.mode = mode
        self._run: wandb.Run | None = None

    def start(self, run: RunInfo) -> None:
        import wandb  # takes half a second, which only its users should pay

        self._keys = [key for key, _ in run.networks]
        self._row = _count_lines(run.run_dir / METRICS)
        mode = self._choose_mode(wandb.setup(wandb.Settings(silent=True)).settings)
        self._run = wandb.init(
            dir=run.run_dir,
            project=self.project,
            entity=self.entity,
            mode=mode,
            id=_wandb_id(run),
            resume="allow",
            reinit="create_new",  # else a run that was not finished would be taken for this one
            name=run.name,
            group=run.group,
            job_type=run.job_type,
            tags=run.tags,
            config={**run.config, "overrides": run.overrides, "code": run.code},
            settings=wandb.Settings(
                silent=True,
                console="off",  # a live display is no log
                git_commit=run.code.get("commit"),
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )
        self._sent_row = self._run.starting_step  # where the server's history ends: 0 for a new run, and offline
        self._sent_step = self._run.summary.get("step", 0)
        for axis, families in {"step": ("train", "meta", "matching"), "epoch": ("test", "validation")}.items():
            self._run.define_metric(axis, hidden=True)
            for family in families:
                self._run.define_metric(f"{family}/*", step_metric=axis)
        if self._run.offline:
            print(f"W&B: offline; to upload: wandb sync {shlex.quote(shown(Path(self._run.dir).parent))}", flush=True)
        elif not self._run.disabled:
            print(f"W&B: {self._run.url}", flush=True)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        assert self._run is not None, "log comes after start"
        if self._row >= self._sent_row or step > self._sent_step:
            self._row = max(self._row, self._sent_row)
            # Without commit W&B would hold the row back until the next one.
            self._run.log({**metrics, "step": step, "epoch": epoch}, step=self._row, commit=True)
        self._row += 1

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        run.summary.update(_flat(summary or {}, self._keys))
        run.finish(exit_code=EXIT_CODES[status])

    def _choose_mode(self, settings: "wandb.Settings") -> Any:
        """The mode for ``wandb.init``: one that asks nothing and reaches its server."""
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


def _wandb_id(run: RunInfo) -> str:
    """The id of this run at W&B, kept in the run folder from its beginning on."""
    path = run.run_dir / "wandb" / "run_id"
    of_sweep = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None  # W&B lets no other id count
    if run.resumed_step and path.exists() and not of_sweep:
        return path.read_text().strip()
    # The same settings may run again, here or elsewhere: that must not touch what an earlier run has reported.
    fresh = of_sweep or f"{run.run_id}-{secrets.token_hex(4)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, fresh + "\n")
    return fresh


def _reachable(url: str) -> bool:
    """Whether a server answers. ``wandb.init`` would find out too, but a failed one keeps the run id in use."""
    import ssl  # these take as long to import as the rest of this package
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


def _count_lines(path: str | os.PathLike[str]) -> int:
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


def _flat(summary: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """What ``summary.json`` says, under flat names: ``first/top1_best``, ``ensemble/top1_last``, ``seconds``."""
    flat = {name: value for name, value in summary.items() if isinstance(value, (int, float, str))}
    parts = dict(zip(keys, summary.get("networks", []), strict=False)) | {"ensemble": summary.get("ensemble") or {}}
    for part, values in parts.items():
        flat |= {f"{part}/{name}": value for name, value in values.items() if value is not None}
    return flat
