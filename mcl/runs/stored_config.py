"""Stored configurations as plain values: writing and reading. Nothing is resolved or built."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.errors import UserError
from mcl.runs.received import interpolation_in, received_run


def plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as dicts, lists and scalars, its interpolations resolved.

    Raises:
        UserError: it holds an escaped interpolation, so that it could not be read again.
    """
    container = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    if (left := interpolation_in(container)) is not None:
        raise UserError(
            f"{left} still holds '${{' once it is resolved, as an escaped interpolation does: write it out."
        )
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
    return received_run(found, name)
