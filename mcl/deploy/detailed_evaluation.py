"""Evaluate a run again: every head, more metrics, confusion matrices."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import torch

from mcl.console import pluralize
from mcl.data.fingerprint import same_images
from mcl.data.loaders import batches_in_order
from mcl.deploy.class_names import match_classes, told_apart
from mcl.deploy.classification_metrics import Scores
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.devices import use_tf32, use_threads
from mcl.errors import UserError
from mcl.files import make_folder, write_atomically
from mcl.runs.confusion_file import write_confusion
from mcl.runs.evaluation_record import EvaluationRecord
from mcl.runs.layout import PER_CLASS, SCORES
from mcl.runs.writer import strict_json
from mcl.tracking.media import confusion_picture
from mcl.training.evaluation import AGGREGATED, BACKBONE, ENSEMBLE, predictions
from mcl.untrusted.damage import refuse_damaged
from mcl.untrusted.spreadsheet import without_formulas
from mcl.version import code_version

MAIN_HEADS = (BACKBONE, AGGREGATED, ENSEMBLE)  # heads that represent whole networks
Split = Literal["test", "validation", "train"]


def evaluate_run(run: SavedRun, split: Split = "test", weights: Weights = "last") -> dict[str, Scores]:
    """Return the scores of every head on a split of the dataset that the run's configuration names.

    Args:
        run: The run; its overrides may name another dataset, whose classes are matched to the run's by name.
        split: The images to evaluate; training images are not augmented.
        weights: ``last``, or ``best`` for the backbones at their best epoch.

    Raises:
        UserError: There is no such split, or the dataset does not fit the networks: a class that they were not trained
            on, another normalization, images too small.
    """
    trainer = run.trainer_options
    dataset = run.dataset
    spec = dataset.spec
    trained_label = torch.tensor(match_classes(dataset, run.classes))  # (classes of the dataset,)
    if spec.channels != (channels := run.preprocessing.channels):
        raise UserError(
            f"{spec.name} has images of {pluralize(spec.channels, 'channel')}, and the networks take {channels}. Give"
            f" dataset.channels={channels}, or other images if {spec.name} does not have this option."
        )
    if (dataset.mean, dataset.std) != (run.preprocessing.mean, run.preprocessing.std):
        raise UserError(
            f"{spec.name} is normalized otherwise than the images of training were. Give"
            f" dataset.mean={list(run.preprocessing.mean)} dataset.std={list(run.preprocessing.std)}."
        )
    cohort, loss = run.learner(weights)
    for backbone in cohort.backbones:
        backbone.check_input(spec.channels, spec.image_size)
    images = getattr(dataset.load(), split)
    if images is None:
        raise UserError(f"split {split}: {spec.name} has none; dataset.validation=FRACTION holds some images out.")
    use_tf32(trainer.precision)
    use_threads(trainer.device, trainer.threads, pixels=trainer.batch_size * spec.image_size**2)
    device, memory_format = trainer.device, trainer.memory_format
    batches = batches_in_order(
        images, dataset, batch_size=trainer.batch_size, device=device, memory_format=memory_format
    )
    cohort, loss = cohort.to(device).to(memory_format=memory_format), loss.to(device)
    scores: dict[str, Scores] = {}
    for heads, labels in predictions(cohort, loss, batches, device=device, precision=trainer.precision):
        labels = trained_label[labels.cpu()]
        for name, logits in heads.items():
            scores.setdefault(name, Scores(len(run.classes))).update(logits, labels)
    return scores


def evaluation_record(
    run: SavedRun, split: Split = "test", weights: Weights = "last", overrides: Sequence[str] = ()
) -> EvaluationRecord:
    """Describe an evaluation before it starts; the fingerprint of its images is compared with the run's."""
    fingerprint = run.dataset.fingerprint()
    return EvaluationRecord(
        split=split,
        weights=weights,
        step=run.step,
        finished=run.finished,
        data=fingerprint,
        other_images=not same_images(run.checkpoint.get("data", fingerprint), fingerprint),
        changes=run.changes,
        overrides=list(overrides),
        run=run.hash,
        code=code_version(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def recorded_top1(run: SavedRun) -> dict[str, float]:
    """Return the top-1 that the run recorded at its end, in percent, by head; empty without a summary.

    Raises:
        UserError: The summary is damaged.
    """
    with refuse_damaged(run.source.path):
        recorded = {f"{network['key']}/{BACKBONE}": network["top1_last"] for network in run.summary.get("networks", [])}
        recorded[ENSEMBLE] = run.summary.get("ensemble", {}).get("top1_last")
        return {name: float(value) for name, value in recorded.items() if value is not None}


def write_evaluation(
    scores: Mapping[str, Scores], classes: tuple[str, ...], folder: Path, record: EvaluationRecord, about: str
) -> None:
    """Write ``scores.json``, ``per_class.csv``, ``evaluation.json`` and the main heads' confusion matrices.

    Confusion matrices are written as CSV and as PNG.

    Args:
        scores: by head.
        classes: their names.
        folder: where to; created if necessary.
        record: of the evaluation.
        about: networks, method and data, for the titles of the PNGs.

    Raises:
        UserError: A file cannot be written.
    """
    make_folder(folder)
    record.write(folder)
    recalls = {name: head.per_class() for name, head in scores.items()}
    table = {
        name: {
            **head.result(),
            "images": head.images,
            "per_class": dict(zip(told_apart(classes), recalls[name], strict=True)),
        }
        for name, head in scores.items()
    }
    write_atomically(folder / SCORES, strict_json(table, indent=2) + b"\n")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["label", "class", *scores])
    for label, name in enumerate(classes):
        rows.writerow(without_formulas([label, name, *(recall[label] for recall in recalls.values())]))
    write_atomically(folder / PER_CLASS, text.getvalue())
    for name, head in scores.items():
        if name.rpartition("/")[2] in MAIN_HEADS:
            file = write_confusion(folder, name, head.confusion.tolist(), classes)
            title = f"{name}, {about}\n{record.split} split, step {record.step:,}"
            write_atomically(file.with_suffix(".png"), confusion_picture(head.confusion, classes, title))
