"""Export networks of a run as files, each checked after it was written."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from mcl.console import display_path
from mcl.deploy.formats import FORMATS, logits
from mcl.deploy.load import deployed
from mcl.deploy.model_card import model_card
from mcl.deploy.onnx_file import OnnxNetwork
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.errors import UserError
from mcl.extras import require
from mcl.files import write_atomically, write_error
from mcl.runs.layout import EXPORT

CARD = "README.md"
CHECKED_BATCHES = (1, 2, 7, 32)
TOLERANCE = 1e-4  # relative and absolute, of the logits
RUNS, WARM_UP = 50, 5


@dataclass(frozen=True)
class Exported:
    """One file that was written and checked.

    Args:
        path: of the file.
        name: of the architecture.
        difference: largest one between its logits and PyTorch's.
        milliseconds: for one image on the CPU, of an ONNX file by onnxruntime; None for other formats.
        torch_milliseconds: the same by PyTorch, with as many threads.
    """

    path: Path
    name: str
    difference: float
    milliseconds: float | None = None
    torch_milliseconds: float | None = None


def export(
    run: SavedRun,
    form: str,
    *,
    networks: Sequence[int | str] = (),
    weights: Weights = "last",
    folder: Path | None = None,
) -> list[Exported]:
    """Write networks of a run, one file each, and a model card.

    Args:
        run: the run.
        form: ``torch``, ``safetensors`` or ``onnx``.
        networks: numbers, keys or names; none for all.
        weights: ``last`` or ``best``.
        folder: where to; None for ``export`` in the run folder.

    Raises:
        UserError: a file cannot be written, or does not give what the network gives.
    """
    require(form, asked=f"format {form}")
    if folder is None:
        if not run.place.path.is_dir():
            raise UserError(f"{run.place.path} is a bundle: say where the files shall go with --out FOLDER.")
        folder = run.place.path / EXPORT
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    keys = [run.key(network) for network in networks or run.keys]
    exported = {key: _export_one(run, form, key, weights, folder) for key in keys}
    write_atomically(folder / CARD, model_card(run, weights, {key: file.path.name for key, file in exported.items()}))
    return list(exported.values())


def export_best(folder: Path, config: DictConfig) -> list[Path]:
    """Where ``trainer.export`` asks for it, write the best backbones of the run that has just ended in ``folder``."""
    if (form := config.trainer.export) is None:
        return []
    files = [file.path for file in export(SavedRun(folder, allow=config.allow_modules), form, weights="best")]
    for file in files:
        print(display_path(file))
    return files


def _export_one(run: SavedRun, form: str, key: str, weights: Weights, folder: Path) -> Exported:
    suffix, write, read = FORMATS[form]
    backbone, about = deployed(run, key, weights)
    path = folder / f"{about.file_stem}{suffix}"
    write(path, backbone, about)
    again = read(path, run.allow)
    size = about.preprocessing.image_size
    shape = (about.preprocessing.channels, size, size)
    difference = largest_difference(backbone, again, shape, path)
    if not isinstance(again, OnnxNetwork):
        return Exported(path, about.name, difference)
    fair = OnnxNetwork(path, threads=torch.get_num_threads())
    one = torch.zeros(1, *shape)
    return Exported(
        path, about.name, difference, latency(lambda: logits(fair, one)), latency(lambda: logits(backbone, one))
    )


def largest_difference(network: nn.Module, exported: nn.Module, shape: Sequence[int], path: Path) -> float:
    """Between the logits of a network and of its exported file, for batches of several sizes.

    Raises:
        UserError: it is more than rounding, or another label comes out.
    """
    rng = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in CHECKED_BATCHES:
        images = torch.randn(batch, *shape, generator=rng)
        ours, theirs = logits(network, images), logits(exported, images)
        largest = max(largest, float((ours - theirs).abs().max()))
        if not torch.allclose(theirs, ours, rtol=TOLERANCE, atol=TOLERANCE) or not _same_labels(ours, theirs):
            raise UserError(
                f"{path} does not give what the network gives: logits differ by {largest:.2g} for {batch} images. The"
                " file is not to be used."
            )
    return largest


def latency(call: Callable[[], Any]) -> float:
    """Median milliseconds of a call."""
    seconds = []
    for _ in range(WARM_UP + RUNS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])


def _same_labels(ours: Tensor, theirs: Tensor) -> bool:
    """Equal where the best logit is ahead by more than the tolerance: a tie has no label of its own."""
    best = ours.topk(min(2, ours.shape[1]), dim=1).values
    clear = best[:, 0] - best[:, -1] > 2 * TOLERANCE * best.abs().amax(1).clamp(min=1) if best.shape[1] > 1 else None
    same = ours.argmax(1) == theirs.argmax(1)
    return bool(same.all() if clear is None else same[clear].all())
