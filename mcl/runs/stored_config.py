"""``config.yaml``: the resolved configuration of a run as plain values."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.layout import CONFIG
from mcl.runs.received import interpolation_in, received_run
from mcl.untrusted.limits import MAX_CONFIG
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.text import decode_yaml

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # not C:/data


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as dicts, lists and scalars, its interpolations resolved.

    Raises:
        UserError: It holds an escaped interpolation, so it could not be read again.
    """
    container = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    if (location := interpolation_in(container)) is not None:
        raise UserError(
            f"{location} still holds '${{' once it is resolved, as an escaped interpolation does: write it out."
        )
    return {str(key): value for key, value in container.items()}


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the ``config.yaml`` of a run.

    Args:
        folder: folder of the run.
        config: configuration in the form of `plain`.

    Raises:
        UserError: The file cannot be written.
    """
    write_atomically(folder / CONFIG, encode_config(config))


def encode_config(config: Mapping[str, Any]) -> str:
    """Return a configuration as the text of a ``config.yaml``."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def without_absolute_paths(node: Any) -> Any:
    """Return a configuration in which the last part stands for an absolute path, such as ``photos`` for a root.

    The same goes for URLs, which may hold a local path or a password: ``sqlite:////home/me/mlflow.db``.
    """
    if isinstance(node, dict):
        return {key: without_absolute_paths(child) for key, child in node.items()}
    if isinstance(node, list):
        return [without_absolute_paths(child) for child in node]
    if isinstance(node, str):
        if _URL.match(node):
            return PurePosixPath(node).name.rpartition("@")[2]
        for path in (PurePosixPath(node), PureWindowsPath(node)):
            if path.is_absolute() or node.startswith("~"):
                return path.name
    return node


def read_config(folder: Path) -> dict[str, Any] | None:
    """Return the configuration that a run folder holds; None if there is no ``config.yaml``.

    Raises:
        UserError: The file is not the configuration of a run.
        OSError: The file cannot be read.
    """
    file = folder / CONFIG
    return decode_config(read_bytes(file, MAX_CONFIG), str(file)) if file.exists() else None


def decode_config(text: str | bytes, name: str) -> dict[str, Any]:
    """Return the configuration in the text of a ``config.yaml``; nothing is resolved.

    Args:
        text: YAML.
        name: name of the file in messages.

    Raises:
        UserError: It is not the configuration of a run.
    """
    return received_run(decode_yaml(text, name), name)
