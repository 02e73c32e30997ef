"""Build the parts of a run from its configuration and check that they work together, before any image is read."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch.optim import Optimizer

from mcl import distributed
from mcl.allocator import keep_freed_memory
from mcl.config.constructor_nodes import backbone_node
from mcl.config.instantiate import build
from mcl.config.loss_arguments import loss_arguments
from mcl.config.pair_options import check_pair
from mcl.config.targets import resolve
from mcl.config.trial_build import check_network_count
from mcl.data.dataset import Dataset, DataSpec, Splits
from mcl.data.samplers import Sampler
from mcl.devices import precision_notes, use_deterministic, use_tf32, use_threads
from mcl.distributed.process_group import ProcessGroup
from mcl.distributed.sharding import Shard
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.backbone import Backbone
from mcl.networks.branch_names import COPY
from mcl.networks.cohort import Cohort
from mcl.runs.fine_tuning import optimizer_node
from mcl.runs.pair import (
    LEADER,
    SHARED_STAGES,
    branch_kinds,
    deployed_options,
    frozen_keys,
    frozen_stages,
    networks_of,
    unbranched_keys,
)
from mcl.tracking.tracker import Tracker
from mcl.training.accumulation import check_accumulation
from mcl.training.averaging import check_average
from mcl.training.build_trainer import build_trainer
from mcl.training.deployment import deployed_keys
from mcl.training.dry_pass import check_maps, check_own_parts, uses_own_modules
from mcl.training.estimates import check_batch_memory, check_contrast_memory
from mcl.training.learner import Learner
from mcl.training.lr_factors import LrFactors
from mcl.training.optimizers import fused_option
from mcl.training.options import TrainerOptions
from mcl.training.random_state import seed_everything
from mcl.training.results import Results
from mcl.training.schedules import schedule_notes
from mcl.training.second_derivatives import check_twice_differentiable
from mcl.training.soft_targets import set_targets
from mcl.training.trainer import Trainer
from mcl.training.views import count_views, view_notes


@dataclass
class Parts:
    """The parts of one run."""

    dataset: Dataset
    sampler: Sampler
    learner: Learner
    make_optimizer: Callable[..., Optimizer]
    schedule: Callable[[int, int], float]
    lr_factors: LrFactors
    options: TrainerOptions
    trackers: dict[str, Tracker]
    deployed: list[str]  # keys of the networks that are deployed, first those that are reported first
    notes: list[str]  # printed before training starts

    @property
    def networks(self) -> list[tuple[str, str]]:
        """Return ``(key, name)`` of each network."""
        return list(zip(self.learner.cohort.keys, self.learner.cohort.names, strict=True))

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches of an epoch."""
        return self.sampler.steps_per_epoch(self.dataset.spec.counts, self.options.batch_size)

    def build_trainer(
        self, splits: Splits, *, seed: int, data: str = "", processes: ProcessGroup | None = None
    ) -> Trainer:
        """Return the trainer of these parts on the images of ``dataset.load()``; arguments as for `build_trainer`."""
        return build_trainer(
            self.options,
            self.learner,
            splits,
            self.dataset,
            self.sampler,
            make_optimizer=self.make_optimizer,
            schedule=self.schedule,
            lr_factors=self.lr_factors,
            results=Results(self.networks, chosen_on="test" if splits.validation is None else "validation"),
            seed=seed,
            data=data,
            processes=processes,
        )


