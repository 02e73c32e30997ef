"""Check that all processes of a run, its checkpoint and the networks it starts from have the same images."""

import re
import socket
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mcl.console import summarize
from mcl.data.dataset import Dataset, Splits
from mcl.data.preprocessing import Preprocessing
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError
from mcl.untrusted.text import decode_json

_IDENTIFIER = re.compile(r"n?\d+")  # a number, or the WordNet identifier of a class that others name by a word


def check_same_images(processes: ProcessGroup, dataset: Dataset, splits: Splits, fingerprint: str) -> None:
    """Raise UserError in all processes unless they all have the same classes, images and labels.

    Args:
        processes: the processes of the run.
        dataset: dataset of this process.
        splits: ``dataset.load()``.
        fingerprint: ``dataset.fingerprint()``.
    """
    if processes.world_size == 1:
        return
    by_split = {name: split.labels.cpu() for name, split in splits._asdict().items() if split is not None}
    facts: dict[str, Any] = {"classes": dataset.spec.classes}
    facts |= {f"{name} images": len(labels) for name, labels in by_split.items()}
    facts["fingerprint"] = fingerprint
    facts["labels"] = {name: f"{zlib.crc32(labels.numpy().tobytes()):08x}" for name, labels in by_split.items()}
    (first_host, first), *others = processes.all_gather_object((socket.gethostname(), facts))
    for rank, (host, other) in enumerate(others, 1):
        for name in {**first, **other}:
            if other.get(name) != first.get(name):
                difference = f"{name}: {other.get(name)}, not {first.get(name)}"
                if name == "classes":
                    difference = _class_difference(other[name], first[name])
                raise UserError(
                    f"process {rank} of {processes.world_size} ({host}) sees other images than process 0"
                    f" ({first_host}): {difference}. Give every process the same files in dataset.root."
                )


def check_same_classes(stored: Sequence[str], current: Sequence[str], folder: str) -> None:
    """Raise UserError unless the class names of a checkpoint are those of the images, in the same order.

    Args:
        stored: class names of the checkpoint.
        current: class names of the images.
        folder: the run folder, for the message.
    """
    if list(stored) != list(current):
        raise UserError(
            f"{folder} has a checkpoint of other classes than the images: {_class_difference(stored, current)}. Choose"
            " another folder (hydra.run.dir=FOLDER), or start over (resume=never)."
        )


def check_source(content: Mapping[str, Any], dataset: Dataset | None, option: str, *, frozen: bool) -> list[str]:
    """Compare the images that weights were trained on with those that the network gets.

    Args:
        content: a checkpoint, an exported file or the metadata of one; what it does not say is not compared.
        dataset: the dataset of the run; None to compare nothing.
        option: what the user typed, for messages.
        frozen: whether the network is never trained, so that it must fit these images as it is.

    Returns:
        A note for the user if a network that is trained gets images of another normalization.

    Raises:
        UserError: a frozen network has learned other classes, or in another order, or another normalization.
    """
    if dataset is None:
        return []
    if frozen:
        _check_learned_classes(_stored_classes(content), dataset.spec.classes, option)
    try:
        learned = Preprocessing.from_dict(_stored(content, "preprocessing"))
    except UserError:  # that of another program may be anything
        return []
    return check_normalization(learned.mean, learned.std, dataset, option, frozen=frozen)


def check_normalization(
    mean: Sequence[float], std: Sequence[float], dataset: Dataset, option: str, *, frozen: bool
) -> list[str]:
    """Compare the normalization that weights were trained with, per channel, with the dataset's; as `check_source`."""
    if (tuple(mean), tuple(std)) == (dataset.mean, dataset.std):
        return []
    typed = [f"dataset.{name}=[{','.join(map(str, values))}]" for name, values in (("mean", mean), ("std", std))]
    if len(mean) != dataset.spec.channels:
        typed.insert(0, f"dataset.channels={len(mean)}")
    text = f"{option}: trained on images of another normalization than these. For the same, use {' '.join(typed)}."
    if frozen:
        raise UserError(text)
    return [text]


def _check_learned_classes(stored: Sequence[str], current: Sequence[str], option: str) -> None:
    """Raise UserError unless a frozen network has learned the classes of the images, as far as names can tell."""
    if len(stored) != len(current):
        return  # unknown, or the classifier would start new, which is refused later
    there, here = ([unicodedata.normalize("NFC", name).casefold() for name in names] for names in (stored, current))
    moved = [label for label, name in enumerate(here) if name != there[label] and name in there]
    if moved:
        raise UserError(
            f"{option}: its classes are in another order than those of the images: {current[moved[0]]} is class"
            f" {there.index(here[moved[0]])} there, {moved[0]} here. Train it with this dataset=."
        )
    in_words = not any(all(map(_IDENTIFIER.fullmatch, names)) for names in (there, here))
    if in_words and not set(there) & set(here):
        raise UserError(
            f"{option}: it has learned {summarize(stored, 3)}, and the images are of {summarize(current, 3)}. Train it"
            " with this dataset=, or give the classes of the images the names that it knows."
        )


def _stored_classes(content: Mapping[str, Any]) -> list[str]:
    classes = _stored(content, "classes")
    return [str(name) for name in classes] if isinstance(classes, list | tuple) else []


def _stored(content: Mapping[str, Any], name: str) -> Any:
    """Return a value of a checkpoint or an exported file; None if there is none."""
    about = content.get("about")
    value: Any = content.get(name) or (about.get(name) if isinstance(about, Mapping) else None)
    if isinstance(value, str):  # safetensors has text alone; that of another program may be anything
        with suppress(UserError):
            value = decode_json(value, name)
    return value


def _class_difference(actual: Sequence[str], expected: Sequence[str]) -> str:
    if len(actual) != len(expected):
        return f"{len(actual)} classes, not {len(expected)}"
    label = next(label for label, name in enumerate(actual) if name != expected[label])
    return f"class {label} is {actual[label]}, not {expected[label]}"
