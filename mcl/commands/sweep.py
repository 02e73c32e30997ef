"""``python sweep.py``: plan a study, launch its runs, report."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mcl.commands.arguments import check_out
from mcl.commands.shown_plan import print_plan, print_search
from mcl.commands.sweep_arguments import Asked, understand
from mcl.config import launch, objective
from mcl.config.entry import FULL_ERROR, INTERRUPTED
from mcl.config.explain import explain
from mcl.config.grouping import grouped
from mcl.console import announced, display_path, pluralize
from mcl.devices import precision_notes
from mcl.errors import UserError
from mcl.files import expand_home
from mcl.program import is_installed, program
from mcl.reports.archive import needs_archive
from mcl.runs.archived import ARCHIVE, archived_runs
from mcl.runs.reading import Run, read_run
from mcl.signals import EXIT_STATUS, Stopped, program_signals, report_stop
from mcl.studies.plan import PlannedRow, plan_rows
from mcl.studies.planned_run import PlannedRun
from mcl.studies.study import Study, find_study, load_study, only, study_names, teachers_of

HELP = """\
Run a study: plan it, launch the runs that are unfinished, write its report.

usage: {sweep} study=NAME [option=value ...]

  study=NAME            one of: {studies}; or any folder that has a study.yaml
  plan_only=true        print the runs and how long they may take; start none
  'only={{loss: lmcl}}'   run only these rows; the report covers all
  seeds=[0,1,2,3,4]     replace the study's seeds
  runs=FOLDER           folder of the run folders; default: runs
  archived=true         count the finished runs in runs.tar.xz beside study.yaml, and report them too
  out=FOLDER            folder of the report; default: beside study.yaml, or, in an installed package, RUNS/reports
  formats=[png,svg]     of the report's plots: png, svg, pdf
  hydra/launcher=NAME   gpus (the default), basic (one run after another, in this process), slurm, ray_gpus
  hydra.launcher.X=...  options of the launcher, such as hydra.launcher.devices=[0,1]

Everything else is an override of every run, as for `{train}`: dataset.root=/data trainer.epochs=10.
Run the same command again to run only what is unfinished."""
USAGE_ERROR = 1


def main(task: launch.Task, arguments: Sequence[str]) -> int:
    """Run ``python sweep.py``.

    Args:
        task: the function that train.py decorates.
        arguments: arguments of ``python sweep.py``.

    Returns:
        The exit status: 1 if an argument is wrong or a run failed.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(studies=", ".join(study_names()), sweep=program("sweep"), train=program("train")))
        return 0
    try:
        asked = understand(arguments)
        program_signals().at_once = False
        return _sweep(task, asked)
    except Stopped as stop:
        report_stop(stop, " Type the same command again to continue.")
        return EXIT_STATUS[stop.name]
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to continue.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        message = None if os.environ.get(FULL_ERROR) == "1" else explain(error, arguments)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return getattr(error, "status", USAGE_ERROR)


def _sweep(task: launch.Task, asked: Asked) -> int:
    settings = asked.settings
    place = find_study(settings.study)
    if settings.out is not None:
        check_out(Path(settings.out), option="out=")
    with asked.devices(), announced(f"composing the runs of {place.name}"):
        study = load_study(place, asked.runs, settings.seeds)
    if asked.slots is None and study.precision_is_open:
        raise UserError(
            f"{asked.launcher[0]}: trainer.precision is left to the device, which may differ between a node and this"
            " machine, so that runs would not be found. Give trainer.precision=bfloat16 or trainer.precision=float32."
        )
    runs = only(study, settings.only or {})
    archived = _finished_in(place / ARCHIVE, study, asked=settings.archived)
    if study.search is None:
        runs = _plan(asked, study, runs, archived, place / ARCHIVE)
    else:
        with asked.devices():
            print_search(study, study.search)
        _print_notes(asked, study)
    return 0 if settings.plan_only else _launch_and_report(task, asked, study, runs, place)


def _plan(
    asked: Asked, study: Study, runs: list[PlannedRun], archived: Sequence[Run], archive: Path
) -> list[PlannedRun]:
    """Print the plan of a study, and return the runs to launch.

    Those that are finished in an archive and count there are left out. A cluster gets no finished run; other launchers
    find out themselves.
    """
    settings = asked.settings
    with announced("looking for finished runs" + (" and timing a step of each kind" if settings.plan_only else "")):
        counted = archived if settings.archived else []
        rows = plan_rows(study, runs, archived=counted, estimate=settings.plan_only)
        teachers = teachers_of(planned for row in rows for planned in row.unfinished)
        rows = [*plan_rows(study, teachers, estimate=settings.plan_only), *rows]
    print_plan(study, rows, asked.at_once)
    if any(row.unfinished for row in rows):
        _print_notes(asked, study)
    names = {run.folder.name for run in archived}
    only_there = [run for run in runs if run.folder.name in names and not run.folder.is_dir()]
    if settings.archived:
        _warn_of_teachers(only_there, rows)
        runs = [run for run in runs if run not in only_there]
    elif only_there:
        print(f"{len(only_there)} of these are finished in {display_path(archive)}: archived=true counts them.\n")
    if asked.slots is None:
        runs = [run for run in runs if "resume=never" in run.overrides or not read_run(run.folder).finished]
    return runs


