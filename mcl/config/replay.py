"""Replay the configuration of a run with other options on top."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mcl.config.checks import check_config
from mcl.config.command_line import check_place, parse
from mcl.config.compose import compose_train
from mcl.config.conf_folder import conf_folder
from mcl.config.explain import explain
from mcl.config.schema import TrainConfig
from mcl.errors import UserError
from mcl.runs.renames import current_overrides


def replay(stored: Mapping[str, Any], overrides: Sequence[str] = (), allow: Sequence[str] = ()) -> DictConfig:
    """Return the configuration of a run, changed by ``overrides``.

    Args:
        stored: the configuration that the run wrote.
        overrides: ``option=value``, or ``group=choice`` for a file of ``conf/``, as for train.py.
        allow: the caller's own modules that ``_target_`` may name; those that ``stored`` allows do not count.

    Raises:
        UserError: an override is wrong, or something in the outcome could not be built.
    """
    overrides = current_overrides(overrides, announce=True)
    try:
        config = OmegaConf.merge(OmegaConf.structured(TrainConfig), dict(stored) | {"allow_modules": list(allow)})
        assert isinstance(config, DictConfig)
        OmegaConf.set_struct(config, True)  # unknown options are errors
        parsed = dict(zip(overrides, _parse(overrides), strict=True))
        for text in sorted(parsed, key=lambda text: not _is_choice(parsed[text])):  # choices first, as in Hydra
            _apply(config, text, parsed)
        config.allow_modules = list(allow)
        check_config(config)
    except OmegaConfBaseException as error:
        raise UserError(explain(error, overrides) or " ".join(str(error).split())) from error
    return config


def _apply(config: DictConfig, text: str, parsed: Mapping[str, Override]) -> None:
    override = parsed[text]
    path = override.key_or_group.replace("/", ".")
    if _is_choice(override):
        # Composed with the overrides for it: some choices need them, such as dataset.root.
        options = [other for other, each in parsed.items() if each.key_or_group.startswith(f"{path}.")]
        chosen = OmegaConf.select(compose_train([text, *options]), path)
        OmegaConf.update(config, path, chosen, merge=False, force_add=True)
    else:
        OmegaConf.update(config, path, override.value(), merge=False)


def _is_choice(override: Override) -> bool:
    return (conf_folder() / override.key_or_group).is_dir()


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed = parse(overrides)
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override() or override.is_delete() or override.package is not None:
            raise UserError(f"{text}: only option=value and group=choice can be given here.")
        check_place(text, override)
    return parsed
