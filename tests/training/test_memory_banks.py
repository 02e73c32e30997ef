"""Memory banks in a complete run: trained, resumed bit for bit, evaluated, and bundled without them."""

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mcl import build_network
from mcl.__main__ import main
from mcl.losses.base import MetaSchedule
from mcl.losses.contrast_sources import BankContrast
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.training.meta_round import MetaRound
from mcl.types import Batch

TRAIN = ["loss/contrast=memory", "loss/weights=imagenet", "loss.contrast.neg_k=40", "loss.meta.interval=2"]
TRAIN += ["dataset=synthetic", "dataset.image_size=8", "dataset.classes=4", "dataset.train_per_class=6"]
TRAIN += ["dataset.test_per_class=2", "sampler=shuffle", "trainer.batch_size=8", "trainer.epochs=2"]
TRAIN += ["trainer.device=cpu", "trainer.checkpoint_every=1", "trainer.max_checkpoints=9", "hydra.run.dir=run"]
TRAIN += ["pair.first.depths=[1,1]", "pair.second.depths=[1,1]"]
ROWS = "loss.contrast.bank.rows"


def test_run_with_banks_resumes_bit_for_bit_and_is_deployed_without_them(command: Callable) -> None:
    done = command(*TRAIN)
    assert done.status == 0, done.err
    last = Path("run/checkpoints/last.pt")
    checkpoint = checkpoints.load(last)["learner"]
    assert checkpoint[ROWS].shape == (2, 24, 128)
    shutil.move("run/checkpoints/step-4.pt", last)  # as if it had been stopped there
    Path("run/summary.json").unlink()
    assert not torch.equal(checkpoints.load(last)["learner"][ROWS], checkpoint[ROWS])
    again = command(*TRAIN)
    assert again.status == 0, again.err
    resumed = checkpoints.load(last)["learner"]
    assert checkpoint.keys() == resumed.keys()
    assert all(torch.equal(checkpoint[key], resumed[key]) for key in checkpoint)

    assert main(["evaluate", "run"]) == 0
    assert main(["bundle", "run", "--out", "gift.zip"]) == 0
    with zipfile.ZipFile("gift.zip") as archive:
        bundled = checkpoints.decode(archive.read("checkpoints/last.pt"), "gift.zip")["learner"]
    assert checkpoint.keys() - bundled.keys() == {ROWS}
    assert main(["evaluate", "gift.zip"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 6


class MadeTensors(TorchDispatchMode):
    """Record the number of elements of each created tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(kwargs or {}))
        known = {tensor.data_ptr() for tensor in arguments if isinstance(tensor, torch.Tensor)}
        if isinstance(result, torch.Tensor) and result.data_ptr() not in known:
            self.sizes.add(result.numel())
        return result


def test_meta_round_neither_copies_nor_converts_nor_moves_the_banks() -> None:
    torch.manual_seed(0)
    cohort = Cohort({key: partial(build_network, "resnet8", 3) for key in ("first", "second")}, branched=True, seed=0)
    loss = LMCL(
        widths=cohort.widths,
        matching=LayerMatching,
        contrast=lambda: BankContrast(neg_k=5, dtype="bfloat16"),
        meta=MetaSchedule(steps=1),
        dim=16,
    )
    labels = torch.arange(999) % 3
    loss.prepare(labels)
    before = loss.contrast.bank.rows.clone()
    matching = [parameter.detach().clone() for parameter in loss.matching.parameters()]
    optimizer = torch.optim.SGD(loss.meta_parameters().values(), lr=0.1)
    batch = Batch(torch.randn(4, 3, 8, 8), labels[:4], torch.arange(4))
    with MadeTensors() as created:
        MetaRound(cohort, loss, optimizer, weight_decay=1e-4)(batch, batch, 0.1)
    assert created.sizes
    assert before.numel() not in created.sizes
    assert torch.equal(loss.contrast.bank.rows, before)
    assert any(not torch.equal(a, b) for a, b in zip(matching, loss.matching.parameters(), strict=True))
