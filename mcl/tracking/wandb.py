"""Log to Weights & Biases."""

import io
import logging
import os
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, get_args

from mcl.console import display_path
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.tracking.tracker import RunInfo, Snapshot, Status, Tracker

if TYPE_CHECKING:
    import wandb

Mode = Literal["auto", "online", "offline"]
Pictures = int | Literal["auto"]

CONNECT_SECONDS = 5  # how long to look for the server before going offline
INIT_SECONDS = 30  # how long a server that was found may take to open the run
FINISH_SECONDS = 120  # how long to wait for the last uploads; what is left stays on disk for `wandb sync`
FLUSH_SECONDS = 0.5  # a killed process loses at most this much of what it logged
AUTO_PICTURES, AUTO_SECONDS = 10, 60.0  # most sets of images that a run logs by default, and least seconds between two
LONGEST_NAME, LONGEST_TAG = 128, 64  # letters that W&B takes
AXES = {"step": ("train", "meta", "matching"), "epoch": ("test", "validation", "pictures")}
EXIT_CODES: dict[Status, int] = {"finished": 0, "failed": 1, "interrupted": 255}  # 255 is W&B's own code for Ctrl-C

logger = logging.getLogger(__name__)


class WandbTracker(Tracker):
    """Log each run to its own W&B run, with the files in the run folder.

    Resuming continues the W&B run; starting over creates a new one.

    Row k of the W&B history (its ``_step``) is line k of ``metrics.jsonl``, counted from 0. So a resumed run continues
    after the kept lines and does not send again what the server already has. Training metrics are plotted
    against ``step``, evaluations against ``epoch``.

    Args:
        project: the W&B project.
        entity: the team or user it belongs to; None for the default of the login.
        mode: ``"auto"`` is online when logged in and offline otherwise; ``"online"`` warns when not logged in. There is
            never a prompt, and a server that cannot be reached means offline. The mode set by ``WANDB_MODE`` or
            ``wandb offline`` comes first.
        pictures: epochs from one set of images to the next: matching weights as a heat map, confusion matrices,
            sample predictions. 0 for none; ``"auto"`` for up to ten sets a run, a minute apart, the last epoch's among
            them, and none in a study or sweep.
        artifacts: upload the networks that ``trainer.export`` writes.

    Raises:
        UserError: ``mode`` or ``pictures`` is none of these.
    """

    name = "W&B"

    def __init__(
        self,
        project: str = "mcl",
        entity: str | None = None,
        mode: Mode = "auto",
        pictures: Pictures = "auto",
        artifacts: bool = False,
    ) -> None:
        if mode not in get_args(Mode):
            raise UserError(f"tracking.wandb.mode={mode}: it must be {', '.join(get_args(Mode))}.")
        if isinstance(pictures, int) and pictures < 0:
            raise UserError(
                f"tracking.wandb.pictures={pictures}: it must be auto, 0 (no images), or a number of epochs."
            )
        self.project = project
        self.entity = entity
        self.mode = mode
        self.pictures = pictures
        self.artifacts = artifacts
        self._looked = monotonic()
        self._run: wandb.Run | None = None

    def start(self, run: RunInfo) -> None:
        if _disabled():
            return
        import wandb  # takes half a second

        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # W&B's own: repeats that no server is reached
        self._info = run
        self._row = run.resumed_lines
        self._pictures: dict[str, bytes] = {}  # images of the next row
        self._matching: dict[str, float] = {}  # the latest weights
        mode = self._choose_mode(wandb.setup(wandb.Settings(silent=True)).settings)
        self._run = self._init(run, mode)
        self._sent_row = self._run.starting_step  # last row in the server's history: 0 for a new run, and offline
        self._sent_step = self._run.summary.get("step", 0)
        for axis, families in AXES.items():
            self._run.define_metric(axis, hidden=True)
            for family in families:
                self._run.define_metric(f"{family}/*", step_metric=axis)
        if self._run.offline:
            place = shlex.quote(display_path(run.run_dir))
            print(f"W&B: offline, saved in the run folder. To upload: python -m mcl sync {place}", flush=True)
        elif not self._run.disabled:
            print(f"W&B: {self._run.url}", flush=True)

    def _init(self, run: RunInfo, mode: Any) -> "wandb.Run":
        import wandb

        wandb_id = _kept_id(run) or _new_id(run)
        try:
            return self._open(run, mode, wandb_id)
        except wandb.errors.CommError as error:
            if "deleted" in str(error):
                logger.warning("W&B: run %s was deleted there, so this continues as a new one.", wandb_id)
                return self._open(run, mode, _new_id(run))
            if mode == "offline":
                raise
            reason = str(error).strip().splitlines()[0]
            logger.warning("W&B: the server did not take this run, so it is written offline. %s", reason)
        wandb.teardown()  # else the id would be in use
        return self._open(run, "offline", wandb_id)

    def _open(self, run: RunInfo, mode: Any, wandb_id: str) -> "wandb.Run":
        import wandb

        return wandb.init(
            dir=run.run_dir,
            project=self.project,
            entity=self.entity,
            mode=mode,
            id=wandb_id,
            resume="allow",
            reinit="create_new",  # else a run that was not finished would be taken for this one
            name=run.name[:LONGEST_NAME],
            group=run.group and run.group[:LONGEST_NAME],
            job_type=run.job_type,
            tags=[tag[:LONGEST_TAG] for tag in run.tags],
            config={**run.config, "overrides": run.overrides, "code": run.code},
            settings=wandb.Settings(
                silent=True,
                console="off",  # a live display is no log
                git_commit=run.code.get("commit"),
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        if self._run is None:
            return
        self._matching |= {name: value for name, value in metrics.items() if name.startswith("matching/")}
        pictures = {name: _image(content) for name, content in self._pictures.items()}
        self._pictures.clear()
        if self._row >= self._sent_row or step > self._sent_step:
            self._row = max(self._row, self._sent_row)
            # Without commit W&B would hold the row back until the next one.
            self._run.log({**metrics, **pictures, "step": step, "epoch": epoch}, step=self._row, commit=True)
        self._row += 1

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        if _disabled():
            return False
        last = epoch >= run.total_epochs
        if self.pictures != "auto":
            return self.pictures > 0 and (epoch % self.pictures == 0 or last)
        if run.group is not None or _id_of_sweep():
            return False
        soon = monotonic() - self._looked < AUTO_SECONDS  # a set takes a second, which others may need
        if not last and (soon or epoch % max(1, run.total_epochs // AUTO_PICTURES)):
            return False
        self._looked = monotonic()
        return True

    def snapshot(self, snapshot: Snapshot) -> None:
        if self._run is None:
            return
        from mcl.tracking.media import confusion_picture, matching_pictures, samples_picture

        for pair, content in matching_pictures(self._matching).items():
            self._pictures[f"pictures/matching/{pair}"] = content
        for name in snapshot.predicted:
            confusion = snapshot.confusion(name)
            self._pictures[f"pictures/confusion/{name}"] = confusion_picture(confusion, snapshot.classes, name)
        self._pictures["pictures/samples"] = samples_picture(snapshot)

    def keep(self, files: Sequence[Path]) -> None:
        if self._run is None or not self.artifacts:
            return
        import wandb

        artifact = wandb.Artifact(f"networks-{self._info.run_id}", type="model")
        for file in files:
            artifact.add_file(str(file), policy="immutable")  # else a copy waits in the home folder of this machine
        self._run.log_artifact(artifact)

    def abandon(self) -> None:
        import wandb

        self._run = None
        wandb.teardown(EXIT_CODES["failed"])  # the next run must not use a service that may have died

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        run.summary.update(_flat(summary or {}, [key for key, _ in self._info.networks]))
        try:
            run.finish(exit_code=EXIT_CODES[status])
        except TimeoutError:
            rest = shlex.quote(display_path(run.settings.sync_dir))
            logger.warning(
                "W&B: not all of the run could be uploaded. To upload the rest: wandb sync --no-skip-online %s", rest
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


def _kept_id(run: RunInfo) -> str | None:
    """Return the W&B id of the run to resume; None for a new run."""
    path = _id_file(run)
    return path.read_text().strip() if run.resumed_step and path.exists() and not _id_of_sweep() else None


def _new_id(run: RunInfo) -> str:
    """Return an id for a new run, and store it in the run folder.

    Runs with the same settings get different ids: a repeated run must not overwrite an earlier one, and W&B does not
    accept the id of a deleted run again.
    """
    fresh = _id_of_sweep() or f"{run.run_id}-{secrets.token_hex(4)}"
    _id_file(run).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(_id_file(run), fresh + "\n")
    return fresh


def _id_file(run: RunInfo) -> Path:
    return run.run_dir / "wandb" / "run_id"


def _id_of_sweep() -> str | None:
    """Return the run id that the agent of a W&B sweep has set; None outside of such a sweep."""
    return os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None


def _disabled() -> bool:
    return os.environ.get("WANDB_MODE") == "disabled"


def _image(content: bytes) -> "wandb.Image":
    import wandb
    from PIL import Image

    return wandb.Image(Image.open(io.BytesIO(content)))


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


def _flat(summary: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """Return a summary under flat names: ``first/top1_best``, ``ensemble/top1_last``, ``seconds``."""
    flat = {name: value for name, value in summary.items() if isinstance(value, (int, float, str))}
    parts = dict(zip(keys, summary.get("networks", []), strict=False))
    parts |= {name: summary.get(name) or {} for name in ("ensemble", "multiply_adds")}
    for part, values in parts.items():
        flat |= {f"{part}/{name}": value for name, value in values.items() if value is not None}
    return flat
