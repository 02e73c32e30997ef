"""Train five steps of L-MCL with three meta rounds in float64 and frozen batch statistics, in every process of a test.

    python shared_batches.py OUT batch|memory|peers [DEVICE]

Each process takes its shard of the same batches: of 32 images, of 7 images, which two processes cannot share evenly,
and of 3 images, which are too few for two processes. OUT gets the final state of the first process and, for every step,
the hash of every process's state and the number of calls of each collective. ``peers`` trains three networks on a trunk
instead, each with views of its own, with averaged teachers and a pause. ACCUMULATE chunks make a batch.
"""

import functools
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mcl import build_network, distributed
from mcl.data.samplers import Shuffle
from mcl.data.synthetic import Synthetic
from mcl.devices import find_device
from mcl.distributed import sharding
from mcl.distributed.process_group import ProcessGroup
from mcl.losses.base import Loss, MetaSchedule
from mcl.losses.classification import classification
from mcl.losses.distillation import mean_logit_distillation
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.training.build_trainer import build_trainer
from mcl.training.learner import Learner
from mcl.training.options import TrainerOptions
from mcl.training.results import Results
from mcl.training.schedules import Constant
from mcl.types import Batch, Outputs

BATCH, CLASSES = 32, 8
SIZES = [BATCH, BATCH, 7, BATCH, 3]
PEERS = sys.argv[2] == "peers"
DEVICE = find_device(sys.argv[3] if len(sys.argv) > 3 else "cpu")
ACCUMULATE = int(os.environ.get("ACCUMULATE", "1"))
COLLECTIVES = ("all_gather", "all_reduce", "broadcast", "reduce_scatter")
LR = 1e-3  # nothing is normalized


class Peers(Loss):
    """Learn from averaged teachers; the second network pauses every other step."""

    terms = ("classification", "teaching")
    needs_ema = True

    def forward(self, outputs: Sequence[Outputs], batch: Batch, *, teachers: Sequence[Outputs]) -> dict[str, Tensor]:
        self.step = batch.step
        logits, taught = ([network.logits[-1] for network in networks] for networks in (outputs, teachers))
        teaching = mean_logit_distillation([*logits, *taught], temperature=3.0)
        return {"classification": classification(logits, batch.labels), "teaching": teaching}

    def paused(self) -> Tensor:
        return torch.tensor([False, self.step % 2 == 0, False])


def make_learner() -> Learner:
    networks = {"first": "resnet8", "second": "wrn_10_1"}
    if PEERS:
        networks = dict.fromkeys(("first", "second", "third"), "resnet8")
    cohort = Cohort(
        {key: partial(build_network, name, CLASSES) for key, name in networks.items()},
        branched=not PEERS,
        seed=0,
        shared_stages=[1, 2, 3] if PEERS else 0,
        rescale_gradients=PEERS,
    )
    torch.manual_seed(1)
    loss: Loss
    if PEERS:
        loss = Peers()
    else:
        loss = LMCL(widths=cohort.widths, matching=LayerMatching, meta=MetaSchedule(interval=2), dim=16, **contrast())
    loss.prepare((torch.arange(4 * CLASSES) % CLASSES).to(DEVICE))
    for module in cohort.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
    return Learner(cohort, loss).double().to(DEVICE)


def contrast() -> dict[str, object]:
    if sys.argv[2] == "batch":
        return {}
    from mcl.losses.contrast_sources import BankContrast

    return {"contrast": partial(BankContrast, neg_k=50), "tau": 0.07}


def batches(processes: ProcessGroup) -> list[Batch]:
    generator = torch.Generator().manual_seed(2)
    result = []
    for step, size in enumerate(SIZES):
        part = sharding.Split(size, processes.world_size).part(processes.rank)
        share = slice(part.start, part.stop)
        views = torch.randn(3 if PEERS else 1, size, 3, 8, 8, generator=generator, dtype=torch.float64)
        images = views[:, share] if PEERS else views[0, share]
        indices = torch.randperm(4 * CLASSES, generator=generator)[:size]
        tensors = (images, (indices % CLASSES)[share], indices[share])
        result.append(Batch(*(tensor.to(DEVICE) for tensor in tensors), step, size))
    return result


def fingerprint(tensors: dict[str, Tensor]) -> str:
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(name.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
    return state.hexdigest()


def count_collectives() -> Counter[str]:
    """Count the calls of collectives from now on, except those of DistributedDataParallel and those of objects."""
    counts: Counter[str] = Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def count(*arguments: Any, **options: Any) -> Any:
            counts[name] += options.get("group") is None
            return call(*arguments, **options)

        return count

    for name in COLLECTIVES:
        setattr(torch.distributed, name, counted(name, getattr(torch.distributed, name)))
    return counts


def main() -> None:
    torch.set_num_threads(1)
    processes = ProcessGroup()
    dataset = Synthetic(image_size=8, classes=CLASSES, train_per_class=4, test_per_class=2)
    learner = make_learner()
    trainer = build_trainer(
        TrainerOptions(epochs=1, batch_size=BATCH, device=DEVICE.type, accumulate=ACCUMULATE),
        learner,
        dataset.load(),
        dataset,
        Shuffle(),
        make_optimizer=partial(torch.optim.SGD, lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=Constant(),
        results=Results([], chosen_on="test"),
        seed=0,
        data="",
        processes=processes,
    )
    learner.train()
    hashes, losses, outer, collectives = [], [], [], []
    counts = count_collectives()
    for batch in batches(processes):
        counts.clear()
        values = trainer.train_on_batch(batch)
        collectives.append(dict(+counts))
        trainer.progress.step += 1
        names = ("train/total", *(f"train/{term}" for term in learner.loss.terms))
        weight = distributed.weight(batch.whole)
        (mean,) = distributed.all_reduce_mean([torch.stack([values[name].detach() for name in names])], weight)
        losses.append(dict(zip(names, mean.tolist(), strict=True)))
        outer_loss, trainer.state.outer_loss = trainer.state.outer_loss, None
        outer.append({} if outer_loss is None else {"meta/outer_loss": float(outer_loss)})
        hashes.append(processes.all_gather_object(fingerprint(learner.state_dict())))
    if processes.first:
        state = {name: tensor.cpu() for name, tensor in learner.state_dict().items()}
        saved = {"hashes": hashes, "losses": losses, "outer": outer, "collectives": collectives, "state": state}
        torch.save(saved, sys.argv[1])


if __name__ == "__main__":
    main()
