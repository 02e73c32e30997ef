"""Where numbers go: files in the run folder first, then the terminal, then Weights & Biases."""

from mcl.tracking.background import Background
from mcl.tracking.base import Look, RunInfo, Status, Tracker, Trackers
from mcl.tracking.local import LocalFiles
from mcl.tracking.tables import print_plan, print_summary
from mcl.tracking.terminal import Terminal
from mcl.tracking.wandb import WandbTracker

__all__ = [
    "Background",
    "LocalFiles",
    "Look",
    "RunInfo",
    "Status",
    "Terminal",
    "Tracker",
    "Trackers",
    "WandbTracker",
    "print_plan",
    "print_summary",
]
