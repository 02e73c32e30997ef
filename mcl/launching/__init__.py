"""Connect ``hydra/launcher=gpus`` with runs and PyTorch; the launcher itself is `hydra_gpu_launcher`.

`RunJob` is a run as a job of the launcher. `own_errors` translates the launcher's errors, and the others
ask PyTorch about GPUs or prepare the environment of a job.
"""

from typing import TYPE_CHECKING

from mcl.launching.own_errors import own_errors  # now, because its file has the same name
from mcl.lazy import lazy_exports

if TYPE_CHECKING:
    from mcl.launching.gpu_query import (
        default_precisions,
        environment_variable,
        require_same_precision,
        uuids,
        visible_devices,
    )
    from mcl.launching.run_job import TOP1, RunJob

__all__ = [
    "TOP1",
    "RunJob",
    "default_precisions",
    "environment_variable",
    "own_errors",
    "require_same_precision",
    "uuids",
    "visible_devices",
]
__getattr__ = lazy_exports(
    __name__,
    {
        "gpu_query": [
            "default_precisions",
            "environment_variable",
            "require_same_precision",
            "uuids",
            "visible_devices",
        ],
        "run_job": ["RunJob", "TOP1"],
    },
)
