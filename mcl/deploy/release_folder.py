"""Read a release: a folder with a model card, a run's settings and results, and its deployed networks."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcl.config.conf_folder import data_folder
from mcl.deploy.metadata import NetworkMetadata
from mcl.errors import UserError
from mcl.runs.layout import CONFIG, SUMMARY
from mcl.runs.received import file_name, received_run
from mcl.runs.stored_config import encode_config
from mcl.runs.summary import decode_summary
from mcl.untrusted.limits import MAX_JSON, MAX_NETWORK
from mcl.untrusted.regular_files import read_bytes, refuse_outside_links
from mcl.untrusted.tensors import load_safetensors
from mcl.untrusted.text import decode_json, decode_yaml, printable, shorten

CARD, RUN = "README.md", "run.json"
SUFFIX = ".safetensors"
WEIGHTS = "weights"  # the folder of a study's releases
CHOICES = ("validation", "test", "first")  # of a run among its seeds
OURS = "mcl"  # key of our part of the header; model hubs read the rest


class ReleaseFolder:
    """A folder that ``python -m mcl release`` wrote. It answers as a run folder does that has only its last backbones.

    Args:
        path: The folder.

    Attributes:
        card: The text of its card.

    Raises:
        UserError: A file is missing, or is not the one whose SHA-256 the card states.
    """

    def __init__(self, path: Path):
        self.path = path
        refuse_outside_links(path, [CARD])
        self.card = self._content(CARD, MAX_JSON).decode(errors="replace")
        header = _header(self.card, f"{path}/{CARD}")
        files = header.get("files")
        self._header = header
        self._run, self._step, self._data = (header.get(name) for name in ("run", "step", "data"))
        if not isinstance(files, dict) or RUN not in files or type(self._step) is not int:
            raise UserError(f"{path}/{CARD} is not the card of a release: it lists no files.")
        self._hashes = {str(name): files[name] for name in files}
        if wrong := [name for name in self._hashes if file_name(name) != name]:
            raise UserError(f"{path}/{CARD} lists {shorten(wrong[0])}, which is not the name of a file.")
        refuse_outside_links(path, self._hashes)
        self._settings, self._results = self._read_run()

    @property
    def choice(self) -> tuple[str, int]:
        """The rule that chose the run among the seeds of its row, and their number, as the card states them."""
        chosen, seeds = self._header.get("chosen"), self._header.get("seeds")
        known = chosen in CHOICES and type(seeds) is int and seeds > 0
        return (str(chosen), int(seeds or 1)) if known else ("first", 1)

    def read(self, name: str) -> bytes | None:  # like `Folder.read`
        if name == CONFIG:
            return encode_config(self._settings).encode()
        return json.dumps(self._results).encode() if name == SUMMARY else None

    def checkpoint(self, *, allow_older: bool = False) -> dict[str, Any] | None:
        """Return what the files hold in the form of a checkpoint.

        Raises:
            UserError: A file is missing, damaged or altered, or none holds a network.
        """
        learner: dict[str, Any] = {}
        metadata = None
        for name in self._hashes:
            self._content(name, MAX_NETWORK)
            if name.endswith(SUFFIX):
                texts, state = load_safetensors(self.path / name)
                metadata = NetworkMetadata.from_text(texts, f"{self.path}/{name}")
                learner |= {f"cohort.networks.{metadata.key}.backbone.{key}": value for key, value in state.items()}
        if metadata is None:
            raise UserError(f"{self.path} holds no network.")
        return {
            "step": self._step,
            "config_hash": self._run,
            "data": self._data,
            "code": self._results.get("code"),
            "classes": list(metadata.classes),
            "preprocessing": metadata.preprocessing.as_dict(),
            "results": {"last": _accuracies(self._results), "best": {}},
            "learner": learner,
            "deployed": self._results.get("deployed"),
        }

    def _content(self, name: str, limit: int) -> bytes:
        """Return a file, compared with its hash in the card."""
        try:
            content = read_bytes(self.path / name, limit)
        except OSError as error:
            raise UserError(f"{self.path / name} cannot be read: {error.strerror}.") from error
        if name != CARD and hashlib.sha256(content).hexdigest() != self._hashes[name]:
            raise UserError(f"{self.path / name} is damaged or was altered: its SHA-256 is not that of the card.")
        return content

    def _read_run(self) -> tuple[dict[str, Any], dict[str, Any]]:
        source = f"{self.path}/{RUN}"
        values = decode_json(self._content(RUN, MAX_JSON), source)
        if not isinstance(values, dict) or not isinstance(values.get("summary"), dict):
            raise UserError(f"{source} does not hold the settings and the results of a run.")
        results = decode_summary(json.dumps(values["summary"]).encode(), source)
        return received_run(values.get("config"), source), results


def is_release(folder: Path) -> bool:
    """Return whether a folder is a release and not a run."""
    return (folder / CARD).is_file() and (folder / RUN).is_file()


def listed_networks(folder: Path) -> set[str]:
    """Return the names of the networks that the card of a release lists; none if there is no such card."""
    try:
        card = read_bytes(folder / CARD, MAX_JSON).decode(errors="replace")
        files = _header(card, f"{folder}/{CARD}").get("files")
    except (OSError, UserError):
        return set()
    names = map(str, files) if isinstance(files, dict) else ()
    return {name for name in names if name.endswith(SUFFIX) and file_name(name) == name}


def release_folders() -> dict[str, Path]:
    """Return the folder of every release, by the name that `mcl.load` takes: ``few_images_tuned/lmcl-resnet8``.

    They are searched in ``experiments/STUDY/weights`` below the working folder and in this project.
    """
    found: dict[str, Path] = {}
    for root in (Path("experiments"), data_folder() / "experiments"):
        for card in sorted(root.glob(f"*/{WEIGHTS}/*/{CARD}")):
            if is_release(card.parent):
                found.setdefault(f"{card.parents[2].name}/{card.parent.name}", card.parent)
    return found


def _header(card: str, source: str) -> Mapping[str, Any]:
    """Return our part of the header of a card, which is YAML between two lines ``---``."""
    before, _, rest = card.partition("---\n")
    header, end, _ = rest.partition("\n---\n")
    section = None if before or not end else decode_yaml(header, source).get(OURS)
    if not isinstance(section, dict):
        raise UserError(f"{printable(source)} is not the card of a release: its header has no {OURS}.")
    return section


def _accuracies(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the accuracies of the backbones as an evaluation names them; empty if one is unknown."""
    measured = {
        f"{network.get('key')}/backbone/{measure}": network.get(f"{measure}_last")
        for network in results.get("networks", [])
        for measure in ("top1", "top5")
    }
    return {} if None in measured.values() else measured
