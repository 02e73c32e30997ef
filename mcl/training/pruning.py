"""End a run early because others do better: the trainer asks after each evaluation, and does not know who decides."""

from collections.abc import Callable, Mapping

# Takes the epoch, from 1, and the metrics of its evaluation by name; returns whether the run shall end now.
Pruner = Callable[[int, Mapping[str, float]], bool]


class Pruned(Exception):
    """A pruner ended the run before its last step; a checkpoint was saved.

    Args:
        epoch: the last epoch trained, from 1.
        epochs: the epochs of the whole run.
    """

    def __init__(self, epoch: int, epochs: int):
        super().__init__(f"pruned after epoch {epoch} of {epochs}: other trials of the search did better by then")
        self.epoch = epoch
