"""Labels of rows without a study: from their folders, and from the settings in which they differ."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mcl.reports.markdown import code
from mcl.runs.identity import choice_name, pair_name
from mcl.runs.pair import networks_of
from mcl.runs.reading import Run, mapping

PLACES = ("dataset", "pair", "loss")  # the factors in the path of a run folder
LOSSES = ("independent", "deep_supervision", "mcl", "lmcl")  # each adds to the one before


def place_labels(run: Run) -> dict[str, str]:
    """Return the dataset, the pair and the loss of a run.

    A dataset is labeled by ``dataset.name``. One without a name, and the loss, are labeled by the path of the run
    folder if it has the usual form.
    """
    dataset, loss = mapping(run.config["dataset"]), mapping(run.config.get("loss"))
    name = str(dataset.get("name") or "")
    pair = pair_name(list(network_names(run.config).values()))
    parts, of_pair = run.folder.absolute().parts, tuple(pair.split("/"))
    if parts[-2 - len(of_pair) : -2] == of_pair and re.fullmatch("[0-9a-f]{10}", parts[-1]):
        return {"dataset": name or parts[-3 - len(of_pair)], "pair": pair, "loss": parts[-2]}
    return {"dataset": name or _module(dataset), "pair": pair, "loss": _module(loss)}


def network_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Return ``{"first": "resnet8", ...}`` from the settings of a run."""
    networks = {key: mapping(node) for key, node in networks_of(mapping(config["pair"])).items()}
    return {key: str(node.get("name") or choice_name(None, node)) for key, node in networks.items()}


def _module(node: Mapping[str, Any]) -> str:
    """Return ``lmcl`` for ``mcl.losses.lmcl.LMCL``: modules have the names of the choices."""
    return str(node.get("_target_", "")).rpartition(".")[0].rpartition(".")[2] or "unknown"


def add_settings(labels: Sequence[dict[str, str]], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give every row a label for each setting that distinguishes rows.

    Settings in the group of a dataset, a pair or a loss are compared among the rows of that choice only, as other
    choices have other settings.

    Args:
        labels: the dataset, pair and loss of each row; further labels are added in place.
        settings: settings of each row.

    Returns:
        Sentences on settings that need no label of their own, because they change together with another.
    """
    notes = []
    partitions = {_partition([row[place] for row in labels]): place for place in PLACES}
    for setting in sorted({key for own in settings for key in own}):
        choices = [row.get(setting.partition(".")[0], "") for row in labels]
        values = [_label(own.get(setting, "")) for own in settings]
        by_choice: dict[str, set[str]] = {}
        for choice, value in zip(choices, values, strict=True):
            by_choice.setdefault(choice, set()).add(value)
        if all(len(different) == 1 for different in by_choice.values()):
            continue
        shown = [value if len(by_choice[choice]) > 1 else "" for choice, value in zip(choices, values, strict=True)]
        if (same := partitions.setdefault(_partition(shown), setting)) != setting:
            notes.append(f"{code(setting)} changes with {code(same)}.")
            continue
        for row, value in zip(labels, shown, strict=True):
            row[setting] = value
    return notes


def _partition(labels: Sequence[str]) -> tuple[int, ...]:
    """Return a number for each label, equal for equal labels."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(label, len(numbers)) for label in labels)


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def sort_labels(labels: Iterable[str], first: str | None = None) -> list[str]:
    """Sort labels naturally, ``resnet8`` before ``resnet20``, with one that comes first."""

    def key(label: str) -> tuple[bool, list[tuple[int, float, str]]]:
        parts = re.findall(r"\d+(?:\.\d+)?|\D+", label)
        if label in LOSSES:
            return label != first, [(0, LOSSES.index(label), "")]
        return label != first, [(0, float(part), "") if part[0].isdecimal() else (1, 0.0, part) for part in parts]

    return sorted(labels, key=key)
