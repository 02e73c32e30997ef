"""The identity of a run: the hash of its resolved configuration, and the folder named after it.

Whatever cannot change the result (where data lies, the device, logging, tracking, resuming) is left out, so that the
same command finds the same folder again from a single run, a sweep or another machine.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.runs.renames import current_names, old_names

CUSTOM = "custom"  # the choice, in several groups, whose class the user names
VERSION = 1  # part of the hash: raised when the meaning of a setting changes

LEFT_OUT = (
    "hydra",
    "tracking",
    "objective",
    "resume",
    "runs",
    "allow_modules",
    "dataset.root",
    "dataset.cache_dir",
    "dataset.storage",
    "dataset.workers",
    "loss.meta.memory",
    "trainer.device",
    "trainer.log_every",
    "trainer.threads",
    "trainer.checkpoint_every",
    "trainer.checkpoint_minutes",
    "trainer.max_checkpoints",
    "trainer.deterministic",
    "trainer.export",
)

ADDED = {"trainer.compile": False}  # settings younger than VERSION, with what was meant before they came

WEIGHTS = "init_weights"


def identity(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make the result, as ``{"dataset.limit": 10, ...}``.

    ``init_from`` is the checksum of the weights there, if the configuration has it: runs that were begun before there
    was one keep the path that was typed.
    """
    plain = _resolved(config) if isinstance(config, DictConfig) else current_names(config)
    found = {
        key: value
        for key, value in flatten(plain).items()
        if not any(key == left_out or key.startswith(f"{left_out}.") for left_out in LEFT_OUT)
        and not (key in ADDED and value == ADDED[key])
    }
    weights = found.pop(WEIGHTS, None)
    return found if weights is None else found | {"init_from": weights}


def _resolved(config: DictConfig) -> dict[str, Any]:
    """All but Hydra's own part, which may ask for the run folder and so for this."""
    plain = {}
    for key in map(str, config):
        if key != "hydra":
            value = config[key]
            plain[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return plain


def config_hash(config: DictConfig | Mapping[str, Any]) -> str:
    """Return ten hexadecimal digits, the same for the same result, whatever its settings were renamed to since."""
    settings = identity(config)
    text = json.dumps({"version": VERSION, **_revision(settings), **old_names(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def changes(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the differences between two configurations that make the result another one.

    If one of them does not know the weights that it starts from, the paths of these are compared.
    """
    if None in (theirs.get(WEIGHTS), ours.get(WEIGHTS)):
        theirs, ours = ({key: value for key, value in each.items() if key != WEIGHTS} for each in (theirs, ours))
    return differences(identity(theirs), identity(ours))


def _revision(settings: Mapping[str, Any]) -> dict[str, int]:
    """Return what tells runs apart from earlier ones of the same settings, whose numbers a correction has changed.

    Revision 2: ImageNet with a sampler that repeats images. Each draw of an image in an epoch now has random transforms
    of its own; all draws of one epoch used to share them.
    """
    transformed = settings.get("dataset._target_") == "mcl.data.imagenet.ImageNet"
    repeated = settings.get("sampler._target_") == "mcl.data.samplers.ClassBalanced"
    return {"revision": 2} if transformed and repeated else {}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """``"optimizer.lr: 0.1 -> 0.2"`` for every setting in which two identities differ."""
    absent = "(not set)"
    keys = sorted({*one, *other})
    return [
        f"{key}: {one.get(key, absent)} -> {other.get(key, absent)}"
        for key in keys
        if one.get(key, absent) != other.get(key, absent)
    ]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one flat dict of dotted keys; whole floats become ints, so 1.0 is 1."""
    if isinstance(node, Mapping) and node:
        return {k: v for key, child in node.items() for k, v in flatten(child, f"{prefix}{key}.").items()}
    if isinstance(node, list | tuple) and node:
        return {k: v for i, child in enumerate(node) for k, v in flatten(child, f"{prefix}{i}.").items()}
    if isinstance(node, float) and node.is_integer():
        node = int(node)
    if isinstance(node, Mapping | tuple):
        node = type(node)()
    return {prefix.removesuffix("."): node}


def choice_name(choice: Any, node: Mapping[str, Any]) -> str:
    """What results call a choice: its own name (``lmcl``), or that of a class given by itself (``MyLoss``)."""
    return str(node.get("_target_")).rpartition(".")[2] if choice in (None, CUSTOM) else str(choice)


def pair_name(names: list[str]) -> str:
    """``resnet32`` for two alike, ``resnet32-wrn_16_2`` for two others, ``single-resnet32`` for one alone."""
    folder = {str(Path(name).parent) for name in names}
    if len(folder) == 1 and folder != {"."}:
        return f"{folder.pop()}/{pair_name([Path(name).name for name in names])}"
    names = [name.replace("/", "_") for name in names]
    if len(names) == 1:
        return f"single-{names[0]}"
    if len(set(names)) == 1:
        return names[0] if len(names) == 2 else f"{names[0]}-x{len(names)}"
    return "-".join(names)


def run_folder(config: DictConfig, choices: Mapping[str, Any]) -> str:
    """``digits/resnet8/lmcl/0123456789``."""
    networks = [choice_name(choices.get(f"network@pair.{key}"), node) for key, node in config.pair.items()]
    dataset = config.dataset.get("name") or choice_name(choices.get("dataset"), config.dataset)
    loss = choice_name(choices.get("loss"), config.loss)
    return f"{dataset}/{pair_name(networks)}/{loss}/{config_hash(config)}"
