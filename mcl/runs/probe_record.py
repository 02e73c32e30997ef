"""The record of a probe: accuracies of classifiers on the frozen features of a run's networks."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mcl.errors import UserError
from mcl.files import make_folder, write_atomically
from mcl.intervals import Interval
from mcl.runs.layout import EVALUATION, PROBE, PROBE_PREFIX
from mcl.runs.received import file_name
from mcl.untrusted.limits import MAX_JSON
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import decode_json, printable

LINEAR = "linear"


def neighbors(k: int) -> str:
    """Return the name of the measure of k nearest neighbors."""
    return f"{k}-NN"


def shots(number: int) -> str:
    """Return the name of the measure of so many training images a class."""
    return f"{number}-shot"


class Measure(NamedTuple):
    """An accuracy in percent of the test images, with its interval; None if it has none."""

    top1: float
    interval: Interval | None


@dataclass(frozen=True)
class NetworkProbe:
    """The probe of one network.

    Args:
        name: name of the architecture.
        width: number of its features.
        weight_decay: of the linear probe, as the validation images chose it.
        validation_top1: accuracy of that choice on the validation images, in percent.
        measures: by name: ``linear``, ``1-NN``, ``5-shot``, ...
    """

    name: str
    width: int
    weight_decay: float
    validation_top1: float
    measures: Mapping[str, Measure]


@dataclass(frozen=True)
class ProbeRecord:
    """The record of one ``python -m mcl probe``.

    Args:
        dataset: name of the probed data set.
        data: fingerprint of its images.
        selection: the options that select among them, and those of the probe.
        classes: number of its classes.
        train, validation, test: numbers of images; ``train`` includes those for validation.
        weights: ``last`` or ``best``.
        step: step of the checkpoint; 0 for an exported file.
        finished: whether training had ended with this checkpoint.
        overrides: overrides of the probe.
        code: version, commit and state of the code that probed.
        date: date in UTC, as ISO 8601.
        networks: the results, by the key of the network.
        run: hash of the run, or SHA-256 of the exported file; empty if it is unknown.
    """

    dataset: str
    data: str
    selection: Mapping[str, Any]
    classes: int
    train: int
    validation: int
    test: int
    weights: str
    step: int
    finished: bool
    overrides: Sequence[str]
    code: Mapping[str, Any]
    date: str
    networks: Mapping[str, NetworkProbe]
    run: str = ""

    @property
    def images(self) -> str:
        """A hash of the images and of what selects among them: probes of several runs that share it are compared."""
        text = json.dumps([self.data, dict(self.selection)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def folder_name(self) -> str:
        """The folder for the result: ``probe-digits-1f5a09c2``, ``probe-digits-1f5a09c2-best``."""
        parts = [f"{PROBE_PREFIX}{file_name(self.dataset)}", self.images]
        parts += [self.weights] if self.weights != "last" else []
        parts += [] if self.finished else [f"step-{self.step}"]
        return "-".join(parts)

    def write(self, folder: Path) -> None:
        """Write ``probe.json``; the folder is created if necessary.

        Raises:
            UserError: The file cannot be written.
        """
        make_folder(folder)
        write_atomically(folder / PROBE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def find_probes(run: Path) -> list[Path]:
    """Return the records of probes in a run folder, in order of their names."""
    return sorted(run.glob(f"{EVALUATION}/{PROBE_PREFIX}*/{PROBE}"))


def read_probe(file: Path) -> ProbeRecord:
    """Return the record in a file.

    Raises:
        UserError: The file is damaged.
    """
    try:
        values = decode_json(read_bytes(file, MAX_JSON), PROBE)
        return ProbeRecord(
            dataset=printable(values["dataset"]),
            data=str(values["data"]),
            selection=dict(values["selection"]),
            **{name: int(values[name]) for name in ("classes", "train", "validation", "test", "step")},
            weights=str(values["weights"]),
            finished=bool(values["finished"]),
            overrides=[str(override) for override in values["overrides"]],
            code=dict(values["code"]),
            date=str(values["date"]),
            networks={str(key): _network(network) for key, network in values["networks"].items()},
            run=str(values.get("run", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{file} is not a record of a probe.") from error


def _network(values: Mapping[str, Any]) -> NetworkProbe:
    measures = {str(name): _measure(*pair) for name, pair in values["measures"].items()}
    if LINEAR not in measures:
        raise ValueError("no linear probe")
    return NetworkProbe(
        name=printable(values["name"]),
        width=int(values["width"]),
        weight_decay=_finite(values["weight_decay"]),
        validation_top1=_finite(values["validation_top1"]),
        measures=measures,
    )


def _measure(top1: Any, interval: Any) -> Measure:
    return Measure(_finite(top1), None if interval is None else Interval(*map(_finite, interval)))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number
