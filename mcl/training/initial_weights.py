"""Initial weights of a new run: pretrained files, another run, an imported checkpoint."""

from pathlib import Path

from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.same_run import refuse_other_run
from mcl.runs.stored_config import read_config

_NETWORKS = "cohort."


def first_weights(cohort: Cohort, init_from: str | None, init_weights: str | None = None) -> None:
    """Give networks that were just built the weights they are to start from, where these are not new ones.

    Args:
        cohort: the networks, each of which may name pretrained weights of its own.
        init_from: a run folder or a checkpoint that has all of them.
        init_weights: the checksum that this checkpoint must have; None for any.

    Raises:
        UserError: the weights cannot be had, do not fit, or are not those that are asked for.
    """
    if init_from is not None:
        found = read_checksum(checkpoint_of(Path(init_from)))
        if None not in (init_weights, found) and found != init_weights:
            raise UserError(
                f"init_from={init_from}: its weights are {found}, not init_weights={init_weights}. Leave init_weights"
                " out to start a run from the present ones."
            )
        start_from(Path(init_from), cohort)
        return
    for backbone in cohort.backbones:
        backbone.load_pretrained()


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
    path = checkpoint_of(place)
    if not path.is_file():
        raise UserError(f"{option}: there is no file {path}; give a run folder or a checkpoint.")
    checkpoint = checkpoints.load(path)
    if (config := read_config(place)) is not None:
        refuse_other_run(checkpoint, option, config=config)
    learner = checkpoint["learner"]
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
