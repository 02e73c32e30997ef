"""Build a trainer from its parts, in the order in which they depend on each other."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from mcl.data.dataset import Dataset, Splits
from mcl.data.loaders import TrainingLoader
from mcl.data.samplers import Sampler
from mcl.distributed.process_group import ProcessGroup
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.training.accumulation import AccumulatedStep
from mcl.training.capturing import CapturedStep, graph_recorder
from mcl.training.compiling import compiled
from mcl.training.cost import Cost
from mcl.training.data_parallel import broadcast_learner, data_parallel, float_buffers
from mcl.training.evaluator import Evaluator
from mcl.training.learner import Learner
from mcl.training.loss_scaling import LossScaling
from mcl.training.lr_factors import EQUAL, LrFactors
from mcl.training.meta_round import MetaRound
from mcl.training.optimizers import parameter_groups, split_by_decay, weight_decays
from mcl.training.options import TrainerOptions
from mcl.training.progress import Progress
from mcl.training.random_state import seed_process
from mcl.training.results import Results
from mcl.training.state import TrainingState
from mcl.training.train_step import TrainStep
from mcl.training.trainer import Trainer
from mcl.training.views import count_views


def build_trainer(
    options: TrainerOptions,
    learner: Learner,
    splits: Splits,
    dataset: Dataset,
    sampler: Sampler,
    *,
    make_optimizer: Callable[..., Optimizer],
    schedule: Callable[[int, int], float],
    results: Results,
    seed: int,
    lr_factors: LrFactors = EQUAL,
    data: str = "",
    processes: ProcessGroup | None = None,
) -> Trainer:
    """Return a trainer at its first step.

    Args:
        options: options of training.
        learner: networks and loss; moved to the device.
        splits: the images.
        dataset: their augmentation, normalization and class names.
        sampler: chooses the images of each batch.
        make_optimizer: ``make_optimizer(params=...)``; called again for the meta-parameters if the loss has some.
        schedule: factor on the learning rate from ``(epoch, epochs)``.
        results: takes in every evaluation.
        seed: seed of the batches and of their augmentation.
        lr_factors: factors on the learning rate of parts of the networks.
        data: fingerprint of the images, kept in the checkpoints.
        processes: the processes that train together, each on its shard of every batch; by default this one alone.

    Raises:
        UserError: the parts do not work together.
    """
    processes = processes or ProcessGroup()
    views = count_views(options, learner.loss, dataset, len(learner.cohort.keys))
    twice = options.accumulate > 1
    cost = Cost.of(learner.cohort, learner.loss, dataset.spec.image_shape, views=views, twice=twice)
    learner.precision = options.precision
    learner.start_average(options.ema)
    learner.loss.prepare(splits.train.labels)
    learner.to(options.device).to(memory_format=options.memory_format)
    evaluator = Evaluator(splits, dataset, options, processes)
    loader = TrainingLoader(
        splits.train,
        dataset,
        sampler,
        batch_size=options.batch_size,
        seed=seed,
        device=options.device,
        memory_format=options.memory_format,
        overfit=options.overfit,
        shard=Shard(processes.rank, processes.world_size),
        views=views,
        mixing=options.mixing,
    )
    optimizers = _build_optimizers(options, learner, lr_factors, make_optimizer)
    meta_round = _build_meta_round(options, learner, optimizers)
    if options.sync_batch_norm and processes.world_size > 1:
        _synchronize_batch_norm(learner)
    if options.compile:
        learner.networks = compiled(learner.cohort, options.compile)
    scaling = LossScaling(optimizers[0], options.device) if options.precision == "float16" else None
    train_step = _build_train_step(options, learner, optimizers[0], scaling, processes.world_size)
    state = TrainingState(
        options=options,
        learner=learner,
        optimizers=optimizers,
        scaling=scaling,
        progress=Progress(options, len(loader)),
        results=results,
        processes=processes,
        sampler=sampler,
        labels=splits.train.labels,
        seed=seed,
        data=data,
    )
    seed_process(seed, processes.rank)
    return Trainer(state, loader, schedule, train_step, meta_round, evaluator, cost)


def _build_optimizers(
    options: TrainerOptions, learner: Learner, lr_factors: LrFactors, make_optimizer: Callable[..., Optimizer]
) -> list[Optimizer]:
    """Return the optimizer of the trained parameters, then that of the meta-parameters if the loss has some."""
    groups = parameter_groups(learner, lr_factors, decay_norm_and_bias=options.decay_norm_and_bias)
    optimizers = [make_optimizer(params=groups)]
    if learner.loss.meta is not None:
        meta: list[Any] = list(learner.loss.meta_parameters().values())
        groups = meta if options.decay_norm_and_bias else split_by_decay([{"params": meta}])
        optimizers.append(make_optimizer(params=groups))
    return optimizers


def _build_meta_round(options: TrainerOptions, learner: Learner, optimizers: Sequence[Optimizer]) -> MetaRound | None:
    if learner.loss.meta is None:
        return None
    return MetaRound(
        learner.cohort,
        learner.loss,
        optimizers[1],
        weight_decay=weight_decays(learner, optimizers[0]),
    )


def _synchronize_batch_norm(learner: Learner) -> None:
    if learner.loss.meta is not None:
        raise UserError(
            "trainer.sync_batch_norm=true: torch's synchronized batch normalization cannot be differentiated"
            " twice, as the meta round does. Use false, or a fixed matching (loss/matching=one)."
        )
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(learner)


def _build_train_step(
    options: TrainerOptions, learner: Learner, optimizer: Optimizer, scaling: LossScaling | None, world_size: int
) -> TrainStep:
    make_step: Callable[..., TrainStep] = TrainStep
    model: Callable[..., Any] = learner
    recorder = graph_recorder(options, learner, world_size)
    if options.accumulate > 1:
        make_step = functools.partial(AccumulatedStep, options.accumulate)
        broadcast_learner(learner)
    elif world_size > 1:
        model = data_parallel(learner, deterministic=options.deterministic)
    elif recorder is not None:
        make_step = functools.partial(CapturedStep, recorder)
    return make_step(
        learner,
        model,
        optimizer,
        clip_norm=options.clip_norm,
        averaged_buffers=float_buffers(learner) if world_size > 1 else (),
        scaling=scaling,
    )
