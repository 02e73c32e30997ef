"""Check that all processes of a run, and its checkpoint, see the same images."""

import socket
import zlib
from collections.abc import Sequence
from typing import Any

from mcl.data.dataset import Dataset, Splits
from mcl.distributed.process_group import ProcessGroup
from mcl.errors import UserError


def refuse_different_images(processes: ProcessGroup, dataset: Dataset, splits: Splits, fingerprint: str) -> None:
    """Raise UserError in all processes if one of them has other classes, other images or other labels than the first.

    Args:
        processes: those of this run.
        dataset: of this process, like the rest.
        splits: what ``dataset.load()`` gave.
        fingerprint: what ``dataset.fingerprint()`` gave.
    """
    if processes.world_size == 1:
        return
    parts = {name: part.labels.cpu() for name, part in splits._asdict().items() if part is not None}
    facts: dict[str, Any] = {"classes": dataset.spec.classes}
    facts |= {f"{name} images": len(labels) for name, labels in parts.items()}
    facts["fingerprint"] = fingerprint
    facts["labels"] = {name: f"{zlib.crc32(labels.numpy().tobytes()):08x}" for name, labels in parts.items()}
    (first_host, first), *others = processes.all_gather_object((socket.gethostname(), facts))
    for rank, (host, theirs) in enumerate(others, 1):
        for name in {**first, **theirs}:
            if theirs.get(name) != first.get(name):
                found = f"{name}: {theirs.get(name)}, not {first.get(name)}"
                if name == "classes":
                    found = _class_difference(theirs[name], first[name])
                raise UserError(
                    f"process {rank} of {processes.world_size} ({host}) sees other images than process 0"
                    f" ({first_host}): {found}. Give every process the same files in dataset.root."
                )


def refuse_other_classes(then: Sequence[str], now: Sequence[str], where: str) -> None:
    """Raise UserError unless a checkpoint has the same class names, in the same order.

    Args:
        then: of the checkpoint.
        now: of the images.
        where: what the message calls the checkpoint.
    """
    if list(then) != list(now):
        raise UserError(
            f"{where} has a checkpoint of other classes than the images: {_class_difference(then, now)}. Choose another"
            " folder (hydra.run.dir=FOLDER), or start over (resume=never)."
        )


def _class_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    if len(theirs) != len(ours):
        return f"{len(theirs)} classes, not {len(ours)}"
    label = next(label for label, name in enumerate(theirs) if name != ours[label])
    return f"class {label} is {theirs[label]}, not {ours[label]}"
