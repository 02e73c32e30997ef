"""The command line of ``python sweep.py``, sorted by who uses its parts: the study, the launcher, the runs."""

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hydra_gpu_launcher.gpus import find_gpus
from hydra_gpu_launcher.launch_options import Options
from hydra_gpu_launcher.slots import Slot, make_slots
from mcl.config.catalog import choices, options
from mcl.config.command_line import check_place, parse
from mcl.config.compose import compose
from mcl.config.hints import unknown_option
from mcl.config.schema import SweepConfig
from mcl.errors import UserError
from mcl.launching.gpu_query import visible_devices
from mcl.launching.own_errors import own_errors
from mcl.reports.figures import FORMATS
from mcl.studies.study import study_names


@dataclass(frozen=True)
class Asked:
    """A command line, sorted by who uses its parts."""

    typed: list[str]
    settings: SweepConfig
    launcher: list[str]  # overrides of Hydra
    slots: list[Slot] | None  # slots of the launcher; empty if runs share this process, None if a cluster decides
    runs: list[str]  # overrides of every run, including runs=

    @property
    def at_once(self) -> int | None:
        """Return the number of runs at a time; None if a cluster decides."""
        return None if self.slots is None else max(1, len(self.slots))

    def devices(self) -> AbstractContextManager[None]:
        """Compose under the devices of a run, which decide its precision and so its folder."""
        return visible_devices(self.slots[0].visible) if self.slots else nullcontext()


def understand(arguments: Sequence[str]) -> Asked:
    """Sort a command line.

    Raises:
        UserError: an argument is not an override, or cannot be given to the runs.
    """
    own = {field.name for field in fields(SweepConfig)}
    for_sweep, for_hydra, for_runs = [], [], []
    for text, override in zip(arguments, parse(arguments, own=own), strict=True):
        key = override.key_or_group
        check_place(text, override)
        if override.is_hydra_override():
            for_hydra.append(text)
        elif key in own and override.is_sweep_override():
            raise UserError(f"{text}: a list is written in brackets, such as seeds=[0,1].")
        elif key in own:
            for_sweep.append(text)
        elif key == "seed" or override.is_sweep_override():
            raise UserError(f"{text}: study.yaml decides what varies; for other seeds give seeds=[0,1].")
        elif re.fullmatch(r"\w+", key) and key not in {*options(), *choices()} and not text.startswith("+"):
            raise unknown_option(key, sorted(own), text.partition("=")[2], own=own)
        else:
            for_runs.append(text)
        if key in ("runs", "hydra.searchpath"):  # the planner also composes the runs
            for_runs.append(text)
    if not any(text.startswith("study=") for text in for_sweep):
        raise UserError(f"study is not set: give study=NAME, one of {', '.join(study_names())}.")
    config = compose("sweep", [*for_sweep, *for_hydra])
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    others = [text for text in for_hydra if not text.startswith("hydra/launcher=")]
    settings = SweepConfig(**{name: _plain(config[name]) for name in own})
    for form in settings.formats:
        if form not in FORMATS:
            raise UserError(f"formats={settings.formats}: {form} is not one of {', '.join(FORMATS)}.")
    return Asked(
        list(arguments), settings, [f"hydra/launcher={launcher}", *others], _slots(config.hydra.launcher), for_runs
    )


def _slots(launcher: DictConfig) -> list[Slot] | None:
    name = str(launcher._target_).rpartition(".")[2]
    if name != "GpusLauncher":
        return [] if name == "BasicLauncher" else None
    with own_errors():
        options = Options.from_dict({str(key): _plain(value) for key, value in launcher.items() if key != "_target_"})
        return make_slots(find_gpus(options.devices, os.environ), options)


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
