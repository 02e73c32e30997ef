"""Train one run: set-up, the loop, the meta round, evaluation.

`assemble` builds the parts of a run from its configuration, `Parts.build_trainer` makes their `Trainer`.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.training.evaluation import evaluate
    from mcl.training.options import TrainerOptions
    from mcl.training.setup import assemble
    from mcl.training.trainer import Trainer

__all__ = ["Trainer", "TrainerOptions", "assemble", "evaluate"]

__getattr__ = lazy_exports(
    __name__,
    {
        "evaluation": ["evaluate"],
        "options": ["TrainerOptions"],
        "setup": ["assemble"],
        "trainer": ["Trainer"],
    },
)
