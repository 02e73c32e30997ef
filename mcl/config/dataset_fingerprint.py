"""Fingerprint the dataset of a run, to compare it with the one that was trained on."""

from omegaconf import DictConfig

from mcl.config.instantiate import build
from mcl.errors import UserError


def data_fingerprint(config: DictConfig) -> str | None:
    """Return the fingerprint of the images that a run would see, or None if they cannot be found."""
    try:
        fingerprint = build(config.dataset, path="dataset", allow=config.allow_modules).fingerprint()
    except UserError:
        return None
    return str(fingerprint)
