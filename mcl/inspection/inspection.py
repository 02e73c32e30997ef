"""Inspect images: what there is, and the groups of pictures that are the same or nearly so."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcl.console import announced
from mcl.errors import UserError
from mcl.inspection.duplicates import DISTANCE, find_groups
from mcl.inspection.inspected_files import ALL, TEST, TRAIN, VALIDATION, InspectedFiles, find_files
from mcl.inspection.picture_facts import PictureFacts
from mcl.inspection.scan import Scan, scan
from mcl.untrusted.text import printable

SPLIT_ORDER = (TRAIN, VALIDATION, TEST, ALL)


class Leak(NamedTuple):
    """A picture of one split that is in an earlier one too. Positions are those of the files."""

    picture: int
    earlier: int
    same_pixels: bool


class Copy(NamedTuple):
    """A picture that its own split has twice, the first time at ``original``."""

    picture: int
    original: int
    same_pixels: bool


@dataclass(frozen=True)
class Inspection:
    """The files of a folder, the facts of each, and the groups of pictures that are the same or nearly so.

    Attributes:
        groups: positions of the files of each group; two or more.
        pixels: file -> a number that only files with the same pixels share.
    """

    files: InspectedFiles
    scan: Scan
    groups: list[list[int]]
    pixels: dict[int, int]

    @cached_property
    def pictures(self) -> list[PictureFacts]:
        return list(self.scan.pictures.values())

    def name(self, position: int) -> str:
        """Return the path of a file, as it may be shown."""
        return printable(self.files.paths[position])

    @cached_property
    def split_names(self) -> list[str]:
        return [split for split in SPLIT_ORDER if split in self.files.splits]

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of readable pictures by class and split."""
        pairs = Counter((self.files.classes[i], self.files.splits[i]) for i in self.scan.pictures)
        names = sorted(set(self.files.classes))
        return {name: {split: pairs[name, split] for split in self.split_names} for name in names}

    def leaks(self, earlier: str, split: str) -> list[Leak]:
        """Return the pictures of a split that are in an earlier one too, with the same pixels or nearly so."""
        leaks = []
        for group in self.groups:
            before = [i for i in group if self.files.splits[i] == earlier]
            by_pixels = {self.pixels[i]: i for i in reversed(before)}
            for i in group if before else ():
                if self.files.splits[i] == split:
                    same = self.pixels[i] in by_pixels
                    leaks.append(Leak(i, by_pixels[self.pixels[i]] if same else before[0], same))
        return leaks

    def copies(self, split: str) -> list[Copy]:
        """Return the pictures that a split has once more, less the first of each group."""
        copies = []
        for group in self.groups:
            members = [i for i in group if self.files.splits[i] == split]
            seen: dict[int, int] = {}
            for i in members:
                if seen:
                    copies.append(Copy(i, seen.get(self.pixels[i], members[0]), self.pixels[i] in seen))
                seen.setdefault(self.pixels[i], i)
        return copies

    def conflicts(self) -> Iterator[list[int]]:
        """Yield the groups whose pictures have several classes."""
        yield from (group for group in self.groups if len({self.files.classes[i] for i in group}) > 1)

    @cached_property
    def mean_and_deviation(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel, in [0, 1]; every training picture counts alike."""
        rows = [facts.sums for i, facts in self.scan.pictures.items() if self.files.splits[i] in (TRAIN, ALL)]
        mean, squares = np.mean(rows or [facts.sums for facts in self.pictures], axis=0)
        return mean.tolist(), np.sqrt(np.maximum(squares - mean**2, 0)).tolist()


def inspect_images(place: Path, distance: int = DISTANCE) -> Inspection:
    """Read every image below a folder, or in a CSV file, and compare them.

    Args:
        place: the folder, or the CSV file.
        distance: as in `mcl.inspection.duplicates.find_groups`.

    Raises:
        UserError: No image can be read.
    """
    with announced(f"Listing the files of {printable(place)}"):
        files = find_files(place)
    read = scan(files)
    if not read.pictures:
        position, reason = next(iter(read.unreadable.items()))
        raise UserError(
            f"{files.root}: none of {len(files.paths):,} images can be read. The first: {files.paths[position]}"
            f" ({reason})."
        )
    positions = list(read.pictures)
    with announced(f"Comparing {len(positions):,} pictures"):
        linked, pixels = find_groups(list(read.pictures.values()), distance)
    groups = [[positions[i] for i in group] for group in linked]
    return Inspection(files, read, groups, dict(zip(positions, pixels, strict=True)))
