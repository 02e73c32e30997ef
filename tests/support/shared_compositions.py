"""One cache of composed configurations for all tests of a process.

A composition takes a tenth of a second, mostly to find, read and merge YAML files, and the tests compose thousands of
times. The files of ``conf/`` do not change while the tests run. So each file is read once, each choice of files is
composed once, and values (``seed=1``) are applied to a copy, as `ReusingLoader` does. Compositions with other folders
or with parts of Hydra itself are left to Hydra, and so are those of a test marked ``composed_by_hydra``.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig

from mcl.config.conf_folder import conf_folder
from mcl.config.loader import _parse, _record_overrides, _sets_a_value

MARK = "composed_by_hydra"
VALUES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode", "hydra.launcher.")  # of Hydra, not read by a composition
LAUNCHERS = ("hydra/launcher=basic", "hydra/launcher=gpus")  # others are plugins that a test may take away

_compose: Callable[..., DictConfig] = ConfigLoaderImpl._load_configuration_impl
_compositions: dict[tuple[str | None, ...], bytes] = {}
_load: Callable[..., ConfigResult | None] = ConfigRepository.load_config
_files: dict[tuple[str, str], bytes] = {}


@pytest.fixture(scope="session", autouse=True)
def _shared_compositions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", _compose_once)
        patch.setattr(ConfigRepository, "load_config", _load_once)
        yield


@pytest.fixture(autouse=True)
def _own_compositions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker(MARK) is not None:
        monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", _compose)
        monkeypatch.setattr(ConfigRepository, "load_config", _load)


def _compose_once(
    loader: ConfigLoaderImpl,
    config_name: str | None,
    overrides: list[str],
    run_mode: RunMode,
    *options: bool,
    **named: bool,
) -> DictConfig:
    parts = _parts(loader, overrides)
    if parts is None or (parts.sweeps and run_mode is RunMode.RUN):
        return _compose(loader, config_name, overrides, run_mode, *options, **named)
    if named.get("validate_sweep_overrides") is False and not parts.sweeps:
        run_mode = RunMode.RUN  # Hydra asks whether this is a multirun: composed alike if there is nothing to sweep
    key = (config_name, run_mode.name, JobRuntime.instance().get("name"), *parts.choices)
    if key not in _compositions:
        _compositions[key] = pickle.dumps(_compose(loader, config_name, parts.choices, run_mode, *options, **named))
    config: DictConfig = pickle.loads(_compositions[key])
    loader._apply_overrides_to_config(parts.values, config)
    _record_overrides(config, [_parse(text) for text in overrides])
    config.hydra.runtime.cwd = os.getcwd()
    return config


def _load_once(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = repository._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or source.scheme() == "structured" or not _is_constant(source):
        return _load(repository, config_path)
    key = (source.full_path(), config_path)
    if key not in _files:
        _files[key] = pickle.dumps(_load(repository, config_path))
    result: ConfigResult = pickle.loads(_files[key])
    return result


def _is_constant(source: ConfigSource) -> bool:
    return source.scheme() != "file" or Path(source.path) == conf_folder()


class _Parts(NamedTuple):
    """Overrides that choose files, that set values, and that have several values."""

    choices: list[str]
    values: list[Override]
    sweeps: list[Override]


def _parts(loader: ConfigLoaderImpl, overrides: list[str]) -> _Parts | None:
    """Return the parts of a command line; None if it is left to Hydra."""
    if not all(_is_constant(source) for source in loader.get_sources()):
        return None
    try:
        parsed = [_parse(text) for text in overrides]
    except HydraException:
        return None
    repository = CachingConfigRepository(loader.repository)
    parts = _Parts([], [], [])
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override():
            parts.sweeps.append(override)
        elif override.key_or_group.startswith(VALUES) or _sets_a_value(override, repository):
            parts.values.append(override)
        else:
            parts.choices.append(text)
    hydras = [override for override in parsed if override.is_hydra_override() and override not in parts.values]
    return None if any(override.input_line not in LAUNCHERS for override in hydras) else parts
