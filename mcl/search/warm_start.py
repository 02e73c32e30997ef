"""Warm start: finished runs that a search could have proposed count as trials."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from mcl.config.dataset_fingerprint import data_fingerprint
from mcl.config.objective import names, value
from mcl.data.fingerprint import same_images
from mcl.runs.identity import identity
from mcl.runs.metrics_file import read_metrics
from mcl.runs.reading import Run, find_runs, number, read_run
from mcl.runs.summary import deployed_networks
from mcl.search.matching_runs import RunMatcher
from mcl.search.space import Space, overrides
from mcl.search.trials import WARM_START

if TYPE_CHECKING:
    from optuna import Study

IGNORED = ("trainer.test",)  # a run that has also looked at the test split trained alike


def add_finished_runs(
    study: "Study", space: Space, places: Sequence[str], compose: Callable[[list[str]], DictConfig], objective: Any
) -> int:
    """Add the finished runs in some folders that have the fixed settings of a search and values in its ranges.

    A run on other images than those that a trial would see does not fit, even if their folders have the same name.

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

    trials = study.get_trials(deepcopy=False)
    known = {trial.user_attrs.get(WARM_START) for trial in trials}
    own = [trial.params for trial in trials if WARM_START not in trial.user_attrs]
    matcher = RunMatcher(space, compose, IGNORED)
    fingerprints: dict[str, str | None] = {}  # by the settings of the dataset

    def same_as_trials(run: Run, values: dict[str, Any]) -> bool:
        """Return whether a run saw the images that a trial with these values would see, as far as this is known."""
        settings = repr([item for item in sorted(identity(run.config).items()) if item[0].startswith("dataset.")])
        if settings not in fingerprints:
            fingerprints[settings] = data_fingerprint(compose([*space.fixed, *overrides(values)]))
        seen, expected = run.summary.get("data"), fingerprints[settings]
        return seen is None or expected is None or same_images(str(seen), expected)

    fitting = 0
    for folder in dict.fromkeys(folder for place in places for folder in find_runs(Path(place))):
        run = read_run(folder)
        reached = value(run.summary, names(objective)) if run.finished else None
        if not isinstance(reached, list):
            continue
        values = matcher.values(run)
        if values is None or values in own:  # a run of this search is a trial already
            continue
        if not same_as_trials(run, values):
            continue
        fitting += 1
        mark = str(run.summary.get("config_hash", folder))
        if mark not in known:
            known.add(mark)
            study.add_trial(
                create_trial(
                    params=values,
                    distributions=space.distributions,
                    values=reached,
                    intermediate_values=_intermediate_values(run, objective),
                    user_attrs={WARM_START: mark},
                )
            )
    return fitting


def _intermediate_values(run: Run, objective: Any) -> dict[int, float]:
    """Return the validation accuracy after each evaluation, for pruners; none for several objectives."""
    if len(names(objective)) > 1:
        return {}
    keys = [network.get("key") for network in deployed_networks(run.summary)]
    values: dict[int, float] = {}
    best = 0.0
    for _, line in read_metrics(run.folder, "validation/"):
        if line is None:
            continue
        found = [number(line.values.get(f"validation/{key}/backbone/top1")) for key in keys]
        accuracies = [each for each in found if each is not None]
        if len(accuracies) < len(found):
            continue
        accuracy = sum(accuracies) / len(accuracies)
        best = max(best, accuracy)
        values[line.epoch] = best if names(objective) == ["validation/top1_best"] else accuracy
    return values
