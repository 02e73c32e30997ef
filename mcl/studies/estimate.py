"""Estimate the computation of a run that has not started, and the speed of this machine."""

from collections.abc import Sequence

import torch

from mcl.benchmarking import time_in_turns
from mcl.config.compose import compose_train
from mcl.devices import autocast
from mcl.errors import UserError
from mcl.training.cost import Cost
from mcl.training.setup import Parts, assemble
from mcl.training.views import count_views

MAX_BATCH = 128  # images in the timed batches
STEPS = 2  # timed, after a warm-up step


def total_and_rate(overrides: Sequence[str], *, measure: bool) -> tuple[int | None, float | None, str]:
    """Return the multiply-adds of a whole run, those of its networks per second here, and why one is unknown.

    Args:
        overrides: overrides of the run.
        measure: time a few forward and backward passes; the rate is None otherwise.
    """
    try:
        parts = assemble(compose_train(overrides))
        image, options = parts.dataset.spec.image_shape, parts.options
        steps = options.total_steps(parts.steps_per_epoch)
        cohort, loss = parts.learner.cohort, parts.learner.loss
        views = count_views(options, loss, parts.dataset, len(cohort.keys))
        twice = options.accumulate > 1
        cost = Cost.of(cohort, loss, image, views=views, twice=twice)
        work = cost.as_dict(images=steps * options.batch_size, steps=steps, batch_size=options.batch_size)
        timed = cost if views == 1 and not twice else Cost.of(cohort, loss, image)  # one view is timed, once
        return work["total"], _rate(parts, timed) if measure else None, ""
    except UserError as error:
        return None, None, f"unknown: {error}"


def _rate(parts: Parts, cost: Cost) -> float:
    options = parts.options
    count = min(options.batch_size, MAX_BATCH)
    cohort = parts.learner.cohort.to(options.device).to(memory_format=options.memory_format)
    images = (
        torch.rand(count, *parts.dataset.spec.image_shape).to(options.device).to(memory_format=options.memory_format)
    )

    def run_step() -> None:
        with autocast(options.device, options.precision):
            outputs = cohort(images)
        sum(logits.float().sum() for network in outputs for logits in network.logits).backward()
        outputs[0].logits[-1].sum().item()  # waits for the device

    seconds = time_in_turns({"step": run_step}, STEPS)["step"]
    return STEPS * count * cost.step / sum(seconds)