def _warn_of_teachers(archived: Sequence[PlannedRun], rows: Sequence[PlannedRow]) -> None:
    """Print how many archived runs no longer count if a teacher, whose weights no archive has, trains to others."""
    again = {teacher.folder for teacher in teachers_of(planned for row in rows for planned in row.unfinished)}
    again = {folder for folder in again if not folder.is_dir()}
    taught = [run for run in archived if any(teacher.folder in again for teacher in run.teachers.values())]
    if taught:
        print(
            f"note: {pluralize(len(taught), 'archived run')} had a teacher that is trained again, because an archive"
            " has no weights. On another machine its weights may differ; these runs then do not count, and would run"
            " again.\n"
        )


def _print_notes(asked: Asked, study: Study) -> None:
    """Print what the user should know of the precision of the runs, if they train on processors of this machine."""
    if asked.slots and not any(slot.gpus for slot in asked.slots):
        for note in [note for each in study.precisions for note in precision_notes(torch.device("cpu"), each)]:
            print(f"note: {note}\n")


def _launch_and_report(task: launch.Task, asked: Asked, study: Study, runs: Sequence[PlannedRun], place: Path) -> int:
    """Launch the runs of a study, write its report, and return the exit status."""
    from mcl.reports.report import check_not_replaced, write_report

    settings = asked.settings
    aside = expand_home(settings.runs) / "reports" / study.name  # used if the report beside the study covers other runs
    out = Path(settings.out) if settings.out else aside if is_installed(place) else place
    check_not_replaced(out)  # before hours of training, not after
    hydra = [*asked.launcher, *(text for text in asked.runs if text.startswith("runs="))]
    with grouped(study.group, study.varied):
        taught_later = [run for run in runs if run.stand_ins and not read_run(run.folder).finished]
        first = [*teachers_of(taught_later), *(run for run in runs if not run.stand_ins)]
        first = list({run.folder: run for run in first}.values())  # a teacher may be a row, too
        failures = _run(task, study, first, hydra)
        if taught_later and failures and launch.stops_at_failure(hydra):
            failures.append(f"fail_fast: {pluralize(len(taught_later), 'run')} with teachers not started.")
        elif taught_later:
            study, runs, waiting = _with_trained_teachers(asked, taught_later, place)
            failures += [*waiting, *_run(task, study, runs, hydra)]
    for message in failures:
        print(f"error: {message}", file=sys.stderr)
    command = f"{program('sweep')} {shlex.join(asked.typed)}" if asked.runs or settings.seeds or settings.out else None
    with asked.devices():
        written = write_report(
            study,
            None,
            out,
            settings.formats,
            command=command,
            instead=aside,
            archive=place / ARCHIVE if settings.archived else None,
        )
    print(f"\nreport: {display_path(written)}")
    if written.parent != out:
        print(f"{display_path(out / written.name)} covers finished runs that are not among these, and was not changed.")
    return USAGE_ERROR if failures else 0


def _with_trained_teachers(
    asked: Asked, runs: Sequence[PlannedRun], place: Path
) -> tuple[Study, list[PlannedRun], list[str]]:
    """Compose a study anew, now that the teachers of some runs have been trained.

    Returns:
        The study; those of the runs whose teachers are finished; a message on each other one.
    """
    wanted = [(run.labels, run.seed) for run in runs]
    with asked.devices():
        study = load_study(place, asked.runs, asked.settings.seeds)
    planned = [run for run in study.runs if (run.labels, run.seed) in wanted]
    messages = [
        f"{', '.join(run.labels.values())}, seed {run.seed}: not started: a teacher did not finish, or its weights are"
        f" gone: {', '.join(str(teacher.folder) for teacher in run.teachers.values())}."
        for run in planned
        if run.stand_ins
    ]
    return study, [run for run in planned if not run.stand_ins], messages


def _finished_in(archive: Path, study: Study, *, asked: bool) -> list[Run]:
    """Return the finished runs of an archive, if planned runs have no folder.

    Raises:
        UserError: The archive was asked for, and there is none, or the study is a search.
    """
    if asked and study.search is not None:
        raise UserError("archived=true: a search cannot continue from archived trials. Leave archived out.")
    if asked and not archive.is_file():
        raise UserError(f"archived=true: there is no {display_path(archive)}. Leave archived out.")
    if study.search is not None or not archive.is_file() or not needs_archive(study):
        return []
    with archived_runs(archive) as runs:
        return [run for run in runs if run.finished]


def _run(task: launch.Task, study: Study, runs: Sequence[PlannedRun], hydra: Sequence[str]) -> list[str]:
    """Run the unfinished runs, and return the error messages, each once."""
    if study.search is not None:
        assert study.base is not None
        directions = objective.directions(study.base.config.objective)
        direction = f"hydra.sweeper.direction=[{','.join(directions)}]"
        seed = [f"hydra.sweeper.sampler.seed={study.seeds[0]}"]  # the same trials again
        sweeper = [*study.search.settings, direction, *seed]
        launch.search(task, [*study.common, f"seed={study.seeds[0]}", *study.search.ranges], [*sweeper, *hydra])
        return []
    returns = launch.launch(task, [run.overrides for run in runs], hydra)
    failed = [each._return_value for each in returns if each.status.name == "FAILED"]
    return list(dict.fromkeys(explain(error) or f"{type(error).__name__}: {error}" for error in failed))
