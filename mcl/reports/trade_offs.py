"""The best trade-offs of several objectives: the Pareto front."""

from collections.abc import Sequence


def pareto_front(scores: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Return the indices of the scores that no other one beats in one objective and equals or beats in the rest.

    >>> pareto_front([(70, 5), (72, 9), (69, 6)], ["maximize", "minimize"])
    [0, 1]

    Args:
        scores: of each trial, one number for each objective.
        directions: ``maximize`` or ``minimize`` for each objective.
    """
    losses = [
        tuple(-value if direction == "maximize" else value for value, direction in zip(each, directions, strict=True))
        for each in scores
    ]
    return [i for i, own in enumerate(losses) if not any(_dominates(other, own) for other in losses)]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
