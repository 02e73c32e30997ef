"""The identity of a run: the hash of its resolved configuration, and the folder named after it.

Settings that cannot change the result (paths, the device, logging, tracking, resuming) are left out, so that the same
command finds the same folder again in a single run, a multirun or on another machine.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.runs.pair import networks_of
from mcl.runs.renames import current_names, old_names

CUSTOM = "custom"  # a choice in several groups: the user names the class
VERSION = 1  # part of the hash; raise it when the meaning of a setting changes

LEFT_OUT = (
    "hydra",
    "tracking",
    "objective",
    "trial",
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
    "trainer.capture",
    "trainer.checkpoint_every",
    "trainer.checkpoint_minutes",
    "trainer.max_checkpoints",
    "trainer.deterministic",
    "trainer.export",
    "pair.*.weights_strict",
)

# Settings added since VERSION, with the value they stand for in older runs; * is the key of a network.
ADDED: dict[str, Any] = {
    "dataset.decode": "cpu",
    "trainer.compile": False,
    "trainer.ema": None,
    "trainer.views": None,
    "trainer.test": True,
    "pair.shared_stages": 0,
    "pair.leader": None,
    "pair.*.frozen": False,
    "pair.*.freeze": 0,
    "pair.*.deployed": None,
    "optimizer.head_lr_factor": 1,
    "optimizer.layer_decay": 1,
    "loss.direction": "mutual",
    "loss.head_weight_decay": None,
    "dataset.class_folder": "first",
    "dataset.augmentation.crop_scale": None,
    "dataset.augmentation.policy": None,
    "dataset.augmentation.operations": 2,
    "dataset.augmentation.strength": 9,
    "dataset.augmentation.erasing": 0,
    "dataset.augmentation.padding_mode": "constant",
    "trainer.accumulate": 1,
    "trainer.label_smoothing": 0,
    "trainer.class_weights": None,
    "trainer.mixup": 0,
    "trainer.cutmix": 0,
    "trainer.decay_norm_and_bias": True,
    "pair.*.drop_path": 0,
}

WEIGHTS = "init_weights"
NETWORK_WEIGHTS = "weights_checksums"  # of pair.KEY.weights
# Options of every network that were arguments of one class before: hashes of its networks have the default too.
CLASS_OPTIONS: dict[str, tuple[Any, str]] = {
    "pair.*.weights": (None, "mcl.networks.torchvision.TorchvisionBackbone"),
    "pair.*.branches": ("copy", "mcl.networks.library.LibraryBackbone"),
}
_LMCL = "mcl.losses.lmcl.LMCL"


def identity(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the result, as ``{"dataset.limit": 10, ...}``.

    ``init_from`` and ``pair.KEY.weights`` are the checksums of the weights. Older runs, which did not store them, keep
    the path as typed.
    """
    plain = _resolved(config) if isinstance(config, DictConfig) else current_names(config)
    settings = {
        key: value
        for key, value in flatten(plain).items()
        if not any(_name(key) == left_out or key.startswith(f"{left_out}.") for left_out in LEFT_OUT)
        and not _is_neutral(key, value)
    }
    return _with_checksums({key: value for key, value in settings.items() if not _is_default(key, value, settings)})


def neutral_value(key: str) -> Any:
    """Return the value of a setting that leaves it out of the identity; None if it is never left out."""
    return ADDED.get(_name(key))


def _is_neutral(key: str, value: Any) -> bool:
    """Return whether a setting has the value that it stands for in runs that do not have it."""
    name = _name(key)
    return name in ADDED and value == ADDED[name]


def _is_default(key: str, value: Any, settings: Mapping[str, Any]) -> bool:
    """Return whether an option of a network has its default, and networks of its class had no such argument."""
    name = _name(key)
    if name not in CLASS_OPTIONS:
        return False
    default, target = CLASS_OPTIONS[name]
    return value == default and settings.get(f"{key.rpartition('.')[0]}._target_") != target


def _name(key: str) -> str:
    """Return the name in `ADDED` or `CLASS_OPTIONS` of a setting of any network."""
    return re.sub(r"^pair\.[^.]+\.", "pair.*.", key)


def _with_checksums(settings: dict[str, Any]) -> dict[str, Any]:
    """Replace the places of initial weights, of all networks or of each, by their checksums, if these are known."""
    for key in [key for key in settings if key.partition(".")[0] == WEIGHTS]:
        checksum = settings.pop(key)
        if checksum is not None:
            settings[key.replace(WEIGHTS, "init_from", 1)] = checksum
    for key in [key for key in settings if key.partition(".")[0] == NETWORK_WEIGHTS]:
        checksum = settings.pop(key)
        if checksum is not None:
            settings[f"pair.{key.partition('.')[2]}.weights"] = checksum
    return settings


