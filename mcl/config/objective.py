"""The objectives of a search: accuracies of the validation split, and costs. The test split must not choose."""

from collections.abc import Mapping, Sequence
from typing import Any

from mcl.errors import UserError, unknown
from mcl.runs.summary import deployed_networks

ACCURACIES = ("validation/top1_last", "validation/top1_best")  # maximized
COSTS = ("multiply_adds", "parameters")  # minimized: of one image, and of the network, as deployed
NAMES = (*ACCURACIES, *COSTS)


def names(objective: Any) -> list[str]:
    """Return the objectives that ``objective=`` names: one, or a list of several."""
    return [str(objective)] if isinstance(objective, str) or objective is None else [str(name) for name in objective]


def check(objective: Any) -> None:
    """Raise UserError unless ``objective`` is one of `NAMES`, or different ones with one accuracy among them."""
    given = names(objective)
    for name in given:
        if name.startswith("test"):
            raise UserError(
                f"objective={name}: settings chosen on the test split make its accuracy too good to be true, so a"
                f" search maximizes one of {', '.join(ACCURACIES)}."
            )
        if name not in NAMES:
            raise unknown("objective", f"objective={name}", NAMES)
    if len(set(given)) < len(given) or sum(name in ACCURACIES for name in given) != 1:
        raise UserError(
            f"objective={_written(given)}: expected one accuracy, {' or '.join(ACCURACIES)}, alone or with costs, such"
            " as 'objective=[validation/top1_last,multiply_adds]'."
        )


def directions(objective: Any) -> list[str]:
    """Return ``maximize`` or ``minimize`` for each objective."""
    return ["minimize" if name in COSTS else "maximize" for name in names(objective)]


def check_directions(objective: Any, given: Any) -> None:
    """Raise UserError unless a sweeper's ``direction``, one or a list, is that of each objective."""
    one = isinstance(given, str) or not isinstance(given, Sequence)
    typed = [getattr(each, "name", each) for each in ([given] if one else given)]
    if typed == directions(objective):
        return
    written = _written(typed)
    if len(names(objective)) == 1 and len(typed) > 1:
        raise UserError(
            f"hydra.sweeper.direction={written}: there is one objective, {names(objective)[0]}. Name one for each"
            " direction, such as 'objective=[validation/top1_last,multiply_adds]'."
        )
    raise UserError(
        f"hydra.sweeper.direction={written}: a search maximizes accuracies and minimizes costs. For"
        f" objective={_written(names(objective))}, give hydra.sweeper.direction={_written(directions(objective))}."
    )


def value(summary: Mapping[str, Any], objective: Any) -> float | list[float] | None:
    """Return what a finished run reached, the mean over the networks that it deploys; accuracies in percent.

    Args:
        summary: the contents of ``summary.json``.
        objective: one of `NAMES`, or a list of them.

    Returns:
        A number, a list of numbers for a list, or None without a validation split.
    """
    if not isinstance(objective, str):
        several = [score(summary, name) for name in names(objective)]
        known = [each for each in several if each is not None]
        return known if len(known) == len(several) else None
    return score(summary, objective)


def score(summary: Mapping[str, Any], name: str) -> float | None:
    """Return the value of one objective, as `value` does."""
    numbers: list[Any] = [network.get(name.replace("/", "_")) for network in deployed_networks(summary)]
    return None if None in numbers else float(sum(numbers) / len(numbers))


def _written(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"[{','.join(items)}]"
