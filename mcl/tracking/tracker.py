"""The interface of trackers: the only link between training and the places where numbers go."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Status = Literal["finished", "failed", "interrupted", "pruned"]  # pruned: a search ended it early

logger = logging.getLogger(__name__)


class IncompleteTracking(Exception):
    """A tracker lacks a part of the run. The message says why, and what is missing, in whole sentences."""


@dataclass(frozen=True)
class RunInfo:
    """Metadata of a run, known before its first step."""

    run_dir: Path
    name: str  # display name
    run_id: str  # the same for equal settings
    total_steps: int
    total_epochs: int  # the last one may be incomplete
    networks: list[tuple[str, str]]  # (key in metric names, name), such as ("first", "resnet8")
    config: dict[str, Any] = field(default_factory=dict)  # resolved: plain dicts, lists and scalars
    overrides: list[str] = field(default_factory=list)  # overrides of the command line
    code: dict[str, Any] = field(default_factory=dict)  # version, commit, dirty
    facts: dict[str, Any] = field(default_factory=dict)  # device, parameters and so on, in the form of summary.json
    overview: Sequence[tuple[str, str]] = ()  # rows (label, value), as printed before training
    notes: Sequence[str] = ()  # below the overview
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    resumed_step: int = 0  # step of the checkpoint to resume from; 0 for a new run
    resumed_lines: int = 0  # lines of metrics.jsonl kept up to that step
    resumed_before_evaluation: bool = False  # whether the evaluation at that step is still due


@dataclass(frozen=True)
class Snapshot:
    """The labels, predictions and a few images of one evaluation, for W&B images; all on the host.

    Args:
        classes: their names.
        labels: (N,) labels of the whole split.
        predicted: predicted classes (N,) of the backbones ``first``, ``second``, ..., and of the ``ensemble``.
        images: (K, channels, height, width) uint8, a few of the split.
        image_labels: (K,).
        image_predicted, image_confidence: predicted classes (K,) of these images, and their probabilities.
    """

    classes: Sequence[str]
    labels: "Tensor"
    predicted: Mapping[str, "Tensor"]
    images: "Tensor"
    image_labels: "Tensor"
    image_predicted: Mapping[str, "Tensor"]
    image_confidence: Mapping[str, "Tensor"]

    def confusion(self, name: str) -> "Tensor":
        """Return the counts (classes, classes), [label, prediction], of a network or the ensemble."""
        classes = len(self.classes)
        return (self.labels * classes + self.predicted[name]).bincount(minlength=classes**2).reshape(classes, classes)


class Histogram(NamedTuple):
    """Counts of values between N + 1 edges."""

    counts: list[int]
    edges: list[float]


class Tracker(ABC):
    """A place where metrics go, from `start` to `finish` of a run. It may track several runs, one after another.

    Metrics share one vocabulary: ``train/<term>`` (raw, averaged since the last line), ``train/weighted/<term>``,
    ``train/total``, ``train/lr``, ``train/images_per_second``, ``train/grad_norm``, ``train/top1/<network>``, in
    float16 ``train/loss_scale`` and ``train/skipped``, the share of steps whose gradients overflowed;
    ``meta/outer_loss``; ``matching/<network>.<head>/<network>.<head>``, the mean matching weight of two nodes,
    averaged alike; ``<split>/<network>/<head>/<quantity>`` and ``<split>/ensemble/<quantity>``, with the split
    ``test`` or ``validation``, the network ``first``, ``second``, ..., the head ``stage1``, ..., ``backbone`` or
    ``aggregated``, and the quantity ``top1``, ``top5`` (percent) or ``loss``.
    """

    name: str
    required: ClassVar[bool] = False  # whether training must stop when this tracker fails

    @abstractmethod
    def start(self, run: RunInfo) -> None:
        """Start a run, or the next attempt at one."""

    @abstractmethod
    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Log metrics, already on the host.

        Args:
            metrics: name -> value.
            step: optimizer steps done; never decreases.
            epoch: epoch of the last of these steps, from 1.
        """

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        """Return whether to call `snapshot` for the evaluation after this epoch. `start` may not have returned."""
        return False

    def snapshot(self, snapshot: Snapshot) -> None:  # noqa: B027 - optional
        """Receive the snapshot of a test evaluation; the next call of `log` has its metrics."""

    def wants_gradients(self, run: RunInfo, epoch: int) -> bool:
        """Return whether to call `gradients` before the evaluation after this epoch. `start` may not have returned."""
        return False

    def gradients(self, histograms: Mapping[str, Histogram]) -> None:  # noqa: B027
        """Take histograms of the gradients of the last step; the next `log` is of the evaluation that follows it.

        Args:
            histograms: ``{"first/stage1": ..., "loss": ...}``.
        """

    def keep(self, files: Sequence[Path]) -> None:  # noqa: B027
        """Store the networks that the run has exported."""

    def reached(self, step: int) -> None:  # noqa: B027
        """Take note of the step at which training ended without finishing; `finish` follows."""

    def abandon(self) -> None:  # noqa: B027
        """Release resources after a failure; no further calls follow."""

    @abstractmethod
    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        """End the run, or this attempt at it.

        Args:
            status: outcome of the run or attempt.
            summary: the results of a finished run, in the form of ``summary.json``.
            error: the reason why it did not finish.
        """


