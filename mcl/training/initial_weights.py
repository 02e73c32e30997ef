"""Starting a run from the networks of another one, or of an imported checkpoint: ``init_from=``."""

from pathlib import Path

from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.training import checkpoints

_NETWORKS = "cohort."


def start_from(place: Path, cohort: Cohort) -> None:
    """Give networks the weights that a checkpoint has for them. What only the checkpoint has, is left out.

    A pair with auxiliary branches can so be gone on with without them, but not the other way round. Heads, matching
    networks and optimizers start afresh.

    Args:
        place: a checkpoint, or a run folder, of which it is the last.
        cohort: the networks, found in the checkpoint by their keys in the pair.

    Raises:
        UserError: there is no checkpoint, or it lacks a tensor of the networks, or has it in another shape.
    """
    option = f"init_from={place}"
    path = place / "checkpoints" / checkpoints.LAST if place.is_dir() else place
    if not path.is_file():
        raise UserError(f"{option}: there is no file {path}; give a run folder or a checkpoint.")
    learner = checkpoints.load(path)["learner"]
    wanted = cohort.state_dict()
    missing = [key for key in wanted if _NETWORKS + key not in learner]
    if missing:
        few = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"{option}: its networks have no {few}. Choose pair= and loss= such that they have.")
    for key, tensor in wanted.items():
        theirs = learner[_NETWORKS + key].shape
        if theirs != tensor.shape:
            raise UserError(
                f"{option}: {key} has shape {tuple(theirs)} there and {tuple(tensor.shape)} here."
                " Choose the dataset= (its classes) and the pair= that it was trained with."
            )
    cohort.load_state_dict({key: learner[_NETWORKS + key] for key in wanted})
