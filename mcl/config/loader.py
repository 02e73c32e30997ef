"""Compose many configurations in one program; those with the same files share one composition."""

import functools
import pickle
import sys
import time
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

FIRST_LINE, NEXT_LINE = 2.0, 10.0  # seconds until a line about progress is printed
LONGEST_STEP = 1.0  # seconds that count of one composition: with the first one torch is imported


class Progress:
    """Print to standard error how many jobs are composed, if it takes long.

    Args:
        total: number of jobs; None if it is not known.
    """

    def __init__(self, total: int | None = None):
        self._total = "" if total is None else f" of {total}"
        self._done = 0
        self._seconds = 0.0
        self._due = FIRST_LINE
        self._last = time.monotonic()

    def advance(self) -> None:
        """Count one more job."""
        now = time.monotonic()
        self._done += 1
        self._seconds += min(now - self._last, LONGEST_STEP)
        self._last = now
        if self._seconds >= self._due:
            self._due = self._seconds + NEXT_LINE
            print(f"checking the settings: {self._done}{self._total} jobs", file=sys.stderr, flush=True)


class ReusingLoader(ConfigLoaderImpl):
    """Hydra's loader for many compositions: several times faster, with the same result.

    Finding, reading and merging the YAML files takes most of the time of a composition and depends only on the chosen
    files (``loss=mcl``) and on Hydra's own overrides. So this is done once for each combination of them, and the
    remaining overrides (``seed=1``) are applied to a copy.

    Args:
        config_search_path: search path of the YAML files; they must not change during the life of this object.
    """

    def __init__(self, config_search_path: ConfigSearchPath):
        super().__init__(config_search_path)
        self.progress = Progress()  # progress of the jobs of a multirun
        self._compositions: dict[tuple[str | None, ...], bytes] = {}  # pickled, which makes copies fast
        self._repositories: dict[tuple[str | None, ...], CachingConfigRepository] = {}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose a job of a multirun, and count it."""
        config = super().load_sweep_config(master_config, sweep_overrides)
        self.progress.advance()
        return config

    def _load_configuration_impl(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *options: bool, **named_options: bool
    ) -> DictConfig:
        load = super()._load_configuration_impl
        parsed = [_parse(text) for text in overrides]
        if run_mode is not RunMode.RUN or any(override.is_sweep_override() for override in parsed):
            return load(config_name, overrides, run_mode, *options, **named_options)
        repository = self._repository(config_name, parsed)
        values = [override for override in parsed if _sets_a_value(override, repository)]
        shared = [text for text, override in zip(overrides, parsed, strict=True) if override not in values]
        key = (config_name, *shared)
        if key not in self._compositions:
            self._compositions[key] = pickle.dumps(load(config_name, shared, run_mode, *options, **named_options))
        config: DictConfig = pickle.loads(self._compositions[key])
        self._apply_overrides_to_config(values, config)
        _record_overrides(config, parsed)
        return config

    def _repository(self, config_name: str | None, parsed: Sequence[Override]) -> CachingConfigRepository:
        """Return the files that can be chosen; ``hydra.searchpath`` adds some."""
        paths = [str(each.input_line) for each in parsed if each.get_key_element() == "hydra.searchpath"]
        key = (config_name, *paths)
        if key not in self._repositories:
            _, self._repositories[key] = self._parse_overrides_and_create_caching_repo(config_name, paths)
        return self._repositories[key]


@functools.cache
def _parse(text: str) -> Override:
    (override,) = OverridesParser.create().parse_overrides([text])
    return override


def _sets_a_value(override: Override, repository: CachingConfigRepository) -> bool:
    """Return whether an override neither chooses a file (by Hydra's rule) nor is one of Hydra's own."""
    if override.is_hydra_override():
        return False
    return isinstance(override.value(), dict) or not repository.group_exists(override.key_or_group)


def _record_overrides(config: DictConfig, parsed: Sequence[Override]) -> None:
    """Write all overrides into Hydra's part of a configuration, as its own loader does."""
    task = [override for override in parsed if not override.is_hydra_override()]
    dirname = config.hydra.job.config.override_dirname
    with open_dict(config.hydra):
        config.hydra.overrides.hydra = [each.input_line for each in parsed if each.is_hydra_override()]
        config.hydra.overrides.task = [each.input_line for each in task]
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=task, kv_sep=dirname.kv_sep, item_sep=dirname.item_sep, exclude_keys=dirname.exclude_keys
        )
