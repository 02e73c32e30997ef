"""The options of ``trainer.*``: how long and how to train."""

from typing import Literal

import torch

from mcl.devices import find_device
from mcl.errors import UserError
from mcl.extras import require


class TrainerOptions:
    """How long and in which way to train; `mcl.training.trainer.Trainer` does it.

    Args:
        epochs: passes over the training set, and the length of the learning-rate schedule.
        max_steps: stop after so many steps, whatever the epoch.
        batch_size: images per step, of all processes together.
        evaluate_every: epochs between evaluations; the end of training is always evaluated.
        clip_norm: largest norm of the gradient of all trained parameters together.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: of the networks' forward and backward pass; weights, losses and meta rounds stay in float32, whose
            convolutions on a GPU are TF32 with ``bfloat16`` and true float32 with ``float32``.
        channels_last: memory format of images and convolutions.
        log_every: steps between two readings of the meters, the only times the host waits for the device.
        threads: CPU threads of one operation; None: as many as have enough to do.
        overfit: train on the first batch alone, without augmentation.
        checkpoint_every: steps between two checkpoints within an epoch; the end of an epoch always has one.
        checkpoint_minutes: minutes between two checkpoints within an epoch.
        max_checkpoints: how many checkpoints are kept.
        deterministic: on a GPU, only operations that give the same bits every time; slower. A CPU needs no asking.
        export: write the best backbone of each network in this format when training ends.
        compile: in training steps, run the networks through torch.compile; the first step takes minutes.
        sync_batch_norm: take batch statistics over all processes, on GPUs (torch.nn.SyncBatchNorm).
    """

    def __init__(
        self,
        *,
        epochs: int,
        batch_size: int,
        max_steps: int | None = None,
        evaluate_every: int = 1,
        clip_norm: float | None = None,
        device: str = "auto",
        precision: Literal["float32", "bfloat16"] = "float32",
        channels_last: bool = False,
        log_every: int = 20,
        threads: int | None = None,
        overfit: bool = False,
        checkpoint_every: int | None = None,
        checkpoint_minutes: float | None = None,
        max_checkpoints: int = 2,
        deterministic: bool = False,
        export: Literal["torch", "safetensors", "onnx"] | None = None,
        sync_batch_norm: bool = False,
        compile: bool = False,
    ):
        lowest = {"epochs": 1, "max_steps": 1, "evaluate_every": 1, "log_every": 1, "threads": 1}
        lowest |= {"batch_size": 2, "checkpoint_every": 1, "checkpoint_minutes": 0, "max_checkpoints": 1}
        for name, least in lowest.items():
            if (given := locals()[name]) is not None and given < least:
                raise UserError(f"trainer.{name}={given}: must be at least {least}.")
        if clip_norm is not None and clip_norm <= 0:
            raise UserError(f"trainer.clip_norm={clip_norm}: must be positive, or null for no clipping.")
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.evaluate_every = evaluate_every
        self.clip_norm = clip_norm
        self.device = find_device(device)
        self.precision = precision
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.log_every = log_every
        self.threads = threads
        self.overfit = overfit
        self.checkpoint_every = checkpoint_every
        self.checkpoint_minutes = checkpoint_minutes
        self.max_checkpoints = max_checkpoints
        self.deterministic = deterministic
        self.export = export
        self.sync_batch_norm = sync_batch_norm
        self.compile = compile
        if sync_batch_norm and self.device.type != "cuda":
            raise UserError(f"trainer.sync_batch_norm=true works on GPUs alone, and this is {self.device}: use false.")
        if export is not None:
            require(export, asked=f"trainer.export={export}")

    def total_steps(self, steps_per_epoch: int, *, extra: int = 0) -> int:
        """Steps of the whole run; ``extra`` more than its epochs have if some of them had another number."""
        everything = self.epochs * steps_per_epoch + extra
        return everything if self.max_steps is None else min(everything, self.max_steps)
