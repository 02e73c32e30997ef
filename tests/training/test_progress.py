"""Epochs, learning rates and images of a run do not depend on how many processes train it, nor on where it stopped."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mcl.data.augmentation import Augmentation
from mcl.data.dataset import split
from mcl.data.epoch_plan import plan_epoch
from mcl.data.samplers import ClassBalanced, Sampler, Shuffle
from mcl.distributed.sharding import SMALLEST, Shard, Split
from mcl.training.options import TrainerOptions
from mcl.training.progress import Progress, upgrade_checkpoint
from mcl.training.schedules import Cosine

PROCESSES = [1, 2, 3, 4, 6]
CLASSES = 3
AUGMENTATION = Augmentation(padding=1, flip=True)


class Step(NamedTuple):
    """One optimization step: all processes together."""

    number: int
    epoch: int
    lr_factor: float
    images: list[int]
    draws: list[list[int]]  # of the augmentation


def steps_of(progress: Progress, sampler: Sampler, labels: Tensor, processes: int) -> Iterator[Step]:
    """Train from the current ``progress`` to the end, as `mcl.training.trainer.Trainer` does."""
    while not progress.finished:
        if progress.evaluation_is_due:
            progress.evaluated_step = progress.step
            continue
        epoch, first = progress.position
        shares = [Shard(rank, processes) for rank in range(processes)]
        size = progress.options.batch_size
        plans = [plan_epoch(sampler, AUGMENTATION, labels, size, shard, seed=0, epoch=epoch) for shard in shares]
        parts = [
            list(zip(plan.indices.split(plan.lengths), plan.draws.split(plan.lengths), strict=True)) for plan in plans
        ]
        assert {len(part) for part in parts} == {progress.steps_per_epoch}
        for k in range(first, min(progress.steps_per_epoch, first + progress.total_steps - progress.step)):
            owners = Split(len(plans[0].batches[k]), processes).owners()
            images = torch.cat([parts[rank][k][0] for rank in owners]).tolist()
            draws = torch.cat([parts[rank][k][1] for rank in owners]).tolist()
            progress.step += 1
            yield Step(progress.step, epoch, Cosine()(epoch, progress.options.epochs), images, draws)


def train(
    sampler: Sampler, labels: Tensor, attempts: list[tuple[int, int | None]], **options: Any
) -> tuple[list[Step], Progress]:
    """Return the steps of several attempts at one run. An attempt is (processes, steps until it stops)."""
    trainer = TrainerOptions(device="cpu", **options)
    counts = labels.bincount().tolist()
    sampler.check(counts, trainer.batch_size, list("abc"))
    state, steps = None, []
    for processes, length in attempts:
        progress = Progress(trainer, sampler.steps_per_epoch(counts, trainer.batch_size))
        if state is not None:
            assert progress.load_state_dict(state) is None
        steps += itertools.islice(steps_of(progress, sampler, labels, processes), length)
        state = progress.state_dict()
    return steps, progress


def training_labels(images: int, validation: float) -> Tensor:
    labels = torch.arange(images) % CLASSES
    indices, _ = split(labels, validation, stream="validation", seed=0)
    return labels[indices]


@settings(deadline=None, max_examples=60)
@given(
    per_process=st.integers(1, 3),
    images=st.integers(60, 170),
    validation=st.sampled_from([0.0, 0.1, 0.25]),
    sampler=st.sampled_from([Shuffle(), Shuffle(drop_last=True), ClassBalanced()]),
    epochs=st.integers(1, 4),
    max_steps=st.none() | st.integers(1, 20),
    evaluate_every=st.integers(1, 3),
    attempts=st.lists(st.tuples(st.sampled_from(PROCESSES), st.integers(0, 12)), max_size=4),
    last=st.sampled_from(PROCESSES),
)
def test_any_number_of_processes_trains_like_one(
    per_process, images, validation, sampler, epochs, max_steps, evaluate_every, attempts, last
):
    labels = training_labels(images, validation)
    options = {"batch_size": 12 * per_process, "epochs": epochs, "max_steps": max_steps}
    options["evaluate_every"] = evaluate_every
    one, _ = train(sampler, labels, [(1, None)], **options)
    several, progress = train(sampler, labels, [*attempts, (last, None)], **options)
    assert several == one
    assert (progress.finished, progress.epoch) == (True, one[-1].epoch + 1)
    if isinstance(sampler, Shuffle) and not sampler.drop_last and len(labels) % options["batch_size"] != 1:
        for epoch in range(epochs if max_steps is None else 0):
            seen = [image for step in one if step.epoch == epoch for image in step.images]
            assert sorted(seen) == list(range(len(labels)))


@given(images=st.integers(1, 100), processes=st.integers(1, 40))
def test_mean_of_weighted_process_means_is_the_batch_mean(images: int, processes: int) -> None:
    shared = Split(images, processes)
    values = [float(image**2) for image in range(images)]
    parts = [shared.part(rank) for rank in range(processes)]
    means = [shared.weight(rank) * sum(values[i] for i in part) / len(part) for rank, part in enumerate(parts)]
    assert sum(means) / processes == pytest.approx(sum(values) / images)
    assert sum(shared.weight(rank) for rank in range(processes)) / processes == pytest.approx(1)
    assert [i for rank in shared.owners() for i in parts[rank]] == list(range(images))
    assert min(len(part) for part in parts) >= min(SMALLEST, images)
    assert max(len(part) for part in parts) <= max(-(-images // processes), SMALLEST + 1)
    if shared.even:
        assert {shared.weight(rank) for rank in range(processes)} == {1.0}


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(60, 120),
    sizes=st.lists(st.sampled_from([12, 24, 36]), min_size=2, max_size=3),
    lengths=st.lists(st.integers(1, 15), min_size=2, max_size=2),
    processes=st.sampled_from(PROCESSES),
)
def test_changed_batch_size_restarts_the_unfinished_epoch(images, sizes, lengths, processes):
    labels, sampler, epochs, state = training_labels(images, 0.0), Shuffle(), 4, None
    steps: list[Step] = []
    for size, length in itertools.zip_longest(sizes, lengths[: len(sizes) - 1]):
        trainer = TrainerOptions(device="cpu", batch_size=size, epochs=epochs)
        progress = Progress(trainer, sampler.steps_per_epoch(labels.bincount().tolist(), size))
        note = None if state is None else progress.load_state_dict(state)
        if note is not None:
            begun = steps[-1].epoch
            assert note.startswith(f"epoch {begun + 1} starts again")
            steps = [step for step in steps if step.epoch < begun]
        steps += itertools.islice(steps_of(progress, sampler, labels, processes), length)
        state = progress.state_dict()
    for epoch in range(epochs):
        seen = [image for step in steps if step.epoch == epoch for image in step.images]
        assert len(seen) == len(set(seen)) >= len(labels) - 1  # a last batch of one image is left out
    numbers = [step.number for step in steps]
    assert numbers == sorted(set(numbers))
    assert (progress.epoch, progress.total_epochs, progress.step) == (epochs, epochs, progress.total_steps)


@pytest.mark.parametrize(("step", "position"), [(4, (2, 0)), (3, (1, 1)), (0, (0, 0))])
def test_older_checkpoint_of_two_processes_keeps_its_epoch(step: int, position: tuple[int, int]) -> None:
    labels, sampler = torch.zeros(130, dtype=torch.int64), Shuffle()  # 64, 64, 2: two steps, by two processes
    older = {"step": step, "evaluated_step": 0, "random_states": [{}, {}]}
    trainer = TrainerOptions(device="cpu", batch_size=64, epochs=4)
    progress = Progress(trainer, 3)
    assert progress.load_state_dict(upgrade_checkpoint(older, trainer, sampler, labels)) is None
    assert progress.position == position
    assert progress.total_steps - progress.step == 3 * 4 - 3 * position[0] - position[1]


def test_older_checkpoint_with_another_batch_size_keeps_its_epoch() -> None:
    labels, sampler = torch.zeros(128, dtype=torch.int64), Shuffle()
    older = {"step": 7, "evaluated_step": 0, "random_states": [{}], "config": {"trainer": {"batch_size": 32}}}
    trainer = TrainerOptions(device="cpu", batch_size=64, epochs=4)
    progress = Progress(trainer, 2)
    note = progress.load_state_dict(upgrade_checkpoint(older, trainer, sampler, labels))
    assert note is not None
    assert "3 of its 4 steps" in note
    assert progress.position == (1, 0)
    assert not progress.evaluation_is_due
