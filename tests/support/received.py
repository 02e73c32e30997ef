"""Alter files as an attacker would: with checksums that match."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mcl.deploy.run_source import HASHES

CANARY = "canary"  # a file that a payload would make in the working folder


def rewrite_bundle(path: Path, changes: Mapping[str, bytes | None]) -> None:
    """Replace, add or remove (None) files of a bundle, with hashes that match."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != HASHES}
    files = {name: content for name, content in {**files, **changes}.items() if content is not None}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, HASHES: sums.encode()}.items():
            archive.writestr(name, content)


def rewrite_release(folder: Path, changes: Mapping[str, bytes]) -> None:
    """Replace files of a release, with hashes that match in its card."""
    card = folder / "README.md"
    text = card.read_text()
    for name, content in changes.items():
        (folder / name).write_bytes(content)
        listed = next(line for line in text.splitlines() if line.startswith(f"    {name}: "))
        text = text.replace(listed, f"    {name}: {hashlib.sha256(content).hexdigest()}")
    card.write_text(text)


def metadata_of(folder: Path) -> dict[str, Any]:
    """Return the metadata of ``network.safetensors`` in a folder."""
    with safe_open(folder / "network.safetensors", framework="pt") as file:
        return {name: json.loads(value) for name, value in file.metadata().items()}


def as_json(values: Mapping[str, Any]) -> dict[str, str]:
    """Return every value as JSON."""
    return {name: json.dumps(value) for name, value in values.items()}


def save_safetensors(path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file again with other metadata."""
    save_file(load_file(path), path, metadata)
