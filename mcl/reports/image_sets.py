"""Compare the images that runs were trained on, by the fingerprints in their summaries."""

import json
from collections import Counter
from collections.abc import Iterable

from mcl.console import pluralize
from mcl.runs.identity import identity
from mcl.runs.reading import Run

IMAGES = "images"  # the factor of rows that differ in their images
UNKNOWN = "unknown"  # its label for runs whose summary holds no fingerprint


def fingerprint(run: Run) -> str | None:
    """Return the fingerprint of the images of a finished run; None for an unfinished run and an old summary."""
    stored = run.summary.get("data")
    return stored if isinstance(stored, str) and stored else None


def version(fingerprint: str | None) -> str | None:
    """Return the part before the colon of a fingerprint. Fingerprints of different versions cannot be compared."""
    return None if fingerprint is None else fingerprint.rpartition(":")[0]


def differ(fingerprints: Iterable[str | None]) -> bool:
    """Return whether two fingerprints of one version are unequal, which proves that the images were."""
    known = set(fingerprints) - {None}
    return len(known) > len(set(map(version, known)))


def data_settings(run: Run) -> str:
    """Return a key that is equal for runs with equal settings of the dataset."""
    own = {key: value for key, value in identity(run.config).items() if key.startswith("dataset.")}
    return json.dumps(own, sort_keys=True, default=str)


def set_aside_other_images(runs: Iterable[Run]) -> None:
    """Exclude finished runs that saw other images than most runs with the same settings of the dataset.

    Sets their status, reason and command, which starts them over. Of two equally frequent fingerprints the first stays.
    """
    groups: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        if run.finished and (own := fingerprint(run)) is not None:
            groups.setdefault((data_settings(run), version(own)), []).append(run)
    for group in groups.values():
        (usual, count), *_ = Counter(map(fingerprint, group)).most_common()
        for run in group:
            if (own := fingerprint(run)) != usual:
                run.status = "of other images"
                run.reason = (
                    f"the fingerprint of its images is {own}; that of {pluralize(count, 'other run')} with the same"
                    f" settings is {usual}. With resume=never its command trains it anew, on the images there are now"
                )
                run.command = f"{run.command} resume=never"
