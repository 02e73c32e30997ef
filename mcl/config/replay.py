"""Replay the configuration of a run with other options on top."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mcl.config.compose import compose_train
from mcl.config.conf_folder import conf_folder
from mcl.config.entry import explain
from mcl.config.groups import check_groups
from mcl.config.schema import TrainConfig
from mcl.errors import UserError, did_you_mean
from mcl.runs.renames import current_overrides


def replay(stored: Mapping[str, Any], overrides: Sequence[str] = (), allow: Sequence[str] = ()) -> DictConfig:
    """What a run was configured with, all its own overrides included, then changed by ``overrides``.

    Args:
        stored: the configuration that the run wrote down.
        overrides: ``option=value``, or ``group=choice`` for what stands in ``conf/``, as for train.py.
        allow: the caller's own modules that ``_target_`` may name; those that ``stored`` asks for do not count.

    Raises:
        UserError: an override is wrong, or something in the outcome could not be built.
    """
    overrides = current_overrides(overrides, announce=True)
    try:
        config = OmegaConf.merge(OmegaConf.structured(TrainConfig), dict(stored) | {"allow_modules": list(allow)})
        assert isinstance(config, DictConfig)
        typed = dict(zip(overrides, _parse(overrides), strict=True))
        for text in sorted(typed, key=lambda text: not _is_choice(typed[text])):  # choices first, as Hydra has it
            _put(config, text, typed)
        config.allow_modules = list(allow)
        check_groups(config)
    except OmegaConfBaseException as error:
        raise UserError(explain(error) or " ".join(str(error).split())) from error
    return config


def _put(config: DictConfig, text: str, typed: Mapping[str, Override]) -> None:
    override = typed[text]
    path = override.key_or_group.replace("/", ".")
    if _is_choice(override):
        # With the options typed for it: some of them, such as dataset.root, a choice cannot do without.
        own = [other for other, of in typed.items() if of.key_or_group.startswith(f"{path}.")]
        value = OmegaConf.select(compose_train([text, *own]), path)
    else:
        value = override.value()
        _require_known(config, path, text)
    OmegaConf.update(config, path, value, merge=False, force_add=True)


def _is_choice(override: Override) -> bool:
    return (conf_folder() / override.key_or_group).is_dir()


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    try:
        parsed = parser.parse_overrides(overrides=list(overrides))
    except Exception as error:
        raise UserError(explain(error) or str(error)) from error
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override() or override.is_delete() or override.package is not None:
            raise UserError(f"{text}: here only option=value and group=choice can be given.")
    return parsed


def _require_known(config: DictConfig, path: str, text: str) -> None:
    parent, _, name = path.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    known = [str(key) for key in node] if isinstance(node, DictConfig) else []
    if name not in known:
        here = f" Here are: {', '.join(known)}." if known else ""
        raise UserError(f"{text.lstrip('+')}: there is no option {path}.{did_you_mean(name, known)}{here}")
