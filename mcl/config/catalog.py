"""List what can be typed: the groups of ``conf/``, their choices, and the options in their files. Builds nothing."""

import functools
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from mcl.config.conf_folder import conf_folder, conf_folders
from mcl.config.schema import SweepConfig, TrainConfig
from mcl.errors import nearest
from mcl.runs.fine_tuning import OPTIMIZER_OPTIONS
from mcl.runs.pair import PAIR_OPTIONS, TYPED_OPTIONS

_PACKAGE = "# @package "
_FOLDERS_IN_NAMES = ("network", "pair")  # such as imagenet/resnet18
_SYNONYMS = {  # what other programs call it -> an option or a group
    "trainer.batch_size": ("batch", "batchsize", "bs", "train_batch_size", "b"),
    "trainer.epochs": ("epoch", "num_epochs", "n_epochs", "max_epochs", "nepochs", "e"),
    "trainer.max_steps": ("steps", "num_steps", "iterations", "iters", "max_iters"),
    "trainer.device": ("gpu", "gpus", "cuda", "gpu_id", "accelerator"),
    "trainer.precision": ("amp", "fp16", "bf16", "half", "mixed_precision", "dtype"),
    "trainer.clip_norm": ("clip", "grad_clip", "clip_grad", "gradient_clip_val", "max_norm"),
    "optimizer.lr": ("learning_rate", "base_lr", "eta"),
    "optimizer.weight_decay": ("wd", "decay", "l2"),
    "dataset.root": ("data_dir", "data_path", "data_root", "dataroot", "datadir", "folder", "path", "file"),
    "dataset.workers": ("num_workers", "n_workers", "j"),
    "dataset.image_size": ("size", "img_size", "imgsize", "resolution", "input_size"),
    "dataset.corrupt": ("bad_images", "corrupt_images", "on_error"),
    "schedule.warmup_epochs": ("warmup",),
    "loss.temperature": ("T", "kd_t", "temp"),
    "tracking.wandb.project": ("wandb_project", "project_name"),
    "seed": ("random_seed", "manual_seed"),
    "init_from": ("checkpoint", "ckpt", "pretrained", "weights_path", "load", "load_from"),
    "runs": ("output", "output_dir", "out_dir", "save_dir", "log_dir", "logdir", "results", "save_path", "o"),
    "pair": ("model", "models", "arch", "net", "architecture", "networks", "backbone"),
    "dataset": ("data", "datasets"),
    "schedule": ("scheduler", "lr_schedule", "lr_scheduler", "sched"),
    "optimizer": ("opt", "optim"),
    "loss": ("method", "criterion", "losses"),
    "experiment": ("preset",),
    "tracking": ("logger", "wandb", "tracker", "tensorboard", "mlflow"),
    "network@pair.first": ("first", "network.first", "network", "network@first", "teacher"),
    "network@pair.second": ("second", "network.second", "network@second", "student"),
}
_SYNONYM_OF = {name.lower(): target for target, names in _SYNONYMS.items() for name in names}


def choices() -> dict[str, list[str]]:
    """Return the choices of every group: ``{"loss/weights": ["cifar", ...], ...}``."""
    return _choices(tuple(conf_folders()))


