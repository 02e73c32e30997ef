"""``python -m mcl report``: write a page, tables and plots of a folder of runs."""

import argparse
from pathlib import Path

from mcl.commands.arguments import add_place, check_out, study_at

HELP = "Write tables with statistics, a CSV file and plots of a folder of runs or of a study."
EPILOG = """\
PLACE is a folder of runs (runs that differ only in the seed share a row) or a study's folder:

  python -m mcl report runs/digits
  python -m mcl report experiments/quickstart --html
  python -m mcl report runs --baseline loss=mcl --metric ensemble --format svg --out /tmp/report

The files of runs are read, never changed. RESULTS.md, results.csv and the plots go to PLACE or the folder of --out.
Runs of a study that are not here are taken from PLACE/runs.tar.xz, which --archive writes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``report``."""
    from mcl.reports.figures import FORMATS
    from mcl.reports.rows import METRICS

    add_place(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the files; default: PLACE")
    parser.add_argument(
        "--metric", choices=list(METRICS), default="top1_last", help="accuracy of the main table; default: %(default)s"
    )
    parser.add_argument(
        "--baseline", metavar="LABEL", help="row that the others are compared with: factor=label, separated by commas"
    )
    parser.add_argument("--html", action="store_true", help="also write report.html: one page with live charts")
    parser.add_argument("--latex", action="store_true", help="also write tables.tex: tables for a paper (booktabs)")
    parser.add_argument(
        "--archive", action="store_true", help="also write runs.tar.xz beside a study.yaml, to report from later"
    )
    parser.add_argument(
        "--format",
        action="append",
        choices=FORMATS,
        dest="formats",
        help="format of the plots; repeat for more; default: png",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from mcl.console import announced, display_path
    from mcl.errors import UserError
    from mcl.reports.report import LATEX, PAGE, write_report
    from mcl.runs.archived import ARCHIVE
    from mcl.runs.reading import find_runs

    place = arguments.place
    check_out(arguments.out)
    with announced(f"reading the runs of {place}"):
        study = study_at(place, arguments.runs)
        runs = find_runs(place) if study is None else []
    if study is None and not runs:
        raise UserError(
            f"{place} holds no run. Give a folder of runs, such as runs/digits, or a study's, such as"
            " experiments/quickstart."
        )
    if arguments.archive and (arguments.out is not None or study is None):
        raise UserError(f"--archive: {ARCHIVE} is written beside a study.yaml: PLACE must have one, and no --out.")
    archived = study is not None and arguments.runs is None and (place / ARCHIVE).is_file()
    with announced("writing tables and pictures"):
        path = write_report(
            study,
            runs,
            arguments.out or place,
            tuple(arguments.formats or ["png"]),
            metric=arguments.metric,
            baseline=arguments.baseline,
            command=_typed(arguments),
            html=arguments.html,
            latex=arguments.latex,
            archive=place / ARCHIVE if archived else None,
            pack=arguments.archive,
        )
    print(display_path(path))
    for asked, name in ((arguments.html, PAGE), (arguments.latex, LATEX)):
        if asked:
            print(display_path(path.with_name(name)))
    return 0


def _typed(arguments: argparse.Namespace) -> str:
    """Return the command that writes the same report, wherever it goes; from the archive, if one is written."""
    import shlex

    from mcl.reports.local_paths import portable_path

    runs = None if arguments.archive else arguments.runs
    options = {"--runs": runs and portable_path(runs), "--baseline": arguments.baseline}
    options["--metric"] = arguments.metric if arguments.metric != "top1_last" else None
    words = [portable_path(arguments.place)]
    words += [str(word) for option, value in options.items() if value is not None for word in (option, value)]
    words += [word for name in arguments.formats or [] for word in ("--format", name)]
    words += ["--html"] if arguments.html else []
    words += ["--latex"] if arguments.latex else []
    return f"python -m mcl report {shlex.join(words)}"
