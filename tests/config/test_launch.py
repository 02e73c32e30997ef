"""Jobs handed to a launcher inside a program."""

from collections.abc import Sequence
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus

from mcl.config import launch


class Failing:
    """A launcher whose first job of each batch fails."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.batches.append(len(jobs))
        return [JobReturn(status=JobStatus.FAILED), *(JobReturn(status=JobStatus.COMPLETED) for _ in jobs[1:])]


@pytest.mark.parametrize(("fail_fast", "batches"), [("true", [2]), ("false", [2, 2, 1])])
def test_fail_fast_hands_over_no_further_batch(
    monkeypatch: pytest.MonkeyPatch, fail_fast: str, batches: list[int]
) -> None:
    launcher = Failing()
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda *_, **__: launcher)
    settings = ["hydra/launcher=gpus", f"hydra.launcher.fail_fast={fail_fast}", "hydra.sweeper.max_batch_size=2"]

    def task(config: Any) -> None:
        raise AssertionError

    returns = launch.launch(task, [[f"seed={i}"] for i in range(5)], settings)
    assert launcher.batches == batches
    assert len(returns) == sum(batches)
    assert launch.stops_at_failure(settings) == (fail_fast == "true")
