"""Bundle a run into one file: settings, numbers, networks, and the hashes of all of them."""

import hashlib
import io
import zipfile
from pathlib import Path

from mcl.deploy.formats import safetensors_bytes
from mcl.deploy.load import deployed
from mcl.deploy.model_card import model_card
from mcl.deploy.run_source import HASHES
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs import checkpoints
from mcl.runs.layout import CONFIG, IMPORTED, LAST_CHECKPOINT, METRICS, SUMMARY

COPIED = (CONFIG, METRICS, SUMMARY, IMPORTED)
LEFT_OUT = ("optimizers", "random_states", "meters", "metrics")  # what only going on with training needs


def bundle(run: SavedRun, path: Path) -> list[str]:
    """Write a bundle; `mcl.load`, evaluate, export and predict take it in place of the run folder.

    Args:
        run: a run folder, opened without overrides.
        path: of the file.

    Returns:
        The names of the files in it.

    Raises:
        UserError: the run is not finished, or the file cannot be written.
    """
    files = {name: content for name in COPIED if (content := run.place.read(name)) is not None}
    if SUMMARY not in files and IMPORTED not in files:
        raise UserError(f"{run.place.path} has no summary.json: let its training end before you give it away.")
    slim = {name: value for name, value in run.checkpoint.items() if name not in (*LEFT_OUT, "version")}
    _, loss = run.learner()
    unneeded = tuple(f"loss.{name}" for name in loss.training_state)
    slim["learner"] = {name: value for name, value in slim["learner"].items() if not name.startswith(unneeded)}
    files[LAST_CHECKPOINT] = checkpoints.encode(slim)
    backbones: dict[str, str] = {}
    for key in run.keys:
        backbone, about = deployed(run, key, "last")
        backbones[key] = f"backbones/{about.file_stem}.safetensors"
        files[backbones[key]] = safetensors_bytes(backbone, about)
    files["README.md"] = model_card(run, "last", backbones).encode()
    hashes = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in sorted(files.items())]
    files[HASHES] = ("\n".join(hashes) + "\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(
                zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED
            )  # without the time: equal runs make equal bundles
    write_atomically(path, buffer.getvalue())
    return list(files)
