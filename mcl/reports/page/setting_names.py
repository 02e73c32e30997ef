"""Settings in words: ``pair.first.depths.0`` is one of the depths of a network, ``loss._target_`` a class."""

import json
from collections.abc import Mapping
from typing import Any

WORDS = {  # setting -> what people call it; others are named after their parts
    "dataset.limit": "images per class",
    "dataset.image_size": "image size",
    "dataset.validation": "validation part",
    "loss.dim": "dimension of embeddings",
    "loss.matching.dim": "dimension of matching",
    "loss.meta.interval": "steps between meta rounds",
    "loss.meta.lr": "learning rate in meta rounds",
    "loss.meta.steps": "steps of a meta round",
    "loss.tau": "temperature of contrast (tau)",
    "loss.temperature": "temperature of distillation",
    "optimizer.lr": "learning rate",
    "optimizer.weight_decay": "weight decay",
    "trainer.batch_size": "batch size",
    "trainer.epochs": "epochs",
    "trainer.evaluate_every": "epochs between evaluations",
    "trainer.max_steps": "steps at most",
    "trainer.precision": "precision",
}
CLASS, PARTIAL = "_target_", "_partial_"


def in_words(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings of each row in words, lists as one setting, and those that all its networks share once.

    Args:
        rows: name of a row -> setting -> value, such as ``{"mcl": {"optimizer.lr": 0.1}}``.
    """
    joined = {row: _with_lists(settings) for row, settings in rows.items()}
    networks = list(dict.fromkeys(name.split(".")[1] for own in joined.values() for name in own if _of_network(name)))
    shared = set.intersection(*(_shared(own, networks) for own in joined.values())) if joined else set()
    words = {}
    for row, settings in joined.items():
        words[row] = {
            _name(name, shared): _value(name, value)
            for name, value in sorted(settings.items())
            if not name.endswith(PARTIAL)
        }
    return words


def _with_lists(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with ``depths.0``, ``depths.1``, ... as one list."""
    joined: dict[str, Any] = {}
    for name, value in settings.items():
        whole, _, index = name.rpartition(".")
        if index.isdigit():
            joined.setdefault(whole, []).append(value)
        else:
            joined[name] = value
    return joined


def _of_network(name: str) -> bool:
    return name.startswith("pair.") and name.count(".") > 1


def _shared(settings: Mapping[str, Any], networks: list[str]) -> set[str]:
    """Return the settings, without the network, that have one value in all networks of a row."""
    names = {name.split(".", 2)[2] for name in settings if _of_network(name)}
    own = [network for network in networks if any(name.startswith(f"pair.{network}.") for name in settings)]
    missing = object()
    return {
        name
        for name in names
        if f"pair.{own[0]}.{name}" in settings
        if all(settings.get(f"pair.{network}.{name}", missing) == settings[f"pair.{own[0]}.{name}"] for network in own)
    }


def _name(name: str, shared: set[str]) -> str:
    if name in WORDS:
        return WORDS[name]
    if _of_network(name):
        _, network, rest = name.split(".", 2)
        parts = ["networks" if rest in shared else f"network {network}", *rest.split(".")]
    else:
        parts = name.split(".")
    return ", ".join("kind" if part == CLASS else part.replace("_", " ") for part in parts)


def _value(name: str, value: Any) -> str:
    if name.endswith(CLASS):
        return str(value).rpartition(".")[2]
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
