"""The best rate of convolutions on this machine, the yardstick for the speed of training."""

import torch
from torch.nn import functional as F

from mcl.benchmarking.stopwatch import synchronizer, time_in_turns
from mcl.devices import compute_dtype
from mcl.networks.counting import FORWARD_AND_BACKWARD

SHAPES = ((64, 3, 32), (128, 3, 16), (256, 3, 16), (512, 1, 14))  # channels in and out, kernel, side of the image
SMALLEST = 32  # images in a batch
REPEATS = 3
GAIN = 1.05  # larger batches are tried while they gain this factor
LONG_ENOUGH = 0.1  # seconds of one pass


def convolution_peak(device: torch.device, precision: str) -> float:
    """Return the multiply-adds per second of the fastest convolution, forward and backward, in either memory format.

    The convolutions are those of residual networks, but wide, and in batches that grow until they gain no more.

    Args:
        device: device to measure.
        precision: as in ``trainer.precision``, of inputs, weights and results.
    """
    dtype = compute_dtype(precision)
    formats = (torch.contiguous_format, torch.channels_last)
    return max(_saturated_rate(shape, device, dtype, layout) for shape in SHAPES for layout in formats)


def _saturated_rate(
    shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> float:
    best, batch, without_gain = 0.0, SMALLEST, 0
    while without_gain < 2:  # once may be noise
        try:
            rate, seconds = _rate(shape, batch, device, dtype, layout)
        except torch.OutOfMemoryError:
            break
        without_gain = without_gain + 1 if rate < GAIN * best else 0
        best, batch = max(best, rate), 2 * batch
        if seconds > LONG_ENOUGH:
            break
    return best


def _rate(
    shape: tuple[int, int, int], batch: int, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> tuple[float, float]:
    """Return the multiply-adds per second of the fastest pass, and the seconds of the last one."""
    channels, kernel, side = shape
    images = torch.randn(batch, channels, side, side, device=device, dtype=dtype).to(memory_format=layout)
    weight = torch.randn(channels, channels, kernel, kernel, device=device, dtype=dtype).to(memory_format=layout)
    images.requires_grad_()
    weight.requires_grad_()

    def run_pass() -> None:
        output = F.conv2d(images, weight, padding=kernel // 2)
        torch.autograd.grad(output, (images, weight), output.detach())

    seconds = time_in_turns({"pass": run_pass}, REPEATS, synchronize=synchronizer(device))["pass"]
    work = FORWARD_AND_BACKWARD * images.numel() * channels * kernel**2  # the output is as large as the input
    return work / min(seconds), seconds[-1]
