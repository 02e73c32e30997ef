"""Gradients over the chunks of a batch are those of the whole batch."""

import weakref
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mcl import build_network
from mcl.config.compose import compose_train
from mcl.data.samplers import Shuffle
from mcl.data.synthetic import Synthetic
from mcl.distributed.sharding import Split
from mcl.errors import UserError
from mcl.losses.base import Loss, MetaSchedule
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.losses.mcl import MCL
from mcl.networks.cohort import Cohort
from mcl.training.accumulation import AccumulatedStep, check_accumulation, count_chunks
from mcl.training.build_trainer import build_trainer
from mcl.training.learner import Learner
from mcl.training.options import TrainerOptions
from mcl.training.results import Results
from mcl.training.schedules import Constant
from mcl.training.setup import assemble
from mcl.training.trainer import Trainer
from mcl.types import Batch

SMALL = [
    *("dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=8", "dataset.test_per_class=1"),
    *("dataset.classes=4", "trainer.batch_size=16", "trainer.device=cpu", "tracking=none"),
]
Method = type[MCL] | type[LMCL]


def trainer_of(method: Method, accumulate: int) -> Trainer:
    """Return training of two ResNet-8 in float64, which normalize by fixed statistics."""
    make = partial(build_network, "resnet8", 10)
    cohort = Cohort({"first": make, "second": make}, branched=method.needs_branches, seed=0)
    torch.manual_seed(0)
    loss: Loss
    if method is LMCL:
        loss = LMCL(widths=cohort.widths, matching=LayerMatching, meta=MetaSchedule(interval=2, steps=1), dim=16)
    else:
        loss = MCL(widths=cohort.widths, dim=16)
    loss.label_smoothing = 0.1
    for module in cohort.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
    dataset = Synthetic(image_size=8, train_per_class=16, test_per_class=1)
    return build_trainer(
        TrainerOptions(epochs=1, batch_size=128, device="cpu", accumulate=accumulate, clip_norm=50.0),
        Learner(cohort, loss).double(),
        dataset.load(),
        dataset,
        Shuffle(),
        make_optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4),
        schedule=Constant(),
        results=Results([], chosen_on="test"),
        seed=0,
    )


def batch_of(size: int, side: int = 8) -> Batch:
    rng = torch.Generator().manual_seed(size)
    images = torch.randn(size, 3, side, side, generator=rng, dtype=torch.float64)
    return Batch(images, torch.arange(size) % 10, torch.arange(size))


@pytest.mark.parametrize("method", [MCL, LMCL])
def test_four_chunks_of_32_train_as_one_batch_of_128(method: Method) -> None:
    whole, chunked = trainer_of(method, 1), trainer_of(method, 4)
    assert isinstance(chunked.train_step, AccumulatedStep)
    for size in (128, 128, 9, 3):  # the last ones are those of an epoch, which do not divide by 4; two meta rounds
        values = [trainer.train_on_batch(batch_of(size)) for trainer in (whole, chunked)]
        for trainer in (whole, chunked):
            trainer.progress.step += 1
        for name, value in values[0].items():
            torch.testing.assert_close(values[1][name], value, rtol=1e-10, atol=1e-10, msg=name)
    states = [trainer.learner.state_dict() for trainer in (whole, chunked)]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-10, atol=1e-10, msg=name)
    gradients = [[each.grad for each in trainer.train_step.parameters] for trainer in (whole, chunked)]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


def assembled(*overrides: str) -> Trainer:
    parts = assemble(compose_train([*SMALL, *overrides]))
    trainer = parts.build_trainer(parts.dataset.load(), seed=0)
    trainer.learner.train()
    return trainer


def test_running_statistics_move_once_for_each_chunk() -> None:
    trainer, reference = assembled("loss=mcl", "trainer.accumulate=4"), assembled("loss=mcl")
    batch = next(trainer.loader.epoch(0))
    trainer.train_on_batch(batch)
    for images in batch.images.chunk(4):
        reference.learner.cohort(images)
    for (name, buffer), expected in zip(
        trainer.learner.cohort.named_buffers(), reference.learner.cohort.buffers(), strict=True
    ):
        torch.testing.assert_close(buffer, expected, msg=name)


