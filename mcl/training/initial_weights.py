"""Initial weights of a new run: pretrained files, another run, an imported checkpoint."""

from pathlib import Path

from mcl.errors import UserError
from mcl.networks.cohort import Cohort
from mcl.runs import checkpoints
from mcl.runs.checkpoint_files import checkpoint_of, read_checksum
from mcl.runs.same_run import check_same_run
from mcl.runs.stored_config import read_config

_NETWORKS = "cohort."


def load_initial_weights(cohort: Cohort, init_from: str | None, init_weights: str | None = None) -> None:
    """Load the weights that new networks start from; without any, they keep their random ones.

    Args:
        cohort: the networks, each of which may name pretrained weights of its own.
        init_from: a run folder or a checkpoint with weights for all of them.
        init_weights: checksum that this checkpoint must have; None for any.

    Raises:
        UserError: the weights are missing, do not fit, or have another checksum.
    """
    if init_from is not None:
        checksum = read_checksum(checkpoint_of(Path(init_from)))
        if None not in (init_weights, checksum) and checksum != init_weights:
            raise UserError(
                f"init_from={init_from}: its weights are {checksum}, not init_weights={init_weights}. Omit init_weights"
                " to start a run from the current ones."
            )
        start_from(Path(init_from), cohort)
        return
    for backbone in cohort.backbones:
        backbone.load_pretrained()


def start_from(place: Path, cohort: Cohort) -> None:
    """Initialise networks from a checkpoint; its other weights are ignored.

    A branched checkpoint can initialise unbranched networks, but not vice versa. The heads of the loss, its matching
    network and the optimizers start afresh.

    Args:
        place: a checkpoint, or a run folder, which stands for its last checkpoint.
        cohort: the networks, identified by their keys in the pair.

    Raises:
        UserError: there is no checkpoint, or one of its tensors is missing or has another shape.
    """
    option = f"init_from={place}"
    path = checkpoint_of(place)
    if not path.is_file():
        raise UserError(f"{option}: there is no file {path}; give a run folder or a checkpoint.")
    checkpoint = checkpoints.load(path)
    if (config := read_config(place)) is not None:
        check_same_run(checkpoint, option, config=config)
    learner = checkpoint["learner"]
    weights = cohort.state_dict()
    missing = [key for key in weights if _NETWORKS + key not in learner]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"{option}: its networks have no {names}. Choose the pair= and the loss= of that checkpoint.")
    for key, tensor in weights.items():
        shape = learner[_NETWORKS + key].shape
        if shape != tensor.shape:
            raise UserError(
                f"{option}: {key} has shape {tuple(shape)} there and {tuple(tensor.shape)} here."
                " Choose the dataset= (its classes) and the pair= that it was trained with."
            )
    cohort.load_state_dict({key: learner[_NETWORKS + key] for key in weights})