def _resolved(config: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration without Hydra's own part, which may contain the run folder and so the hash."""
    plain = {}
    for key in map(str, config):
        if key != "hydra":
            value = config[key]
            plain[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return plain


def config_hash(config: DictConfig | Mapping[str, Any]) -> str:
    """Return ten hexadecimal digits, equal for settings with the same result. Renames do not change them."""
    settings = identity(config)
    text = json.dumps({"version": VERSION, **_revision(settings), **old_names(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences between two configurations that change the result.

    If one of them lacks the checksum of its initial weights, their paths are compared instead.
    """
    for name in (WEIGHTS, NETWORK_WEIGHTS):
        if None in (old.get(name), new.get(name)):
            old, new = ({key: value for key, value in config.items() if key != name} for config in (old, new))
    before, after = identity(old), identity(new)
    defaults = ADDED | {name: default for name, (default, _) in CLASS_OPTIONS.items()}
    for key in before.keys() ^ after.keys():
        if (name := _name(key)) in defaults:
            before.setdefault(key, defaults[name])
            after.setdefault(key, defaults[name])
    return differences(before, after)


def _revision(settings: Mapping[str, Any]) -> dict[str, int]:
    """Return an entry for the hash if a correction has changed the numbers of runs with these settings.

    Revision 2: ImageNet with a sampler that repeats images. Each draw of an image in an epoch has its own random
    transforms; in revision 1, all draws in one epoch shared them. And L-MCL with a frozen network that has pretrained
    weights: the network teaches by its backbone; in revision 1, also by branches at random weights.
    """
    transformed = settings.get("dataset._target_") == "mcl.data.imagenet.ImageNet"
    repeated = settings.get("sampler._target_") == "mcl.data.samplers.ClassBalanced"
    names = [key.rpartition(".")[0] for key, value in settings.items() if _name(key) == "pair.*.frozen" and value]
    teachers = any(settings.get(f"{name}.weights") is not None for name in names)
    branched = settings.get("loss._target_") == _LMCL and teachers
    return {"revision": 2} if (transformed and repeated) or branched else {}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return ``"optimizer.lr: 0.1 -> 0.2"`` for each setting in which two flat dicts differ."""
    pairs = {key: (old.get(key, "(not set)"), new.get(key, "(not set)")) for key in sorted({*old, *new})}
    return [f"{key}: {before} -> {after}" for key, (before, after) in pairs.items() if before != after]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings and lists as one flat dict with dotted keys. Whole floats become ints, so 1.0 equals 1."""
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
    """Return the name of a choice in results: its own (``lmcl``), or that of a custom class (``MyLoss``)."""
    return str(node.get("_target_")).rpartition(".")[2] if choice in (None, CUSTOM) else str(choice)


def dataset_name(config: Mapping[str, Any] | DictConfig, choices: Mapping[str, Any]) -> str:
    """Return the name of a data set in results: its own, such as that of a folder, or else that of its choice."""
    return str(config["dataset"].get("name") or choice_name(choices.get("dataset"), config["dataset"]))


def pair_name(names: list[str]) -> str:
    """Return ``resnet32`` for two alike, ``resnet32-wrn_16_2`` for different ones, ``single-resnet32`` for one."""
    folders = {str(Path(name).parent) for name in names}
    if len(folders) == 1 and folders != {"."}:
        return f"{folders.pop()}/{pair_name([Path(name).name for name in names])}"
    names = [name.replace("/", "_") for name in names]
    if len(names) == 1:
        return f"single-{names[0]}"
    if len(set(names)) == 1:
        return names[0] if len(names) == 2 else f"{names[0]}-x{len(names)}"
    return "-".join(names)


def run_folder(config: DictConfig, choices: Mapping[str, Any]) -> str:
    """Return the folder of a run below ``runs``: ``digits/resnet8/lmcl/0123456789``."""
    nodes = networks_of(config.pair)
    networks = [choice_name(choices.get(f"network@pair.{key}"), node) for key, node in nodes.items()]
    loss = choice_name(choices.get("loss"), config.loss)
    return f"{dataset_name(config, choices)}/{pair_name(networks)}/{loss}/{config_hash(config)}"
