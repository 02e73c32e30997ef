"""Fingerprint the dataset of a run, to compare it with the one that was trained on."""

from omegaconf import DictConfig

from mcl.config.instantiate import build
from mcl.errors import ImagesNotFound


def data_fingerprint(config: DictConfig) -> str | None:
    """Return the fingerprint of the images that a run would see, or None if their place does not exist.

    Raises:
        UserError: The images cannot be used.
    """
    try:
        fingerprint = build(config.dataset, path="dataset", allow=config.allow_modules).fingerprint()
    except ImagesNotFound:
        return None
    return str(fingerprint)
