"""``python -m mcl report``: a page, a table and plots of a folder of runs."""

import argparse
from pathlib import Path

HELP = "Tables with honest statistics, a CSV file and pictures, of a folder of runs or of a study."
EPILOG = """\
PLACE is a folder of runs, whose rows are what differs in more than the seed, or a study's folder:

  python -m mcl report runs/digits
  python -m mcl report experiments/quickstart --html
  python -m mcl report runs --baseline loss=mcl --metric ensemble --format svg --out /tmp/report

Run folders are read, never changed. RESULTS.md, results.csv and the pictures go to PLACE or the folder of --out.
A study whose runs are not here is reported from PLACE/runs.tar.xz, which --archive writes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``report``."""
    from mcl.reports.figures import FORMATS
    from mcl.reports.rows import METRICS

    parser.add_argument("place", type=Path, metavar="PLACE", help="folder of runs, or of a study")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where files go; default: PLACE")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="where a study has its runs; default: as it says")
    parser.add_argument(
        "--metric", choices=list(METRICS), default="top1_last", help="accuracy of the main table; default: %(default)s"
    )
    parser.add_argument(
        "--baseline", metavar="LABEL", help="what rows are compared with: factor=label, several with a comma"
    )
    parser.add_argument("--html", action="store_true", help="write report.html, too: one page with live charts")
    parser.add_argument(
        "--archive", action="store_true", help="of a study: write runs.tar.xz, too, from which it can be reported later"
    )
    parser.add_argument(
        "--format", action="append", choices=FORMATS, dest="formats", help="of pictures; again for more; default: png"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the report and print its path."""
    from mcl.console import display_path
    from mcl.errors import UserError
    from mcl.reports.archive import ARCHIVE
    from mcl.reports.report import PAGE, write_report
    from mcl.runs.reading import find_runs

    place, study, folders, archive = arguments.place, None, [], None
    if arguments.archive and (arguments.out is not None or not (place / "study.yaml").is_file()):
        raise UserError(f"--archive: {ARCHIVE} is written beside a study.yaml: PLACE must have one, and no --out.")
    if (place / "study.yaml").is_file():
        from mcl.studies.study import load_study

        study = load_study(place, [f"runs={arguments.runs}"] if arguments.runs else [])
        if arguments.runs is None and (place / ARCHIVE).is_file():
            archive = place / ARCHIVE
    elif arguments.runs is not None:
        raise UserError(f"--runs {arguments.runs}: only a study's folder has its runs elsewhere; {place} is none.")
    else:
        folders = find_runs(place)
    path = write_report(
        study,
        folders,
        arguments.out or place,
        tuple(arguments.formats or ["png"]),
        metric=arguments.metric,
        baseline=arguments.baseline,
        command=_typed(arguments),
        html=arguments.html,
        archive=archive,
        pack=arguments.archive,
    )
    print(display_path(path))
    if arguments.html:
        print(display_path(path.with_name(PAGE)))
    return 0


def _typed(arguments: argparse.Namespace) -> str:
    """Return the command that makes the same report; from the archive, if one is written."""
    import shlex

    runs = None if arguments.archive else arguments.runs
    options = {"--out": arguments.out, "--runs": runs, "--baseline": arguments.baseline}
    options["--metric"] = arguments.metric if arguments.metric != "top1_last" else None
    words = [str(arguments.place)]
    words += [str(word) for option, value in options.items() if value is not None for word in (option, value)]
    words += [word for name in arguments.formats or [] for word in ("--format", name)]
    words += ["--html"] if arguments.html else []
    return f"python -m mcl report {shlex.join(words)}"
