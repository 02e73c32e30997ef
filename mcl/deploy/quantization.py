"""Quantize exported ONNX files to 8 bits, and measure on the test images what that costs."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mcl.data.dataset import Images
from mcl.data.image_files import ImageFiles
from mcl.data.loaders import pixels_in_order
from mcl.data.preprocessing import Preprocessing
from mcl.data.seeding import generator
from mcl.deploy.class_names import match_classes
from mcl.deploy.detailed_evaluation import evaluation_record
from mcl.deploy.formats import logits
from mcl.deploy.onnx_file import INPUT, OnnxNetwork, quiet
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.files import write_atomically, write_error
from mcl.intervals import Interval, PairedDifference, paired_difference
from mcl.untrusted.limits import MAX_JSON, MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import decode_json

SUFFIX = "-int8"
BATCH = 128  # images at once
LARGE_LOSS = 1.0  # points of top-1


@dataclass(frozen=True)
class Quantized:
    """An int8 file beside its float32 file, both measured by onnxruntime on the same test images."""

    path: Path
    float32: Path
    images: int
    float32_top1: float  # percent
    int8_top1: float
    difference: PairedDifference  # int8 less float32, in points
    same_labels: float  # percent of the images
    calibration: int  # training images that set the ranges of activations
    seed: int  # of their choice
    data: str  # fingerprint of the images
    changes: list[str]  # settings other than the run's

    @property
    def loses_much(self) -> bool:
        """Whether the accuracy falls by more than rounding to 8 bits should cost."""
        return self.difference.difference < -LARGE_LOSS


def check_images(run: SavedRun, calibration: int) -> None:
    """Check, before anything is written, that a run's data set has the images that `quantize` needs.

    Raises:
        UserError: It has other classes or another size than the networks, or fewer training images than asked for.
    """
    spec, expected = run.dataset.spec, run.preprocessing
    match_classes(run.dataset, run.classes)
    if (spec.channels, spec.image_size) != (expected.channels, expected.image_size):
        raise UserError(
            f"{spec.name} has images of {spec.channels} x {spec.image_size} x {spec.image_size}, and the networks take"
            f" {expected.channels} x {expected.image_size} x {expected.image_size}: give"
            f" dataset.image_size={expected.image_size}, or the run's own data set."
        )
    if calibration > sum(spec.counts):
        raise UserError(f"--calibration {calibration}: {spec.name} has {sum(spec.counts):,} training images.")


def quantize(run: SavedRun, files: Mapping[str, Path], *, calibration: int, seed: int) -> dict[str, Quantized]:
    """Write an int8 file, and a JSON file of its accuracy, beside each ONNX file of a run's networks.

    Weights become int8, with a scale for each output channel; activations become uint8, in the range between the
    smallest and the largest value of the calibration images. Batch normalization is already part of a convolution where
    it follows one.

    Args:
        run: the run; the training images of its data set calibrate, the test images measure.
        files: ONNX files, by the key of the network.
        calibration: number of training images, without augmentation.
        seed: seed of their choice.

    `check_images` comes first.

    Raises:
        UserError: A file cannot be written.
    """
    splits = run.dataset.load()
    images = torch.cat([pixels for pixels, _ in _pixels(_drawn(splits.train, calibration, seed), run.preprocessing)])
    quantized = {key: _quantize_one(path, images) for key, path in files.items()}
    pairs = {key: (OnnxNetwork(files[key]), OnnxNetwork(path)) for key, path in quantized.items()}
    trained_label = torch.tensor(match_classes(run.dataset, run.classes))
    right: dict[str, list[Tensor]] = {key: [] for key in pairs}  # (2, B) of each batch: float32, int8
    same: dict[str, int] = dict.fromkeys(pairs, 0)
    for pixels, labels in _pixels(splits.test, run.preprocessing):
        for key, pair in pairs.items():
            predicted = torch.stack([logits(network, pixels).argmax(1) for network in pair])
            right[key].append(predicted == trained_label[labels])
            same[key] += int((predicted[0] == predicted[1]).sum())
    record = evaluation_record(run)
    results = {}
    for key, path in quantized.items():
        before, after = torch.cat(right[key], dim=1)
        count = len(before)
        results[key] = Quantized(
            path=path,
            float32=files[key],
            images=count,
            float32_top1=100 * int(before.sum()) / count,
            int8_top1=100 * int(after.sum()) / count,
            difference=paired_difference(int((before & ~after).sum()), int((after & ~before).sum()), count),
            same_labels=100 * same[key] / count,
            calibration=len(images),
            seed=seed,
            data=record.data,
            changes=[*(["other images"] if record.other_images else []), *record.changes],
        )
        write_atomically(path.with_suffix(".json"), _as_json(results[key]))
    return results


def measured_files(folder: Path) -> list[Quantized]:
    """Return the int8 files in a folder that, like their float32 files, are still those that `quantize` measured."""
    measured = []
    for record in sorted(folder.glob(f"*{SUFFIX}.json")):
        path, float32 = (record.with_name(f"{stem}.onnx") for stem in (record.stem, record.stem.removesuffix(SUFFIX)))
        try:
            values = decode_json(read_bytes(record, MAX_JSON), str(record))
            if values["sha256"] != _sha256(path) or values["float32_sha256"] != _sha256(float32):
                continue
            difference, interval, p = (values["difference"][name] for name in PairedDifference._fields)
            result = Quantized(
                path=path,
                float32=float32,
                difference=PairedDifference(float(difference), Interval(*map(float, interval)), float(p)),
                images=int(values["images"]),
                float32_top1=float(values["float32_top1"]),
                int8_top1=float(values["int8_top1"]),
                same_labels=float(values["same_labels"]),
                calibration=int(values["calibration"]),
                seed=int(values["seed"]),
                data=str(values["data"]),
                changes=[str(change) for change in values["changes"]],
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError):  # damaged, or of an earlier version
            continue
        measured.append(result)
    return measured


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, MAX_NETWORK)).hexdigest()


def _drawn(train: Images | ImageFiles, count: int, seed: int) -> Images | ImageFiles:
    order = torch.randperm(len(train.labels), generator=generator("calibration", seed))
    return train.take(order[:count].sort().values)


def _pixels(split: Images | ImageFiles, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalized images (B, channels, size, size) and their labels (B,)."""
    for images, labels, _ in pixels_in_order(split, batch_size=BATCH, device=torch.device("cpu")):
        yield preprocessing.normalize(images), labels


