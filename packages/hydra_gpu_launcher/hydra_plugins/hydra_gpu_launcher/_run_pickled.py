"""The process of one job: Hydra's own ``run_job``, on what the launcher has pickled. Hydra does not scan ``_*.py``.

The launcher starts it as ``python -c BOOTSTRAP TASK CONFIG``, with ``CUDA_VISIBLE_DEVICES`` in its environment: the
application, and torch, are imported when the task is read.
"""

import json
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import IO, Any

BOOTSTRAP = (
    "import pickle, sys; file = open(sys.argv[1], 'rb'); sys.path[:] = pickle.load(file);"
    " from hydra_plugins.hydra_gpu_launcher._run_pickled import main; main(file, sys.argv[2])"
)
RETURN = "job_return.pickle"  # in the folder of a job: its return value and working folder


def main(task: IO[bytes], config_file: str) -> None:
    """Run the job, keep what it returns, and exit with a status that the launcher understands.

    Args:
        task: holds, pickled, the task function, the context of Hydra, and the singletons of its process.
        config_file: holds the configuration of the job, pickled.
    """
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobStatus, run_job, setup_globals

    from hydra_gpu_launcher.errors import OUT_OF_MEMORY, is_out_of_memory

    setup_globals()
    shared = pickle.load(task)
    Singleton.set_state(shared["singletons"])
    with open(config_file, "rb") as file:
        config = pickle.load(file)
    returned = run_job(
        task_function=shared["task_function"],
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=shared["hydra_context"],
    )
    if returned.status is not JobStatus.COMPLETED:
        error = returned._return_value
        traceback.print_exception(error)
        sys.exit(OUT_OF_MEMORY if is_out_of_memory(error) else 1)
    assert returned.hydra_cfg is not None
    folder = Path(returned.hydra_cfg.hydra.runtime.output_dir)
    _keep(returned.return_value, str(returned.working_dir), folder)


def _keep(value: Any, working_dir: str, folder: Path) -> None:
    """Keep a return value in the folder of the job and, for display, a number where the launcher looks for it."""
    import cloudpickle

    kept = {"return_value": value, "working_dir": working_dir}
    try:
        content = cloudpickle.dumps(kept)
    except Exception as error:
        print(f"The return value, of type {type(value).__name__}, cannot be pickled, so None is returned: {error}")
        content = pickle.dumps({**kept, "return_value": None})
    _write(folder / RETURN, content)
    if isinstance(value, int | float):
        _write(Path(os.environ["GPU_LAUNCHER_RETURN_FILE"]), json.dumps(value).encode())


def _write(file: Path, content: bytes) -> None:
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, file)
