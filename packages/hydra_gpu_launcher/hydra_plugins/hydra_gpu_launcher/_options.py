"""Options for applications of which nothing is known. Hydra does not scan ``_*.py``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from hydra_gpu_launcher.launch_options import Options, invalid_value


@dataclass(frozen=True)
class AppOptions(Options):
    """The options of the launcher for any application, checked.

    Args:
        measure_seconds: seconds that the first job runs alone with ``per_gpu=auto``, until its memory is taken as what
            a job needs.
        done: file in the folder of a job whose presence means that the job is finished; None to run every job.
        resume_overrides: overrides added to those of a job that was started before.

    Raises:
        LauncherError: a value is invalid.
    """

    measure_seconds: float = 60.0
    done: str | None = None
    resume_overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        seconds = self.measure_seconds
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise invalid_value("measure_seconds", seconds, "seconds, 0 or more")
        if self.done is not None and (not isinstance(self.done, str) or not _is_below(self.done)):
            raise invalid_value("done", self.done, "a file in the folder of a job, such as summary.json, or null")
        texts = self.resume_overrides
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise invalid_value("resume_overrides", texts, 'a list of overrides, such as ["+resume=true"]')


def _is_below(path: str) -> bool:
    parts = PurePath(path).parts
    return bool(parts) and not PurePath(path).is_absolute() and ".." not in parts
