"""The overview that is printed before training starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mcl.config.targets import KEYWORDS
from mcl.console import in_millions, pluralize
from mcl.networks.branch_names import COPY
from mcl.networks.branches import Network
from mcl.networks.counting import multiply_adds, parameters
from mcl.runs.identity import ADDED, choice_name
from mcl.training.setup import Parts

_RECIPE = (  # options that are shown if they are not at their neutral values
    *(f"dataset.augmentation.{name}" for name in ("crop_scale", "policy", "erasing")),
    *(f"trainer.{name}" for name in ("label_smoothing", "class_weights", "mixup", "cutmix", "decay_norm_and_bias")),
    *("trainer.clip_norm", "trainer.accumulate"),
)


def plan(config: DictConfig, parts: Parts, choices: Mapping[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Return rows ``(label, value)`` of the overview."""
    spec, options = parts.dataset.spec, parts.options
    steps = parts.steps_per_epoch
    total = options.total_steps(steps)
    cut = f", stopped by trainer.max_steps={options.max_steps}" if total < options.epochs * steps else ""
    batch = parts.sampler.describe(spec.counts, options.batch_size)
    held_out = " and a validation part" if spec.has_validation else ""
    memory_format = "channels last" if options.memory_format is torch.channels_last else "contiguous"
    return [
        (
            "data",
            f"{spec.name}: {sum(spec.counts):,} training images{held_out}, {spec.num_classes} classes,"
            f" {spec.channels} x {spec.image_size} x {spec.image_size}",
        ),
        ("networks", _networks(parts) + (f"\nfrom {config.init_from}" if config.init_from else "")),
        ("loss", f"{choice_name(choices.get('loss'), config.loss)}: {_weighted_terms(parts)}"),
        ("sampler", f"{choices.get('sampler')}, batches of {options.batch_size}{f': {batch}' if batch else ''}"),
        ("optimizer", f"{choices.get('optimizer')} ({_options(config.optimizer)})"),
        ("schedule", f"{choices.get('schedule')} ({_options(config.schedule)})".removesuffix(" ()")),
        *_recipe(config),
        ("precision", f"{options.precision}, {memory_format}"),
        ("device", device_name(options.device)),
        ("steps", f"{total:,} = {options.epochs} epoch{'s' * (options.epochs > 1)} of {steps}{cut}"),
        ("seed", str(config.seed)),
        ("run folder", str(folder)),
    ]


def _recipe(config: DictConfig) -> list[tuple[str, str]]:
    """Return a row with the changed options of images and targets, if there are any."""
    chosen = {key: OmegaConf.select(config, key, default=ADDED.get(key)) for key in _RECIPE}
    changed = [f"{key.rpartition('.')[2]} {value}" for key, value in chosen.items() if value != ADDED.get(key)]
    return [("recipe", ", ".join(changed))] if changed else []


def _networks(parts: Parts) -> str:
    cohort, loss = parts.learner.cohort, parts.learner.loss
    rows = []
    for key, network in cohort.items():
        deployed, trained = parameters(network.backbone), parameters(network)
        branches = f"; {trained:,} while training, with auxiliary classifiers" if trained > deployed else ""
        state = ", frozen" * network.frozen + ", not deployed" * (key not in parts.deployed)
        if network.frozen_stages:
            state += f", stem and {pluralize(network.frozen_stages, 'stage')} frozen"
        rows.append(f"{key} {network.backbone.name} ({deployed:,} parameters{branches}){state}")
        rows += _stages_and_branches(network, parts.dataset.spec.image_size)
    if cohort.shared is not None:
        stages = ", ".join(map(str, cohort.shared.copies))
        rows.append(f"shared: {stages} copies of stage 1 to {len(cohort.shared.copies)}, the stem with the first")
    total = parameters(nn.ModuleList([cohort, loss]))
    if cohort.shared is not None or parameters(loss):
        own = f", {parameters(loss):,} of them in the loss" if parameters(loss) else ""
        rows.append(f"together {total:,} parameters while training{own}")
    if parts.options.ema is not None:
        rows.append(f"evaluated and saved: their moving average of decay {parts.options.ema:g}")
    return "\n".join(rows)


def _stages_and_branches(network: Network, image_size: int) -> list[str]:
    """Return which modules end the stages, if these were found, and what branches cost that may not be copies."""
    backbone, rows = network.backbone, []
    image = (backbone.in_channels, image_size, image_size)
    if backbone.stage_names:
        sizes = [" x ".join(map(str, shape)) for shape in backbone.map_shapes(image_size)]
        stages = ", ".join(f"{name} ({size})" for name, size in zip(backbone.stage_names, sizes, strict=True))
        rows.append(f"  stages end with {stages}")
    if len(network.branches) and (backbone.stage_names or network.branch_kind != COPY):
        added = parameters(network) - parameters(backbone)
        cost = multiply_adds(network, image) - multiply_adds(backbone, image)
        rows.append(
            f"  branches, {network.branch_kind}: {added:,} parameters and {in_millions(cost)} multiply-adds beside the"
            f" {in_millions(multiply_adds(backbone, image))} of the network"
        )
    return rows


def _weighted_terms(parts: Parts) -> str:
    loss = parts.learner.loss
    terms = " + ".join(
        f"{loss.ramps[name].weight:g} {name} (after a ramp of {loss.ramps[name].length} epochs)"
        if name in loss.ramps
        else f"{weight:g} {name}"
        for name, weight in loss.weights.items()
        if weight or name in loss.ramps
    )
    if loss.meta is None:
        return terms
    return f"{terms}; weights between stages learned every {loss.meta.interval} steps (a meta round)"


def _options(node: DictConfig) -> str:
    return ", ".join(f"{key!s} {value}" for key, value in node.items() if key not in KEYWORDS)


def device_name(device: torch.device) -> str:
    """Return a device with its hardware: ``"cuda:0 (NVIDIA H100)"``, ``"cpu (2 threads)"``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'s' * (threads > 1)})"
    return str(device)