def _quantize_one(path: Path, images: Tensor) -> Path:
    """Write the int8 file of an ONNX file, calibrated on normalized images."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantized = path.with_name(f"{path.stem}{SUFFIX}.onnx")
    with tempfile.TemporaryDirectory(prefix="mcl-int8-") as folder, quiet():
        file = Path(folder) / quantized.name
        try:
            quantize_static(
                path,
                file,
                _Calibration(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except OSError as error:
            raise write_error(file, error) from error
        write_atomically(quantized, read_bytes(file, MAX_NETWORK))
    return quantized


class _Calibration:
    """Gives onnxruntime one image at a time; its calibration needs no more than this method."""

    def __init__(self, images: Tensor):
        self._images = iter(images.split(1))

    def get_next(self) -> dict[str, object] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image.numpy()}


def _as_json(result: Quantized) -> str:
    import onnxruntime

    values = asdict(result) | {"path": result.path.name, "float32": result.float32.name}
    sizes = {"bytes": result.path.stat().st_size, "float32_bytes": result.float32.stat().st_size}
    hashes = {"sha256": _sha256(result.path), "float32_sha256": _sha256(result.float32)}
    difference = {**result.difference._asdict(), "interval": list(result.difference.interval)}
    values |= {"difference": difference, **sizes, **hashes, "onnxruntime": onnxruntime.__version__}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
