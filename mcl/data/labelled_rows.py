"""List images whose classes and splits are given row by row, as in a table."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from mcl.console import summarize
from mcl.data.listing import SPLITS, Files, Listing, draw_test, test_alone
from mcl.errors import UserError


class Row(NamedTuple):
    """An image."""

    path: str
    label: str
    split: str  # train, validation or test; empty if the table has no splits


def list_rows(
    source: str, rows: Sequence[Row], *, classes: Sequence[str] | None = None, test_fraction: float, seed: int
) -> Listing:
    """Return the classes and splits of the rows, by the rules of `mcl.data.listing.list_folder`.

    Args:
        source: name of the table, for messages.
        rows: the images, in any order.
        classes: names of all classes, by label; None to sort those of the rows, numbers by value.
        test_fraction, seed: which part of each class becomes the test split, if the rows have no splits.

    Raises:
        UserError: A split or a class is missing.
    """
    names = tuple(classes) if classes is not None else sort_classes({row.label for row in rows})
    if len(names) < 2:
        raise UserError(f"{source} has {summarize(names) or 'no'} as its only class, but training needs at least two.")
    label_of = {name: label for label, name in enumerate(names)}
    members: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (label_of[row.label], row.path)):
        members.setdefault(row.split, []).append(row)
    files = {
        name: Files([row.path for row in each], torch.tensor([label_of[row.label] for row in each]))
        for name, each in members.items()
    }
    for name, each in files.items():
        counts = each.labels.bincount(minlength=len(names)).tolist()
        empty = [label for label, count in zip(names, counts, strict=True) if not count]
        if empty:
            raise UserError(f"{source} has no image of class {summarize(empty)}{f' in split {name}' if name else ''}.")
    if "" in files:
        return draw_test(names, files[""], test_fraction, seed, source=f"{source}: ")
    incomplete = (
        f"{source} has the splits {summarize(list(files))}, but training needs train and test or val. Leave the"
        " splits out to have dataset.test_fraction drawn."
    )
    if files.keys() == {"train"}:
        raise UserError(incomplete)
    test = files.get("test") or files["validation"]
    validation = files.get("validation") if "test" in files else None
    if "train" not in files:
        return test_alone(names, test, validation, incomplete)
    return Listing(names, files["train"], test, validation)


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names; if all are whole numbers, by value, and those of equal value (1, 01) as texts.

    >>> sort_classes(["10", "9"]), sort_classes(["b", "10", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    numbers = {name: int(name) for name in names if name.removeprefix("-").isdecimal() and len(name) < 20}
    names = list(names)
    return tuple(sorted(names, key=(lambda name: (numbers[name], name)) if len(numbers) == len(names) else None))


def split_name(given: str) -> str | None:
    """Return train, validation or test for any usual name of a split; None for another name."""
    return SPLITS.get(given.strip().lower())
