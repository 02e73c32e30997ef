"""The training loop. It knows neither the loss that it runs nor where the numbers go."""

import inspect
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from mcl import distributed
from mcl.data.dataset import Dataset, Splits
from mcl.data.disk_loader import raise_if_worker_lost
from mcl.data.loaders import TrainingLoader, batches_in_order
from mcl.data.samplers import Sampler
from mcl.distributed.process_group import ProcessGroup
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.runs.checkpoints import Checkpoints
from mcl.tracking.tracker import Trackers
from mcl.training.compiling import compiled
from mcl.training.cost import Cost
from mcl.training.evaluation import evaluate
from mcl.training.learner import Learner
from mcl.training.meta_round import MetaRound
from mcl.training.meters import Meters, NonFiniteLoss
from mcl.training.optimizers import lay_out_state
from mcl.training.options import TrainerOptions
from mcl.training.progress import Progress, with_progress
from mcl.training.random_state import random_state, resume_random_state, seed_process
from mcl.training.results import Results
from mcl.training.signals import Stopped, StopSignals
from mcl.training.snapshot import SnapshotRecorder
from mcl.types import Batch

# Buffers are averaged after each step instead. Newer versions of torch have another name for this option.
_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_KEEP_BUFFERS: Any = {"forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS else "broadcast_buffers": False}

logger = logging.getLogger(__name__)


class Trainer:
    """One run of training: the state that a checkpoint holds, and the loop that moves it.

    Args:
        trainer: how long and in which way.
        learner: networks and loss; moved to the device.
        splits: the images.
        dataset: where they came from, with its augmentation and normalisation.
        sampler: which images make up which batch.
        make_optimizer: ``make_optimizer(params=...)``; called again for the meta-parameters where the loss has some.
        schedule: factor on the learning rate from ``(epoch, epochs)``.
        results: takes in every evaluation.
        seed: of the batches and their augmentation.
        data: fingerprint of the images, kept in the checkpoints.
        processes: those that train this run together, each on its share of every batch; None for this one alone.
    """

    def __init__(
        self,
        trainer: TrainerOptions,
        learner: Learner,
        splits: Splits,
        dataset: Dataset,
        sampler: Sampler,
        *,
        make_optimizer: Callable[..., Optimizer],
        schedule: Callable[[int, int], float],
        results: Results,
        seed: int,
        data: str,
        processes: ProcessGroup | None = None,
    ):
        self.trainer = trainer
        self.device = trainer.device
        self.processes = processes = processes or ProcessGroup()
        size = dataset.spec.image_size
        self.cost = Cost.of(learner.cohort, learner.loss, (dataset.spec.channels, size, size))
        learner.precision = trainer.precision
        learner.loss.prepare(splits.train.labels)
        self.learner = learner.to(self.device).to(memory_format=trainer.memory_format)
        named = {"test": splits.test, "validation": splits.validation}
        self.splits = {name: part.to(self.device) for name, part in named.items() if part is not None}
        self.dataset = dataset
        self.labels = splits.train.labels
        self.shard = Shard(processes.rank, processes.world_size)
        self.loader = TrainingLoader(
            splits.train,
            dataset,
            sampler,
            batch_size=trainer.batch_size,
            seed=seed,
            device=self.device,
            memory_format=trainer.memory_format,
            overfit=trainer.overfit,
            shard=self.shard,
        )
        for name, part in self.splits.items():
            if len(part.labels) < processes.world_size:
                raise UserError(f"the {name} part has {len(part.labels)} images for {processes.world_size} processes.")
        self.progress = Progress(trainer, len(self.loader))
        self.trained = learner.trained_parameters()
        self.optimizers = [make_optimizer(params=self.trained)]
        self.meta_round: MetaRound | None = None
        if learner.loss.meta is not None:
            own = make_optimizer(params=list(learner.loss.meta_parameters().values()))
            decay = self.optimizers[0].param_groups[0].get("weight_decay", 0.0)
            self.meta_round = MetaRound(learner.cohort, learner.loss, own, weight_decay=decay)
            self.optimizers.append(own)
        if trainer.sync_batch_norm and processes.world_size > 1:
            if self.meta_round is not None:
                raise UserError(
                    "trainer.sync_batch_norm=true: torch's synchronised batch normalisation cannot be differentiated"
                    " twice, as the meta round does. Use false, or a fixed matching (loss/matching=one)."
                )
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        if trainer.compile:
            learner.networks = compiled(learner.cohort)
        self.forward = learner if processes.world_size == 1 else self._in_step_with_others()
        # Of float type, those of batch normalisation: each process sees other images, so they are averaged.
        constant = learner.loss.static_buffers()
        self.statistics = [
            buffer
            for name, buffer in learner.named_buffers()
            if buffer.is_floating_point() and name.removeprefix("loss.") not in constant
        ]
        self.schedule = schedule
        self.results = results
        self.data = data
        self.meters = Meters()
        self.best: dict[str, dict[str, Tensor]] = {}  # key -> the backbone at its best epoch, on the CPU of the first
        self.earlier_seconds = 0.0  # of attempts before this one
        self.training_seconds = 0.0  # without evaluations and start-up
        self.images_timed = 0  # during training_seconds, which end where numbers are read
        self.images_seen = 0  # in all
        self.outer_loss: Tensor | None = None
        seed_process(seed, processes.rank)

    def _in_step_with_others(self) -> DistributedDataParallel:
        """The learner as all processes have it: that of the first one, and gradients that are means over all."""
        distributed.broadcast([*self.learner.parameters(), *self.learner.buffers()])
        meta = [parameter for parameter in self.learner.loss.meta_parameters().values() if parameter.requires_grad]
        for parameter in meta:
            parameter.requires_grad_(False)  # the meta round learns them: here nobody should wait for their gradients
        together = DistributedDataParallel(self.learner, gradient_as_bucket_view=True, **_KEEP_BUFFERS)
        for parameter in meta:
            parameter.requires_grad_()
        return together

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.progress.step

    @step.setter
    def step(self, step: int) -> None:
        self.progress.step = step

    def run(self, checkpoints: Checkpoints | None, trackers: Trackers, signals: StopSignals) -> None:
        """Train from ``self.step`` to the end, with checkpoints on the way.

        Args:
            checkpoints: where they go; None in the processes that write nothing.
            trackers: told of every number.
            signals: say when to stop.

        Raises:
            Stopped: a signal asked for it; a checkpoint was written first.
        """
        self.checkpoints, self.trackers, self.signals = checkpoints, trackers, signals
        self._start = self._saved = time.monotonic()
        try:
            while not self.progress.finished:
                if not self.progress.evaluation_is_due:  # it is when the attempt before this one stopped in between
                    self._train(*self.progress.position)
                if self.progress.evaluation_is_due:
                    self._save()  # an evaluation may take long, and whoever kills it should not lose the epoch
                    self._evaluate()
                self._save()
                self._agree()
        except Stopped:
            self._save()
            raise
        except RuntimeError as error:
            raise_if_worker_lost(error)
            raise

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, earlier attempts included."""
        return self.earlier_seconds + time.monotonic() - self._start

    def _train(self, epoch: int, first: int) -> None:
        """The rest of one epoch."""
        self.learner.train()
        lr_factor = self.schedule(epoch, self.trainer.epochs)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * lr_factor
        lr = self.optimizers[0].param_groups[0]["lr"]
        clock, images = time.monotonic(), 0
        batches = itertools.islice(self.loader.epoch(epoch, start=first), self.progress.total_steps - self.step)
        for batch, following in _with_next(batches):
            self.meters.update(self._step(batch, following, lr), self.step, distributed.weight(batch.whole))
            self.step += 1
            images += batch.whole or len(batch.labels)
            self.images_seen += batch.whole or len(batch.labels)
            epoch_ends = following is None
            if epoch_ends or self.step % self.trainer.log_every == 0:
                averages = self.meters.read()  # waits for the device
                now = time.monotonic()
                rate = images / (now - clock)
                self.training_seconds += now - clock
                self.images_timed += images
                clock, images = now, 0
                self._log({**averages, **self._outer_loss(), "train/lr": lr, "train/images_per_second": rate})
            if self._agree(checkpoint=not epoch_ends and self._checkpoint_is_due()):
                self._save()

    def _checkpoint_is_due(self) -> bool:
        steps, minutes = self.trainer.checkpoint_every, self.trainer.checkpoint_minutes
        if steps is not None and self.step % steps == 0:
            return True
        return minutes is not None and time.monotonic() - self._saved >= 60 * minutes

    def _agree(self, *, checkpoint: bool = False) -> bool:
        """Whether some process finds a checkpoint due; raise ``Stopped`` in all if a signal has reached one."""
        signal, due = self.processes.all_reduce_max(self.signals.number, int(checkpoint))
        self.signals.check(signal)
        return bool(due)

    def _save(self) -> None:
        state = self.state_dict()
        if self.checkpoints is not None:
            self.checkpoints.save(state)
        self._saved = time.monotonic()

    def _step(self, batch: Batch, following: Batch | None, lr: float) -> dict[str, Tensor]:
        """One optimisation step and, where it is due, a meta round at the new weights."""
        total, terms, outputs = self.forward(batch)
        weight = distributed.weight(batch.whole)
        self.optimizers[0].zero_grad(set_to_none=True)
        total.backward(torch.full_like(total, weight))
        values = self.learner.measure(total, terms, outputs, batch)
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        values["train/grad_norm"] = norm = torch.nn.utils.get_total_norm(gradients)
        if self.trainer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.trained, self.trainer.clip_norm, norm)
        self.optimizers[0].step()
        if self.processes.world_size > 1 and self.statistics:
            torch._foreach_copy_(self.statistics, distributed.all_reduce_mean(self.statistics, weight))
        if self.meta_round is not None and self.step % self.meta_round.schedule.interval == 0:
            use_next = self.meta_round.schedule.outer_batch == "next" and following is not None
            self.outer_loss = self.meta_round(batch, following if use_next and following else batch, lr)
        return values

    def _outer_loss(self) -> dict[str, float]:
        """The outer loss of a meta round since the last reading, if there was one."""
        if self.outer_loss is None:
            return {}
        value, self.outer_loss = float(self.outer_loss), None
        return {"meta/outer_loss": value}

    def _evaluate(self) -> None:
        looking = self.processes.broadcast_object(self.trackers.wants_snapshot(self.progress.epoch))
        recorder = SnapshotRecorder(self.dataset, len(self.splits["test"].labels), self.processes) if looking else None
        by_split = {split: self._evaluate_on(split, recorder if split == "test" else None) for split in self.splits}
        named = {f"{split}/{name}": value for split, found in by_split.items() for name, value in found.items()}
        bad = [name for name, value in named.items() if not math.isfinite(value)]
        if bad:
            raise NonFiniteLoss(
                f"the networks diverged by step {self.step}: {', '.join(bad[:3])} is not finite."
                " Try a smaller optimizer.lr, trainer.clip_norm=5, or trainer.precision=float32."
            )
        self.progress.evaluated_step = self.step
        improved = self.results.add(self.progress.epoch, by_split)
        for key, backbone in zip(self.learner.cohort.keys, self.learner.cohort.backbones, strict=True):
            if key in improved and self.processes.first:
                state = backbone.state_dict()
                self.best[key] = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        if recorder is not None:
            self.trackers.snapshot(recorder.snapshot())
        self._log(named)

    def _evaluate_on(self, split: str, recorder: SnapshotRecorder | None) -> dict[str, float]:
        batches = batches_in_order(
            self.splits[split],
            self.dataset,
            batch_size=max(1, self.trainer.batch_size // self.processes.world_size),
            shard=self.shard,
            device=self.device,
            memory_format=self.trainer.memory_format,
        )
        return evaluate(
            self.learner.cohort,
            self.learner.loss,
            self._unless_stopped(batches if recorder is None else recorder.watch(batches)),
            device=self.device,
            precision=self.trainer.precision,
            on_batch=None if recorder is None else recorder.on_batch,
        )

    def _unless_stopped(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, for as long as no signal has come. Several processes hear of it after the last one."""
        for batch in batches:
            if self.processes.world_size == 1:
                self.signals.check()
            yield batch

    def _log(self, metrics: dict[str, float]) -> None:
        self.trackers.log(metrics, step=self.step, epoch=self.progress.epoch)

    def summary(self) -> dict[str, Any]:
        """What summary.json says of the training."""
        found, deployed = self.results.summary(), self.cost.deployed
        return {
            "steps": self.step,
            "epochs": self.progress.epoch,
            **found,
            "networks": [{**network, **deployed[network["key"]]} for network in found["networks"]],
            "images": self.images_seen,
            "seconds": round(self.seconds, 3),
            "training_seconds": round(self.training_seconds, 3),
            "images_per_second": round(self.images_timed / max(self.training_seconds, 1e-9), 1),
            "multiply_adds": self.cost.as_dict(
                images=self.images_seen, steps=self.step, batch_size=self.trainer.batch_size
            ),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on. Data order and augmentation follow from the seed and the step."""
        return {
            **self.progress.state_dict(),
            "processes": self.processes.world_size,
            "data": self.data,
            "learner": self.learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "meters": self.meters.state_dict(),
            "outer_loss": self.outer_loss,
            "results": self.results.state_dict(),
            "best": self.best,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "images_timed": self.images_timed,
            "images_seen": self.images_seen,
            "random_states": self.processes.all_gather_object(random_state(self.device)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            UserError: it is of other networks, or another loss.
        """
        try:
            self.learner.load_state_dict(state["learner"])
            self._load_progress(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"The checkpoint does not fit the networks and the loss of these settings: {reason} Choose another"
                " hydra.run.dir=FOLDER, or start over with resume=never."
            ) from error

    def _load_progress(self, state: Mapping[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            # Momentum and the like are the configuration's: what has built up is taken over, and where the rate stood.
            pairs = zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
            groups = [{**ours, "lr": theirs["lr"]} for ours, theirs in pairs]
            optimizer.load_state_dict({**saved, "param_groups": groups})
            lay_out_state(optimizer)
        if "meters" in state:  # not where settings that changed would mix two losses in one average
            self.meters.load_state_dict(state["meters"], self.device)
        self.outer_loss = state["outer_loss"]
        self.results.load_state_dict(state["results"])
        self.best = dict(state["best"])
        note = self.progress.load_state_dict(with_progress(state, self.trainer, self.loader.sampler, self.labels))
        if note is not None and self.processes.first:
            logger.warning("%s", note)
        self.earlier_seconds = state["seconds"]
        self.training_seconds = state["training_seconds"]
        self.images_seen = state["images_seen"]
        self.images_timed = state.get("images_timed", self.images_seen)
        resume_random_state(state["random_states"], self.loader.seed, self.processes.rank, self.step, self.device)


def _with_next(batches: Iterator[Batch]) -> Iterator[tuple[Batch, Batch | None]]:
    """Each batch with the one after it; None after the last."""
    current = next(batches, None)
    while current is not None:
        following = next(batches, None)
        yield current, following
        current = following
