"""Networks in the layout of Hugging Face's Hub: push them to a folder or to the Hub, and load them from there."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from mcl.data.cache import cache_folder
from mcl.deploy.load import load
from mcl.deploy.release_card import ReleaseFacts
from mcl.deploy.release_folder import ReleaseFolder
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.extras import require
from mcl.runs.received import file_name

DOWNLOADED = ["*.safetensors", "*.json", "*.md"]
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def from_pretrained(
    place: str | os.PathLike[str],
    network: int | str | None = None,
    *,
    revision: str | None = None,
    allow: Sequence[str] = (),
) -> nn.Module:
    """Load a trained network from a folder in the layout of Hugging Face's Hub, or from the Hub.

    Examples:
        >>> network = mcl.from_pretrained("my-user/lmcl-resnet20")  # doctest: +SKIP

    Args:
        place: A folder with ``config.json`` and ``model.safetensors``, such as ``python -m mcl push`` writes, or a
            repository of the Hub, ``user/name``. It is downloaded to ``$MCL_CACHE/hub``; nothing in it is run.
        network: As for `mcl.load`; by default that of ``model.safetensors``.
        revision: A branch, tag or commit of the repository.
        allow: Your own modules whose classes may be built.

    Returns:
        The network, as `mcl.load` returns it.

    Raises:
        UserError: There is no such folder or repository, it cannot be downloaded, or `mcl.load` refuses it.
    """
    path = Path(place)
    if not path.is_dir():
        if not _REPOSITORY.fullmatch(str(place)):
            raise UserError(f"{place}: there is no such folder, and it is not the name of a repository, user/name.")
        path = _download(str(place), revision)
    return load(path, network, allow=allow)


def repository(place: str) -> str | None:
    """Return the repository of the Hub that a place names, ``user/name``; None for a folder.

    A folder that exists, or that would be made inside one that exists, is a folder.
    """
    path = Path(place)
    return place if _REPOSITORY.fullmatch(place) and not path.exists() and not path.parent.exists() else None


def push_facts(run: SavedRun, name: str, license: str) -> ReleaseFacts:
    """Return what the card of a run or a release states on the Hub.

    Args:
        run: The run.
        name: ``user/name``, or the name of a folder.
        license: SPDX identifier.
    """
    chosen, seeds = ("first", 1) if not isinstance(run.source, ReleaseFolder) else run.source.choice
    return ReleaseFacts(name, chosen, seeds, {}, license=license, hub=True)


def check_login(place: str) -> None:
    """Raise UserError unless huggingface_hub is installed and knows a token."""
    require("hub", asked=f"--to {place}")
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(
            f"--to {place}: not logged in to Hugging Face. Type hf auth login, or give a folder: --to ./{place}."
        )


def upload(folder: Path, place: str, *, private: bool) -> str:
    """Upload a folder to a repository of the Hub, which is created if necessary; return its address.

    Raises:
        UserError: The Hub cannot be reached, or refuses it.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(place, private=private or None, exist_ok=True)
        message = "Networks and card by python -m mcl push"
        api.upload_folder(repo_id=place, folder_path=folder, commit_message=message, delete_patterns=["*.safetensors"])
    except Exception as error:  # of httpx or of huggingface_hub
        raise UserError(f"--to {place}: Hugging Face did not accept it: {_first_line(error)}") from error
    return str(address)


def _download(place: str, revision: str | None) -> Path:
    require("hub", asked=f'mcl.from_pretrained("{place}")')
    from huggingface_hub import snapshot_download

    folder = cache_folder() / "hub" / file_name(place.replace("/", "--") + (f"@{revision}" if revision else ""))
    try:  # to a folder of its own: the Hub's cache consists of links, which a received folder may not have
        snapshot_download(place, revision=revision, local_dir=folder, allow_patterns=DOWNLOADED)
    except Exception as error:  # of httpx or of huggingface_hub
        raise UserError(f"{place} cannot be downloaded from Hugging Face: {_first_line(error)}") from error
    return folder


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
