"""The best rate of convolutions on this machine, the yardstick for the speed of training."""

import time

import torch
from torch.nn import functional as F

from mcl.benchmarking.stopwatch import synchronizer
from mcl.networks.counting import FORWARD_AND_BACKWARD

SHAPES = ((64, 3, 32), (128, 3, 16), (256, 3, 16), (512, 1, 14))  # channels in and out, kernel, side of the image
SMALLEST = 32  # images of a batch
REPEATS = 3
GAIN = 1.05  # larger batches are tried for as long as they bring so much
LONG_ENOUGH = 0.1  # seconds of one pass


def convolution_peak(device: torch.device, precision: str) -> float:
    """Multiply-adds per second of the fastest convolution found, forward and backward, in either memory format.

    Convolutions as residual networks have them, but wide, and in batches that grow until they gain no more.

    Args:
        device: where.
        precision: ``float32`` or ``bfloat16``: that of inputs, weights and results.
    """
    dtype = getattr(torch, precision)
    formats = (torch.contiguous_format, torch.channels_last)
    return max(_saturated(shape, device, dtype, layout) for shape in SHAPES for layout in formats)


def _saturated(
    shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> float:
    best, batch, idle = 0.0, SMALLEST, 0
    while idle < 2:  # once may be noise
        try:
            rate, seconds = _rate(shape, batch, device, dtype, layout)
        except torch.OutOfMemoryError:
            break
        idle = idle + 1 if rate < GAIN * best else 0
        best, batch = max(best, rate), 2 * batch
        if seconds > LONG_ENOUGH:
            break
    return best


def _rate(
    shape: tuple[int, int, int], batch: int, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> tuple[float, float]:
    """Multiply-adds per second and the seconds of one pass, the fastest of some."""
    channels, kernel, side = shape
    images = torch.randn(batch, channels, side, side, device=device, dtype=dtype).to(memory_format=layout)
    weight = torch.randn(channels, channels, kernel, kernel, device=device, dtype=dtype).to(memory_format=layout)
    images.requires_grad_()
    weight.requires_grad_()
    synchronize, fastest = synchronizer(device), float("inf")
    for _ in range(REPEATS + 1):  # the first one warms up
        synchronize()
        start = time.perf_counter()
        output = F.conv2d(images, weight, padding=kernel // 2)
        torch.autograd.grad(output, (images, weight), output.detach())
        synchronize()
        seconds, fastest = time.perf_counter() - start, min(fastest, time.perf_counter() - start)
    return FORWARD_AND_BACKWARD * output.numel() * channels * kernel**2 / fastest, seconds
