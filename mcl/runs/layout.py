"""The names of the files in a run folder. No other package spells them out."""

from collections.abc import Iterable

from hydra_gpu_launcher.job import LOG

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"  # written last: its presence means that the run has finished
FAILURE = "failure.json"
IMPORTED = "imported.json"  # written by `python -m mcl import`: the file that the networks come from
LOCK = "lock"
UNREADABLE = "unreadable.txt"  # the damaged images that dataset.corrupt=skip left out

CHECKPOINTS = "checkpoints"
LAST = "last.pt"
LAST_CHECKPOINT = f"{CHECKPOINTS}/{LAST}"
EARLIER = "step-*.pt"  # the star stands for the step

EXPORT = "export"
EVALUATION = "evaluation"  # a folder for each evaluation: test, train-best, ...
TEST = "test"  # the evaluation at the end of training
RECORD = "evaluation.json"
SCORES = "scores.json"
PER_CLASS = "per_class.csv"
CONFUSION = "confusion-"  # prefix of the confusion matrices
PROBE_PREFIX = "probe-"  # of the folder of a probe among the evaluations: probe-digits-1f5a09c2
PROBE = "probe.json"

HYDRA = ".hydra"  # unless hydra.output_subdir names another
WANDB, TENSORBOARD, MLFLOW = "wandb", "tensorboard", "mlflow"

SIGNS_OF_A_RUN = (CONFIG, METRICS, SUMMARY, FAILURE)  # a folder with one of these is a run folder
RUN_ID = "run_id"  # in the folder of W&B or MLflow: what the service calls the run
# Everything in a run folder that this project reads or writes; the rest of wandb/ is W&B's own.
OF_TRACKERS = (f"{WANDB}/{RUN_ID}", f"{WANDB}/data", TENSORBOARD, MLFLOW)
WRITTEN = (*SIGNS_OF_A_RUN, IMPORTED, LOCK, UNREADABLE, LOG, CHECKPOINTS, EVALUATION, EXPORT, HYDRA, *OF_TRACKERS)


def earlier_checkpoint(step: int) -> str:
    """Return the name of the checkpoint of a step when it is no longer the last one."""
    return EARLIER.replace("*", str(step))


def step_of_checkpoint(name: str) -> int:
    """Return the step in the name of an earlier checkpoint.

    Raises:
        ValueError: The name has no step.
    """
    before, _, after = EARLIER.partition("*")
    return int(name.removeprefix(before).removesuffix(after))


COHORT, AVERAGE = "cohort.", "average."  # prefixes of the networks in a checkpoint: as trained, and averaged over steps


def deployed_prefix(names: Iterable[str]) -> str:
    """Return the prefix of the networks that are deployed, from the names of the tensors in a checkpoint."""
    return AVERAGE if any(name.startswith(AVERAGE) for name in names) else COHORT
