"""Options of the launcher: ``hydra.launcher.*``, ``conf/hydra/launcher/gpus.yaml``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcl.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Options:
    """The options of the launcher, checked.

    Args:
        devices: ``"auto"``, ``"cpu"``, or a list of GPUs by number, UUID or MIG name.
        jobs_per_device: jobs that share a device at a time; None for 1 on a GPU, and on the CPU one for every core,
            4 at most.
        devices_per_job: GPUs of one job, each with a process of its own; on the CPU, processes.
        retries: how often a job that failed is started again.
        timeout: minutes a job may take, each attempt anew; None for as long as it likes.
        fail_fast: stop the whole sweep when a job has failed for good.
        grace: seconds from SIGTERM to SIGKILL.

    Raises:
        UserError: a value cannot be.
    """

    devices: str | int | Sequence[str | int] = "auto"
    jobs_per_device: int | None = None
    devices_per_job: int = 1
    retries: int = 0
    timeout: float | None = None
    fail_fast: bool = False
    grace: float = 30.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Options":
        """By name. Raises UserError for a name that there is not, too."""
        known = list(cls.__dataclass_fields__)
        for name in given:
            if name not in known:
                raise UserError(
                    f"hydra.launcher.{name}: there is no such option.{did_you_mean(name, known)}"
                    f" Here are: {', '.join(known)}."
                )
        return cls(**given)

    def __post_init__(self) -> None:
        if self.jobs_per_device is not None:
            _whole("jobs_per_device", self.jobs_per_device, least=1)
        _whole("devices_per_job", self.devices_per_job, least=1)
        _whole("retries", self.retries, least=0)
        if self.timeout is not None and not (_number(self.timeout) and self.timeout > 0):
            raise refusal("timeout", self.timeout, "minutes, more than 0, or null for no limit")
        if not isinstance(self.fail_fast, bool):
            raise refusal("fail_fast", self.fail_fast, "true or false")
        if not (_number(self.grace) and self.grace >= 0):
            raise refusal("grace", self.grace, "seconds, 0 or more")


def refusal(option: str, given: object, allowed: str) -> UserError:
    """What to say about a value that cannot be."""
    return UserError(f"hydra.launcher.{option}={given}: expected {allowed}.")


def _whole(option: str, given: object, least: int) -> None:
    if type(given) is not int or given < least:
        raise refusal(option, given, f"a whole number, {least} or more")


def _number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
