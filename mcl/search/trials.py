"""The trials of a search: which one runs next, and what becomes of one that has ended."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcl.console import pluralize
from mcl.errors import UserError
from mcl.search.space import Space, overrides
from mcl.search.storage import build, quiet_optuna
from mcl.search.trial_reports import PRUNED_AFTER

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

RETRY_OF = "retry_of"  # of a trial: the number of the failed one that it repeats
WARM_START = "warm_start"  # of a trial: the finished run that it was read from
ENDED_BY_GRID = "`Study.stop` is supposed to be invoked"  # by GridSampler, outside of study.optimize


@dataclass(frozen=True)
class Proposal:
    """A trial to run.

    Args:
        number: its number in the search.
        overrides: of its job.
        label: the options that vary, for display.
    """

    number: int
    overrides: list[str]
    label: str


class Trials:
    """Propose trials and record their results, in a study of Optuna that outlives this process.

    Trials that an earlier process left running are proposed first, and then failed ones once more. The proposal of a
    trial depends on its number and on the trials before it, not on how often the search was interrupted.

    Args:
        study: with its pruner; the sampler is built anew for each trial.
        space: what varies.
        sampler: node of the sampler.
        n_trials: trials to begin, those of earlier processes included; trials of a warm start do not count.
        n_jobs: trials that may run at the same time.
        max_failure_rate: the largest fraction of its trials that may fail, those of earlier processes included.
        for_job: overrides that tell a job which trial it is, from the number of the trial.
    """

    def __init__(
        self,
        study: "Study",
        space: Space,
        sampler: Mapping[str, Any],
        *,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        for_job: Any = lambda number: [],
    ):
        self.study, self.space = study, space
        self._sampler_node = sampler
        self._n_jobs, self._max_failure_rate = n_jobs, max_failure_rate
        self._for_job = for_job
        self._running: set[int] = set()
        self._stopped = 0
        self._error: BaseException | None = None
        self._interrupted = list(self._clean_up())
        self._left = n_trials - len(self.begun())

    def begun(self) -> "list[FrozenTrial]":
        """Return the trials that count: all but those of a warm start, and failed ones that run again."""
        trials = self.study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        return [trial for trial in trials if WARM_START not in trial.user_attrs and trial.number not in repeated]

    @property
    def finished(self) -> bool:
        """Whether no trial is left to run."""
        return not self._interrupted and self._left <= 0 and not self._waiting()

    def next(self) -> Proposal | None:
        """Return the next trial to run; None if none is left, or as many as allowed run already."""
        if len(self._running) >= self._n_jobs:
            return None
        if self._interrupted:
            trial = self._interrupted.pop(0)
        elif self._waiting() or self._left > 0:
            trial = self._ask()
        else:
            return None
        self._running.add(trial.number)
        values = overrides({option: trial.params[option] for option in self.space.distributions})
        fixed = [*self.space.fixed, *self._for_job(trial.number)]
        return Proposal(trial.number, [*fixed, *values], " ".join(values))

    def completed(self, number: int, returned: Any) -> None:
        """Record what the job of a trial returned: its objective, or None if it was pruned."""
        self._running.discard(number)
        trial = self.study.get_trials(deepcopy=False)[number]
        if returned is None and PRUNED_AFTER in trial.user_attrs:
            self._tell(number, state="PRUNED")
        elif returned is None:
            self._fail(number, UserError("the run returned no objective"))
        else:
            self._tell(number, returned)

    def failed(self, number: int, error: BaseException) -> None:
        """Record that the job of a trial failed.

        Raises:
            UserError: too many have failed.
        """
        self._running.discard(number)
        self._fail(number, error)

    def left_running(self, number: int) -> None:
        """Take note of a job that something stopped: its trial continues when the search is started again."""
        self._running.discard(number)
        self._stopped += 1

    def check_end(self) -> None:
        """Raise UserError if too many trials failed, or if one was stopped."""
        self._check_failures(at_end=True)
        if self._stopped:
            raise UserError(
                f"{pluralize(self._stopped, 'trial')} stopped by another program: type the same command again to"
                " continue."
            )

    def _clean_up(self) -> "Iterator[FrozenTrial]":
        """Yield the trials that a killed process left running, and let failed ones run again."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.name != "RUNNING":
                continue
            if PRUNED_AFTER in trial.user_attrs:
                self._tell(trial.number, state="PRUNED")
            elif trial.params.keys() != self.space.distributions.keys():
                self._tell(trial.number, state="FAIL")  # killed while it was proposed
            else:
                yield trial
        for trial in self.begun():
            if trial.state.name == "FAIL":
                self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})

    def _waiting(self) -> bool:
        return any(trial.state.name == "WAITING" for trial in self.study.get_trials(deepcopy=False))

    def _ask(self) -> Any:
        if not self._waiting():
            self._left -= 1
        with quiet_optuna():
            self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
            try:
                return self.study.ask(fixed_distributions=self.space.distributions)
            except ValueError as error:
                raise UserError(f"hydra.sweeper.sampler: {type(self.study.sampler).__name__}: {error}") from error

    def _sampler(self, number: int) -> Any:
        """Build the sampler for a trial, with a seed of its own: a sampler that is restarted would repeat itself."""
        if is_grid(self._sampler_node):  # it numbers the combinations itself, in an order that the seed decides
            return build({"seed": 0, **self._sampler_node}, "sampler", search_space=self.space.grid())
        supplied: dict[str, Any] = {}
        seed = self._sampler_node.get("seed") if isinstance(self._sampler_node, Mapping) else None
        if seed is not None:
            import numpy as np

            supplied["seed"] = int(np.random.SeedSequence([int(seed), number]).generate_state(1)[0])
        return build(self._sampler_node, "sampler", **supplied)

    def _fail(self, number: int, error: BaseException) -> None:
        self._error = error
        self._tell(number, state="FAIL")
        self._check_failures(at_end=False)

    def _check_failures(self, *, at_end: bool) -> None:
        if self._error is None:
            return
        ended = [trial.state.name for trial in self.begun() if trial.state.is_finished()]
        failed = ended.count("FAIL")
        enough = at_end or len(ended) >= self._n_jobs or self._max_failure_rate == 0
        if enough and failed > self._max_failure_rate * len(ended):
            raise UserError(
                f"{failed} of {len(ended)} trials failed, more than"
                f" hydra.sweeper.max_failure_rate={self._max_failure_rate:g} allows. The last one: {self._error}"
            )

    def _tell(self, number: int, values: Any = None, *, state: str = "COMPLETE") -> None:
        from optuna.trial import TrialState

        with quiet_optuna():
            try:
                self.study.tell(number, values, state=TrialState[state], skip_if_finished=True)
            except RuntimeError as error:
                if ENDED_BY_GRID not in str(error):
                    raise


def is_grid(sampler: Any) -> bool:
    """Return whether a sampler tries all combinations."""
    return isinstance(sampler, Mapping) and str(sampler.get("_target_")).endswith(".GridSampler")


def count_combinations(grid: Mapping[str, Sequence[Any]]) -> int:
    """Return the number of combinations of a grid."""
    return math.prod(map(len, grid.values()))
