"""Warm start: finished runs that a search could have proposed count as trials."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from mcl.config.objective import names, value
from mcl.errors import UserError
from mcl.runs.identity import identity
from mcl.runs.metrics_file import read_metrics
from mcl.runs.reading import Run, find_runs, number, read_run
from mcl.search.space import Space, overrides
from mcl.search.trials import WARM_START

if TYPE_CHECKING:
    from optuna import Study

MOST_COMBINATIONS = 500  # of choices; each is composed
IGNORED = ("trainer.test",)  # a run that has also looked at the test split trained alike


def add_finished_runs(
    study: "Study", space: Space, places: Sequence[str], compose: Callable[[list[str]], DictConfig], objective: Any
) -> int:
    """Add the finished runs in some folders that have the fixed settings of a search and values in its ranges.

    Args:
        study: study of the search; a run that it has already is not added again.
        space: its ranges and fixed overrides.
        places: folders with run folders.
        compose: composes the configuration of a job from its overrides.
        objective: what the search maximizes.

    Returns:
        How many fit; those of an earlier start included.

    Raises:
        UserError: a folder does not exist, or there are too many combinations of choices.
    """
    from optuna.trial import create_trial

    known = {trial.user_attrs.get(WARM_START) for trial in study.get_trials(deepcopy=False)}
    fitting = 0
    candidates = list(_candidates(space, compose))
    for folder in dict.fromkeys(folder for place in places for folder in find_runs(Path(place))):
        run = read_run(folder)
        reached = value(run.summary, objective) if run.finished else None
        values = _values(run, space, candidates) if reached is not None else None
        if values is None:
            continue
        fitting += 1
        if run.summary.get("config_hash", str(folder)) not in known:
            study.add_trial(
                create_trial(
                    params=values,
                    distributions=space.distributions,
                    values=reached if isinstance(reached, list) else [reached],
                    intermediate_values=_intermediate_values(run, objective),
                    user_attrs={WARM_START: run.summary.get("config_hash", str(folder))},
                )
            )
    return fitting


def _candidates(
    space: Space, compose: Callable[[list[str]], DictConfig]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each combination of choices, and the settings of a run that has it, without those in numeric ranges."""
    choices = {option: each.choices for option, each in space.distributions.items() if hasattr(each, "choices")}
    combinations = list(itertools.islice(itertools.product(*choices.values()), MOST_COMBINATIONS + 1))
    if len(combinations) > MOST_COMBINATIONS:
        raise UserError(
            f"hydra.sweeper.warm_start: the choices have more than {MOST_COMBINATIONS} combinations to compare with."
            " Search fewer, or leave warm_start out."
        )
    for combination in combinations:
        chosen = dict(zip(choices, combination, strict=True))
        config = compose([*space.fixed, *overrides({**space.first_values(), **chosen})])
        yield chosen, _settings(identity(config), space)


def _settings(settings: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the settings that no numeric range decides."""
    ranged = {option for option, each in space.distributions.items() if not hasattr(each, "choices")}
    return {key: each for key, each in settings.items() if key not in ranged and key not in IGNORED}


def _values(
    run: Run, space: Space, candidates: Sequence[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any] | None:
    """Return the values of a run as those of a trial; None if no trial could have them."""
    own = identity(run.config)
    rest = _settings(own, space)
    chosen = next((values for values, settings in candidates if settings == rest), None)
    if chosen is None:
        return None
    values = dict(chosen)
    for option, distribution in space.distributions.items():
        if option in values:
            continue
        given = number(own.get(option))
        if given is None or not distribution._contains(distribution.to_internal_repr(given)):
            return None
        values[option] = int(given) if isinstance(distribution.low, int) else given  # type: ignore[attr-defined]
    return values


def _intermediate_values(run: Run, objective: Any) -> dict[int, float]:
    """Return the validation accuracy after each evaluation, for pruners; none for several objectives."""
    if len(names(objective)) > 1:
        return {}
    keys = run.summary.get("deployed") or [network.get("key") for network in run.summary["networks"]]
    values: dict[int, float] = {}
    best = 0.0
    for _, line in read_metrics(run.folder, "validation/"):
        found = [number(line.values.get(f"validation/{key}/backbone/top1")) for key in keys] if line else [None]
        accuracies = [each for each in found if each is not None]
        if line is None or len(accuracies) < len(found):
            continue
        accuracy = sum(accuracies) / len(accuracies)
        best = max(best, accuracy)
        values[line.epoch] = best if names(objective) == ["validation/top1_best"] else accuracy
    return values
