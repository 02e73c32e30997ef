"""One search from its command line to its best trials. Hydra does not scan ``_*.py``."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.mcl_optuna._options import Options
from mcl.config.grouping import option
from mcl.config.objective import names
from mcl.console import display_path, make_console, pluralize
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.lock import FolderLock, InUse, holder
from mcl.search.space import WITHOUT_TEST, Space, describe, parse_space
from mcl.search.storage import (
    FOLDER,
    JOURNAL,
    build,
    open_storage,
    place_for_jobs,
    quiet_optuna,
    shown,
)
from mcl.search.trial_reports import PRUNER
from mcl.search.trials import Proposal, Trials, count_combinations, is_grid
from mcl.search.warm_start import add_finished_runs

RESULTS = "optimization_results.yaml"  # as Hydra's own sweeper for Optuna names it
SETTINGS = "settings"  # of a study: what its trials have in common


def search(
    options: Options, config: DictConfig, loader: ConfigLoader, launcher: Launcher, arguments: Sequence[str]
) -> None:
    """Run the trials that are left, and write and print the best ones."""
    with quiet_optuna():
        space = parse_space(arguments, options.params)
        if option(WITHOUT_TEST) not in {option(text) for text in space.fixed}:
            space.fixed.append(WITHOUT_TEST)
        sampler_arguments = {"search_space": space.grid()} if is_grid(options.sampler) else {}
        build(options.sampler, "sampler", **sampler_arguments)
        pruner = build(options.pruner, "pruner")

        def compose(overrides: list[str]) -> DictConfig:
            return loader.load_sweep_config(config, overrides)

        objective = _check(compose, space)
        for missing in (place for place in options.places if not Path(place).is_dir()):
            raise UserError(f"hydra.sweeper.warm_start={missing}: there is no such folder. Give a folder of runs.")
        name = options.study_name or _name(options, space)
        folder = Path(str(config.hydra.sweep.dir)) / FOLDER / name
        place = options.storage or str(folder / JOURNAL)
        with _locked(folder), _alone_in(options.storage, name):
            study = _open(place, name, options, space, pruner)
            n_trials = options.n_trials
            if is_grid(options.sampler):
                n_trials = min(n_trials, count_combinations(space.grid()))
            console = make_console()
            if options.places:
                fitting = add_finished_runs(study, space, options.places, compose, objective)
                console.print(f"warm start: {pluralize(fitting, 'finished run')} of {', '.join(options.places)} fit")
            trials = Trials(
                study,
                space,
                options.sampler,
                n_trials=n_trials,
                n_jobs=options.n_jobs,
                max_failure_rate=options.max_failure_rate,
                for_job=_for_job(place, name) if options.prunes else lambda number: [],
            )
            before = len(trials.begun())
            so_far = f", {before} of them begun before" if before else ""
            console.print(f"search {name}: {pluralize(n_trials, 'trial')}{so_far}; {shown(place)}", soft_wrap=True)
            if not trials.finished:
                _run(launcher, trials)
            _report(study, Path(str(config.hydra.sweep.dir)), names(objective))
            trials.check_end()


def _run(launcher: Launcher, trials: Trials) -> None:
    """Run all trials: one at a time as devices become free, if the launcher can, or else in batches."""
    jobs, stream = _Jobs(trials), getattr(launcher, "launch_one_by_one", None)
    if stream is not None:
        stream(jobs)
        return
    # The basic launcher runs jobs one after another, so each can learn from all before it.
    one_by_one = type(launcher).__name__ == "BasicLauncher"
    while batch := _batch(trials, 1 if one_by_one else None):
        returns = launcher.launch([each.overrides for each in batch], initial_job_idx=batch[0].number)
        for proposal, returned in zip(batch, returns, strict=True):
            jobs.ended(proposal.number, returned, stopped=False)


def _batch(trials: Trials, most: int | None) -> list[Proposal]:
    batch: list[Proposal] = []
    while (most is None or len(batch) < most) and (proposal := trials.next()) is not None:
        batch.append(proposal)
    return batch


class _Jobs:
    """The trials as jobs of a launcher, as ``gpus`` asks for them."""

    def __init__(self, trials: Trials):
        self._trials = trials

    def next(self) -> tuple[int, list[str], str] | None:
        """Return the number, the overrides and the label of the next job; None if there is none now."""
        proposal = self._trials.next()
        return None if proposal is None else (proposal.number, proposal.overrides, proposal.label)

    def ended(self, number: int, returned: JobReturn, *, stopped: bool) -> None:
        """Record how a job has ended."""
        if stopped:
            self._trials.left_running(number)
        elif returned.status is JobStatus.COMPLETED:
            self._trials.completed(number, returned._return_value)
        else:
            self._trials.failed(number, returned._return_value)


def _check(compose: Callable[[list[str]], DictConfig], space: Space) -> Any:
    """Compose one job, so that a wrong setting is found before anything is written. Return its objective."""
    from mcl.search.space import overrides

    config = compose([*space.fixed, *overrides(space.example())])
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = 0
    _ = config.hydra.sweep.subdir  # resolving it checks the settings
    objective = config.objective
    return OmegaConf.to_object(objective) if OmegaConf.is_config(objective) else objective


def _name(options: Options, space: Space) -> str:
    """Name a search after what decides its trials, so that the same command continues it."""
    decisive = [_settings(options, space), options.sampler, options.pruner]
    return f"search-{hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:8]}"


def _settings(options: Options, space: Space) -> dict[str, Any]:
    """Return what all trials of a search have in common."""
    fixed = sorted(text for text in space.fixed if option(text) not in ("runs", "tracking"))
    return {"ranges": describe(space.distributions.items()), "fixed": fixed, "directions": options.directions}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let no second process run the same search."""
    try:
        lock = FolderLock(folder)
    except InUse as error:
        raise UserError(
            f"{folder} is in use by {holder(folder) or 'another process'}, which runs this search. Wait until it has"
            " ended, or give another hydra.sweeper.study_name=NAME."
        ) from error
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # it has trials
            folder.rmdir()
            folder.parent.rmdir()


