"""Between two log points, and within an evaluation, the host never synchronizes with the device.

Training runs through the real loop on torch's ``meta`` device: a device of its own, like a GPU, on which nothing has a
value. Whatever would have the host wait for a GPU there fails or is caught here: ``.item()``, ``.tolist()``,
``.cpu()``, ``.numpy()``, ``float()``, ``bool()`` and ``if`` of a tensor; shapes that hang on values (``nonzero``,
``unique``, masks as indices); printing; copies between host and device that are not ``non_blocking``, an index that
lies on the host among them; tensors made from Python numbers within the step. What it cannot see: waits inside a
kernel of a GPU, and whether the memory behind a ``non_blocking`` copy is pinned.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from support.gpu import needs_gpu
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mcl.config.compose import compose_train
from mcl.signals import StopSignals
from mcl.tracking.tracker import Trackers
from mcl.training import evaluation
from mcl.training.calibration import Calibration
from mcl.training.setup import assemble
from mcl.training.snapshot import SnapshotRecorder
from mcl.training.trainer import Trainer

DEVICE = torch.device("meta")
SMALL = [  # the meta device does not support fused optimizers
    *("trainer.batch_size=8", "trainer.device=cpu", "trainer.log_every=1000", "tracking=none"),
    "+optimizer.fused=false",
]
SYNTHETIC = [
    *("dataset=synthetic", "dataset.image_size=8", "dataset.train_per_class=4", "dataset.test_per_class=1"),
    *("dataset.classes=4", "dataset.augmentation.padding=1", "dataset.augmentation.flip=true"),
]
META = [  # one round, after the first step, which is slow on this device
    *("loss.meta.steps=1", "loss.meta.outer_batch=next", "pair.first.depths=[1,1]", "pair.second.depths=[1]"),
]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what the meta device lacks and what does not synchronize on a GPU: autocast and the random state."""
    module = SimpleNamespace(get_rng_state=lambda device: None, set_rng_state=lambda state, device: None)
    original = torch.get_device_module
    monkeypatch.setattr(torch, "get_device_module", lambda device: module if device == DEVICE else original(device))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


class HostWaitsError(Exception):
    """The host synchronized with the device."""


class LogPointError(Exception):
    """A log point was reached, where the host may synchronize."""


