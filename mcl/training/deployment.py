"""Which networks are deployed: all, or the leader of a cohort."""

from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.cohort import Cohort


def deployed_keys(loss: Loss, cohort: Cohort, leader: str | None) -> list[str]:
    """Return the keys of the networks that are deployed, first those that are reported first.

    Args:
        loss: may choose them.
        cohort: the networks.
        leader: ``pair.leader``: a key that overrides the choice of the loss.

    Raises:
        UserError: the loss names a network that there is not.
    """
    if leader is not None:
        return [leader]
    keys = cohort.keys
    chosen = None
    if type(loss).deployed is not Loss.deployed:
        chosen = loss.deployed(cohort.shapes())
    if chosen is None:
        return keys
    if not chosen or not all(0 <= i < len(keys) for i in chosen):
        raise UserError(
            f"loss {type(loss).__name__} deploys the networks {list(chosen)}, counted from 0; the pair has {len(keys)}."
            f" Choose one with pair.leader={keys[-1]}."
        )
    return [keys[i] for i in chosen]
