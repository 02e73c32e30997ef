"""A W&B sweep: runs that its agent starts for experiments/loss_weights/wandb_sweep.yaml."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from support.small_runs import SMALL
from support.wandb_files import final_summary, read_all

from mcl.config.compose import compose_train

RUN = "hydra.run.dir=run"
FILE = Path(__file__).parents[2] / "experiments" / "loss_weights" / "wandb_sweep.yaml"
PROPOSED = {
    "loss.weights.vcl": 0.0625,
    "loss.weights.soft_vcl": 1.5,
    "loss.weights.icl": 1e-2,
    "loss.weights.soft_icl": 2.5,
}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command line that W&B's agent starts if the server proposes these values."""
    from wandb import wandb_agent

    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them for good
        monkeypatch.setenv(name, "")
    commands: list[list[str]] = []

    class Process:
        def __init__(self, *, command: list[str], **_: object):
            commands.append(command)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    sweep = yaml.safe_load(FILE.read_text())
    agent = wandb_agent.Agent(api=None, queue=None)
    agent._sweep_command = sweep["command"]
    args = {name: {"value": PROPOSED[name]} for name in sweep["parameters"]}
    agent._command_run({"run_id": "arun", "program": sweep["program"], "args": args})
    return commands[0]


def test_agent_starts_a_run_with_the_proposed_weights(started: list[str]) -> None:
    assert started[:3] == ["/usr/bin/env", "python", "train.py"]
    config = compose_train(started[3:])
    assert {name: OmegaConf.select(config, name) for name in PROPOSED} == PROPOSED
    assert config.dataset.validation > 0
    assert "wandb" in config.tracking


def test_sweep_metric_is_reported_by_runs(
    started: list[str], command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    wandb.teardown()  # it keeps the mode of its first use in this process
    monkeypatch.setenv("WANDB_MODE", "offline")
    proposed = [override for override in started[3:] if override.startswith(("loss.weights", "tracking="))]
    done = command(*proposed, *SMALL, "dataset.validation=0.2", "trainer.max_steps=2", "loss.dim=16", RUN)
    wandb.teardown()
    assert done.status == 0, done.err
    (records,) = read_all(Path("run"))
    logged = final_summary(records)
    sweep = yaml.safe_load(FILE.read_text())
    assert 0 <= logged[sweep["metric"]["name"]] <= 100
    assert sweep["metric"]["goal"] == "maximize"
