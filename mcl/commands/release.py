"""``python -m mcl release``: give away the networks of a study, one run of each row."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.commands.arguments import add_place, check_out, study_at
from mcl.program import program

if TYPE_CHECKING:
    from mcl.studies.study import Study

HELP = "Write the deployed networks of each row of a study, of its best seed by validation, with a model card."
EPILOG = """\
examples:

  python -m mcl release experiments/few_images_tuned
  python -m mcl release experiments/few_images_tuned --only arm=lmcl --choose first
  python -m mcl evaluate few_images_tuned/lmcl-resnet8

Each row gets a folder in PLACE/weights: safetensors of all networks of one run, run.json with its settings and results,
and README.md, the card, with a header for model hubs, hashes, and logits by which the files can be checked.
In this project and below experiments/ of the working folder, mcl.load("STUDY/ROW") and the other commands find them by
name; elsewhere by path. The seed is chosen on validation images, never on test images unless you say so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``release``."""
    add_place(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: PLACE/weights")
    parser.add_argument(
        "--choose",
        choices=["validation", "test", "first"],
        default="validation",
        help="what chooses the seed: accuracy on the validation or the test images, or the first; default: %(default)s",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="LABEL", help="release rows with this label: factor=label"
    )
    parser.add_argument("--license", default="MIT", help="SPDX identifier for the card; default: %(default)s")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that the runs may build from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the folders and print what each holds."""
    from mcl.console import announced, display_path
    from mcl.deploy.release import write_release
    from mcl.deploy.release_card import ReleaseFacts, SeedStatistics, check_license
    from mcl.deploy.release_folder import WEIGHTS
    from mcl.deploy.saved_run import SavedRun
    from mcl.errors import UserError
    from mcl.reports.chosen_runs import choose_runs
    from mcl.reports.rows import parse_baseline, rows_of_folders, rows_of_study
    from mcl.runs.reading import find_runs
    from mcl.runs.received import file_name

    place, license = arguments.place, check_license(arguments.license)
    check_out(arguments.out)
    with announced(f"reading the runs of {place}"):
        study = study_at(place, arguments.runs)
        if study is not None and study.search is not None:
            raise UserError(f"{place} is a search, which has no rows. Export the run of a trial: python -m mcl export.")
        rows = rows_of_folders(find_runs(place)) if study is None else rows_of_study(study)
    only: dict[str, str] = {}
    for text in arguments.only:
        for factor, label in parse_baseline(text, rows.factors, option="--only").items():
            if only.setdefault(factor, label) != label:
                raise UserError(
                    f"--only: {factor} is given as {only[factor]} and as {label}. Type one command for each."
                )
    out = arguments.out or place / WEIGHTS
    name = file_name(place.resolve().name)
    for chosen in choose_runs(rows, arguments.choose, only):
        accuracy = {
            network: SeedStatistics(each.count, each.mean, each.deviation, each.interval)
            for network, each in chosen.accuracy.items()
        }
        command = "" if study is None else _command(study, chosen.run.folder)
        facts = ReleaseFacts(
            f"{name}/{chosen.name}", arguments.choose, chosen.seeds, accuracy, command=command, license=license
        )
        files = write_release(SavedRun(chosen.run.folder, allow=arguments.allow), out / chosen.name, facts)
        size = sum(file.stat().st_size for file in files) / 1e6
        how = "the first" if chosen.score is None else f"{chosen.score:.2f} % by {arguments.choose}, the best"
        print(f"{display_path(out / chosen.name)}  {size:.2f} MB, seed {chosen.run.seed}: {how} of {chosen.seeds}")
    if unfinished := [rows.name(row) for row in rows.rows if not row.finished]:
        print(f"without a finished run, so not released: {', '.join(unfinished)}")
    return 0


def _command(study: "Study", folder: Path) -> str:
    """Return the command that trains a run of a study, without paths of this machine."""
    import shlex

    from mcl.reports.local_paths import without_local_paths

    (planned,) = (run for run in study.runs if run.folder == folder)
    overrides = [override for override in planned.overrides if not override.startswith("runs=")]
    return str(without_local_paths(f"{program('train')} {shlex.join(overrides)}"))
