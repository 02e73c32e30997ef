"""The training loop. It does not depend on the loss or on the trackers."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from mcl import distributed
from mcl.data.disk_loader import raise_if_worker_lost
from mcl.data.loaders import TrainingLoader
from mcl.runs.checkpoints import Checkpoints
from mcl.signals import Stopped, StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training.checkpoint_policy import CheckpointPolicy
from mcl.training.cost import Cost
from mcl.training.evaluator import Evaluator
from mcl.training.gradient_histograms import gradient_histograms
from mcl.training.meta_round import MetaRound
from mcl.training.optimizers import base_learning_rate, learning_rates, set_learning_rate
from mcl.training.pruning import Pruned, Pruner
from mcl.training.state import TrainingState
from mcl.training.train_step import TrainStep
from mcl.types import Batch


class Trainer:
    """Train a cohort to its last step. The trainer decides what runs when; its parts do the work.

    Args:
        state: networks, loss, optimizers and progress.
        loader: the training batches of each epoch.
        schedule: factor on the learning rate from ``(epoch, epochs)``.
        train_step: one optimization step.
        meta_round: one update of the meta-parameters; None if the loss has none.
        evaluator: evaluates all splits.
        cost: multiply-adds of a step, for the summary.
    """

    def __init__(
        self,
        state: TrainingState,
        loader: TrainingLoader,
        schedule: Callable[[int, int], float],
        train_step: TrainStep,
        meta_round: MetaRound | None,
        evaluator: Evaluator,
        cost: Cost,
    ):
        self.state = state
        self.options = state.options
        self.learner = state.learner
        self.optimizers = state.optimizers
        self.progress = state.progress
        self.meters = state.meters
        self.loader = loader
        self.schedule = schedule
        self.train_step = train_step
        self.meta_round = meta_round
        self.evaluator = evaluator
        self.cost = cost

    def fit(
        self, checkpoints: Checkpoints | None, trackers: Trackers, signals: StopSignals, pruner: Pruner | None = None
    ) -> None:
        """Train from the current progress to the end.

        Args:
            checkpoints: checkpoints of the run; None in processes that write nothing.
            trackers: trackers that receive the metrics.
            signals: stop signals, checked after every step.
            pruner: is asked after every evaluation but the last whether to end the run; None never to end it. The
                answer in the first process counts.

        Raises:
            Stopped: a signal arrived; a checkpoint was saved first.
            Pruned: the pruner ended the run; a checkpoint was saved first.
            NonFiniteLoss: a loss, a gradient or a metric is not finite.
        """
        self.checkpoints, self.trackers, self.signals = checkpoints, trackers, signals
        self.policy = CheckpointPolicy(self.options, self.state.processes, signals)
        self.state.throughput.start()
        self.state.memory.start(self.options.device)
        try:
            while not self.progress.finished:
                pruned = False
                if not self.progress.evaluation_is_due:  # it is due if the previous attempt stopped before it
                    self._train_epoch()
                if self.progress.evaluation_is_due:
                    self._save()  # an evaluation can be long; a kill during it must not lose the epoch
                    if trackers.wants_gradients(self.progress.epoch):
                        trackers.gradients(gradient_histograms(self.learner))
                    metrics = self.evaluator(self.state, trackers, signals)
                    self._log(metrics)
                    if pruner is not None and not self.progress.finished:
                        pruned = pruner(self.progress.epoch, metrics)
                self._save()
                self.policy.agree()
                if self.state.processes.broadcast_object(pruned):
                    raise Pruned(self.progress.epoch, self.progress.total_epochs)
        except Stopped:
            self._save()
            raise
        except RuntimeError as error:
            raise_if_worker_lost(error)
            raise

    def _train_epoch(self) -> None:
        """Train the rest of the current epoch."""
        epoch, start = self.progress.position
        throughput = self.state.throughput
        self.learner.train()
        self._set_learning_rate(epoch)
        loss = self.learner.loss
        loss.set_epoch(epoch)
        if loss.needs_held_out and start == 0 and epoch > 0:
            loss.measure_held_out(*self.evaluator.held_out_logits(self.learner))
        throughput.start_lap()
        steps_left = self.progress.total_steps - self.progress.step
        for batch, next_batch in _with_next(itertools.islice(self.loader.epoch(epoch, start=start), steps_left)):
            values = self.train_on_batch(batch, next_batch)
            self.meters.update(values, self.progress.step, distributed.weight(batch.whole))
            self.progress.step += 1
            throughput.add(batch.whole or len(batch.labels))
            epoch_ends = next_batch is None
            if epoch_ends or self.progress.step % self.options.log_every == 0:
                self._log_averages()
            if self.policy.agree(due=not epoch_ends and self.policy.due(self.progress.step)):
                self._save()

    def train_on_batch(self, batch: Batch, next_batch: Batch | None = None) -> dict[str, Tensor]:
        """Take one optimization step and, if one is due, a meta round at the new weights.

        Args:
            batch: batch of this step.
            next_batch: batch of the next step; the outer batch of a meta round if ``loss.meta.outer_batch=next``.

        Returns:
            The scalars of the step by name, on the device.
        """
        values = self.train_step(batch)
        self.train_step.update_average(self.progress.step)
        if self.meta_round is not None and self.progress.step % self.meta_round.schedule.interval == 0:
            outer_batch = batch
            if self.meta_round.schedule.outer_batch == "next" and next_batch is not None:
                outer_batch = next_batch
            self.state.outer_loss = self.meta_round(batch, outer_batch, self.learning_rate)
            self.state.outer_step = self.progress.step
        return values

    @property
    def learning_rate(self) -> float:
        """Learning rate of the networks at this moment."""
        return base_learning_rate(self.optimizers[0])

    def _set_learning_rate(self, epoch: int) -> None:
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, self.schedule(epoch, self.options.epochs))

    def _log_averages(self) -> None:
        """Log the averages since the last log point. Synchronizes with the device."""
        metrics = self.state.read_meters()
        images_per_second = self.state.throughput.read()  # after the meters, which wait for the device
        outer_loss = self.state.read_outer_loss()
        if outer_loss is not None:
            metrics["meta/outer_loss"] = outer_loss
            self.state.outer_loss = None
        loss = self.learner.loss
        metrics |= {f"train/weight/{name}": loss.weights[name] for name in loss.ramps}
        metrics |= {f"train/lr/{part}": lr for part, lr in learning_rates(self.optimizers[0]).items()}
        self._log({**metrics, "train/lr": self.learning_rate, "train/images_per_second": images_per_second})

    def _log(self, metrics: dict[str, float]) -> None:
        self.trackers.log(metrics, step=self.progress.step, epoch=self.progress.epoch)

    def _save(self) -> None:
        state = self.state.state_dict()  # collective: every process must call it
        if self.checkpoints is not None:
            self.checkpoints.save(state)
        self.policy.record_save()

    def summary(self) -> dict[str, Any]:
        """Return the training results for summary.json."""
        results, throughput = self.state.results.summary(), self.state.throughput
        return {
            "steps": self.progress.step,
            "epochs": self.progress.epoch,
            **results,
            "networks": [{**network, **self.cost.deployed[network["key"]]} for network in results["networks"]],
            "images": throughput.images_seen,
            "seconds": round(throughput.seconds, 3),
            "training_seconds": round(throughput.training_seconds, 3),
            "images_per_second": round(throughput.images_per_second, 1),
            "training_parameters": self.cost.training_parameters,
            "peak_memory": self.state.memory.read(),
            "multiply_adds": self.cost.as_dict(
                images=throughput.images_seen, steps=self.progress.step, batch_size=self.options.batch_size
            ),
        }


def _with_next(batches: Iterator[Batch]) -> Iterator[tuple[Batch, Batch | None]]:
    """Yield each batch with the one after it; None after the last."""
    current = next(batches, None)
    while current is not None:
        next_batch = next(batches, None)
        yield current, next_batch
        current = next_batch
