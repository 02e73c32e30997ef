"""Options of the sweeper: ``hydra.sweeper.*``, ``conf/hydra/sweeper/optuna.yaml``. Hydra does not scan ``_*.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcl.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Options:
    """The options of the sweeper, checked.

    Args:
        sampler, pruner: nodes of Optuna's classes.
        direction: ``maximize`` or ``minimize``, or a list for several objectives.
        n_trials: trials of the whole search, those before an interruption included.
        n_jobs: trials at the same time, at most.
        max_failure_rate: the search stops if a larger fraction of its trials fails.
        storage: path of a journal file, or URL of a database; None for a journal in the folder of runs.
        study_name: name of the search; None to name it after its settings.
        warm_start: folder of runs, or several, whose finished runs count as trials.
        params: ranges by option.

    Raises:
        UserError: a value is invalid.
    """

    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    direction: Any = "maximize"
    n_trials: int = 20
    n_jobs: int = 2
    max_failure_rate: float = 0.5
    storage: str | None = None
    study_name: str | None = None
    warm_start: str | Sequence[str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Options":
        """Return the options with these values. Raises UserError for an unknown name or an invalid value."""
        known = list(cls.__dataclass_fields__)
        for name in values:
            if name not in known:
                raise UserError(
                    f"hydra.sweeper.{name}: there is no such option.{did_you_mean(name, known)}"
                    f" Options: {', '.join(known)}."
                )
        given = {name: value for name, value in values.items() if value is not None}
        for name in ("sampler", "pruner"):
            if name not in given:
                raise UserError(f"hydra.sweeper.{name}: choose one with hydra/sweeper/{name}=NAME.")
        return cls(**given)

    @property
    def places(self) -> list[str]:
        """The folders of a warm start."""
        if self.warm_start is None:
            return []
        return [self.warm_start] if isinstance(self.warm_start, str) else [str(place) for place in self.warm_start]

    @property
    def directions(self) -> list[str]:
        """The direction of each objective."""
        one = isinstance(self.direction, str) or not isinstance(self.direction, Sequence)
        return [getattr(each, "name", str(each)) for each in ([self.direction] if one else self.direction)]

    @property
    def prunes(self) -> bool:
        """Whether trials may end early."""
        return not isinstance(self.pruner, Mapping) or self.pruner.get("_target_") != "optuna.pruners.NopPruner"

    def __post_init__(self) -> None:
        for name in ("n_trials", "n_jobs"):
            given = getattr(self, name)
            if type(given) is not int or given < 1:
                raise UserError(f"hydra.sweeper.{name}={given}: expected a whole number, 1 or more.")
        rate = self.max_failure_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise UserError(f"hydra.sweeper.max_failure_rate={rate}: expected a fraction, from 0 to 1.")
        for name in ("storage", "study_name"):
            given = getattr(self, name)
            if given is not None and (not isinstance(given, str) or not given.strip()):
                raise UserError(f"hydra.sweeper.{name}={given}: expected text, or null.")
        if self.study_name and "/" in self.study_name:
            raise UserError(f"hydra.sweeper.study_name={self.study_name}: expected a name without /.")
        if not isinstance(self.params, Mapping):
            raise UserError(
                f"hydra.sweeper.params={self.params}: expected ranges by option, such as {{optimizer.lr: "
                '"interval(0.01, 0.1)"}.'
            )
        if self.prunes and len(self.directions) > 1:
            raise UserError(
                "hydra/sweeper/pruner: Optuna prunes for one objective only. Give hydra/sweeper/pruner=none, or one"
                " objective."
            )
