"""The section of a model card on int8 files."""

from collections.abc import Sequence

from mcl.deploy.card_parts import escape, table
from mcl.deploy.quantization import LARGE_LOSS, Quantized

_METHOD = """\
Quantized by onnxruntime: weights in int8 with a scale for each channel, activations in uint8, in the ranges that
{calibration:,} training images have (without augmentation, drawn with seed {seed}). Accuracy of both files, measured by
onnxruntime on the same {images:,} test images, in percent; the difference has a 95 % interval over test images
(Agresti and Min, 2005) and the p-value of McNemar's exact test."""
_LARGE = """\
{files}: int8 loses more than {limit:g} point. Try more calibration images (`--calibration`),
or use the float32 file."""


def int8_section(results: Sequence[Quantized]) -> list[str]:
    """Return the section, in paragraphs: method, accuracies of both files, sizes; nothing without an int8 file."""
    together: dict[tuple[object, ...], list[Quantized]] = {}  # measured in the same way
    for result in results:
        together.setdefault((result.calibration, result.seed, result.images, *result.changes), []).append(result)
    section = [paragraph for group in together.values() for paragraph in _measured(group)]
    return ["## int8", *section, *large_losses(results)] if results else []


def _measured(results: Sequence[Quantized]) -> list[str]:
    rows = []
    for result in results:
        before, after = (file.stat().st_size for file in (result.float32, result.path))
        low, high = result.difference.interval
        change = f"{result.difference.difference:+.2f} ({low:+.2f} to {high:+.2f})"
        top1 = [f"{result.float32_top1:.2f}", f"{result.int8_top1:.2f}"]
        p, same = f"{result.difference.p:.3f}", f"{result.same_labels:.2f}"
        rows.append((result.path.name, f"{before:,}", f"{after:,}", *top1, change, p, same))
    headers = ["file", "bytes, float32", "bytes, int8", "top-1, float32", "top-1, int8", "difference", "p"]
    first = results[0]
    method = _METHOD.format(calibration=first.calibration, seed=first.seed, images=first.images)
    section = [method.replace("\n", " "), table([*headers, "same label, %"], rows)]
    if first.changes:
        section.append(f"Measured with other settings than the run's: {escape(', '.join(first.changes))}.")
    return section


def large_losses(results: Sequence[Quantized]) -> list[str]:
    """Return a note on the files that lose much accuracy, in a list; nothing if none does."""
    files = ", ".join(result.path.name for result in results if result.loses_much)
    return [_LARGE.format(files=files, limit=LARGE_LOSS).replace("\n", " ")] if files else []