def assemble(config: DictConfig) -> Parts:
    """Build everything that needs no images.

    Raises:
        UserError: a part cannot be built, or the parts do not work together.
    """
    make = functools.partial(build, allow=config.allow_modules)
    check_pair(config.pair, config.get("init_from"))
    options: TrainerOptions = make(config.trainer, path="trainer")
    loss_class = resolve(config.loss._target_, path="loss", allow=config.allow_modules)
    check_network_count(loss_class, list(networks_of(config.pair)))
    dataset: Dataset = make(config.dataset, path="dataset")
    _check_class("dataset", dataset, Dataset)
    if dataset.untrainable:
        raise UserError(dataset.untrainable)
    spec = dataset.spec
    sampler: Sampler = make(config.sampler, path="sampler")
    _check_class("sampler", sampler, Sampler)
    _check_batches(options, spec)
    notes = [*dataset.notes, *sampler.check(spec.counts, options.batch_size, spec.classes)]
    cohort = build_cohort(config, spec.num_classes, spec.channels, **needs(loss_class))
    for backbone in cohort.backbones:
        backbone.check_input(spec.channels, spec.image_size)
    notes += _branch_notes(cohort)
    check_batch_memory(dataset, cohort, options, processes=distributed.world_size())
    seed_everything(config.seed)
    loss: Loss = make(config.loss, path="loss", **loss_arguments(loss_class, cohort.widths, cohort.shapes))
    if not hasattr(loss, "weights"):
        raise UserError(f"loss: the constructor of {type(loss).__name__} must call super().__init__(weights).")
    check_contrast_memory(loss, cohort, options, processes=distributed.world_size())
    set_targets(loss, options, spec)
    notes += _loss_notes(loss, options, spec, sampler)
    make_optimizer = _optimizer_factory(config, options.device)
    make_optimizer(params=[torch.nn.Parameter(torch.zeros(1))])  # invalid settings fail before any image is read
    notes += _set_up_device(options, spec)
    _try_passes(config, cohort, loss, spec)
    check_average(options.ema, loss)
    count_views(options, loss, dataset, len(cohort.keys))
    notes += view_notes(options, len(cohort.keys))
    schedule: Callable[[int, int], float] = make(config.schedule, path="schedule")
    notes += schedule_notes(schedule, options.epochs)
    return Parts(
        dataset=dataset,
        sampler=sampler,
        learner=Learner(cohort, loss),
        make_optimizer=make_optimizer,
        schedule=schedule,
        lr_factors=LrFactors.of(config.optimizer),
        options=options,
        trackers={str(name): make(node, path=f"tracking.{name}") for name, node in config.tracking.items()},
        deployed=deployed_keys(loss, cohort, config.pair.get(LEADER), deployed_options(config.pair)),
        notes=notes,
    )


def _check_class(path: str, built: object, base: type) -> None:
    """Raise UserError unless the class of a part is a subclass of ``base``."""
    if not isinstance(built, base):
        raise UserError(
            f"{path}._target_ builds {type(built).__module__}.{type(built).__name__}, which is not a subclass of"
            f" {base.__module__}.{base.__name__}: see docs/extend.md."
        )


def _check_batches(options: TrainerOptions, spec: DataSpec) -> None:
    """Raise UserError unless batches divide among processes, chunks and mixtures, and something is evaluated."""
    world_size = distributed.world_size()
    Shard(distributed.rank(), world_size).check(options.batch_size)
    overwritten = options.compile == "reduce-overhead" and options.device.type == "cuda"
    check_accumulation(options.accumulate, options.batch_size, world_size, overwritten=overwritten)
    options.mixing.check(options.batch_size, world_size)
    if not options.test and not spec.has_validation:
        raise UserError(
            "trainer.test=false: there is no validation split, so nothing would be evaluated. Hold one out of the"
            " training images, dataset.validation=0.1, or leave trainer.test out."
        )


def _branch_notes(cohort: Cohort) -> list[str]:
    return [
        f"pair.{key}.branches={network.branch_kind}: this network has no auxiliary branches here."
        for key, network in cohort.items()
        if network.branch_kind != COPY and not network.branches
    ]


def _loss_notes(loss: Loss, options: TrainerOptions, spec: DataSpec, sampler: Sampler) -> list[str]:
    """Return notes on how the loss fits the batches and epochs; raise UserError if it lacks held-out images."""
    if loss.needs_held_out and not spec.has_validation:
        raise UserError(
            "loss: its weights are measured on images held out of the training set, and there are none: give"
            " dataset.validation=0.1, or another loss.form."
        )
    positives = sampler.positives(spec.counts, options.batch_size)
    return [*loss.notes(spec.counts, positives), *loss.unfinished_ramps(options.epochs)]


