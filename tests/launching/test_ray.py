"""Runs as Ray tasks, on GPUs that do not exist but that Ray is configured with."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support.small_runs import SMALL

ROOT = Path(__file__).parents[2]
TASK = """
import json, os, signal, time
from pathlib import Path
from mcl.config.entry import main

@main
def task(config):
    if config.seed == 0 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.time()
    from train import train
    returned = train.__wrapped__(config)
    seen = {"device": os.environ["CUDA_VISIBLE_DEVICES"], "process": os.getpid(), "began": began, "ended": time.time()}
    seen["group"] = os.environ.get("MCL_GROUP")
    Path(f"seen-{config.seed}.json").write_text(json.dumps(seen))
    return returned

task()
"""


@pytest.mark.slow
def test_each_job_sees_its_own_gpu_and_a_killed_job_is_restarted(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    (tmp_path / "task.py").write_text(TASK)
    launcher = "hydra.launcher.ray"
    fake = ("hydra/launcher=ray_gpus", f"{launcher}.init.num_gpus=2", f"{launcher}.init.num_cpus=2")
    job = (*SMALL, "trainer.device=cpu", "trainer.max_steps=2", "loss=independent", "seed=0,1,2,3")
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "task.py", "-m", *fake, *job],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(file.read_text()) for file in tmp_path.glob("seen-*.json")]
    assert len(list(tmp_path.rglob("summary.json"))) == len(seen) == 4
    assert {job["device"] for job in seen} == {"0", "1"}
    (group,) = {job["group"] for job in seen}
    assert group.startswith("seed=0,1,2,3 dataset=synthetic ")
    assert len({job["process"] for job in seen}) == 4
    for device in "01":
        times = sorted((job["began"], job["ended"]) for job in seen if job["device"] == device)
        assert all(before[1] <= after[0] for before, after in pairwise(times))
