"""The subject of a probe: the networks of a run or of an exported file, and the images of any data set."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from mcl.config.compose import compose_train
from mcl.console import summarize
from mcl.data.dataset import Dataset
from mcl.data.preprocessing import Preprocessing
from mcl.deploy.formats import FORMATS
from mcl.deploy.kinds import build_kind
from mcl.deploy.load import load
from mcl.deploy.saved_run import SavedRun, Weights
from mcl.errors import UserError
from mcl.networks.backbone import Backbone
from mcl.training.options import TrainerOptions
from mcl.untrusted.limits import MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes


class Subject(NamedTuple):
    """Networks and the images to probe them with."""

    networks: dict[str, Backbone]  # by key, in evaluation mode, on the CPU
    preprocessing: Preprocessing  # of the images that they were trained on
    dataset: Dataset
    trainer: TrainerOptions  # device, threads and batch size
    run: SavedRun | None  # None for an exported file
    hash: str  # of the run, or the SHA-256 of the file


def open_subject(
    place: Path,
    overrides: Sequence[str] = (),
    *,
    networks: Sequence[int | str] = (),
    weights: Weights = "last",
    allow: Sequence[str] = (),
    allow_older: bool = False,
) -> Subject:
    """Open what ``python -m mcl probe`` is to measure; no image is read.

    Args:
        place: a run folder, a bundle, a release or an exported file.
        overrides: options on top of the run's own, such as ``dataset=cifar10``; of a file, they name the data set.
        networks: numbers, keys or names; empty for all that are deployed.
        weights: ``last`` or ``best``, of a run.
        allow: the caller's own modules whose classes may be built.
        allow_older: take an older checkpoint if the newest one is damaged or missing.

    Raises:
        UserError: Nothing there has features, an option is wrong, or the data set cannot be probed.
    """
    if place.is_file() and place.suffix in {form.suffix for form in FORMATS.values()}:
        if networks:
            raise UserError(f"network {networks[0]}: {place} holds one network: choose none.")
        return _open_file(place, overrides, weights, allow)
    run = SavedRun(place, overrides, allow, allow_older=allow_older)
    _fit_images(run.config, run.preprocessing, overrides)
    keys = [run.key(network) for network in networks or run.deployed]
    backbones = {key: run.backbone(key, weights) for key in keys}
    return _checked(Subject(backbones, run.preprocessing, run.dataset, run.trainer_options, run, run.hash))


def _open_file(path: Path, overrides: Sequence[str], weights: Weights, allow: Sequence[str]) -> Subject:
    network = load(path, weights=weights, allow=allow)
    if not isinstance(network, Backbone):
        raise UserError(f"{path} gives logits alone, no features: name the run, or its .pt or .safetensors file.")
    if not any(override.startswith("dataset=") for override in overrides):
        raise UserError(f"{path} does not say where images are: add --dataset NAME, such as --dataset digits.")
    config = compose_train(overrides)
    preprocessing: Preprocessing = network.__dict__["preprocessing"]
    _fit_images(config, preprocessing, overrides)
    dataset: Dataset = build_kind(Dataset, config.dataset, path="dataset", allow=allow)  # type: ignore[type-abstract]
    trainer = build_kind(TrainerOptions, config.trainer, path="trainer", allow=allow)
    digest = hashlib.sha256(read_bytes(path, MAX_NETWORK)).hexdigest()
    return _checked(Subject({path.stem: network}, preprocessing, dataset, trainer, None, digest))


def _fit_images(config: DictConfig, preprocessing: Preprocessing, overrides: Sequence[str]) -> None:
    """Let a data set that can choose the size and the channels of its images choose those of the networks."""
    fitting: dict[str, Any] = {"image_size": preprocessing.image_size, "channels": preprocessing.channels}
    for option, value in fitting.items():
        typed = any(override.lstrip("+").startswith(f"dataset.{option}=") for override in overrides)
        if option in config.dataset and not typed:
            OmegaConf.update(config, f"dataset.{option}", value)


def _checked(subject: Subject) -> Subject:
    spec = subject.dataset.spec
    if subject.dataset.untrainable:
        raise UserError(subject.dataset.untrainable)
    if spec.num_classes < 2:
        raise UserError(f"{spec.name} has one class: a probe needs at least two.")
    if small := [name for name, count in zip(spec.classes, spec.counts, strict=True) if count < 2]:
        raise UserError(
            f"{spec.name}: these classes have fewer than 2 training images, of which one is held out to choose by:"
            f" {summarize(small)}."
        )
    for backbone in subject.networks.values():
        backbone.check_input(subject.preprocessing.channels, subject.preprocessing.image_size)
    return subject
