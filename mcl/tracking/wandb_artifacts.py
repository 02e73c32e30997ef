"""Artifacts of a Weights & Biases run: from its dataset and its code to its networks."""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
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
    import wandb

    run.log_code(str(Path(mcl.__file__).parent), name=_name("source", mcl.__name__), include_fn=_is_python)
    for module in info.config.get("allow_modules") or ():
        file = importlib.import_module(str(module)).__file__
        if file is None:
            continue
        artifact = wandb.Artifact(_name("source", str(module)), type="code")
        is_package = Path(file).name == "__init__.py"
        for source in sorted(Path(file).parent.rglob("*.py")) if is_package else [Path(file)]:
            artifact.add_file(str(source), name=str(source.relative_to(Path(file).parent)))
        run.log_artifact(artifact)


def _is_python(path: str) -> bool:
    return path.endswith(".py")


def _name(kind: str, name: str) -> str:
    """Return a name that W&B accepts for an artifact."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{kind}-{name}")


def _plain(node: Any) -> dict[str, Any]:
    return dict(node) if isinstance(node, Mapping) else {}
