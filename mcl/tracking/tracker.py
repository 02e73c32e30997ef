"""The interface of trackers: the only link between training and the places where numbers go."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from torch import Tensor

Status = Literal["finished", "failed", "interrupted"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInfo:
    """What a tracker may know of a run before its first step."""

    run_dir: Path
    name: str  # for people
    run_id: str  # the same for equal settings
    total_steps: int
    total_epochs: int  # the last one may be broken off
    networks: list[tuple[str, str]]  # (key in metric names, name), such as ("first", "resnet8")
    config: dict[str, Any] = field(default_factory=dict)  # resolved: plain dicts, lists and scalars
    overrides: list[str] = field(default_factory=list)  # as typed on the command line
    code: dict[str, Any] = field(default_factory=dict)  # version, commit, dirty
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    resumed_step: int = 0  # the step of the checkpoint that this attempt goes on from; 0: from the beginning
    resumed_lines: int = 0  # of metrics.jsonl, up to that step
    resumed_before_evaluation: bool = False  # of that step, which is still due


@dataclass(frozen=True)
class Snapshot:
    """What one evaluation saw, for those who make pictures of it; all on the host.

    Args:
        classes: their names.
        labels: (N,) of the whole split.
        predicted: by ``first``, ``second``, ..., ``ensemble``: the classes (N,) their backbones chose.
        images: (K, channels, height, width) uint8, a few from all over the split.
        image_labels: (K,).
        image_predicted, image_confidence: as ``predicted``, for the few images, (K,), and with which probability.
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


class Tracker(ABC):
    """A place where numbers go. It sees each run from ``start`` to ``finish``, and may see several, one after another.

    Metrics share one vocabulary: ``train/<term>`` (raw, averaged since the last line), ``train/weighted/<term>``,
    ``train/total``, ``train/lr``, ``train/images_per_second``, ``train/grad_norm``, ``train/top1/<network>``,
    ``meta/outer_loss``; ``matching/<network>.<head>/<network>.<head>``, the mean matching weight of two places,
    averaged alike; ``<split>/<network>/<head>/<quantity>`` and ``<split>/ensemble/<quantity>``, with the split
    ``test`` or ``validation``, the network ``first``, ``second``, ..., the head ``stage1``, ..., ``backbone`` or
    ``aggregated``, and the quantity ``top1``, ``top5`` (percent) or ``loss``.
    """

    name: str
    required: ClassVar[bool] = False  # whether training must stop when this tracker fails

    @abstractmethod
    def start(self, run: RunInfo) -> None:
        """A run, or the next attempt at one, begins."""

    @abstractmethod
    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Numbers, already on the host.

        Args:
            metrics: name -> value.
            step: optimiser steps done so far, never less than in an earlier call.
            epoch: the epoch these steps lie in, counted from 1.
        """

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        """Whether ``look`` should be called for the evaluation after this epoch. Asked before ``start`` has ended."""
        return False

    def snapshot(self, snapshot: Snapshot) -> None:  # noqa: B027 - most have no use for it
        """What the test part's evaluation saw, whose numbers the next ``log`` has."""

    def keep(self, files: Sequence[Path]) -> None:  # noqa: B027
        """Networks that the run has exported."""

    def abandon(self) -> None:  # noqa: B027
        """It has failed, and is told nothing more: let go of what would trouble the next run, or the process's end."""

    @abstractmethod
    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        """The run, or this attempt at it, is over.

        Args:
            status: how it ended.
            summary: the results of a finished run, in the form of ``summary.json``.
            error: what ended a run that did not finish.
        """


class Trackers(list[Tracker]):
    """Every tracker of a run, told in order. One that fails is switched off with a warning; training goes on.

    The error of a tracker that is ``required`` is raised instead, once the others have been told.
    """

    _run: RunInfo | None = None
    _snapshot_takers: Sequence[Tracker] = ()  # those that want the next look

    def start(self, run: RunInfo) -> None:
        self._run = run
        self._tell(lambda tracker: tracker.start(run))

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: int) -> None:
        self._tell(lambda tracker: tracker.log(metrics, step=step, epoch=epoch))

    def wants_snapshot(self, epoch: int) -> bool:
        run, takers = self._run, []

        def ask(tracker: Tracker) -> None:
            if run is not None and tracker.wants_snapshot(run, epoch):
                takers.append(tracker)

        self._tell(ask)
        self._snapshot_takers = takers
        return bool(takers)

    def snapshot(self, snapshot: Snapshot) -> None:
        takers = self._snapshot_takers
        self._tell(lambda tracker: tracker.snapshot(snapshot) if tracker in takers else None)

    def keep(self, files: Sequence[Path]) -> None:
        self._tell(lambda tracker: tracker.keep(files))

    def finish(
        self, status: Status, summary: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        self._tell(lambda tracker: tracker.finish(status, summary, error))

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        failures = [error for tracker in list(self) if (error := self._tell_one(tracker, call)) is not None]
        if failures:
            raise failures[0]

    def _tell_one(self, tracker: Tracker, call: Callable[[Tracker], None]) -> Exception | None:
        try:
            call(tracker)
        except Exception as error:
            if tracker.required:
                return error
            self.remove(tracker)
            logger.warning(
                "%s is switched off, training goes on. It failed with %s: %s", tracker.name, type(error).__name__, error
            )
        return None