@functools.cache
def _choices(folders: tuple[Path, ...]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for _, group, name in _files(folders):
        groups.setdefault(group, []).append(name)
    return groups


@functools.cache
def options() -> dict[str, list[str]]:
    """Return all options by their full names, with the choices that have them: ``{"loss.tau": ["loss=mcl", ...]}``.

    The user's own files are left out: what they name may be the mistake.
    """
    found: dict[str, list[str]] = {f.name: [] for f in fields(TrainConfig) if not str(f.type).startswith("dict")}
    found |= {f"pair.{name}": [] for name in PAIR_OPTIONS}
    found |= {f"pair.{key}.{name}": [] for key in ("first", "second") for name in TYPED_OPTIONS}
    found |= {f"optimizer.{name}": [] for name in OPTIMIZER_OPTIONS}
    for file, group, name in _files([conf_folder()]):
        text = _read(file)
        if (package := _package(group, text)) == "_global_":  # sets options of other groups
            continue
        for path in _paths(_content(text)):
            found.setdefault(f"{package}.{path}", []).append(f"{group}={name}")
    return found


def targets(option: str) -> list[str | None]:
    """Return the ``_target_`` beside an option in each file of ``conf/`` that sets it; None if there is none."""
    found = []
    for choice in options().get(option, ()):
        group, _, name = choice.partition("=")
        text = _read(conf_folder() / group / f"{name}.yaml")
        node: Any = _content(text)
        for part in option.removeprefix(f"{_package(group, text)}.").split(".")[:-1]:
            node = node.get(part, {})  # empty below a key with a dot, as searches have
        found.append(node.get("_target_"))
    return found


def sweep_options() -> list[str]:
    """Return the options of ``sweep.py`` that ``train.py`` lacks."""
    return [field.name for field in fields(SweepConfig) if field.name not in TrainConfig.__dataclass_fields__]


def find_options(name: str, *, similar: bool = True) -> list[str]:
    """Return the full names of the options and groups that a typed name may stand for, the likeliest first.

    Args:
        name: as typed, such as ``lr`` or ``trainer.lr``.
        similar: also consider names that only resemble it.
    """
    last = name.rpartition(".")[2].replace("-", "_")
    known = [*options(), *choices()]
    if name not in known and (synonym := _SYNONYM_OF.get(name.replace("-", "_").lower())):
        return [synonym]
    exact = [key for key in known if key == name or _last(key).lower() == last.lower()]
    if exact:
        front = name.rpartition(".")[0].rpartition(".")[2]
        exact = [key for key in exact if key in choices() or key.replace(".", "/") not in choices()] or exact
        likely = [key for key in exact if front in key.split(".")] if front else exact
        least = min(key.count(".") for key in likely or exact)
        return [key for key in likely or exact if key.count(".") == least][:3]
    if synonym := _SYNONYM_OF.get(last.lower()):
        return [synonym]
    cutoff = 0.85 if "." in name or len(last) < 5 else 0.75  # tracking.wandb.tags is not pair.first.stages
    lasts = nearest(last, {_last(key) for key in known}, cutoff=cutoff) if similar and len(last) > 2 else []
    return [key for key in known if _last(key) in lasts][:3]


def find_choices(name: str) -> list[str]:
    """Return ``group=choice`` for every choice of this name, those of ``network`` as ``network@pair.first=``."""
    found = []
    for group, names in choices().items():
        fitting = [each for each in names if name.lower() in (each.lower(), each.rpartition("/")[2].lower())]
        place = "network@pair.first" if group == "network" else group
        found += [f"{place}={each}" for each in fitting if each != "custom"]
    return sorted(found, key=lambda text: (not text.endswith(f"={name}"), text.count("/"), "@" in text))


def takers(subgroup: str) -> list[str]:
    """Return the choices whose files include a group inside theirs: ``loss/contrast`` -> ``["loss=lmcl", ...]``."""
    group, _, name = subgroup.rpartition("/")
    found = []
    for each in choices().get(group, []):
        file = next(file for folder in conf_folders() if (file := folder / group / f"{each}.yaml").is_file())
        defaults = _content(_read(file)).get("defaults", [])
        keys = [key for entry in defaults if isinstance(entry, dict) for key in entry]
        bases = [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]
        if name in keys or any(f"{group}={base}" in found for base in bases):
            found.append(f"{group}={each}")
    return found


def preset_options(group: str, name: str) -> set[str]:
    """Return the options that a preset such as ``recipe=dks`` sets, also through the presets that it builds on."""
    file = next((file for folder in conf_folders() if (file := folder / group / f"{name}.yaml").is_file()), None)
    content = {} if file is None else _content(_read(file))
    bases = [entry for entry in content.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    return set(_paths(content)).union(*(preset_options(group, base) for base in bases))


def _read(file: Path) -> str:
    """Return a YAML file as text; Hydra reports one that is not UTF-8 when it is chosen."""
    return file.read_text(encoding="utf-8", errors="replace")


def _content(text: str) -> dict[str, Any]:
    """Return the content of a YAML file; empty if it is damaged, which Hydra reports when the file is chosen."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _package(group: str, text: str) -> str:
    """Return where the content of a file of a group is placed, such as ``loss.contrast``."""
    if text.startswith(_PACKAGE):
        return text.partition("\n")[0].removeprefix(_PACKAGE).strip()
    return "pair.first" if group == "network" else group.replace("/", ".")


def _last(key: str) -> str:
    return key.rpartition(".")[2].rpartition("/")[2]


def _files(folders: Iterable[Path]) -> Iterable[tuple[Path, str, str]]:
    """Yield each YAML file of a group, the group, and the name of the choice."""
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.relative_to(folder).parent.as_posix()
            top = group.partition("/")[0]
            if group not in (".", "hydra"):
                group = top if top in _FOLDERS_IN_NAMES else group
                yield file, group, file.relative_to(folder / group).with_suffix("").as_posix()


def _paths(node: dict[str, Any]) -> Iterable[str]:
    for key, value in node.items():
        if str(key).startswith("_") or key == "defaults":
            continue
        yield str(key)
        if isinstance(value, dict):
            yield from (f"{key}.{path}" for path in _paths(value))