class Trackers(list[Tracker]):
    """All trackers of a run, called in order. A failing one is switched off with a warning; training continues.

    The error of a ``required`` tracker is raised instead, after the others were called.
    """

    _run: RunInfo | None = None
    _snapshot_takers: Sequence[Tracker] = ()  # those that want the next snapshot
    _gradient_takers: Sequence[Tracker] = ()

    def start(self, run: RunInfo) -> None:
        self._run = run
        self._call_all(lambda tracker: tracker.start(run))

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        self._call_all(lambda tracker: tracker.log(metrics, step=step, epoch=epoch))

    def wants_snapshot(self, epoch: int) -> bool:
        self._snapshot_takers = self._takers(lambda tracker, run: tracker.wants_snapshot(run, epoch))
        return bool(self._snapshot_takers)

    def snapshot(self, snapshot: Snapshot) -> None:
        takers = self._snapshot_takers
        self._call_all(lambda tracker: tracker.snapshot(snapshot) if tracker in takers else None)

    def wants_gradients(self, epoch: int) -> bool:
        self._gradient_takers = self._takers(lambda tracker, run: tracker.wants_gradients(run, epoch))
        return bool(self._gradient_takers)

    def gradients(self, histograms: Mapping[str, Histogram]) -> None:
        takers = self._gradient_takers
        self._call_all(lambda tracker: tracker.gradients(histograms) if tracker in takers else None)

    def keep(self, files: Sequence[Path]) -> None:
        self._call_all(lambda tracker: tracker.keep(files))

    def reached(self, step: int) -> None:
        self._call_all(lambda tracker: tracker.reached(step))

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        self._call_all(lambda tracker: tracker.finish(status, summary, error), "did not finish")

    def _takers(self, wants: Callable[[Tracker, RunInfo], bool]) -> list[Tracker]:
        run, takers = self._run, []

        def ask(tracker: Tracker) -> None:
            if run is not None and wants(tracker, run):
                takers.append(tracker)

        self._call_all(ask)
        return takers

    def _call_all(self, call: Callable[[Tracker], None], problem: str = "is switched off, training continues") -> None:
        failures = [error for tracker in list(self) if (error := self._call_one(tracker, call, problem)) is not None]
        if failures:
            raise failures[0]

    def _call_one(self, tracker: Tracker, call: Callable[[Tracker], None], problem: str) -> Exception | None:
        try:
            call(tracker)
        except Exception as error:
            if tracker.required:
                return error
            self.remove(tracker)
            whole = isinstance(error, IncompleteTracking)
            reason = str(error) if whole else f"It failed with {type(error).__name__}: {' '.join(str(error).split())}"
            logger.warning("%s %s. %s", tracker.name, problem, reason)
        return None
