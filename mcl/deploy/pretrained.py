"""The two files of one network in the layout of Hugging Face's Hub: ``config.json`` and ``model.safetensors``."""

import json
from collections.abc import Sequence
from pathlib import Path

from torch import nn

import mcl
from mcl.deploy.formats import rebuild
from mcl.deploy.metadata import NetworkMetadata
from mcl.errors import UserError
from mcl.untrusted.limits import MAX_JSON
from mcl.untrusted.regular_files import read_bytes, refuse_outside_links
from mcl.untrusted.tensors import load_safetensors
from mcl.untrusted.text import decode_json

MODEL, MODEL_CONFIG = "model.safetensors", "config.json"  # names that the Hub fixes


def encode_model_config(metadata: NetworkMetadata) -> bytes:
    """Return the content of ``config.json``: everything needed to rebuild a network and to use it."""
    values = {"library_name": "mcl", "mcl_version": mcl.__version__, "num_classes": len(metadata.classes)}
    return (json.dumps({**values, **metadata.as_dict()}, indent=2, ensure_ascii=False) + "\n").encode()


def is_pretrained(folder: Path) -> bool:
    """Return whether a folder holds a network in this layout."""
    return (folder / MODEL_CONFIG).is_file() and (folder / MODEL).is_file()


def read_pretrained(folder: Path, network: int | str | None = None, allow: Sequence[str] = ()) -> nn.Module:
    """Return the network of a folder with ``config.json`` and ``model.safetensors``, in evaluation mode, on the CPU.

    Raises:
        UserError: The folder holds another network than the one asked for, a file is damaged, or it names a class that
            may not be built.
    """
    refuse_outside_links(folder, [MODEL_CONFIG, MODEL])
    source = f"{folder}/{MODEL_CONFIG}"
    metadata = NetworkMetadata.from_dict(decode_json(read_bytes(folder / MODEL_CONFIG, MAX_JSON), source), source)
    if network is not None and str(network) not in ("0", metadata.key, metadata.name):
        raise UserError(f"network {network}: {folder} holds one network, {metadata.key} ({metadata.name}).")
    return rebuild(load_safetensors(folder / MODEL)[1], metadata, folder / MODEL, allow)
