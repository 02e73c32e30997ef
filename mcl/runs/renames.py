"""Names that have changed, old -> new. Stored runs and commands with old names keep working.

The hash of a run is taken over the old names, so a rename changes no hash: `old_names` turns present settings back.
Every renamed option, group choice or ``_target_`` of a released version gets a row here.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mcl.runs.fine_tuning import OPTIMIZER_OPTIONS
from mcl.runs.pair import TYPED_OPTIONS

TARGETS = {
    "mcl.losses.contrasts.BankContrast": "mcl.losses.contrast_sources.BankContrast",
    "mcl.losses.contrasts.BatchContrast": "mcl.losses.contrast_sources.BatchContrast",
    "mcl.training.trainer.Trainer": "mcl.training.options.TrainerOptions",
}
OPTIONS = {
    "hydra.launcher.jobs_per_device": "hydra.launcher.per_gpu",
    "loss.contrast.official_slip": "loss.contrast.reproduce_official_bug",
    "trainer.keep": "trainer.max_checkpoints",
}
CHOICES = {"recipe=fast": "speed=fast"}

# Files of networks, optimizers and schedules do not list these options, so that Hydra would ask for a plus.
_OPTION_WITHOUT_FILE = re.compile(
    rf"^(?:pair\.[\w-]+\.(?:{'|'.join(TYPED_OPTIONS)}|options\.\w+)|optimizer\.(?:{'|'.join(OPTIMIZER_OPTIONS)})"
    r"|schedule\.warmup_epochs)(?==)"
)
_OVERRIDE = re.compile(r"(?P<sign>\+{1,2}|~)?(?P<key>[\w./@]+)(?P<value>=.*)?", re.DOTALL)


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested configuration with the present names of its options and targets."""
    return {key: _current(value, key) for key, value in _renamed(settings, "").items()}


def old_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings (``{"trainer.epochs": 20}``) under the names that hashes are taken over."""
    options = {new: old for old, new in OPTIONS.items()}
    targets = {new: old for old, new in TARGETS.items()}
    return {
        options.get(key, key): targets.get(value, value) if key.rpartition(".")[2] == "_target_" else value
        for key, value in settings.items()
    }


def current_overrides(overrides: Sequence[str], *, announce: bool = False) -> list[str]:
    """Return ``option=value`` arguments as Hydra takes them; with ``announce``, print a line for each old name."""
    renamed = []
    for override in overrides:
        current = current_override(override)
        if announce and current != override:
            print(f"note: {override} is now written {current}", file=sys.stderr)
        renamed.append(_OPTION_WITHOUT_FILE.sub(r"++\g<0>", current))
    return renamed


def current_override(override: str) -> str:
    """Return one command-line override with present names.

    >>> current_override("trainer.keep=3")
    'trainer.max_checkpoints=3'
    >>> current_override("recipe=fast")
    'speed=fast'
    """
    parts = _OVERRIDE.fullmatch(override)
    if parts is None:
        return override
    sign, key, value = parts["sign"] or "", parts["key"], parts["value"] or ""
    if f"{key}{value}" in CHOICES:
        return f"{sign}{CHOICES[f'{key}{value}']}"
    if key.endswith("._target_"):
        value = f"={TARGETS.get(value[1:], value[1:])}"
    return f"{sign}{OPTIONS.get(key, key)}{value}"


def _current(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _current(child, f"{path}.{key}") for key, child in _renamed(value, f"{path}.").items()}
    if isinstance(value, list | tuple):
        return [_current(child, f"{path}.{i}") for i, child in enumerate(value)]
    return TARGETS.get(value, value) if path.endswith("._target_") and isinstance(value, str) else value


def _renamed(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        OPTIONS[f"{prefix}{key}"].removeprefix(prefix) if f"{prefix}{key}" in OPTIONS else key: child
        for key, child in node.items()
    }
