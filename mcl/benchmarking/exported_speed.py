"""How fast exported files are on this CPU, measured in turns."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mcl.data.preprocessing import Preprocessing
from mcl.deploy.formats import logits
from mcl.deploy.load import load
from mcl.deploy.onnx_file import OnnxNetwork
from mcl.deploy.quantization import SUFFIX

WARM_UP = 10  # turns that do not count
BATCHES_PER_CALL = 10  # a batch is timed once where a single image is timed so often


@dataclass(frozen=True)
class Latency:
    """The speed of one file. A deviation is the median absolute deviation from the median."""

    path: Path
    runtime: str  # "onnxruntime" or "PyTorch"
    bytes: int
    milliseconds: float  # median for one image
    deviation: float
    images_per_second: float  # median, in batches
    images_per_second_deviation: float
    reference: Path  # of an int8 file its float32 file, if that is timed too; otherwise the first file
    speedup: float  # how many times as fast as the reference for one image: median of the ratios of all turns
    batch_speedup: float  # the same for a batch


def measure_latency(
    paths: Sequence[Path], *, batch_size: int, threads: int, turns: int, allow: Sequence[str] = ()
) -> list[Latency]:
    """Time files on images of random pixels, one image at a time and in batches.

    The files take turns, call by call, so that a machine that becomes slower does so for all of them.

    Args:
        paths: exported files.
        batch_size: images in a batch.
        threads: threads of onnxruntime and of PyTorch.
        turns: timed calls of each file for one image; a tenth of it for batches.
        allow: the caller's own modules whose classes may be built.

    Raises:
        UserError: A file cannot be read.
    """
    torch.set_num_threads(threads)
    networks = {str(i): _open(path, threads, allow) for i, path in enumerate(paths)}
    single = _seconds(networks, 1, turns)
    batched = _seconds(networks, batch_size, max(3, turns // BATCHES_PER_CALL))
    results = []
    for (name, network), path in zip(networks.items(), paths, strict=True):
        reference = _reference(path, paths)
        base = str(paths.index(reference))
        milliseconds = [1000 * seconds for seconds in single[name]]
        speeds = [batch_size / seconds for seconds in batched[name]]
        results.append(
            Latency(
                path=path,
                runtime="onnxruntime" if isinstance(network, OnnxNetwork) else "PyTorch",
                bytes=path.stat().st_size,
                milliseconds=statistics.median(milliseconds),
                deviation=_deviation(milliseconds),
                images_per_second=statistics.median(speeds),
                images_per_second_deviation=_deviation(speeds),
                reference=reference,
                speedup=_ratio(single[base], single[name]),
                batch_speedup=_ratio(batched[base], batched[name]),
            )
        )
    return results


def _open(path: Path, threads: int, allow: Sequence[str]) -> nn.Module:
    is_onnx = path.suffix == ".onnx" and path.is_file()
    return OnnxNetwork(path, threads=threads) if is_onnx else load(path, allow=allow)


def _reference(path: Path, paths: Sequence[Path]) -> Path:
    float32 = path.with_name(f"{path.stem.removesuffix(SUFFIX)}.onnx")
    return float32 if path.stem.endswith(SUFFIX) and float32 in paths else paths[0]


def _seconds(networks: dict[str, nn.Module], batch_size: int, turns: int) -> dict[str, list[float]]:
    """Time every network in every turn; a call that does not count precedes each, so that its caches are its own."""
    inputs = {name: _images(network, batch_size) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(-min(WARM_UP, turns), turns):
        for name, network in networks.items():
            logits(network, inputs[name])
            start = time.perf_counter()
            logits(network, inputs[name])
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _images(network: nn.Module, batch_size: int) -> Tensor:
    preprocessing: Preprocessing = network.__dict__["preprocessing"]
    shape = (batch_size, *preprocessing.image_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _deviation(values: Sequence[float]) -> float:
    middle = statistics.median(values)
    return statistics.median(abs(value - middle) for value in values)


def _ratio(reference: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(reference, other, strict=True))
