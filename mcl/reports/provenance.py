"""Provenance of the runs in a report: the code that made them, and which are missing, and why."""

from collections import Counter
from collections.abc import Iterable, Sequence

from mcl.console import display_path, pluralize
from mcl.reports.image_sets import IMAGES, data_settings, fingerprint, version
from mcl.reports.markdown import NONE, cell, listed, seeds, table, without_empty
from mcl.reports.rows import Rows
from mcl.runs.reading import Run, mapping
from mcl.studies.study import Study

VERSION = ("code", "uncommitted changes", "libraries", "processes", "device", "precision")  # as `_version` finds them
MANY = 12  # commands; more are folded away


def images(rows: Rows) -> list[str]:
    """Return a warning where runs saw different images, or where the files cannot tell whether they did."""
    lines = []
    if any(row.labels.get(IMAGES) for row in rows.rows):
        lines += [
            "> [!WARNING]",
            f"> Runs whose settings are the same saw different images: `{IMAGES}` is the fingerprint in their"
            " summary.json. They are rows of their own, and rows of different images are not compared.",
            "",
        ]
    groups: dict[str, list[str | None]] = {}
    for run in rows.runs:
        if run.finished:
            groups.setdefault(data_settings(run), []).append(fingerprint(run))
    unsure = [found for group in groups.values() if len({*map(version, group)}) > 1 for found in group]
    if unsure:
        told = [f"{found or 'none'} ({pluralize(runs, 'run')})" for found, runs in Counter(unsure).items()]
        lines += [
            "> [!WARNING]",
            "> Whether all runs saw the same images is not known: their fingerprints were made by different versions of"
            f" the code and cannot be compared. They are {cell(listed(told))}.",
            "",
        ]
    return lines


def versions(rows: Rows) -> list[str]:
    """Which code made which runs; a warning where it was not one."""
    by_version: dict[tuple[str, ...], list[Run]] = {}
    for run in rows.runs:
        if run.finished:
            by_version.setdefault(_version(run), []).append(run)
    if not by_version:
        return []
    of_rows = {id(run): rows.name(row) for row in rows.rows for run in row.runs}
    body = [
        [*version, "all" if len(by_version) == 1 else _names(of_rows[id(run)] for run in runs), str(len(runs))]
        for version, runs in sorted(by_version.items())
    ]
    lines = ["## Code", ""]
    mixed = [name for name, of in zip(VERSION, zip(*by_version, strict=True), strict=True) if len({*of}) > 1]
    if mixed:
        lines += [
            "> [!WARNING]",
            f"> The runs differ in {listed(mixed)}. Differences between rows may come from there.",
            "",
        ]
    if any(version[1] == "yes" for version in by_version):
        lines += ["What ran with uncommitted changes cannot be had again from its commit.", ""]
    headers, body = without_empty([*VERSION, "rows", "runs"], body)
    return lines + table(headers, body, len(headers) - 1)


def missing(rows: Rows, study: Study | None) -> list[str]:
    """The runs that do not count, why, and what to type."""
    open_runs = [(row, run) for row in rows.rows for run in row.runs if not run.finished]
    lines: list[str] = []
    if open_runs or rows.astray:
        lines += ["## Runs that do not count", ""]
        never = [row for row in rows.rows if any(run.status == "missing" for run in row.runs)]
        for row in never:
            absent = [run.seed for run in row.runs if run.status == "missing"]
            lines.append(f"- {rows.name(row)}, {seeds(absent)}: planned, and not run yet")
        for row, run in open_runs:
            if run.status != "missing":
                lines.append(f"- {rows.name(row)}, {seeds([run.seed])}: {run.status}. {_of_run(run, run.reason)}")
        for run in rows.astray:
            lines.append(f"- {run.status}. {_of_run(run, '; '.join(filter(None, [run.reason, *run.notes])))}")
        lines += ["", *_commands([run for _, run in open_runs if run.status != "running"], study)]
    odd = [(row, run, note) for row in rows.rows for run in row.runs for note in run.notes]
    if odd:
        lines += ["### Odd files", ""]
        lines += [f"- {rows.name(row)}, {seeds([run.seed])}: {_of_run(run, note)}" for row, run, note in odd] + [""]
    return lines


def not_finite(rows: Rows, metric: str) -> list[str]:
    """Which finished runs lack a number that the main table needs."""
    found = []
    for row in rows.rows:
        for network, values in row.values(metric).items():
            lacking = [run.seed for run in row.finished if run.seed not in values]
            if lacking:
                found.append(f"- {rows.name(row)}, {network}: {seeds(lacking)} ended without a finite `{metric}`")
    return ["Left out of the means:", "", *found, ""] if found else []


def _commands(open_runs: Sequence[Run], study: Study | None) -> list[str]:
    if not open_runs:
        return []
    if study is None:
        return ["The command that began a run, typed again, goes on with it from its last checkpoint.", ""]
    commands = [run.command for run in open_runs]
    lines = [
        f"`{study.command}` runs what is missing and goes on with what was begun; one by one:",
        "",
    ]
    block = ["```bash", *commands, "```", ""]
    if len(commands) > MANY:
        block = ["<details>", f"<summary>{len(commands)} commands</summary>", "", *block, "</details>", ""]
    return lines + block


def _of_run(run: Run, text: str) -> str:
    return f"{cell(text)} (`{display_path(run.shown_folder)}`)"


def _version(run: Run) -> tuple[str, ...]:
    code, libraries, trainer = (
        mapping(of) for of in (run.summary.get("code"), run.summary.get("libraries"), run.config.get("trainer"))
    )
    commit = str(code.get("commit") or "")[:10]
    dirty = code.get("dirty")
    return (
        " ".join(filter(None, [str(code.get("version") or ""), commit])) or NONE,
        NONE if dirty is None else "yes" if dirty else "no",
        ", ".join(f"{name} {of}" for name, of in libraries.items()) or NONE,
        str(run.summary.get("processes", NONE)),
        str(run.summary.get("device") or trainer.get("device") or NONE),
        str(trainer.get("precision") or NONE),
    )


def _names(names: Iterable[str]) -> str:
    """Row names, each with how many of its runs are meant."""
    return "; ".join(f"{name} ({pluralize(runs, 'run')})" for name, runs in Counter(names).items())
