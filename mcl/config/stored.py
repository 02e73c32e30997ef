"""Configurations as plain values: what a run folder keeps, and what is read from one. Nothing is resolved or built."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config.identity import flatten
from mcl.errors import UserError


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as dicts, lists and scalars, its interpolations resolved."""
    container = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def read_config(text: str, name: str) -> dict[str, Any]:
    """The configuration in the text of a ``config.yaml``, as it stands there.

    Args:
        text: YAML.
        name: what messages call it.

    Raises:
        UserError: it is not the configuration of a run.
    """
    try:
        found = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except Exception as error:  # YAML and OmegaConf raise many kinds for a damaged file
        raise UserError(f"{name} is no configuration: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not {"pair", "dataset"} <= found.keys():
        raise UserError(f"{name} is no configuration of a run: it names no pair and no dataset.")
    for key, value in flatten(found).items():
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{name}: {key}={value} is an interpolation, which a run does not write.")
    return {str(key): value for key, value in found.items()}
