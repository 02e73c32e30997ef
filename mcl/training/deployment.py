"""Which networks are deployed: all that are trained, the leader of a cohort, or those that the user names."""

from collections.abc import Mapping
from types import MappingProxyType

from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.networks.cohort import Cohort


def deployed_keys(
    loss: Loss, cohort: Cohort, leader: str | None, options: Mapping[str, bool] = MappingProxyType({})
) -> list[str]:
    """Return the keys of the networks that are deployed, first those that are reported first.

    A frozen network only teaches: it is deployed if the user names it.

    Args:
        loss: may choose them.
        cohort: the networks.
        leader: ``pair.leader``: a key that overrides the choice of the loss.
        options: ``pair.KEY.deployed`` by key: whether a network is deployed, whatever the loss chooses.

    Raises:
        UserError: the loss names a network that does not exist, or no network is left.
    """
    keys = cohort.keys
    chosen = [leader] if leader is not None else _chosen(loss, cohort)
    chosen += [key for key in keys if options.get(key) and key not in chosen]
    kept = [key for key in chosen if options.get(key) is not False]
    if not kept:
        raise UserError(
            f"pair.{chosen[0]}.deployed=false: loss {type(loss).__name__} deploys only {', '.join(chosen)}. Name"
            f" another network: pair.{keys[-1] if keys[-1] not in chosen else keys[0]}.deployed=true."
        )
    return kept


def _chosen(loss: Loss, cohort: Cohort) -> list[str]:
    keys = cohort.keys
    chosen = None
    if type(loss).deployed is not Loss.deployed:
        chosen = loss.deployed(cohort.shapes())
    if chosen is None:
        chosen = list(range(len(keys)))
    if not chosen or not all(0 <= i < len(keys) for i in chosen):
        raise UserError(
            f"loss {type(loss).__name__} deploys the networks {list(chosen)}, counted from 0; the pair has {len(keys)}."
            f" Choose one with pair.leader={keys[-1]}."
        )
    trained = [key for key, network in cohort.items() if not network.frozen]
    return [keys[i] for i in chosen if keys[i] in trained] or trained
