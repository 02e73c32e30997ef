"""The options of ``trainer.*``: how long and how to train."""

from typing import Literal

import torch

from mcl.data.mixing import Mixing
from mcl.devices import find_device
from mcl.errors import UserError, check_choice
from mcl.extras import require


class TrainerOptions:
    """Options of training.

    Args:
        epochs: passes over the training set, and the length of the learning-rate schedule.
        max_steps: stop after this many steps.
        batch_size: images per step, over all processes.
        evaluate_every: epochs between evaluations; the end of training is always evaluated.
        clip_norm: largest norm of the gradient of all trained parameters together.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: precision of the networks' forward and backward pass; weights, losses and meta rounds stay in
            float32, whose convolutions on a GPU are true float32 with ``float32`` and TF32 with all others. ``tf32``
            is float32 with TF32 in all convolutions and matrix products; ``float16`` scales the loss dynamically.
        channels_last: use the channels_last memory format for images and convolutions.
        log_every: steps between log points, the only times the host waits for the device.
        threads: CPU threads per operation; None: as many as the size of a batch justifies.
        overfit: train on the first batch alone, without augmentation.
        checkpoint_every: steps between checkpoints within an epoch; the end of an epoch always saves one.
        checkpoint_minutes: minutes between checkpoints within an epoch.
        max_checkpoints: number of checkpoints to keep.
        deterministic: use deterministic kernels only on a GPU; slower. On a CPU, all are deterministic.
        export: format in which to export the best backbone of each network when training ends.
        compile: run the networks of training steps through torch.compile; the first step takes minutes.
            ``max-autotune`` tries more kernels, and ``reduce-overhead`` replays CUDA graphs of torch.compile.
        capture: replay training steps as CUDA graphs where possible (``auto``), or never (``off``); same results.
        sync_batch_norm: compute batch statistics over all processes, on GPUs (torch.nn.SyncBatchNorm).
        ema: decay of a moving average of the networks, which is evaluated, saved as best and exported instead of them;
            None for no average. Until it is reached, the average is the mean over all steps.
        accumulate: chunks in which the networks see a batch, one after the other, for less memory. The gradient is that
            of the whole batch; batch normalization uses the statistics of a chunk.
        label_smoothing: share of the classification target that is spread over all classes.
        class_weights: factor of each class on its images in the classification: a list in the order of the classes, or
            ``balanced``: the number of images that each class would have if all had the same, over its own number.
        mixup, cutmix: alpha of the mixtures of two images, see `mcl.data.mixing.Mixing`; 0 for none.
        decay_norm_and_bias: decay the biases, and the weights of normalization layers, as all other weights.
        test: evaluate on the test split; without it, on the validation split alone, and no test image is looked at.
        views: whether all networks see one ``shared`` augmented view of each image, or ``separate`` ones; None: as the
            loss asks.

    Raises:
        UserError: A number is out of its range, this machine has no such device, ``sync_batch_norm`` is set without a
            GPU, or a package that ``export`` needs is not installed.
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
        precision: Literal["float32", "tf32", "bfloat16", "float16"] = "float32",
        channels_last: bool = False,
        log_every: int = 20,
        threads: int | None = None,
        overfit: bool = False,
        checkpoint_every: int | None = None,
        checkpoint_minutes: float | None = None,
        max_checkpoints: int = 2,
        deterministic: bool = False,
        export: Literal["torch", "safetensors", "onnx", "torch-export"] | None = None,
        sync_batch_norm: bool = False,
        compile: bool | Literal["max-autotune", "reduce-overhead"] = False,
        capture: Literal["auto", "off"] = "auto",
        ema: float | None = None,
        views: Literal["shared", "separate"] | None = None,
        accumulate: int = 1,
        label_smoothing: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        decay_norm_and_bias: bool = True,
        test: bool = True,
    ):
        minimums = {"epochs": 1, "max_steps": 1, "evaluate_every": 1, "log_every": 1, "threads": 1}
        minimums |= {
            "accumulate": 1,
            "batch_size": 2,
            "checkpoint_every": 1,
            "checkpoint_minutes": 0,
            "max_checkpoints": 1,
        }
        for name, minimum in minimums.items():
            if (value := locals()[name]) is not None and value < minimum:
                raise UserError(f"trainer.{name}={value}: must be at least {minimum}.")
        check_choice("trainer.precision", precision, ("float32", "tf32", "bfloat16", "float16"))
        check_choice("trainer.capture", capture, ("auto", "off"))
        if views is not None:
            check_choice("trainer.views", views, ("shared", "separate"))
        if clip_norm is not None and clip_norm <= 0:
            raise UserError(f"trainer.clip_norm={clip_norm}: must be positive, or null for no clipping.")
        if ema is not None and not 0 < ema < 1:
            raise UserError(f"trainer.ema={ema}: must be above 0 and below 1, such as 0.999, or null for no average.")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"trainer.label_smoothing={label_smoothing}: must be from 0 to below 1, such as 0.1.")
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
        self.capture = capture
        self.ema = ema
        self.views = views
        self.accumulate = accumulate
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.mixing = Mixing(mixup, cutmix)
        self.decay_norm_and_bias = decay_norm_and_bias
        self.test = test
        if sync_batch_norm and self.device.type != "cuda":
            raise UserError(f"trainer.sync_batch_norm=true works on GPUs only, not on {self.device}: use false.")
        if export is not None:
            require(export, asked=f"trainer.export={export}")

    def total_steps(self, steps_per_epoch: int, *, extra: int = 0) -> int:
        """Return the steps of the whole run; ``extra`` are those by which earlier epochs were longer."""
        steps = self.epochs * steps_per_epoch + extra
        return steps if self.max_steps is None else min(steps, self.max_steps)
