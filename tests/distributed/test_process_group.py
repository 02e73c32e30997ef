"""Several processes train one run: same results as one process, equal state in all, errors reported once."""

import itertools
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.small_runs import assert_same

from mcl.distributed import process_group as processes_module
from mcl.distributed.process_group import ProcessGroup
from mcl.runs import checkpoints

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parents[1] / "support" / "shared_batches.py"


def torchrun(processes: int, *command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.run(
        [*launcher, *command],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module", params=["batch", "memory"])
def one_and_two(
    request: pytest.FixtureRequest, device: str, warm_executable: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    """Train one process and two processes on the same batches, with contrast in the batch or with banks."""
    folder = tmp_path_factory.mktemp("shared")
    results = []
    for processes in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", warm_executable)
            ended = torchrun(processes, str(SCRIPT), f"{processes}.pt", request.param, device, folder=folder)
        assert ended.returncode == 0, ended.stderr
        results.append(torch.load(folder / f"{processes}.pt"))
    return results[0], results[1]


def test_two_processes_compute_the_same_as_one(one_and_two: tuple[Any, Any]) -> None:
    one, two = one_and_two
    assert one["losses"] == [pytest.approx(step, rel=1e-9) for step in two["losses"]]
    assert [list(step) for step in two["outer"]] == [["meta/outer_loss"], []] * 2 + [["meta/outer_loss"]]
    assert one["outer"] == [pytest.approx(step, rel=1e-9) for step in two["outer"]]
    assert one["state"].keys() == two["state"].keys()
    assert any(name.startswith("loss.matching.") for name in one["state"])
    for name, tensor in one["state"].items():
        torch.testing.assert_close(two["state"][name], tensor, rtol=1e-9, atol=1e-11, msg=name)


def test_two_processes_accumulate_the_gradients_of_one(
    device: str, warm_executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", warm_executable)
    results = []
    for processes, chunks in ((1, "1"), (2, "4")):
        command = (str(SCRIPT), f"{processes}.pt", "batch", device)
        ended = torchrun(processes, *command, folder=tmp_path, ACCUMULATE=chunks)
        assert ended.returncode == 0, ended.stderr
        results.append(torch.load(tmp_path / f"{processes}.pt"))
    one, two = results
    assert one["losses"] == [pytest.approx(step, rel=1e-9) for step in two["losses"]]
    for name, tensor in one["state"].items():
        torch.testing.assert_close(two["state"][name], tensor, rtol=1e-9, atol=1e-11, msg=name)
    assert all(len(set(hashes)) == 1 for hashes in two["hashes"])


def test_all_processes_hold_the_same_bits_after_every_step(one_and_two: tuple[Any, Any]) -> None:
    _, two = one_and_two
    assert all(len(hashes) == 2 and len(set(hashes)) == 1 for hashes in two["hashes"])
    assert len({hashes[0] for hashes in two["hashes"]}) == len(two["hashes"])  # and these move


def test_a_step_needs_one_gather_one_gradient_of_it_and_one_average(one_and_two: tuple[Any, Any]) -> None:
    _, two = one_and_two
    counts = [step for step, outer in zip(two["collectives"], two["outer"], strict=True) if not outer]
    for step in counts:  # without a meta round; the gradients of DistributedDataParallel are not counted
        banks = "loss.contrast.bank.rows" in two["state"]
        assert step["all_gather"] == 1  # of embeddings, labels and weights, or of the new rows of all banks
        assert sum(step.values()) == (2 if banks else 3)  # the rest: gradients of the embeddings, averaged buffers
    assert len(counts) == 2


TRAIN = [str(ROOT / "train.py"), "dataset=synthetic", "dataset.image_size=8", "dataset.classes=4", "dataset.channels=1"]
TRAIN += ["dataset.train_per_class=8", "dataset.test_per_class=3", "trainer.batch_size=8", "trainer.epochs=2"]
TRAIN += ["trainer.device=cpu", "hydra.run.dir=run"]


def error_lines(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the error lines printed by mcl itself."""
    return [line for line in ended.stderr.splitlines() if line.startswith("error: ")]


def test_two_processes_write_one_run_folder_and_print_once(device: str, warm: None, tmp_path: Path) -> None:
    ended = torchrun(2, *TRAIN, f"trainer.device={device}", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("test accuracy, %") == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["steps"], summary["processes"]) == (8, 2)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps.count(8) == 2  # of training and of evaluation, each once
    assert sorted(place.name for place in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param("trainer.batch_size=9", "trainer.batch_size=9", marks=pytest.mark.slow),
        ("dataset.limt=3", "dataset.limt"),
        pytest.param("loss.tau=0", "loss.tau=0", marks=pytest.mark.slow),
    ],
)
def test_errors_are_reported_once(override: str, message: str, device: str, tmp_path: Path) -> None:
    """In interpreters that import everything themselves."""
    ended = torchrun(2, *TRAIN, override, f"trainer.device={device}", folder=tmp_path)
    assert ended.returncode != 0
    (line,) = error_lines(ended)
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("second", "message"),
    [pytest.param(None, "1: there is no such folder", marks=pytest.mark.slow), (5, "train images: 10, not 8")],
    ids=["none", "other"],
)
def test_process_with_other_data_is_reported_once(
    second: int | None, message: str, device: str, warm: None, tmp_path: Path
) -> None:
    # As on a machine where the folder is missing, or another: each process looks where its number leads it.
    for number, images in (("0", 4), ("1", second)):
        for part, name in itertools.product(("train", "test"), ("cat", "dog")) if images else ():
            (tmp_path / number / part / name).mkdir(parents=True)
            for n in range(images or 0):
                Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / number / part / name / f"{n}.png")
    options = ["dataset=folder", "trainer.batch_size=4", f"trainer.device={device}", "hydra.run.dir=run"]
    ended = torchrun(
        2, str(ROOT / "train.py"), *options, "dataset.root=${oc.env:RANK}", "dataset.name=d", folder=tmp_path
    )
    assert ended.returncode != 0
    (line,) = error_lines(ended)
    assert message in line
    remaining = [path.name for path in tmp_path.glob("run/*")]
    assert remaining in ([], ["lock"])  # torchrun ends the other one, which then locks nothing


@pytest.mark.slow
def test_killed_process_ends_the_others(device: str, tmp_path: Path) -> None:
    """Process 1 kills itself in its third step."""
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, sys\n"
        "from mcl.training.trainer import Trainer\n"
        "taken = Trainer.train_on_batch\n"
        "def step(trainer, *arguments):\n"
        "    if trainer.progress.step == 3 and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return taken(trainer, *arguments)\n"
        "Trainer.train_on_batch = step\n"
        "import train\n"
        "train.train()\n"
    )
    options = [*TRAIN[1:], "trainer.checkpoint_every=1", f"trainer.device={device}"]
    ended = torchrun(2, str(script), *options, folder=tmp_path)
    assert ended.returncode != 0
    assert "SIGKILL" in ended.stderr
    assert len(error_lines(ended)) <= 1  # torchrun may end the other before it has said anything
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["last.pt", "step-2.pt"]
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 3
    again = torchrun(2, TRAIN[0], *options, folder=tmp_path)
    assert again.returncode == 0, again.stderr


def test_signal_to_one_process_stops_all_and_saves(device: str, warm: None, tmp_path: Path) -> None:
    script = tmp_path / "signalled.py"
    script.write_text(
        "import os, signal, sys\n"
        "from mcl.training.trainer import Trainer\n"
        "taken = Trainer.train_on_batch\n"
        "def step(trainer, *arguments):\n"
        "    if trainer.progress.step == 3 and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    return taken(trainer, *arguments)\n"
        "Trainer.train_on_batch = step\n"
        "import train\n"
        "train.train()\n"
    )
    ended = torchrun(2, str(script), *TRAIN[1:], f"trainer.device={device}", folder=tmp_path)
    assert "exitcode  : 75" in ended.stderr
    assert checkpoints.load(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 4
    again = torchrun(1, *TRAIN, folder=tmp_path)  # by another number of processes
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 8


def test_run_of_one_process_is_resumed_by_two(
    command: Callable[..., Any], during_step: Callable[..., None], device: str, warm: None, tmp_path: Path
) -> None:
    options = [
        *TRAIN[1:],
        "sampler=shuffle",
        "trainer.batch_size=10",
    ]  # 10, 10, 10 and 2 images, one for each of two processes
    during_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert command(*options).status == 75
    saved = checkpoints.load(tmp_path / "run" / "checkpoints" / "last.pt")
    ended = torchrun(2, TRAIN[0], *options, f"trainer.device={device}", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["steps"], summary["epochs"], summary["images"]) == (8, 2, 64)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines if "test/ensemble/top1" in line] == [(4, 1), (8, 2)]
    rates = {line["epoch"]: line["train/lr"] for line in lines if "train/lr" in line}
    assert rates[2] == pytest.approx(rates[1] / 2)
    assert (saved["step"], saved["steps_per_epoch"], saved["processes"]) == (6, 4, 1)
    assert len(saved["classes"]) == 4


@pytest.mark.slow
def test_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        several = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        ended = subprocess.run(
            [sys.executable, *TRAIN],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | several,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert ended.returncode == 1
    (line,) = error_lines(ended)
    assert f"127.0.0.1:{port}: that port is in use" in line


def test_checkpoint_is_broadcast_tensor_by_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {
        "learner": {"weight": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last), "step": torch.tensor(7)},
        "optimizers": [{"momentum": torch.randn(5, dtype=torch.bfloat16), "lr": 0.1}],
        "random": (3, (torch.zeros(0), torch.tensor([True, False])), None),
    }
    first, second = object.__new__(ProcessGroup), object.__new__(ProcessGroup)
    first.rank, first.world_size, second.rank, second.world_size = 0, 2, 1, 2
    objects: list[bytes] = []
    messages: list[torch.Tensor] = []
    monkeypatch.setattr(first, "broadcast_object", lambda value: objects.append(pickle.dumps(value)) or value)
    monkeypatch.setattr(second, "broadcast_object", lambda value: pickle.loads(objects[0]))
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, **_: messages.append(tensor.clone()))
    assert first.broadcast_state(state) is not None
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, **_: tensor.copy_(messages.pop(0)))
    assert_same(second.broadcast_state(None), state, "state")
    assert not messages
    assert b"_rebuild_tensor" not in objects[0]


def test_lost_gpu_process_is_noticed_before_the_start_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: dict[str, timedelta] = {}
    for name, value in {"MASTER_ADDR": "here", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name in ("_store", "_group"):
        monkeypatch.setattr(processes_module, name, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(processes_module.atexit, "register", lambda _: None)
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda *_, **__: iter([(object(), 0, 2)]))
    note = lambda backend, timeout, **_: timeouts.setdefault(backend, timeout)  # noqa: E731
    monkeypatch.setattr(torch.distributed, "init_process_group", note)
    monkeypatch.setattr(torch.distributed, "new_group", note)
    ProcessGroup()
    assert timeouts["cpu:gloo,cuda:nccl"] <= timedelta(minutes=30)
    assert timeouts["gloo"] >= timedelta(hours=2)


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        ("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.1.1]:30858", True),
        (
            "NCCL error in: NCCLUtils.cpp:77, remote process exited or there was a network error\nncclRemoteError: ...",
            True,
        ),
        ("NCCL communicator was aborted on rank 1.", True),
        ("NCCL error in: NCCLUtils.cpp:77, invalid usage\nncclInvalidUsage: ... Duplicate GPU detected", False),
        (
            "NCCL error in: NCCLUtils.cpp:77, invalid argument\nncclInvalidArgument: Invalid value for an argument.",
            False,
        ),
        ("[enforce fail at ../gloo/transport/tcp/pair.cc:446] op.preamble.length <= op.nbytes. 8 vs 4", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_wrong_use_of_collectives_is_not_reported_as_a_lost_process(message: str, lost: bool) -> None:
    processes = object.__new__(ProcessGroup)
    processes.rank, processes.world_size = 0, 2
    error = processes.lost_another(torch.distributed.DistBackendError(message))
    assert (error is not None) == lost
    if error is not None:
        assert "lost the connection to another process" in str(error)


def test_failed_rendezvous_names_what_is_missing(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command(*TRAIN[1:])
    assert result.status == 1
    assert "RANK, MASTER_ADDR, MASTER_PORT is not set" in result.err


def test_process_that_is_alone_reports_whatever_its_rank(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")  # of a pod, without torchrun
    assert command("lr=0.1").err == "error: lr: there is no such option. Write optimizer.lr=0.1.\n"