def test_random_layers_draw_the_same_numbers_in_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = assembled("loss=mcl", "trainer.accumulate=2", "pair.first.drop_path=0.5")
    seen: list[list[Tensor]] = []
    run = Learner.run_networks

    def run_and_keep(learner: Learner, images: Tensor) -> Any:
        outputs = run(learner, images)
        seen.append([logits.detach() for network in outputs for logits in network.logits])
        return outputs

    monkeypatch.setattr(Learner, "run_networks", run_and_keep)
    trainer.train_on_batch(next(trainer.loader.epoch(0)))
    assert len(seen) == 4
    for first, second in zip(seen[:2], seen[2:], strict=True):
        for one, other in zip(first, second, strict=True):
            torch.testing.assert_close(one, other)
    before = torch.get_rng_state()
    trainer.train_on_batch(next(trainer.loader.epoch(0)))
    assert not torch.equal(torch.get_rng_state(), before)  # another step draws others


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=pcl", "pair.shared_stages=2", "trainer.views=separate", "dataset.augmentation.padding=1"],
        ["loss=one", "pair.shared_stages=2", "trainer.mixup=0.5"],
        ["loss=ffl", "trainer.precision=float16"],
        ["loss=switokd"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_every_kind_of_loss_trains_in_chunks(overrides: list[str]) -> None:
    trainer = assembled(*overrides, "trainer.accumulate=4")
    values = [trainer.train_on_batch(batch) for batch in trainer.loader.epoch(0)]
    assert all(torch.isfinite(value).all() for step in values for value in step.values())
    gradients = [each.grad for each in trainer.train_step.parameters]
    assert sum(gradient is not None for gradient in gradients) > 0.9 * len(gradients)


class Saved:
    """A tensor that the backward pass needs."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def peak_of_saved_tensors(trainer: Trainer, batch: Batch) -> int:
    """Return the most bytes that one step keeps for its backward pass at a time."""
    now = peak = 0

    def released(size: int) -> None:
        nonlocal now
        now -= size

    def pack(tensor: Tensor) -> Saved:
        nonlocal now, peak
        saved, size = Saved(tensor), tensor.numel() * tensor.element_size()
        weakref.finalize(saved, released, size)
        now += size
        peak = max(peak, now)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        trainer.train_step(batch)
    return peak


def test_four_chunks_keep_a_quarter_of_the_feature_maps() -> None:
    batch = batch_of(128, side=16)
    whole, chunked = (peak_of_saved_tensors(trainer_of(MCL, accumulate), batch) for accumulate in (1, 4))
    assert chunked < 0.35 * whole


@pytest.mark.parametrize(("processes", "chunks"), [(2, 2), (2, 4), (4, 2), (4, 8)])
def test_every_process_has_as_many_chunks(processes: int, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcl.distributed.world_size", lambda: processes)
    for images in range(1, 70):
        split = Split(images, processes)
        shares = [batch_of(len(split.part(rank)))._replace(whole=images) for rank in range(processes)]
        assert len({count_chunks(chunks, share) for share in shares}) == 1
        assert all(len(share.labels) >= min(images, 2 * count_chunks(chunks, share)) for share in shares)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size=30 does not divide into 4 chunks"):
        check_accumulation(4, 30, 1)
    with pytest.raises(
        UserError, match=r"on each of 2 processes of at least 2 images. Use a multiple of 8, at least 16\."
    ):
        check_accumulation(4, 12, 2)
    check_accumulation(4, 16, 2)
    check_accumulation(1, 16, 1, overwritten=True)
    with pytest.raises(UserError, match=r"accumulate=2: trainer\.compile=reduce-overhead would overwrite"):
        check_accumulation(2, 16, 1, overwritten=True)
