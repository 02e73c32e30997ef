"""Options of the launcher: ``hydra.launcher.*``, ``conf/hydra/launcher/gpus.yaml``."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hydra_gpu_launcher.errors import LauncherError

AUTO = "auto"
AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclass(frozen=True)
class Options:
    """The options of the launcher, checked.

    Args:
        devices: ``"auto"``, ``"cpu"``, or a list of GPUs by number, UUID or MIG name.
        per_gpu: jobs that run on a GPU (or on the CPU) at the same time; None for 1 on a GPU and, on the CPU, one for
            each core, at most 4; ``"auto"`` for as many as fit into the memory of a GPU, and on the CPU as None.
        wait_for_free: wait for GPUs that other programs use.
        devices_per_job: GPUs of one job, each with its own process; on the CPU, processes.
        retries: number of times that a failed job is started again.
        timeout: minutes that each attempt may take; None for no limit.
        fail_fast: stop all jobs once one has failed for good.
        grace: seconds from SIGTERM to SIGKILL.
        requeue_statuses: exit statuses of jobs that put them back into the queue, such as 75; `retries` does not count
            them.

    Raises:
        LauncherError: a value is invalid.
    """

    devices: str | int | Sequence[str | int] = "auto"
    per_gpu: int | str | None = None
    wait_for_free: bool = False
    devices_per_job: int = 1
    retries: int = 0
    timeout: float | None = None
    fail_fast: bool = False
    grace: float = 30.0
    requeue_statuses: Sequence[int] = ()

    @classmethod
    def from_dict(cls: "type[AnyOptions]", values: Mapping[str, Any]) -> "AnyOptions":
        """Return the options with these values. Raises LauncherError for an unknown name or an invalid value."""
        known = list(cls.__dataclass_fields__)
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise LauncherError(
                    f"hydra.launcher.{name}: there is no such option.{hint} Options: {', '.join(known)}."
                )
        return cls(**values)

    @property
    def fixed_per_gpu(self) -> int | None:
        """The number of jobs at a time on each GPU, if it was given."""
        return None if isinstance(self.per_gpu, str) else self.per_gpu

    @property
    def needs_monitor(self) -> bool:
        """Whether the memory in use on the GPUs decides when a job may start."""
        return self.per_gpu == AUTO or self.wait_for_free

    def __post_init__(self) -> None:
        if self.per_gpu not in (None, AUTO) and not _is_integer(self.per_gpu, least=1):
            raise invalid_value("per_gpu", self.per_gpu, "a whole number, 1 or more, or auto")
        if not isinstance(self.wait_for_free, bool):
            raise invalid_value("wait_for_free", self.wait_for_free, "true or false")
        _check_integer("devices_per_job", self.devices_per_job, least=1)
        _check_integer("retries", self.retries, least=0)
        if self.timeout is not None and not (_is_number(self.timeout) and self.timeout > 0):
            raise invalid_value("timeout", self.timeout, "minutes, more than 0, or null for no limit")
        if not isinstance(self.fail_fast, bool):
            raise invalid_value("fail_fast", self.fail_fast, "true or false")
        if not (_is_number(self.grace) and self.grace >= 0):
            raise invalid_value("grace", self.grace, "seconds, 0 or more")
        statuses = self.requeue_statuses
        if not isinstance(statuses, list | tuple) or not all(_is_integer(each, 1) and each < 256 for each in statuses):
            raise invalid_value("requeue_statuses", statuses, "a list of exit statuses from 1 to 255, such as [75]")


def invalid_value(option: str, given: object, allowed: str) -> LauncherError:
    """Return the error for an invalid value of an option of the launcher."""
    return LauncherError(f"hydra.launcher.{option}={given}: expected {allowed}.")


def _check_integer(option: str, given: object, least: int) -> None:
    if not _is_integer(given, least):
        raise invalid_value(option, given, f"a whole number, {least} or more")


def _is_integer(given: object, least: int) -> bool:
    return type(given) is int and given >= least


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