class _Functions(TorchFunctionMode):
    """Catch printing, and tensors made from Python values, which do not reach the operators."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (Tensor.__repr__, Tensor.__format__):
            raise HostWaitsError("a tensor is printed")
        output = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy) and output.device == DEVICE:
            raise HostWaitsError(f"{function.__name__} copies from the host")
        return output


class _Operators(TorchDispatchMode):
    """Catch copies between host and device, and operators that need one."""

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outputs = operator(*args, **kwargs)
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        everything = inputs + [value for value in tree_leaves(outputs) if isinstance(value, Tensor)]
        devices = {value.device for value in everything if value.device == DEVICE or value.dim() > 0}
        non_blocking = any(value is True for value in (kwargs.get("non_blocking"), *args[2:3]))  # args: of copy_
        if len(devices) > 1 and not non_blocking:
            raise HostWaitsError(f"{operator} copies between host and device")
        return outputs


def train(trainer: Trainer) -> None:
    """Train one epoch until its averages are read, after a first step that fills caches."""
    trainer.learner.train()
    trainer.train_on_batch(next(trainer.loader.epoch(0)))

    def read() -> dict[str, float]:
        raise LogPointError

    trainer.meters.read = read  # type: ignore[method-assign]
    with pytest.raises(LogPointError), _Functions(), _Operators():
        trainer.fit(None, Trackers(), StopSignals())
    assert trainer.progress.step == len(trainer.loader) == 2


def trainer_on_the_device(*overrides: str) -> Trainer:
    config = compose_train([*SMALL, *overrides])
    parts = assemble(config)
    parts.options.device = DEVICE
    return parts.build_trainer(parts.dataset.load(), seed=config.seed)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=independent"],
        ["loss=deep_supervision"],
        ["loss=mcl"],
        ["loss=lmcl", *META],
        ["loss=lmcl_imagenet", *META, "loss.contrast.neg_k=16", "loss.meta.memory=recompute"],
        ["loss=mcl", "optimizer=adamw", "trainer.clip_norm=1", "trainer.channels_last=true"],
        ["loss=mcl", "recipe=modern", "dataset.augmentation.policy=rand", "trainer.class_weights=balanced"],
        ["loss=mcl", "trainer.accumulate=2", "pair.first.drop_path=0.5"],
        *([f"loss={name}"] for name in ("dml", "cl_ilr", "one", "okddip", "pcl", "ffl", "switokd", "dks", "byot")),
        *(["loss=kdcl", f"loss.form={form}"] for form in ("naive", "linear", "min_logit")),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_steps_do_not_synchronize_with_the_device(overrides: list[str]) -> None:
    train(trainer_on_the_device(*SYNTHETIC, *overrides))


EVALUATED = [f"loss={name}" for name in ("independent", "lmcl", "one", "ffl", "pcl")]  # heads, aggregators, ensembles


@pytest.mark.parametrize("loss", [*EVALUATED, "loss=independent trainer.ema=0.9"])
def test_evaluations_do_not_synchronize_with_the_device(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_on_the_device(*SYNTHETIC, *loss.split(), "dataset.test_per_class=5", "trainer.batch_size=8")

    def read(totals: Tensor) -> Tensor:
        raise LogPointError

    monkeypatch.setattr(evaluation.distributed, "all_reduce_sum", read)  # the scores of all batches are summed
    recorder = SnapshotRecorder(trainer.evaluator.dataset, 20, trainer.state.processes)
    calibration = Calibration(["ensemble"])
    with _Functions(), _Operators(), pytest.raises(LogPointError):
        trainer.evaluator._evaluate("test", trainer.learner, StopSignals(), recorder, calibration)
    assert calibration._images == len(recorder._chosen) == 20  # in 3 batches


def test_loading_from_disk_does_not_synchronize(tmp_path: Path) -> None:
    for i in range(40):
        (folder := tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    options = ("dataset=folder", "dataset.storage=disk", "dataset.workers=0", "dataset.image_size=8")
    train(trainer_on_the_device(*options, f"dataset.root={tmp_path}", "trainer.batch_size=16", "loss=independent"))


@needs_gpu
@pytest.mark.parametrize("capture", ["auto", "off"])
@pytest.mark.parametrize(
    "overrides",
    [
        *([f"loss={name}"] for name in ("independent", "mcl", "dml", "one", "pcl", "switokd", "ffl")),
        ["loss=lmcl", "loss.meta.interval=1", "loss.meta.steps=1", "trainer.precision=bfloat16"],
        ["loss=lmcl_imagenet", "loss.meta.interval=1", "loss.meta.steps=1", "loss.contrast.neg_k=16"],
        ["loss=independent", "trainer.precision=float16", "trainer.clip_norm=1", "trainer.ema=0.9"],
        ["loss=independent", "optimizer=adamw", "trainer.precision=tf32"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_nothing_waits_for_a_gpu(overrides: list[str], capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*SYNTHETIC, "dataset.train_per_class=12", "trainer.log_every=1000", "tracking=none", *overrides)
    config = compose_train([*options, "trainer.batch_size=8", "trainer.device=cuda", f"trainer.capture={capture}"])
    parts = assemble(config)
    trainer = parts.build_trainer(parts.dataset.load(), seed=0)
    trainer.learner.train()

    def epoch(number: int) -> None:
        for batch in trainer.loader.epoch(number):
            trainer.meters.update(trainer.train_on_batch(batch, batch), trainer.progress.step)
            trainer.progress.step += 1

    def read(totals: Tensor) -> Tensor:
        raise LogPointError

    epoch(0)  # caches are filled, kernels chosen, graphs recorded
    trainer.evaluator._evaluate("test", trainer.learner, StopSignals())
    monkeypatch.setattr(evaluation.distributed, "all_reduce_sum", read)
    torch.cuda.set_sync_debug_mode("error")
    try:
        epoch(1)
        with pytest.raises(LogPointError):
            trainer.evaluator._evaluate("test", trainer.learner, StopSignals())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.meters.read()


def _copy(value: Tensor) -> None:
    torch.ones(3).to(value.device)


WAITS: dict[str, Callable[[Tensor], Any]] = {
    "item": Tensor.item,
    "tolist": Tensor.tolist,
    "cpu": Tensor.cpu,
    "numpy": Tensor.numpy,
    "float": float,
    "int": int,
    "bool": bool,
    "print": print,
    "format": "{}".format,
    "nonzero": Tensor.nonzero,
    "unique": Tensor.unique,
    "mask": lambda value: value[value > 0],
    "masked_select": lambda value: value.masked_select(value > 0),
    "to device": _copy,
    "to host": lambda value: value.to("cpu"),
    "copy_": lambda value: torch.empty(()).copy_(value),
    "tensor": lambda value: torch.tensor([1.0], device=value.device),
    "index on the host": lambda value: value.expand(3)[torch.tensor([0])],
}


@pytest.mark.parametrize("wait", WAITS)
def test_synchronization_in_a_step_is_detected(wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_on_the_device(*SYNTHETIC, "loss=independent")
    measure = trainer.learner.measure

    def look(total: Tensor, *arguments: Any) -> Any:
        try:
            WAITS[wait](total.detach())
        except Exception as error:
            raise HostWaitsError from error
        return measure(total, *arguments)

    monkeypatch.setattr(trainer.learner, "measure", look)
    with pytest.raises(HostWaitsError):
        train(trainer)