def _optimizer_factory(config: DictConfig, device: torch.device) -> Callable[..., Optimizer]:
    optimizer_class = resolve(config.optimizer._target_, path="optimizer", allow=config.allow_modules)
    fused = fused_option(optimizer_class, config.optimizer, device)
    return functools.partial(
        build, optimizer_node(config.optimizer), path="optimizer", allow=config.allow_modules, **fused
    )


def _set_up_device(options: TrainerOptions, spec: DataSpec) -> list[str]:
    """Choose kernels, precision, threads and allocator of this process. Return notes for the user."""
    use_deterministic(options.deterministic)
    use_tf32(options.precision)
    use_threads(options.device, options.threads, pixels=options.batch_size * spec.image_size**2)
    keep_freed_memory(options.device)
    return precision_notes(options.device, options.precision)


def _try_passes(config: DictConfig, cohort: Cohort, loss: Loss, spec: DataSpec) -> None:
    """Raise UserError if networks and loss fail in the passes of training that small tries can tell about."""
    if uses_own_modules(networks_of(config.pair), config.loss):
        check_own_parts(cohort, loss, spec.channels, spec.image_size)
    if loss.needs_maps:
        check_maps(cohort, loss, spec.channels, spec.image_size)
    if loss.meta is not None:
        check_twice_differentiable(cohort, spec.channels, spec.image_size)


def needs(loss_class: Callable[..., Any]) -> dict[str, bool]:
    """Return the arguments of a cohort that a loss asks for."""
    asked = {"branched": "needs_branches", "maps": "needs_maps", "rescale_gradients": "rescale_gradients"}
    return {argument: getattr(loss_class, name, False) for argument, name in asked.items()}


def build_cohort(
    config: DictConfig,
    num_classes: int,
    channels: int,
    *,
    branched: bool,
    maps: bool = False,
    rescale_gradients: bool = False,
) -> Cohort:
    """Build the networks of a configuration with random weights.

    Args:
        config: ``pair`` and ``seed`` are used.
        num_classes: number of classes.
        channels: channels of the images.
        branched: give every network its auxiliary branches.
        maps: let the networks return the feature maps of their stages too.
        rescale_gradients: divide the gradient at each fork of shared stages by its number of children.
    """
    make = functools.partial(build, allow=config.allow_modules)
    factories = {
        key: functools.partial(
            _backbone,
            make,
            backbone_node(node, path=f"pair.{key}", allow=config.allow_modules),
            path=f"pair.{key}",
            num_classes=num_classes,
            in_channels=channels,
        )
        for key, node in networks_of(config.pair).items()
    }
    return Cohort(
        factories,
        branched=branched,
        seed=config.seed,
        maps=maps,
        frozen=frozen_keys(config.pair),
        unbranched=unbranched_keys(config.pair),
        branch_kinds=branch_kinds(config.pair),
        frozen_stages=frozen_stages(config.pair),
        shared_stages=config.pair.get(SHARED_STAGES) or 0,
        rescale_gradients=rescale_gradients,
    )


def _backbone(make: Callable[..., Any], node: dict[str, Any], *, path: str, **supplied: Any) -> Backbone:
    built = make(node, path=path, **supplied)
    target = str(node["_target_"])
    if not isinstance(built, Backbone):
        raise UserError(
            f"{path}._target_={target} builds {type(built).__name__}, which is not a subclass of"
            " mcl.networks.backbone.Backbone. A network needs a stem, stages and a head: see docs/extend.md."
        )
    if not target.startswith("mcl."):  # ours are tested
        if built.num_classes != supplied["num_classes"]:
            raise UserError(
                f"{path}: {built.name} has {built.num_classes} classes, and the dataset has {supplied['num_classes']}."
                " Pass num_classes of its constructor to its head."
            )
        built.check_stride(path)
    return built
