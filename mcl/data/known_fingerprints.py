"""Fingerprints of datasets that follow from their options. Nothing is read, and torch is not imported."""

from collections.abc import Mapping
from typing import Any

from mcl.data.fingerprint import digest

DIGITS_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)  # images of each class
DIGITS_TEST_FRACTION = 0.2  # the data has no test part; this split is fixed


def of_digits(image_size: int) -> str:
    """Return the fingerprint of `mcl.data.digits.Digits`."""
    return digest(["digits", image_size, DIGITS_COUNTS, DIGITS_TEST_FRACTION])


def of_synthetic(
    classes: int, channels: int, image_size: int, train_per_class: int, test_per_class: int, noise: float, seed: int
) -> str:
    """Return the fingerprint of `mcl.data.synthetic.Synthetic`."""
    return digest(["synthetic", (classes, channels, image_size, train_per_class, test_per_class), noise, seed])


def known_fingerprint(options: Mapping[str, Any]) -> str | None:
    """Return the fingerprint of a dataset, or None if its files must be looked at.

    Args:
        options: the node of the configuration, with its ``_target_``.
    """
    for target, function in (("mcl.data.digits.Digits", of_digits), ("mcl.data.synthetic.Synthetic", of_synthetic)):
        names = [name for name in function.__annotations__ if name != "return"]
        if options.get("_target_") == target and all(name in options for name in names):
            return function(**{name: options[name] for name in names})
    return None
