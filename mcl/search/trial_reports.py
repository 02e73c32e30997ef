"""Pruning in the process of a run: report its evaluations to the search, and learn whether to end it."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mcl.config.objective import names
from mcl.errors import UserError
from mcl.search.storage import build, open_storage, quiet_optuna

PRUNED_AFTER = "pruned_after"  # of a trial: the last epoch of its run
PRUNER = "pruner"  # of a study: the pruner's node

logger = logging.getLogger(__name__)


class TrialPruner:
    """Report the validation accuracy after each evaluation, and ask the pruner of the search whether to end the run.

    A trial that has ended reports nothing, so a run that is started again by hand trains to its end.

    Args:
        trial: ``storage``, ``study`` and ``number``, as ``trial=`` gives them.
        objective: what the search maximizes.
        deployed: keys of the networks that count.
        folder: what a relative path of the storage starts from.

    Raises:
        UserError: there is no such trial.
    """

    def __init__(self, trial: Any, objective: Any, deployed: Sequence[str], folder: str):
        if not isinstance(trial, Mapping) or set(trial) != {"storage", "study", "number"}:
            raise UserError(
                f"trial={trial}: a search sets this option; expected its storage, study and number. Leave it out."
            )
        place = str(trial["storage"])
        place = place if "://" in place else os.path.join(folder, place)
        with quiet_optuna():
            import optuna

            if "://" not in place and not os.path.exists(place):
                raise UserError(f"trial.storage={place}: there is no such file. Leave trial out to train to the end.")
            # A sampler without relations: the parameters are drawn already.
            sampler = optuna.samplers.RandomSampler()
            try:
                study = optuna.load_study(study_name=str(trial["study"]), storage=open_storage(place), sampler=sampler)
                frozen = study.trials[int(trial["number"])]
            except (KeyError, IndexError) as error:
                raise UserError(
                    f"trial={dict(trial)}: the storage has no such trial. Leave trial out to train to the end."
                ) from error
            study.pruner = build(study.user_attrs[PRUNER], "pruner")
            self._trial = optuna.trial.Trial(study, frozen._trial_id)
        self._ended = frozen.state.is_finished()
        self._best = max(frozen.intermediate_values.values(), default=0.0)
        self._keeps_best = "validation/top1_best" in names(objective)
        self._deployed = deployed

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Return whether to end the run after this evaluation."""
        if self._ended:
            return False
        accuracies = [metrics[f"validation/{key}/backbone/top1"] for key in self._deployed]
        value = sum(accuracies) / len(accuracies)
        self._best = max(self._best, value)
        try:
            with quiet_optuna():
                self._trial.report(self._best if self._keeps_best else value, epoch)
                prune = self._trial.should_prune()
                if prune:
                    self._trial.set_user_attr(PRUNED_AFTER, epoch)
        except Exception as error:  # of the file system or of a database: the run is worth more than its pruning
            logger.warning("The search does not answer, so this run continues: %s: %s", type(error).__name__, error)
            return False
        return prune
