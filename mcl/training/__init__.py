"""Train one run: set-up, the loop, the meta round, evaluation.

`assemble` builds the parts of a run from its configuration, `Parts.build_trainer` makes their `Trainer`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcl.training.evaluation import evaluate
    from mcl.training.options import TrainerOptions
    from mcl.training.setup import assemble
    from mcl.training.signals import Stopped, StopSignals
    from mcl.training.trainer import Trainer

__all__ = ["StopSignals", "Stopped", "Trainer", "TrainerOptions", "assemble", "evaluate"]

_MODULES = {
    "StopSignals": "signals",
    "Stopped": "signals",
    "Trainer": "trainer",
    "TrainerOptions": "options",
    "assemble": "setup",
    "evaluate": "evaluation",
}


def __getattr__(name: str) -> Any:  # on first use: most of them import torch
    if name in _MODULES:
        return getattr(importlib.import_module(f"mcl.training.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
