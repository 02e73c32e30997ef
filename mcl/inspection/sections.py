"""An inspection as titled tables and sentences, for the terminal and for the page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from mcl.console import pluralize
from mcl.data.listed_files import usual_size
from mcl.inspection.inspection import Inspection
from mcl.inspection.problems import Finding
from mcl.untrusted.text import printable

CLASSES = 20  # rows of the table of classes on the terminal
_COMMON = 4  # sizes that are named


class Section(NamedTuple):
    """Sentences, and a table below them whose first column is words and whose others are numbers."""

    title: str
    lines: list[str]
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def sections(inspection: Inspection, found: Sequence[Finding], classes: int | None = None) -> list[Section]:
    """Return the sections, findings first.

    Args:
        inspection: the inspection.
        found: its findings.
        classes: number of classes to list, None for all.
    """
    lines = [finding.text for finding in found]
    return [
        Section("Findings", lines or ["Nothing that needs a decision."]),
        _classes(inspection, classes),
        _pictures(inspection),
        _files(inspection),
    ]


def _classes(inspection: Inspection, most: int | None) -> Section:
    splits = inspection.split_names
    rows = [[printable(name), *(f"{n[split]:,}" for split in splits)] for name, n in inspection.counts.items()]
    total = [f"{sum(n[split] for n in inspection.counts.values()):,}" for split in splits]
    left_out = len(rows) - most if most else 0
    lines = [f"{pluralize(len(rows), 'class').replace('classs', 'classes')}, readable pictures of each."]
    if inspection.files.note:
        lines.append(f"{printable(inspection.files.note)}.")
    if left_out > 0:
        rows = [*rows[:most], [f"and {left_out:,} more", *("" for _ in splits)]]
    return Section("Classes", lines, ["class", *splits], [*rows, ["all", *total]])


def _pictures(inspection: Inspection) -> Section:
    pictures = inspection.pictures
    sides = [min(facts.width, facts.height) for facts in pictures]
    ratios = [facts.width / facts.height for facts in pictures]
    square, wide = sum(ratio == 1 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
    mean, deviation = inspection.mean_and_deviation
    size = usual_size(round(median(sides)))
    lines = [
        f"Shorter side: {min(sides):,} to {max(sides):,} pixels, median {median(sides):,.0f}. The most frequent sizes:"
        f" {_frequent(f'{facts.width} x {facts.height}' for facts in pictures)}.",
        f"Width by height: {min(ratios):.2f} to {max(ratios):.2f}; {square:,} square, {wide:,} wider,"
        f" {len(ratios) - square - wide:,} taller.",
        f"Mean {_values(mean)}, standard deviation {_values(deviation)} of R, G, B in"
        f" [0, 1]: dataset.mean=[{_values(mean, ',')}] dataset.std=[{_values(deviation, ',')}]; the default is"
        " ImageNet's.",
    ]
    if len({(facts.width, facts.height) for facts in pictures}) > 1 or square < len(pictures):
        lines.append(
            f"They differ in size or are not square: set dataset.image_size, such as dataset.image_size={size}. The"
            " centered square of each is scaled to it."
        )
    return Section("Pictures", lines)


def _files(inspection: Inspection) -> Section:
    pictures = inspection.pictures
    modes = {facts.mode for facts in pictures}
    turned = sum(facts.rotated for facts in pictures)
    lines = [
        f"Formats: {_frequent((facts.format for facts in pictures), None)}.",
        f"Modes: {_frequent((facts.mode for facts in pictures), None)}. Training reads all as 8-bit RGB, or as gray"
        " values with dataset.channels=1.",
        f"{pluralize(turned, 'picture')} turned or mirrored by EXIF data, which training applies.",
    ]
    if modes & {"RGBA", "LA", "PA", "La", "RGBa"}:
        lines.append("Transparent parts become white.")
    if any(mode.startswith("I") for mode in modes):
        lines.append("16-bit gray values are scaled to 8 bits.")
    if inspection.files.ignored:
        names = ", ".join(f"{count:,} {printable(name)}" for name, count in inspection.files.ignored.items())
        lines.append(f"Other files, which are ignored: {names}.")
    return Section("Files", lines)


def _frequent(names: Iterable[str], most: int | None = _COMMON) -> str:
    counts = Counter(names).most_common(most)
    return ", ".join(f"{name} ({count:,})" for name, count in counts)


def _values(numbers: Sequence[float], separator: str = ", ") -> str:
    return separator.join(f"{number:.3f}" for number in numbers)
