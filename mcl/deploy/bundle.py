"""Bundle a run into one file: settings, numbers, networks, and the hashes of all of them."""

import hashlib
import io
import zipfile
from pathlib import Path

from mcl.deploy.formats import encode_safetensors
from mcl.deploy.model_card import model_card
from mcl.deploy.run_source import HASHES
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs import checkpoints
from mcl.runs.layout import CONFIG, IMPORTED, LAST_CHECKPOINT, METRICS, SUMMARY
from mcl.runs.stored_config import encode_config, without_absolute_paths

COPIED = (CONFIG, METRICS, SUMMARY, IMPORTED)
LEFT_OUT = ("optimizers", "random_states", "meters", "metrics")  # only resuming needs these


def write_bundle(run: SavedRun, path: Path) -> list[str]:
    """Write a bundle of a run that was opened without overrides; return the names of the files in it.

    No absolute path of this machine is in it.

    Raises:
        UserError: The run is not finished, its metrics are not those that it wrote, or the file cannot be written.
    """
    files = {name: content for name in COPIED if (content := run.source.read(name)) is not None}
    if CONFIG in files:
        files[CONFIG] = encode_config(without_absolute_paths(run.stored)).encode()
    if SUMMARY not in files and IMPORTED not in files:
        raise UserError(f"{run.source.path} has no {SUMMARY}: let its training end before you give it away.")
    _refuse_altered_metrics(run, files.get(METRICS, b""))
    files[LAST_CHECKPOINT] = checkpoints.encode(_without_training_state(run))
    backbones: dict[str, str] = {}
    for key in run.keys:
        backbone, metadata = run.deployable(key, "last")
        backbones[key] = f"backbones/{metadata.file_stem}.safetensors"
        files[backbones[key]] = encode_safetensors(backbone, metadata)
    files["README.md"] = model_card(run, "last", backbones).encode()
    hashes = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files[HASHES] = "".join(hashes).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # fixed date, so that equal runs make equal bundles
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    write_atomically(path, buffer.getvalue())
    return list(files)


def _refuse_altered_metrics(run: SavedRun, metrics: bytes) -> None:
    """Compare the metrics with the checksum in the last checkpoint; an imported checkpoint has none."""
    expected = run.checkpoint.get("metrics")
    if isinstance(expected, dict) and hashlib.sha256(metrics).hexdigest() != expected["sha256"]:
        raise UserError(
            f"{run.source.path}/{METRICS} is not what the run wrote: it was altered, cut short or lost. Put the run's"
            " own file back before you give the run away."
        )


def _without_training_state(run: SavedRun) -> dict[str, object]:
    """Return the run's checkpoint without the parts that only resuming needs."""
    _, loss = run.learner()
    training_state = tuple(f"loss.{name}" for name in loss.training_state)
    learner = {name: value for name, value in run.checkpoint["learner"].items() if not name.startswith(training_state)}
    kept = {name: value for name, value in run.checkpoint.items() if name not in LEFT_OUT}
    if "config" in kept:
        kept["config"] = without_absolute_paths(kept["config"])
    return {**kept, "learner": learner}
