"""Find the result of a run that has finished, without importing torch, which takes seconds."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mcl.data.fingerprint import same_images
from mcl.data.known_fingerprints import known_fingerprint
from mcl.runs.identity import config_hash
from mcl.runs.summary import intact_summary
from mcl.torchrun import world_size


def finished_summary(config: DictConfig) -> dict[str, Any] | None:
    """Return the summary of a run that has finished with these settings and images.

    Returns:
        None if it has not finished, or if that takes a closer look: `mcl.training.run.Run` looks.
    """
    hydra = HydraConfig.get()
    if world_size() > 1 or config.resume.name == "never" or not str(hydra.run.dir).strip():
        return None
    summary = intact_summary(Path(hydra.runtime.output_dir))
    if summary is None or summary.get("config_hash") != config_hash(config):
        return None
    fingerprint = known_fingerprint(config.dataset)
    if fingerprint is None or not same_images(summary.get("data", fingerprint), fingerprint):
        return None
    return summary
