"""One cache of composed configurations for all tests of a process.

A composition takes a tenth of a second, mostly to find, read and merge YAML files, and the tests compose thousands of
times. The files of ``conf/`` do not change while the tests run. So each file is read once, each choice of files is
composed once, and values (``seed=1``) are applied to a copy, as `ReusingLoader` does. Compositions with other folders,
with parts of Hydra itself or of sweeps are left to Hydra, and so are those of a test marked ``composed_by_hydra``.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

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
OF_HYDRA = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode")  # values that no other part of a composition reads

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
    if run_mode is RunMode.MULTIRUN and named.get("validate_sweep_overrides") is False:
        run_mode = RunMode.RUN  # Hydra asks whether this is a multirun: composed alike if there is nothing to sweep
    values = _values(loader, overrides) if run_mode is RunMode.RUN else None
    if values is None:
        return _compose(loader, config_name, overrides, run_mode, *options, **named)
    shared = [text for text in overrides if _parse(text) not in values]
    key = (config_name, JobRuntime.instance().get("name"), *shared)
    if key not in _compositions:
        _compositions[key] = pickle.dumps(_compose(loader, config_name, shared, run_mode, *options, **named))
    config: DictConfig = pickle.loads(_compositions[key])
    loader._apply_overrides_to_config(values, config)
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


def _values(loader: ConfigLoaderImpl, overrides: list[str]) -> list[Override] | None:
    """Return the overrides that only set values; None if there are others than these and choices of files."""
    if not all(_is_constant(source) for source in loader.get_sources()):
        return None
    try:
        parsed = [_parse(text) for text in overrides]
    except HydraException:
        return None
    repository = CachingConfigRepository(loader.repository)
    values = []
    for override in parsed:
        if override.key_or_group in OF_HYDRA or _sets_a_value(override, repository):
            values.append(override)
        elif override.is_hydra_override() or override.is_sweep_override():
            return None
    return None if any(override.is_sweep_override() for override in values) else values
