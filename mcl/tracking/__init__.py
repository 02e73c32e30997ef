"""Trackers: files in the run folder first, then the terminal, then Weights & Biases, TensorBoard and MLflow."""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.tracking.background import Background
    from mcl.tracking.local import LocalFiles
    from mcl.tracking.mlflow import MlflowTracker
    from mcl.tracking.summary_table import print_notes, print_plan, print_summary
    from mcl.tracking.tensorboard import TensorBoardTracker
    from mcl.tracking.terminal import Terminal
    from mcl.tracking.tracker import RunInfo, Snapshot, Status, Tracker, Trackers
    from mcl.tracking.wandb import WandbTracker

__all__ = [
    "Background",
    "LocalFiles",
    "MlflowTracker",
    "RunInfo",
    "Snapshot",
    "Status",
    "TensorBoardTracker",
    "Terminal",
    "Tracker",
    "Trackers",
    "WandbTracker",
    "print_notes",
    "print_plan",
    "print_summary",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "background": ["Background"],
        "local": ["LocalFiles"],
        "mlflow": ["MlflowTracker"],
        "summary_table": ["print_notes", "print_plan", "print_summary"],
        "tensorboard": ["TensorBoardTracker"],
        "terminal": ["Terminal"],
        "tracker": ["RunInfo", "Snapshot", "Status", "Tracker", "Trackers"],
        "wandb": ["WandbTracker"],
    },
)
