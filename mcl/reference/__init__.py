"""The method as plain loops, straight from its definitions: slow, to read, to test against and to measure against.

`formulas` and `memory_bank` hold the losses, `objectives` puts them together on the modules of a learner,
`unrolled_gradient` has the meta round, `training` a whole training.
"""

from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.reference.formulas import (
        classification,
        last_stage_contrast,
        logit_distillation,
        matching_weight,
        mutual_contrast,
    )
    from mcl.reference.memory_bank import memory_contrast
    from mcl.reference.objectives import TextbookLMCL
    from mcl.reference.training import TextbookTraining
    from mcl.reference.unrolled_gradient import meta_gradient, meta_gradient_by_copies

__all__ = [
    "TextbookLMCL",
    "TextbookTraining",
    "classification",
    "last_stage_contrast",
    "logit_distillation",
    "matching_weight",
    "memory_contrast",
    "meta_gradient",
    "meta_gradient_by_copies",
    "mutual_contrast",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "formulas": [
            "classification",
            "last_stage_contrast",
            "logit_distillation",
            "matching_weight",
            "mutual_contrast",
        ],
        "memory_bank": ["memory_contrast"],
        "objectives": ["TextbookLMCL"],
        "training": ["TextbookTraining"],
        "unrolled_gradient": ["meta_gradient", "meta_gradient_by_copies"],
    },
)
