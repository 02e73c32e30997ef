"""Release the deployed networks of a run: weights, settings, results and a model card, in one folder."""

import hashlib
import json
from pathlib import Path

from mcl.deploy.card_logits import check_logits
from mcl.deploy.formats import encode_safetensors
from mcl.deploy.pretrained import MODEL, MODEL_CONFIG, encode_model_config
from mcl.deploy.release_card import ReleaseFacts, release_card
from mcl.deploy.release_folder import CARD, RUN, SUFFIX, ReleaseFolder, is_release, listed_networks
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.files import write_atomically, write_error
from mcl.runs.stored_config import without_absolute_paths


def write_release(run: SavedRun, folder: Path, facts: ReleaseFacts) -> list[Path]:
    """Write the networks of a run as they are deployed, and a card; read them back and check them.

    The same run gives the same bytes, and no absolute path of this machine is in them.

    Args:
        run: A finished run, opened without overrides.
        folder: Where to write; created if necessary. An older release there is replaced; other files stay.
        facts: What the card states beside what the run holds.

    Returns:
        The files that were written.

    Raises:
        UserError: The run is not finished, the folder holds other files, or a file cannot be written.
    """
    if not run.summary or not run.finished:
        raise UserError(f"{run.source.path} is not a finished run: let its training end before you release it.")
    if folder.is_dir() and not is_release(folder) and any(not file.name.startswith(".") for file in folder.iterdir()):
        raise UserError(f"{folder} holds other files. Choose another folder.")
    contents: dict[str, bytes] = {}
    files: dict[str, str] = {}
    main = run.deployed[0] if facts.hub else None
    for key in sorted(run.keys, key=lambda key: key != main):
        backbone, metadata = run.deployable(key, "last")
        files[key] = MODEL if key == main else f"{metadata.file_stem}{SUFFIX}"
        if key == main:
            contents[MODEL_CONFIG] = encode_model_config(metadata)
        contents[files[key]] = encode_safetensors(backbone, metadata)
    record = {"config": without_absolute_paths(run.stored), "summary": run.summary}
    contents[RUN] = (json.dumps(record, indent=1) + "\n").encode()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[CARD] = release_card(run, facts, files, hashes).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in listed_networks(folder) - set(contents):  # files that are not of the older release stay
            (folder / old).unlink(missing_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    for name, content in contents.items():
        write_atomically(folder / name, content)
    check_release(folder)
    return [folder / name for name in contents]


def check_release(folder: Path) -> float:
    """Load the networks of a release and compare them with its card; return the largest difference of the logits.

    Raises:
        UserError: A file is damaged or was altered, or a network computes other logits.
    """
    run = SavedRun(folder)
    if not isinstance(run.source, ReleaseFolder):
        raise UserError(f"{folder} is not a release.")
    return check_logits(run, run.source.card)
