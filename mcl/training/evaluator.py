"""Evaluate all splits of a run, and keep its results and its best weights."""

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from mcl.data.dataset import Dataset, Splits
from mcl.data.loaders import batches_in_order
from mcl.distributed.process_group import ProcessGroup
from mcl.distributed.sharding import NO_SHARDING, Shard
from mcl.errors import UserError
from mcl.signals import StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training.calibration import Calibration
from mcl.training.evaluation import BACKBONE, ENSEMBLE, evaluate, predictions
from mcl.training.learner import Learner
from mcl.training.meters import NonFiniteLoss
from mcl.training.options import TrainerOptions
from mcl.training.snapshot import SnapshotRecorder
from mcl.training.state import TrainingState
from mcl.types import Batch


class Evaluator:
    """Evaluate the test split, unless ``trainer.test=false``, and the validation split, if there is one.

    Args:
        splits: the images; moved to the device.
        dataset: normalization and class names.
        options: device, precision, memory format and batch size.
        processes: the processes that evaluate together, each its shard of every split.

    Raises:
        UserError: a split has fewer images than there are processes.
    """

    def __init__(self, splits: Splits, dataset: Dataset, options: TrainerOptions, processes: ProcessGroup):
        by_name = {"test": splits.test} if options.test else {}
        if splits.validation is not None:
            by_name["validation"] = splits.validation
        self.splits = {name: split.to(options.device) for name, split in by_name.items()}
        self.dataset = dataset
        self.options = options
        self.processes = processes
        for name, split in self.splits.items():
            images = len(split.labels)
            if images < processes.world_size:
                raise UserError(
                    f"the {name} split has {images} images, fewer than the {processes.world_size} processes. Start"
                    f" torchrun with --nproc_per_node={images} or less."
                )

    def __call__(self, state: TrainingState, trackers: Trackers, signals: StopSignals) -> dict[str, float]:
        """Evaluate the networks, and record results and best weights in ``state``.

        At the end of training, the calibration on the test split is recorded, too.

        Returns:
            ``{"test/first/backbone/top1": 97.2, ...}``.

        Raises:
            NonFiniteLoss: a metric is not finite; nothing is recorded.
            Stopped: a signal arrived; nothing is recorded.
        """
        progress = state.progress
        recorder: SnapshotRecorder | None = None
        calibration: Calibration | None = None
        by_split: dict[str, dict[str, float]] = {}
        if "test" in self.splits:
            if self.processes.broadcast_object(trackers.wants_snapshot(progress.epoch)):
                recorder = SnapshotRecorder(self.dataset, len(self.splits["test"].labels), self.processes)
            heads = [*(f"{key}/{BACKBONE}" for key in state.learner.deployed.keys), ENSEMBLE]
            calibration = Calibration(heads) if progress.step >= progress.total_steps else None
            by_split["test"] = self._evaluate("test", state.learner, signals, recorder, calibration)
        if "validation" in self.splits:
            by_split["validation"] = self._evaluate("validation", state.learner, signals)
        metrics = {f"{split}/{name}": value for split, values in by_split.items() for name, value in values.items()}
        _check_finite(metrics, progress.step)
        progress.evaluated_step = progress.step
        improved = state.results.add(progress.epoch, by_split, {} if calibration is None else calibration.errors())
        for key, network in state.learner.deployed.items():
            if key in improved and self.processes.first:
                weights = network.backbone.state_dict()
                state.best[key] = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
        if recorder is not None:
            trackers.snapshot(recorder.snapshot())
        return metrics

    def held_out_logits(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Return the logits (N, M, C) of the networks on the validation split, and its labels (M,).

        Every process computes them for all images.
        """
        batches = batches_in_order(
            self.splits["validation"],
            self.dataset,
            batch_size=self.options.batch_size,
            shard=NO_SHARDING,
            device=self.options.device,
            memory_format=self.options.memory_format,
        )
        cohort = learner.cohort
        device, precision = self.options.device, self.options.precision
        predicted = [
            (torch.stack([heads[f"{key}/{BACKBONE}"] for key in cohort.keys]), labels)
            for heads, labels in predictions(cohort, learner.loss, batches, device=device, precision=precision)
        ]
        logits, labels = zip(*predicted, strict=True)
        return torch.cat(logits, dim=1), torch.cat(labels)

    def _evaluate(
        self,
        split: str,
        learner: Learner,
        signals: StopSignals,
        recorder: SnapshotRecorder | None = None,
        calibration: Calibration | None = None,
    ) -> dict[str, float]:
        batches = batches_in_order(
            self.splits[split],
            self.dataset,
            batch_size=max(1, self.options.batch_size // self.processes.world_size),
            shard=Shard(self.processes.rank, self.processes.world_size),
            device=self.options.device,
            memory_format=self.options.memory_format,
        )
        return evaluate(
            learner.deployed,
            learner.loss,
            self._until_stopped(batches if recorder is None else recorder.watch(batches), signals),
            device=self.options.device,
            precision=self.options.precision,
            on_batch=[each.on_batch for each in (recorder, calibration) if each is not None],
        )

    def _until_stopped(self, batches: Iterable[Batch], signals: StopSignals) -> Iterator[Batch]:
        """Yield the batches. One process stops at a signal; several processes check for one after the evaluation."""
        for batch in batches:
            if self.processes.world_size == 1:
                signals.check()
            yield batch


def _check_finite(metrics: Mapping[str, float], step: int) -> None:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise NonFiniteLoss(
            f"the networks diverged by step {step}: {', '.join(bad[:3])} is not finite."
            " Try a smaller optimizer.lr or trainer.clip_norm=5, and float32 if trainer.precision is another."
        )
