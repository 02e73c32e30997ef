"""Problems in inspected images: one sentence each, and the files that it is about."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from mcl.console import pluralize
from mcl.inspection.inspected_files import ALL, TRAIN
from mcl.inspection.inspection import SPLIT_ORDER, Copy, Inspection, Leak
from mcl.untrusted.text import printable

IMBALANCE = 5  # times as many pictures in the largest class as in the smallest
LONG = 2  # times the shorter side
_NAMED = 3  # files that a sentence names


class Mention(NamedTuple):
    """A file that a finding is about."""

    position: int
    detail: str  # the reason why it cannot be read, or the file that it equals


class Finding(NamedTuple):
    """A finding."""

    kind: str
    text: str
    files: list[Mention]


def findings(inspection: Inspection) -> list[Finding]:
    """Return the findings, the most serious first."""
    found: list[Finding | None] = [_refused(inspection), _unreadable(inspection)]
    found += [_leaks(inspection, earlier, later) for earlier, later in combinations(SPLIT_ORDER[:3], 2)]
    found += [_conflicts(inspection)]
    found += [_copies(inspection, split) for split in inspection.split_names]
    found += [_imbalance(inspection), _long(inspection)]
    return [finding for finding in found if finding is not None]


def _refused(inspection: Inspection) -> Finding | None:
    reason = inspection.files.refused
    return Finding("refused", f"Training does not take these images. {printable(reason)}", []) if reason else None


def _unreadable(inspection: Inspection) -> Finding | None:
    files = [Mention(i, reason) for i, reason in inspection.scan.unreadable.items()]
    if not files:
        return None
    names = [f"{inspection.name(each.position)} ({each.detail})" for each in files]
    return Finding(
        "unreadable",
        f"{pluralize(len(files), 'file')} cannot be read: {_summarize(names)}. Repair or remove"
        f" {'it' if len(files) == 1 else 'them'}, or leave such files out with dataset.corrupt=skip.",
        files,
    )


def _leaks(inspection: Inspection, earlier: str, later: str) -> Finding | None:
    leaks = inspection.leaks(earlier, later)
    if not leaks:
        return None
    are = "is" if len(leaks) == 1 else "are"
    consequence = (
        f"Remove such pictures from {earlier}: accuracy on pictures that were trained on says nothing about new ones."
        if earlier == TRAIN
        else f"Remove such pictures from one of the two: what {earlier} chooses is measured on the same pictures."
    )
    return Finding(
        f"leak from {earlier} to {later}",
        f"{pluralize(len(leaks), 'picture')} of {later} {are} in {earlier} too ({_kinds(leaks)}):"
        f" {_summarize(_pairs(inspection, leaks))}. {consequence}",
        [Mention(leak.picture, inspection.files.paths[leak.earlier]) for leak in leaks],
    )


def _conflicts(inspection: Inspection) -> Finding | None:
    groups = list(inspection.conflicts())
    if not groups:
        return None
    names = [" = ".join(inspection.name(i) for i in _one_of_each_class(inspection, group)) for group in groups]
    return Finding(
        "several classes",
        f"{pluralize(len(groups), 'picture')} {'is' if len(groups) == 1 else 'are'} in several classes, as equal or"
        f" nearly equal files: {_summarize(names)}. Decide on one class and remove the other files.",
        [Mention(i, inspection.files.paths[group[0]]) for group in groups for i in group],
    )


def _copies(inspection: Inspection, split: str) -> Finding | None:
    copies = inspection.copies(split)
    if not copies:
        return None
    are = "is a copy of another" if len(copies) == 1 else "are copies of others"
    return Finding(
        f"copies in {split}",
        f"{pluralize(len(copies), 'picture')} of {split if split != ALL else 'the folder'} {are} ({_kinds(copies)}):"
        f" {_summarize(_pairs(inspection, copies))}. Remove the copies, unless they should count more than once.",
        [Mention(copy.picture, inspection.files.paths[copy.original]) for copy in copies],
    )


def _imbalance(inspection: Inspection) -> Finding | None:
    split = TRAIN if TRAIN in inspection.split_names else inspection.split_names[0]
    counts = {name: numbers[split] for name, numbers in inspection.counts.items() if numbers[split]}
    if not counts:
        return None
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[largest] < IMBALANCE * counts[smallest]:
        return None
    times = counts[largest] / counts[smallest]
    return Finding(
        "imbalance",
        f"The class {printable(largest)} has {counts[largest]:,} pictures, {times:.1f} times as many as"
        f" {printable(smallest)} with {counts[smallest]:,}. Accuracy says little about the small classes: look at the"
        " confusion matrix of python -m mcl evaluate RUN.",
        [],
    )


def _long(inspection: Inspection) -> Finding | None:
    sizes = ((i, facts.width, facts.height) for i, facts in inspection.scan.pictures.items())
    files = [Mention(i, f"{w} x {h} pixels") for i, w, h in sizes if max(w, h) > LONG * min(w, h)]
    if not files:
        return None
    names = [f"{inspection.name(each.position)} ({each.detail})" for each in files]
    one = len(files) == 1
    return Finding(
        "long",
        f"{pluralize(len(files), 'picture')} {'is' if one else 'are'} longer than {LONG}:1, and the centered square"
        f" that is used leaves out more than half of {'it' if one else 'each'}: {_summarize(names)}. Crop"
        f" {'it' if one else 'them'} by hand if what matters is not in the center.",
        files,
    )


def _one_of_each_class(inspection: Inspection, group: Sequence[int]) -> list[int]:
    return list({inspection.files.classes[i]: i for i in reversed(group)}.values())[::-1]


def _kinds(pairs: Sequence[Leak] | Sequence[Copy]) -> str:
    same = sum(pair.same_pixels for pair in pairs)
    return f"{same:,} with the same pixels, {len(pairs) - same:,} nearly the same"


def _pairs(inspection: Inspection, pairs: Sequence[Leak] | Sequence[Copy]) -> list[str]:
    return [f"{inspection.name(i)} = {inspection.name(j)}" for i, j, _ in pairs[:_NAMED]] + [""] * (len(pairs) - _NAMED)


def _summarize(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else shown
