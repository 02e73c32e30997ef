"""Compare the images that runs were trained on, by the fingerprints in their summaries."""

import json
from collections import Counter
from collections.abc import Iterable

from mcl.console import pluralize
from mcl.runs.identity import identity
from mcl.runs.reading import Run

IMAGES = "images"  # the factor that tells rows of different images apart
UNKNOWN = "unknown"  # its label for runs whose summary holds no fingerprint


def fingerprint(run: Run) -> str | None:
    """Return the fingerprint of the images of a finished run; None for an unfinished run and an old summary."""
    found = run.summary.get("data")
    return found if isinstance(found, str) and found else None


def version(found: str | None) -> str | None:
    """Return what stands before the colon of a fingerprint. Fingerprints of unlike versions cannot be compared."""
    return None if found is None else found.rpartition(":")[0]


def differ(fingerprints: Iterable[str | None]) -> bool:
    """Return whether two fingerprints of the same version are unequal, so that the images certainly were."""
    known = {found for found in fingerprints if found is not None}
    return len(known) > len({version(found) for found in known})


def data_settings(run: Run) -> str:
    """Return a key that is equal for runs whose settings of the dataset are equal."""
    own = {key: value for key, value in identity(run.config).items() if key.startswith("dataset.")}
    return json.dumps(own, sort_keys=True, default=str)


def set_aside_other_images(runs: Iterable[Run]) -> None:
    """Exclude finished runs that saw other images than most runs with the same settings of the dataset.

    Their status and reason say so, and their command starts them over. Of two equally frequent fingerprints, the one
    that comes first stays.
    """
    groups: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        if run.finished and (found := fingerprint(run)) is not None:
            groups.setdefault((data_settings(run), version(found)), []).append(run)
    for group in groups.values():
        (usual, count), *_ = Counter(map(fingerprint, group)).most_common()
        for run in group:
            if (found := fingerprint(run)) != usual:
                run.status = "of other images"
                run.reason = (
                    f"the fingerprint of its images is {found}; that of {pluralize(count, 'other run')} with the same"
                    f" settings is {usual}. With resume=never its command trains it anew, on the images there are now"
                )
                run.command = f"{run.command} resume=never"
