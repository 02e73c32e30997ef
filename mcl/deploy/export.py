"""Export networks of a run as files; each file is checked after it was written."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from mcl.console import display_path
from mcl.deploy import library_state_dicts
from mcl.deploy.formats import FORMATS, logits
from mcl.deploy.library_state_dicts import NATIVE
from mcl.deploy.metadata import NetworkMetadata
from mcl.deploy.model_card import check_replaced, model_card
from mcl.deploy.onnx_file import OnnxNetwork
from mcl.deploy.quantization import Quantized, check_images, measured_files, quantize
from mcl.deploy.recipe import encode_recipe
from mcl.deploy.run_source import Folder
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.errors import UserError
from mcl.extras import require
from mcl.files import make_folder, write_atomically
from mcl.networks.backbone import Backbone
from mcl.runs.layout import EXPORT

CARD = "README.md"
CHECKED_BATCHES = (1, 2, 7, 32)
TOLERANCE = 1e-4  # of the logits, in shares of the largest one of their image; absolute where all are below 1
TIMED_CALLS, WARM_UP_CALLS = 50, 5


@dataclass(frozen=True)
class Exported:
    """One file that was written and checked."""

    path: Path
    difference: float  # largest absolute difference between its logits and PyTorch's
    milliseconds: float | None = None  # time of onnxruntime for one image on the CPU; None for other formats
    torch_milliseconds: float | None = None  # time of PyTorch with the same number of threads
    int8: Quantized | None = None  # the file beside it
    checked: str = ""  # what was checked instead, of a file under the names of a library
    usage: str | None = None  # how such a file is loaded
    recipe: Path | None = None


def export_networks(
    run: SavedRun,
    format: str,
    *,
    networks: Sequence[int | str] = (),
    weights: Weights = "last",
    folder: Path | None = None,
    names: str | None = None,
    calibration: int | None = None,
    seed: int = 0,
) -> list[Exported]:
    """Write networks of a run, one file each, and a model card.

    Args:
        run: The run.
        format: A key of `FORMATS`.
        networks: Numbers, keys or names; empty for all that are deployed.
        weights: ``last`` or ``best``.
        folder: Where to write; None for ``export`` in the run folder.
        names: ``timm`` or ``torchvision``: write a state dict under that library's names, and nothing else.
            ``native``: write a recipe of the layers, too. None: the network's own names.
        calibration: Also write int8 files, calibrated on so many training images; for ``onnx`` alone.
        seed: Seed of the choice of these images.

    Raises:
        UserError: A file cannot be written, would replace a README.md of other content or of another run, or does not
            compute what the network computes; or the data set of the run cannot calibrate and measure int8 files.
    """
    require(format, asked=f"format {format}")
    if calibration is not None:
        if format != "onnx":
            raise UserError(f"int8: format {format} has none. Use format onnx.")
        check_images(run, calibration)
    if folder is None:
        if not isinstance(run.source, Folder):
            raise UserError(f"{run.source.path} is not a run folder: name a folder for the files with --out FOLDER.")
        folder = run.source.path / EXPORT
    elif (card := folder / CARD).exists():
        check_replaced(card, run)
    export_one = _export_one if names in (None, NATIVE) else partial(_export_renamed, names)
    exported = {key: export_one(run, format, key, weights, folder) for key in run.chosen_keys(networks)}
    if names == NATIVE:
        exported = {key: _add_recipe(file, *run.deployable(key, weights)) for key, file in exported.items()}
    files = {key: file.path for key, file in exported.items()}
    if calibration is not None:
        for key, result in quantize(run, files, calibration=calibration, seed=seed).items():
            exported[key] = replace(exported[key], int8=result)
    usage = next(iter(exported.values())).usage
    names_of_files = {key: file.name for key, file in files.items()}
    write_atomically(folder / CARD, model_card(run, weights, names_of_files, measured_files(folder), usage))
    return list(exported.values())


def export_best(folder: Path, config: DictConfig) -> list[Path]:
    """Export the best backbones of a run that has finished, in the format of ``trainer.export`` if it has one."""
    if config.trainer.export is None:
        return []
    run = SavedRun(folder, allow=config.allow_modules)
    files = [file.path for file in export_networks(run, config.trainer.export, weights="best")]
    for file in files:
        print(display_path(file))
    return files


def _export_one(run: SavedRun, format: str, key: str, weights: Weights, folder: Path) -> Exported:
    backbone, metadata = run.deployable(key, weights)
    path = folder / f"{metadata.file_stem}{FORMATS[format].suffix}"
    _write(path, FORMATS[format].encode(backbone, metadata))
    exported = FORMATS[format].read(path, run.allow)
    shape = metadata.preprocessing.image_shape
    difference = largest_difference(backbone, exported, shape, path)
    if not isinstance(exported, OnnxNetwork):
        return Exported(path, difference)
    same_threads = OnnxNetwork(path, threads=torch.get_num_threads())
    image = torch.zeros(1, *shape)
    return Exported(path, difference, latency(same_threads, image), latency(backbone, image))


def _export_renamed(library: str, run: SavedRun, format: str, key: str, weights: Weights, folder: Path) -> Exported:
    """Write the state dict of a network under a library's names, and check it in the library's own model."""
    backbone, metadata = run.deployable(key, weights)
    content = library_state_dicts.encode(library_state_dicts.library_state(backbone, library), format, library)
    path = folder / f"{metadata.file_stem}-{library}{FORMATS[format].suffix}"
    _write(path, content)
    checked = library_state_dicts.check(path, backbone, library, metadata.preprocessing.image_shape)
    return Exported(path, 0.0, checked=checked, usage=library_state_dicts.usage(backbone, metadata, library, path.name))


def _write(path: Path, content: bytes) -> None:
    """Write a file; its folder is created only now, so that an export that is refused leaves none."""
    make_folder(path.parent)
    write_atomically(path, content)


def _add_recipe(exported: Exported, backbone: Backbone, metadata: NetworkMetadata) -> Exported:
    path = exported.path.with_suffix(".recipe.json")
    write_atomically(path, encode_recipe(backbone, metadata))
    return replace(exported, recipe=path)


def largest_difference(network: nn.Module, exported: nn.Module, shape: Sequence[int], path: Path) -> float:
    """Return the largest difference between the logits of a network and of its file, for several batch sizes.

    Raises:
        UserError: The difference is more than rounding, or a label differs.
    """
    rng = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch_size in CHECKED_BATCHES:
        images = torch.randn(batch_size, *shape, generator=rng)
        expected, actual = logits(network, images), logits(exported, images)
        largest = max(largest, float((expected - actual).abs().max()))
        near = (actual - expected).abs() <= TOLERANCE * _scale(expected)[:, None]
        if not near.all() or not _same_labels(expected, actual):
            raise UserError(
                f"{path} computes other logits than PyTorch: they differ by {largest:.2g} for {batch_size} images."
                " Do not use the file."
            )
    return largest


def latency(network: nn.Module, images: Tensor) -> float:
    """Return the median milliseconds that a network takes for a batch."""
    seconds = []
    for _ in range(WARM_UP_CALLS + TIMED_CALLS):
        start = time.perf_counter()
        logits(network, images)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP_CALLS:])


def _scale(values: Tensor) -> Tensor:
    """Return the largest absolute logit (B,) of each image, at least 1: rounding grows with it."""
    return values.abs().amax(1).clamp(min=1)


def _same_labels(expected: Tensor, actual: Tensor) -> bool:
    """Compare labels where the best logit leads by more than the tolerance: a tie has no label of its own."""
    if expected.shape[1] == 1:
        return True
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 2 * TOLERANCE * _scale(expected)
    return bool((expected.argmax(1) == actual.argmax(1))[clear].all())