@contextmanager
def _alone_in(place: str | None, name: str) -> Iterator[None]:
    """Let no second process with another folder of runs run the same search in the same file."""
    if place is None or "://" in place:
        yield
        return
    lock = FileLock(f"{place}.{name}.lock", timeout=0)
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (Timeout, OSError) as error:
        reason = "another process runs this search there" if isinstance(error, Timeout) else error.strerror
        raise UserError(
            f"hydra.sweeper.storage={shown(place)}: {reason}. Wait until it has ended, or give another file."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _open(place: str, name: str, options: Options, space: Space, pruner: Any) -> Any:
    import optuna

    settings = _settings(options, space)
    study = optuna.create_study(
        study_name=name,
        storage=open_storage(place),
        directions=options.directions,
        pruner=pruner,
        load_if_exists=True,
    )
    stored = study.user_attrs.get(SETTINGS)
    if stored is not None and stored != settings:
        changed = [key for key in settings if stored.get(key) != settings[key]]
        raise UserError(
            f"hydra.sweeper.study_name={name}: the search of this name in {shown(place)} has other"
            f" {' and '.join(changed)}. Choose another name, or leave study_name out."
        )
    if stored is None:
        study.set_user_attr(SETTINGS, settings)
    if study.user_attrs.get(PRUNER) != options.pruner:
        study.set_user_attr(PRUNER, dict(options.pruner))
    return study


def _for_job(place: str, name: str) -> Callable[[int], list[str]]:
    """Return a function that tells a job, in an override, which trial it is."""
    storage, study = (QuotedString(text, Quote.single).with_quotes() for text in (place_for_jobs(place), name))
    return lambda number: [f"trial={{storage:{storage},study:{study},number:{number}}}"]


def _report(study: Any, folder: Path, objectives: Sequence[str]) -> None:
    """Print the best trials, and write them to a file."""
    from mcl.console import accuracy

    console = make_console()
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    counts = [f"{len(complete)} finished"]
    for state, word in (("PRUNED", "pruned"), ("FAIL", "failed"), ("RUNNING", "interrupted")):
        if count := sum(trial.state.name == state for trial in trials):
            counts.append(f"{count} {word}")
    console.print(f"\n{pluralize(len(trials), 'trial')}: {', '.join(counts)}", soft_wrap=True)
    if not complete:
        return
    if len(objectives) == 1:
        best = study.best_trial
        results: dict[str, Any] = {"name": "optuna", "best_params": best.params, "best_value": best.value}
        console.print(f"best {objectives[0]}: {accuracy(best.value, 2)} with {_text(best.params)}", soft_wrap=True)
    else:
        front = sorted(study.best_trials, key=lambda trial: tuple(trial.values))
        results = {"name": "optuna", "solutions": [{"params": t.params, "values": t.values} for t in front]}
        console.print(f"best trade-offs of {', '.join(objectives)}:", soft_wrap=True)
        for trial in front:
            values = ", ".join(f"{value:.6g}" for value in trial.values)
            console.print(f"  {values} with {_text(trial.params)}", soft_wrap=True)
    file = folder / RESULTS
    write_atomically(file, OmegaConf.to_yaml(results))
    console.print(display_path(file), soft_wrap=True)


def _text(values: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
