"""Artifacts of a Weights & Biases run: from its dataset and its code to its networks."""

import importlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import mcl
from mcl.tracking.tracker import RunInfo

if TYPE_CHECKING:
    import wandb

ALIASES = ("best", "latest")  # trainer.export writes the networks of their best epochs, at the end of a run


def use_dataset(run: "wandb.Run", info: RunInfo) -> None:
    """Make the dataset an input of a run. It holds the fingerprint of the images, so equal images are one version."""
    import wandb

    fingerprint = str(info.facts.get("data"))
    metadata = {"fingerprint": fingerprint, **_plain(info.config.get("dataset"))}
    artifact = wandb.Artifact(_name("data", next(iter(info.tags), info.name)), type="dataset", metadata=metadata)
    with artifact.new_file("fingerprint.txt") as file:
        file.write(fingerprint + "\n")
    if run.offline:  # use_artifact waits for a server; this records the same use, which `wandb sync` uploads
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact)


def log_networks(run: "wandb.Run", info: RunInfo, files: Sequence[Path], best: Mapping[str, float]) -> None:
    """Make exported networks an output of a run, with its best values as metadata."""
    import wandb

    metadata = {"settings": info.run_id, "data": info.facts.get("data"), "best": dict(best)}
    artifact = wandb.Artifact(_name("networks", info.run_id), type="model", metadata=metadata)
    for file in files:
        artifact.add_file(str(file), policy="immutable")  # else a copy waits in the home folder of this machine
    run.log_artifact(artifact, aliases=list(ALIASES))


def log_code(run: "wandb.Run", info: RunInfo) -> None:
    """Log the source files of this package and of the modules that ``allow_modules`` names."""
    with TemporaryDirectory() as folder:
        for name in (mcl.__name__, *map(str, info.config.get("allow_modules") or ())):
            _copy_sources(name, Path(folder))
        run.log_code(folder, name=_name("source", run.project or mcl.__name__))


def _copy_sources(name: str, folder: Path) -> None:
    """Copy the Python files of a module or a package to the place in a folder from which it could be imported."""
    file = importlib.import_module(name).__file__
    if file is None:  # a package without a file of its own, or built in
        return
    path, target = Path(file), folder.joinpath(*name.split("."))
    if path.name != "__init__.py":
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target.with_suffix(path.suffix))
        return
    for source in path.parent.rglob("*.py"):
        copy = target / source.relative_to(path.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def _name(kind: str, name: str) -> str:
    """Return a name that W&B accepts for an artifact."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{kind}-{name}")


def _plain(node: Any) -> dict[str, Any]:
    return dict(node) if isinstance(node, Mapping) else {}
