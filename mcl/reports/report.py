"""Write a report: RESULTS.md, results.csv and figures, from run folders."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mcl.console import display_path, pluralize
from mcl.errors import UserError
from mcl.extras import require
from mcl.files import make_folder, write_atomically
from mcl.reports.accuracy_tables import accuracies_table, accuracy_table, main_table, published_table
from mcl.reports.alone_table import alone_section, alone_table
from mcl.reports.archive import needs_archive, pack_runs, show_as_packed
from mcl.reports.calibration_table import ensemble_section, ensemble_table
from mcl.reports.claim_answer import claim_paragraphs, claim_section
from mcl.reports.comparisons import Comparisons, compare_rows
from mcl.reports.cost_tables import cost_section, cost_table
from mcl.reports.csv_file import as_csv, finished_in, hashes, trials_as_csv
from mcl.reports.difference_tables import ablation_section, ablation_tables, baseline_table, difference_section
from mcl.reports.figures import FORMATS, Picture
from mcl.reports.findings import findings
from mcl.reports.latex import in_latex
from mcl.reports.local_paths import portable_path
from mcl.reports.markdown import cell, listed
from mcl.reports.matching_table import matching_section, matching_table
from mcl.reports.plots import pictures
from mcl.reports.probe_table import probe_section, probe_table, probed_sets
from mcl.reports.provenance import images, missing, not_finite, versions
from mcl.reports.ranks import rank_section, rank_tables
from mcl.reports.rows import Rows, parse_baseline, rows_of_folders, rows_of_study
from mcl.reports.search_report import Trial, find_trials, objectives_of, search_page
from mcl.reports.teacher_table import teacher_section, teacher_table
from mcl.runs.archived import ARCHIVE, archived_runs
from mcl.runs.reading import Run
from mcl.studies.study import Study
from mcl.studies.study_page import FILE
from mcl.untrusted.limits import MAX_CSV
from mcl.untrusted.regular_files import read_bytes

RESULTS, CSV, PAGE, LATEX = "RESULTS.md", "results.csv", "report.html", "tables.tex"
MAX_NOTES = 10  # printed
MARK = "<!-- Written by python -m mcl report, which writes it anew: changes made here are lost. -->"


def write_report(
    study: Study | None,
    folders: Iterable[Path] | None,
    out: Path,
    formats: Sequence[str] = ("png",),
    *,
    metric: str = "top1_last",
    baseline: str | None = None,
    command: str | None = None,
    html: bool = False,
    latex: bool = False,
    instead: Path | None = None,
    archive: Path | None = None,
    pack: bool = False,
) -> Path:
    """Write the report of a study, or of runs. The same runs give the same bytes.

    Args:
        study: whose planned runs are reported; None to report the runs in ``folders``.
        folders: folders of runs; None with a study, which plans its folders.
        out: the folder for ``RESULTS.md``, ``results.csv`` and the plots; created if necessary.
        formats: file formats of the plots: ``png``, ``svg``, ``pdf``.
        metric: a name of ``mcl.reports.rows.METRICS``.
        baseline: ``factor=label``, in place of the study's.
        command: the command that makes the same report, for the reader; None for that of ``out``.
        html: write ``report.html``, too.
        latex: write ``tables.tex``, too: the tables for a paper.
        instead: the folder to take when a study's report in ``out`` has finished runs that are not finished here.
        archive: an archive of the study's runs, for those that have no folder.
        pack: write such an archive to ``out``, and name the runs in the report as they are named in it.

    Returns:
        The path of ``RESULTS.md``.

    Raises:
        UserError: there are no runs, the baseline does not exist, a file cannot be written, or a study's report with
            other runs would be lost and there is no other folder.
    """
    check_not_replaced(out, [RESULTS, *([PAGE] if html else []), *([LATEX] if latex else [])])
    if study is not None and study.search is not None:
        asked = {"--latex": latex, "--baseline": baseline is not None, "--metric": metric != "top1_last"}
        if given := listed(option for option, is_given in asked.items() if is_given):
            raise UserError(
                f"{given}: a search has its best trials by validation accuracy, no rows to compare and no tables for a"
                f" paper. Leave {given} out."
            )
    if html:
        require("html", asked="--html")
    command = command or f"python -m mcl report {portable_path(out)}"
    with _archived(study, archive) as archived:
        found = _find(study, folders or (), baseline, archived)
        runs = found.runs if isinstance(found, Rows) else [run for run, _ in found]
        apart = found.unplaced if isinstance(found, Rows) else []
        if study is not None or (out / FILE).is_file():
            out = _not_over_others(out, hashes(runs), instead)
        if pack:
            show_as_packed(runs, out)
        if isinstance(found, Rows):
            files = _rows_files(study, found, metric, command, formats, html=html, latex=latex)
        else:
            assert study is not None
            files = _search_files(study, found, command, formats, html)
        if pack:
            teachers = found.teachers if isinstance(found, Rows) else []
            files[ARCHIVE] = pack_runs([*runs, *(run for row in teachers for run in row.runs)])
    _write(out, files)
    _print_notes([*runs, *apart])
    _print_older_pictures(out, files)
    return out / RESULTS


def _print_notes(runs: Sequence[Run]) -> None:
    """Print the problems with the files of runs, which the report has too."""
    notes = [f"{display_path(run.shown_folder)}: {note}" for run in runs for note in run.notes]
    left_out = [run for run in runs if run.status in ("unreadable", "of other settings")]
    notes += [f"{display_path(run.shown_folder)}: does not count: {run.reason}" for run in left_out]
    for note in notes[:MAX_NOTES]:
        print(f"note: {note}", file=sys.stderr)
    if len(notes) > MAX_NOTES:
        print(f"note: {len(notes) - MAX_NOTES} more, see {RESULTS}", file=sys.stderr)


def _print_older_pictures(out: Path, files: Iterable[str]) -> None:
    """Print which pictures here are of an earlier report in other formats, as they may show other numbers."""
    drawn = [Path(name) for name in files if name.endswith(FORMATS)]
    others = {str(path.with_suffix(f".{form}")) for path in drawn for form in FORMATS} - set(files)
    if older := sorted(name for name in others if (out / name).is_file()):
        print(f"note: {listed(older)} beside it: of an earlier report, not of this one", file=sys.stderr)


def _archived(study: Study | None, archive: Path | None) -> AbstractContextManager[list[Run]]:
    """Return the runs of the archive if the study lacks runs of its own; otherwise no runs."""
    if study is None or archive is None or not needs_archive(study):
        return nullcontext([])
    return archived_runs(archive)


def _find(
    study: Study | None, folders: Iterable[Path], baseline: str | None, archived: Sequence[Run]
) -> Rows | list[Trial]:
    """Return the rows of a report; of a search, its trials."""
    if study is None:
        rows = rows_of_folders(folders, baseline)
    elif study.search is not None:
        return find_trials(study, archived)
    else:
        chosen = None if baseline is None else parse_baseline(baseline, study.factors)
        rows = rows_of_study(study, chosen, archived)
    if not rows.rows:
        reasons = [f"  {run.folder}: {run.reason}" for run in rows.unplaced]
        raise UserError("\n".join(["No run was found that can be read.", *reasons]))
    return rows


def _rows_files(
    study: Study | None, rows: Rows, metric: str, command: str, formats: Sequence[str], *, html: bool, latex: bool
) -> dict[str, bytes | str]:
    comparisons = compare_rows(rows, metric)
    drawn = pictures(rows, comparisons, metric, formats)
    before = _tables(study, rows, comparisons, metric)
    after = _provenance(study, rows, command, latex=latex)
    files: dict[str, bytes | str] = {
        f"{picture.name}.{form}": content for picture in drawn for form, content in picture.files.items()
    }
    files |= {CSV: as_csv(rows), RESULTS: _marked([*before, *_embedded(drawn), *after])}
    downloads = {CSV: str(files[CSV])}
    if latex:
        tables = [
            accuracy_table(rows, metric),
            baseline_table(rows, comparisons.baseline),
            alone_table(rows, metric),
            ensemble_table(rows),
            *(rank_tables(rows, metric).values() if rows.ranked else ()),
            *ablation_tables(rows, comparisons).values(),
            matching_table(rows),
            teacher_table(rows, metric),
            *(probe_table(rows, probed) for probed in probed_sets(rows)),
            cost_table(rows),
        ]
        files[LATEX] = downloads[LATEX] = in_latex(claim_paragraphs(rows, comparisons, metric), tables, MARK)
    if html:
        from mcl.reports.page.build import page_of_rows

        files[PAGE] = page_of_rows(rows, metric, before, after, drawn, downloads)
    return files


def _search_files(
    study: Study, trials: list[Trial], command: str, formats: Sequence[str], html: bool
) -> dict[str, bytes | str]:
    assert study.search is not None
    lines, drawn = search_page(study, trials, command, formats)
    table = trials_as_csv(trials, list(study.search.options), objectives_of(study))
    files: dict[str, bytes | str] = {**drawn, CSV: table, RESULTS: _marked(lines)}
    if html:
        from mcl.reports.page.build import page

        files[PAGE] = page(lines, drawn)
    return files


def _not_over_others(out: Path, finished: set[str], instead: Path | None) -> Path:
    """Return the folder to write to: ``out``, unless a report there has finished runs that this one lacks.

    Args:
        out: folder for the report.
        finished: the hashes of the finished runs of this report.
        instead: the folder to take then; None raises UserError.
    """
    lost = [name for run, name in finished_in(out / CSV).items() if run not in finished]
    if not lost:
        return out
    if instead is None:
        raise UserError(
            f"{out / RESULTS} has {pluralize(len(lost), 'finished run')} that would be lost, because they are"
            f" unfinished, of other settings or not here now, such as {min(lost)}. Name the folder of the runs with"
            " --runs, write elsewhere with --out, or remove the old report."
        )
    return instead


def _marked(lines: Sequence[str]) -> str:
    return "\n".join([MARK, "", *lines]) + "\n"


def check_not_replaced(out: Path, marked: Iterable[str] = (RESULTS,), others: Iterable[str] = (CSV,)) -> None:
    """Raise UserError if a report in ``out`` would replace files that no report has written.

    Args:
        out: the folder.
        marked: names of files that contain `MARK` if a report has written them.
        others: names of files that stand beside ``RESULTS.md`` if a report has written them.
    """
    lost = [out / name for name in marked if (out / name).is_file()]
    lost = [path for path in lost if MARK.encode() not in read_bytes(path, MAX_CSV)]
    if not (out / RESULTS).is_file():
        lost += [path for name in others if (path := out / name).is_file()]
    if lost:
        raise UserError(
            f"{lost[0]} was not written by this command, and would be lost. Choose another folder with --out, or, of"
            " sweep.py, with out=."
        )


def _write(out: Path, files: Mapping[str, bytes | str]) -> None:
    if not (out / FILE).is_file():  # the pictures in a study's folder are those of its report
        check_not_replaced(out, others=[name for name in files if name.endswith(FORMATS)])
    make_folder(out)
    for name, content in files.items():
        write_atomically(out / name, content)


def _tables(study: Study | None, rows: Rows, comparisons: Comparisons, metric: str) -> list[str]:
    """Return the lines above the plots: the results."""
    text = study.text.strip() if study else ""
    return [
        *(f"# {study.title if study else 'Results'}", ""),
        *claim_section(rows, comparisons, metric),
        *([text, ""] if text else []),
        *(_status(rows), ""),
        *images(rows, by_fingerprint=study is None),
        *(findings(rows, comparisons.baseline, metric) if rows.claim is None else []),
        *main_table(rows, metric),
        *not_finite(rows, metric),
        *difference_section(rows, comparisons),
        *alone_section(rows, metric),
        *rank_section(rows, metric),
        *ablation_section(rows, comparisons),
        *matching_section(rows),
        *published_table(rows, study.published if study else []),
        *ensemble_section(rows),
        *accuracies_table(rows),
        *teacher_section(rows, metric),
        *probe_section(rows),
        *cost_section(rows),
    ]


def _provenance(study: Study | None, rows: Rows, command: str, *, latex: bool) -> list[str]:
    """Return the lines below the plots: how the results were made."""
    return [
        *versions(rows),
        *missing(rows, study),
        *("## How this was made", "", "```bash", command, "```", ""),
        f"It reads only the files of the run folders. [{CSV}]({CSV}) has one line per run and network, with all numbers"
        " of the tables." + (f" [{LATEX}]({LATEX}) has the tables in LaTeX." if latex else ""),
    ]


def _status(rows: Rows) -> str:
    """Return how many runs there are of each status."""
    counts = Counter(run.status for run in [*rows.runs, *(run for run in rows.unplaced if not run.finished)])
    others = [f"{number} {status}" for status, number in sorted(counts.items()) if status != "finished"]
    text = f"{pluralize(counts['finished'], 'finished run')} in {pluralize(len(rows.rows), 'row')}"
    return f"{text}; also {listed(others)} ([below](#runs-that-do-not-count))." if others else f"{text}."


def _embedded(drawn: Sequence[Picture]) -> list[str]:
    lines = ["## Plots", ""] if drawn else []
    for picture in drawn:
        shown = next((form for form in picture.files if form != "pdf"), None)
        others = [f"[{form.upper()}]({picture.name}.{form})" for form in picture.files if form != shown]
        lines += [f"### {cell(picture.title)}", ""]
        if shown:
            lines += [f"![{cell(picture.alt)}]({picture.name}.{shown})", ""]
        lines += [cell(picture.caption), ""]
        if others:
            lines += [f"Also as {listed(others)}.", ""]
    return lines
