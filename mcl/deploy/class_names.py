"""Match the classes of a dataset, by name, to those that networks were trained on."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mcl.console import summarize
from mcl.data.dataset import Dataset
from mcl.data.imagenet import CLASSES, ImageNet
from mcl.errors import UserError
from mcl.untrusted.text import printable

_WORDNET_ID = re.compile(r"n\d{8}")


def match_classes(dataset: Dataset, trained: Sequence[str]) -> tuple[int, ...]:
    """Return, for each label of a dataset, the label under which the networks learned its class.

    The dataset may have only some of the trained classes, in any order.

    Raises:
        UserError: The networks were not trained on a class of the dataset, or names are not unique.
    """
    known = list(map(_comparable, trained))
    names = _names(dataset, known)
    if list(names) == known:
        return tuple(range(len(known)))
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"The dataset has {len(names)} classes, and the networks, trained on {len(known)}, do not know"
            f" {summarize(unknown)}. They know {summarize(known, 10)}: rename the other classes, or remove them."
        )
    if repeated := [name for name in dict.fromkeys(names) if known.count(name) > 1 or names.count(name) > 1]:
        raise UserError(
            f"The dataset has its classes in another order than the networks, and they cannot be matched by name:"
            f" {summarize(repeated)} names several classes."
        )
    return tuple(known.index(name) for name in names)


def told_apart(classes: Sequence[str]) -> list[str]:
    """Return class names as keys: a name that several classes have is followed by the label.

    >>> told_apart(["crane", "dog", "crane"])
    ['crane (label 0)', 'dog', 'crane (label 2)']
    """
    counts = Counter(classes)
    return [f"{name} (label {label})" if counts[name] > 1 else name for label, name in enumerate(classes)]


def describe_match(labels: Sequence[int], trained: Sequence[str]) -> str:
    """Describe how `match_classes` matched; empty if the classes are the same in the same order."""
    if list(labels) == list(range(len(trained))):
        return ""
    if len(labels) < len(trained):
        return f"Classes are matched by name: {len(labels)} of the {len(trained)} trained ones are in this dataset."
    return "Classes are matched by name: another order in this dataset."


def _comparable(name: str) -> str:
    """Return a name as runs store it, with accents composed: folders from a Mac spell them as letter and accent."""
    return printable(unicodedata.normalize("NFC", name))


def _names(dataset: Dataset, trained: Sequence[str]) -> tuple[str, ...]:
    """Return a dataset's class names; for ImageNet the published words if the networks were trained with these."""
    names = tuple(map(_comparable, dataset.spec.classes))
    if isinstance(dataset, ImageNet) and len(names) == len(trained) == CLASSES:
        identifiers = all(map(_WORDNET_ID.fullmatch, names)) and names != tuple(trained)
        if identifiers and tuple(trained) == (words := ImageNet.published_classes()):
            return words
    return names
