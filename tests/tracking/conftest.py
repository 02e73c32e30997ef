import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcl.tracking import RunInfo


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunInfo]:
    """Make the `RunInfo` of a run of two networks."""

    def make(**changes: Any) -> RunInfo:
        values: dict[str, Any] = {
            "run_dir": tmp_path / "run",
            "name": "a run",
            "run_id": "0a1b2c3d",
            "total_steps": 40,
            "total_epochs": 4,
            "networks": [("first", "resnet8"), ("second", "wrn_16_2")],
        }
        return RunInfo(**{**values, **changes})

    return make


@pytest.fixture
def summary() -> dict[str, Any]:
    network = {"top1_last": 93.125, "top5_last": 99.5, "top1_best": 93.5, "best_epoch": 3, "top1_max_over_heads": 94.25}
    return {
        "seed": 7,
        "config_hash": "0a1b2c3d",
        "code": {"version": "0.1.0", "commit": "abc", "dirty": False},
        "steps": 40,
        "epochs": 4,
        "networks": [{"name": "resnet8", **network}, {"name": "wrn_16_2", **network, "top1_last": 92.0}],
        "ensemble": {"top1_last": 94.75},
        "seconds": 3725.2,
        "images_per_second": 12300.4,
    }


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Isolate the test from the user's W&B login, settings and server."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()
    yield
    wandb.teardown()
