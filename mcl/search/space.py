"""The space of a search: the ranges of a command line as Optuna's distributions, and trials as overrides."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from mcl.config.command_line import parse
from mcl.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

WITHOUT_TEST = "trainer.test=false"  # override of every trial: a search does not look at the test split


@dataclass(frozen=True)
class Space:
    """The options that a search varies, and the overrides that all its trials share.

    Args:
        distributions: option -> distribution, such as ``"optimizer.lr"``.
        fixed: overrides, as typed.
    """

    distributions: "dict[str, BaseDistribution]"
    fixed: list[str]

    def grid(self) -> dict[str, list[Any]]:
        """Return the values of each option, for a search that tries all combinations.

        Raises:
            UserError: an option has a range without steps.
        """
        return {option: _values(option, each) for option, each in self.distributions.items()}

    def example(self) -> dict[str, Any]:
        """Return one value of each option, to compose a job with: the middle of a range, or the first choice."""
        return {option: _middle(each) for option, each in self.distributions.items()}


def parse_space(arguments: Sequence[str], params: Mapping[str, Any]) -> Space:
    """Sort a command line into ranges and fixed overrides.

    Args:
        arguments: overrides of the jobs, such as ``["loss=mcl", "optimizer.lr=interval(0.01,0.1)"]``.
        params: further ones by option, such as ``hydra.sweeper.params``; ``arguments`` replace them.

    Raises:
        UserError: nothing varies, or a range is wrong.
    """
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    given = [*(f"{option}={values}" for option, values in params.items()), *arguments]
    for text, override in zip(given, parse(given), strict=True):
        option = override.get_key_element()
        distributions.pop(option, None)
        fixed.pop(option, None)
        if override.is_sweep_override():
            distributions[option] = _distribution(text, override)
        else:
            fixed[option] = text
    if not distributions:
        raise UserError(
            "a search varies nothing: give a range or choices, such as 'optimizer.lr=tag(log,interval(0.01,1.0))' or"
            " loss.dim=64,128."
        )
    return Space(distributions, list(fixed.values()))


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return the values of a trial as overrides, with all their digits."""
    return [f"{option}={value if isinstance(value, str) else json.dumps(value)}" for option, value in values.items()]


def _distribution(text: str, override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if "log" in getattr(value, "tags", ()) and not isinstance(value, IntervalSweep):
        raise UserError(f"{text}: only an interval has a logarithmic scale, as in tag(log,interval(0.01,1.0)).")
    try:
        if isinstance(value, IntervalSweep):
            make = IntDistribution if _whole(value.start, value.end) else FloatDistribution
            return make(value.start, value.end, log="log" in value.tags)  # type: ignore[arg-type]
        if isinstance(value, RangeSweep) and not value.shuffle:
            make = IntDistribution if _whole(value.start, value.stop, value.step) else FloatDistribution
            return make(value.start, value.stop, step=value.step)  # type: ignore[arg-type]
        if isinstance(value, ChoiceSweep | RangeSweep):
            return CategoricalDistribution(_choices(override))
    except (ValueError, TypeError) as error:
        raise UserError(f"{text}: {error}") from error
    raise UserError(f"{text}: a search takes choices (a,b), interval(low,high) or range(low,high,step).")


def _choices(override: Override) -> list[Any]:
    return list(override.sweep_iterator(transformer=Transformer.encode))


def _whole(*numbers: Any) -> bool:
    return all(isinstance(number, int) for number in numbers)


def _middle(distribution: Any) -> Any:
    if hasattr(distribution, "choices"):
        return distribution.choices[0]
    low, high = distribution.low, distribution.high
    middle = math.sqrt(low * high) if distribution.log else (low + high) / 2
    if not isinstance(low, int):
        return middle
    return low + round((middle - low) / distribution.step) * distribution.step


def _values(option: str, distribution: Any) -> list[Any]:
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    if distribution.step is None:
        raise UserError(
            f"{option}: a grid needs choices or a range with steps, such as {option}=0.01,0.1; interval() has none."
        )
    count = round((distribution.high - distribution.low) / distribution.step)
    return [distribution.low + i * distribution.step for i in range(count + 1)]


def describe(distributions: "Iterable[tuple[str, BaseDistribution]]") -> dict[str, str]:
    """Return each distribution as text, by option, to compare searches."""
    from optuna.distributions import distribution_to_json

    return {option: distribution_to_json(each) for option, each in distributions}
