"""Check that all processes of a run, and its checkpoint, have the same images."""

import socket
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mcl.data.dataset import Dataset, Splits
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError
from mcl.untrusted.text import decode_json


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


def check_teacher_classes(content: Mapping[str, Any], current: Sequence[str], option: str) -> None:
    """Raise UserError if a class of the images has another label in the file that a frozen network comes from.

    Args:
        content: a checkpoint, an exported file or the metadata of one; older ones have no class names.
        current: class names of the images.
        option: what the user typed, for the message.
    """
    stored = _stored_classes(content)
    moved = [name for name, other in zip(current, stored, strict=False) if name != other and name in stored]
    if moved and len(stored) == len(current):
        raise UserError(
            f"{option}: its classes are in another order than those of the images: {moved[0]} is class"
            f" {stored.index(moved[0])} there, {list(current).index(moved[0])} here. Train it with this dataset=."
        )


def _stored_classes(content: Mapping[str, Any]) -> list[str]:
    about = content.get("about")
    classes: Any = content.get("classes") or (about.get("classes") if isinstance(about, Mapping) else None)
    if isinstance(classes, str):  # safetensors has text alone; that of another program may be anything
        with suppress(UserError):
            classes = decode_json(classes, "classes")
    return [str(name) for name in classes] if isinstance(classes, list | tuple) else []


def _class_difference(actual: Sequence[str], expected: Sequence[str]) -> str:
    if len(actual) != len(expected):
        return f"{len(actual)} classes, not {len(expected)}"
    label = next(label for label, name in enumerate(actual) if name != expected[label])
    return f"class {label} is {actual[label]}, not {expected[label]}"
