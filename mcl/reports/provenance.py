"""Provenance of the runs in a report: the code that made them, and the runs that are missing."""

from collections import Counter
from collections.abc import Sequence

from mcl.console import display_path, pluralize
from mcl.reports.image_sets import IMAGES, data_settings, fingerprint, version
from mcl.reports.markdown import NONE, cell, code, listed, seeds, table, warning, without_empty
from mcl.reports.rows import Row, Rows
from mcl.runs.reading import Run, mapping
from mcl.studies.study import Study

VERSION = ("code", "uncommitted changes", "libraries", "processes", "device", "precision")
MANY = 12  # commands; more are folded


def images(rows: Rows, *, by_fingerprint: bool) -> list[str]:
    """Return a warning if runs saw different images, or if the files cannot show whether they did.

    Args:
        rows: rows of the report.
        by_fingerprint: whether different images make rows of their own; the rows of a study are fixed.
    """
    lines = []
    if by_fingerprint and any(row.labels.get(IMAGES) for row in rows.rows):
        lines += warning(
            f"Runs whose settings are the same saw different images: `{IMAGES}` is the fingerprint in their"
            " summary.json. They are rows of their own, and rows of different images are not compared."
        )
    groups: dict[str, list[str | None]] = {}
    for run in rows.runs:
        if run.finished:
            groups.setdefault(data_settings(run), []).append(fingerprint(run))
    unsure = Counter(mark for group in groups.values() if len({*map(version, group)}) > 1 for mark in group)
    if unsure:
        fingerprints = listed(f"{mark or 'none'} ({pluralize(runs, 'run')})" for mark, runs in unsure.items())
        lines += warning(
            "Whether all runs saw the same images is not known: their fingerprints were made by different versions of"
            f" the code and cannot be compared. They are {cell(fingerprints)}."
        )
    return lines


def versions(rows: Rows) -> list[str]:
    """Return which code made which runs, with a warning if it was not the same for all."""
    by_version: dict[tuple[str, ...], list[str]] = {}  # -> the names of the rows, one of each run
    for row in rows.rows:
        for run in row.finished:
            by_version.setdefault(_version(run), []).append(rows.name(row))
    if not by_version:
        return []
    lines = ["## Code", ""]
    mixed = [name for name, values in zip(VERSION, zip(*by_version, strict=True), strict=True) if len({*values}) > 1]
    if mixed:
        lines += warning(f"The runs differ in {listed(mixed)}. They may explain differences between rows.")
    if any(dirty == "yes" for _, dirty, *_ in by_version):
        lines += ["Runs with uncommitted changes cannot be repeated from their commit.", ""]
    body = []
    for columns, names in sorted(by_version.items()):
        counts = [f"{name} ({pluralize(runs, 'run')})" for name, runs in Counter(names).items()]
        body.append([*columns, "; ".join(counts) if len(by_version) > 1 else "all", str(len(names))])
    headers, body = without_empty([*VERSION, "rows", "runs"], body)
    return lines + table(headers, body, len(headers) - 1)


def missing(rows: Rows, study: Study | None) -> list[str]:
    """Return the runs that do not count, with the reasons and the commands that run them."""
    unfinished = [(row, run) for row in rows.rows for run in row.runs if not run.finished]
    lines: list[str] = []
    if unfinished or rows.unplaced:
        lines += ["## Runs that do not count", ""]
        for row in rows.rows:
            if absent := [run.seed for run in row.runs if run.status == "missing"]:
                lines.append(f"- {_named(rows, row, absent)}: planned, and not run yet")
        for row, run in unfinished:
            if run.status != "missing":
                lines.append(f"- {_named(rows, row, [run.seed])}: {run.status}. {_with_folder(run, run.reason)}")
        for run in rows.unplaced:
            reasons = "; ".join(filter(None, [run.reason, *run.notes]))
            lines.append(f"- {run.status}. {_with_folder(run, reasons)}")
        lines += ["", *_commands([run for _, run in unfinished if run.status != "running"], study)]
    odd = [
        f"- {_named(rows, row, [run.seed])}: {_with_folder(run, note)}"
        for row in rows.rows
        for run in row.runs
        for note in run.notes
    ]
    return [*lines, "### Odd files", "", *odd, ""] if odd else lines


def not_finite(rows: Rows, metric: str) -> list[str]:
    """Return the finished runs that lack a number of the main table."""
    lines = []
    for row in rows.rows:
        for network, values in row.values(metric).items():
            if lacking := [run.seed for run in row.finished if run.seed not in values]:
                alone = all(mapping(run.config.get("trainer")).get("test") is False for run in row.finished)
                why = (
                    f"left the test split alone, so there is no `{metric}`"
                    if alone
                    else f"ended without a finite `{metric}`"
                )
                lines.append(f"- {cell(f'{rows.name(row)}, {network}')}: {seeds(lacking)} {why}")
    return ["Left out of the means:", "", *lines, ""] if lines else []


def _commands(unfinished: Sequence[Run], study: Study | None) -> list[str]:
    if not unfinished:
        return []
    if study is None:
        return ["Type the command that started a run again to resume it from its last checkpoint.", ""]
    commands = [run.command for run in unfinished]
    block = ["```bash", *commands, "```", ""]
    if len(commands) > MANY:
        block = ["<details>", f"<summary>{len(commands)} commands</summary>", "", *block, "</details>", ""]
    return [f"`{study.command}` starts the missing runs and resumes the others. One by one:", "", *block]


def _named(rows: Rows, row: Row, numbers: Sequence[int | None]) -> str:
    """Return the name of a row, if it has one, and some of its seeds."""
    return ", ".join(filter(None, [cell(rows.name(row)), seeds(numbers)]))


def _with_folder(run: Run, text: str) -> str:
    return f"{cell(text)} ({code(display_path(run.shown_folder))})"


def _version(run: Run) -> tuple[str, ...]:
    """Return a cell for each column of `VERSION`."""
    code, libraries = mapping(run.summary.get("code")), mapping(run.summary.get("libraries"))
    trainer = mapping(run.config.get("trainer"))
    commit, dirty = str(code.get("commit") or "")[:10], code.get("dirty")
    return (
        " ".join(filter(None, [str(code.get("version") or ""), commit])) or NONE,
        NONE if dirty is None else "yes" if dirty else "no",
        ", ".join(f"{name} {version}" for name, version in libraries.items()) or NONE,
        str(run.summary.get("processes", NONE)),
        str(run.summary.get("device") or trainer.get("device") or NONE),
        str(trainer.get("precision") or NONE),
    )
