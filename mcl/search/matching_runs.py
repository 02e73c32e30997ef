"""Find the values of a search in a run: which runs could be its trials."""

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from mcl.errors import UserError
from mcl.runs.identity import identity, neutral_value
from mcl.runs.reading import Run, number
from mcl.search.space import Space, overrides

MOST_COMBINATIONS = 500  # of choices; each is composed


class RunMatcher:
    """Compare runs with the fixed settings and the ranges of a search.

    Args:
        space: ranges and fixed overrides.
        compose: composes the configuration of a job from its overrides.
        ignored: settings that may differ.

    Raises:
        UserError: an override is wrong, or there are too many combinations of choices.
    """

    def __init__(self, space: Space, compose: Callable[[list[str]], DictConfig], ignored: Collection[str] = ()):
        choices = {option: each.choices for option, each in space.distributions.items() if hasattr(each, "choices")}
        self._ranges = {option: each for option, each in space.distributions.items() if option not in choices}
        self._left_out = {*self._ranges, *ignored}
        combinations = list(itertools.islice(itertools.product(*choices.values()), MOST_COMBINATIONS + 1))
        if len(combinations) > MOST_COMBINATIONS:
            raise UserError(
                f"the choices of {', '.join(choices)} have more than {MOST_COMBINATIONS} combinations, too many to"
                " compare runs with. Search fewer choices, or ranges of numbers."
            )
        self._candidates: list[tuple[dict[str, Any], dict[str, Any]]] = []  # choices, and the settings of such a run
        for combination in combinations:
            chosen = dict(zip(choices, combination, strict=True))
            config = compose([*space.fixed, *overrides({**space.example(), **chosen})])
            self._candidates.append((chosen, self._compared(identity(config))))

    def values(self, run: Run) -> dict[str, Any] | None:
        """Return the values of a run as a trial would have them; None if no trial could be this run."""
        own = identity(run.config) if run.config else {}
        compared = self._compared(own)
        values = next((dict(choices) for choices, settings in self._candidates if settings == compared), None)
        if values is None:
            return None
        for option, distribution in self._ranges.items():
            given = number(own.get(option, neutral_value(option)))
            if given is None or not distribution._contains(given):
                return None
            values[option] = int(given) if isinstance(distribution.low, int) else given  # type: ignore[attr-defined]
        return values

    def _compared(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key not in self._left_out}
