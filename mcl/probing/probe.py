"""Probe networks: a linear classifier, nearest neighbors and few images a class, on frozen features."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NamedTuple

from torch import Tensor

from mcl.data.dataset import split as split_labels
from mcl.deploy.saved_run import Weights
from mcl.devices import use_tf32, use_threads
from mcl.errors import UserError
from mcl.intervals import Interval, half_width, wilson
from mcl.networks.backbone import Backbone
from mcl.probing.features import Features, extract
from mcl.probing.linear import choose_weight_decay, fit
from mcl.probing.neighbors import few_shot, nearest_neighbors
from mcl.probing.subject import Subject
from mcl.runs.probe_record import LINEAR, Measure, NetworkProbe, ProbeRecord, neighbors, shots
from mcl.version import code_version

NEIGHBORS = (1, 5, 20)
SHOTS = (1, 5, 10)
VALIDATION = 0.2  # of the training images of each class, if the data set has no validation part


@dataclass(frozen=True)
class Options:
    """Options of a probe that change its numbers.

    Args:
        seed: of the validation part and of the few images.
        draws: how often few images are drawn.
    """

    seed: int = 0
    draws: int = 20


@dataclass(frozen=True)
class Probed:
    """The result of a probe."""

    networks: dict[str, NetworkProbe]  # by key
    train: int  # images, those for validation included
    validation: int
    test: int


def probe_record(subject: Subject, options: Options, *, weights: Weights, overrides: Sequence[str]) -> ProbeRecord:
    """Return the record of a probe before it starts: everything that says what is probed, without results."""
    run, dataset = subject.run, subject.dataset
    selection = {"limit": dataset.limit, "validation": dataset.validation, "seed": dataset.seed}
    return ProbeRecord(
        dataset=dataset.spec.name,
        data=dataset.fingerprint(),
        selection=selection | {f"probe.{name}": value for name, value in vars(options).items()},
        classes=dataset.spec.num_classes,
        train=0,
        validation=0,
        test=0,
        weights=weights,
        step=0 if run is None else run.step,
        finished=run is None or run.finished,
        overrides=list(overrides),
        code=code_version(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        networks={},
        run=subject.hash,
    )


def probe(subject: Subject, options: Options = Options()) -> Probed:
    """Return how well classifiers on the frozen features of each network do on the test images.

    The weight decay of the linear probe is chosen on validation images: those of the data set, or a fifth of its
    training images. The classifier is then fitted again to all of them and evaluated once on the test images. Nearest
    neighbors and few images come from the same training images. All features are taken once.

    Raises:
        UserError: The images cannot be read, or a class has none for training.
    """
    dataset, trainer = subject.dataset, subject.trainer
    use_tf32(trainer.precision)
    use_threads(trainer.device, trainer.threads, pixels=trainer.batch_size * subject.preprocessing.image_size**2)
    networks = {key: backbone.to(trainer.device).eval() for key, backbone in subject.networks.items()}
    parts = dataset.load()
    train, validation, test = (
        None
        if images is None
        else extract(networks, images, subject.preprocessing, batch_size=trainer.batch_size, device=trainer.device)
        for images in (parts.train, parts.validation, parts.test)
    )
    assert train is not None
    assert test is not None
    if validation is None:
        kept, held_out = split_labels(train.labels, VALIDATION, stream="probe", seed=options.seed)
        train, validation = train.take(kept), train.take(held_out)
    pool = train.followed_by(validation)
    counts = pool.labels.bincount(minlength=dataset.spec.num_classes)
    if empty := (counts == 0).nonzero().flatten().tolist():
        raise UserError(f"{dataset.spec.name}: class {dataset.spec.classes[empty[0]]} has no readable training image.")
    images = _Split(train, validation, pool, test, dataset.spec.num_classes)
    probes = {key: _probe_one(key, network, images, options) for key, network in networks.items()}
    return Probed(probes, len(pool.labels), len(validation.labels), len(test.labels))


class _Split(NamedTuple):
    train: Features
    validation: Features
    pool: Features  # both
    test: Features
    classes: int


def _probe_one(key: str, network: Backbone, images: _Split, options: Options) -> NetworkProbe:
    (train, train_labels), (validation, validation_labels), (pool, pool_labels), (test, labels) = (
        (part.by_network[key], part.labels) for part in (images.train, images.validation, images.pool, images.test)
    )
    chosen = choose_weight_decay((train, train_labels), (validation, validation_labels), images.classes)
    classifier = fit(pool, pool_labels, images.classes, chosen.weight_decay)
    measures = {LINEAR: _measure(classifier.predict(test), labels)}
    for k, predicted in nearest_neighbors(pool, pool_labels, test, images.classes, NEIGHBORS).items():
        measures[neighbors(k)] = _measure(predicted, labels)
    smallest = int(pool_labels.bincount(minlength=images.classes).min())
    for number in SHOTS:
        if number <= smallest:
            drawn = few_shot(pool, pool_labels, test, images.classes, number, options.draws, options.seed)
            measures[shots(number)] = _mean([_top1(predicted, labels) for predicted in drawn])
    return NetworkProbe(
        name=network.name,
        width=network.width,
        weight_decay=chosen.weight_decay,
        validation_top1=100 * chosen.correct / len(validation_labels),
        measures=measures,
    )


def _top1(predicted: Tensor, labels: Tensor) -> float:
    return 100 * int((predicted == labels).sum()) / len(labels)


def _measure(predicted: Tensor, labels: Tensor) -> Measure:
    """Return the accuracy and Wilson's interval, which is that of other test images."""
    return Measure(_top1(predicted, labels), wilson(int((predicted == labels).sum()), len(labels)))


def _mean(values: Sequence[float]) -> Measure:
    """Return the mean and Student's interval over draws of training images; none for a single draw."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Measure(mean, None)
    half = half_width(len(values), statistics.stdev(values))
    return Measure(mean, Interval(mean - half, mean + half))
