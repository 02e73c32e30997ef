"""Devices and cores: detection, assignment to slots, and errors."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.gpus import display_name, find_gpus, listed_uuids
from hydra_gpu_launcher.launch_options import Options
from hydra_gpu_launcher.slots import make_slots, split_cores, usable_cores

A, B = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c3d4e-0000-1111-2222-333344445555"
M1, M2 = "MIG-3eb87630-93d5-b2b6-b8ff-9b359caf4ee2", "MIG-GPU-8932f937/1/0"
TWO = f"GPU 0: NVIDIA H100 (UUID: {A})\nGPU 1: NVIDIA H100 (UUID: {B})\n"
SPLIT = f"GPU 0: NVIDIA A100 (UUID: {A})\n  MIG 1g.5gb      Device  0: (UUID: {M1})\nGPU 1: NVIDIA A100 (UUID: {B})\n"


@pytest.mark.parametrize(
    ("devices", "visible", "expected"),
    [
        ("auto", None, ["0", "1"]),
        ("auto", "", []),
        ("auto", "-1", []),
        ("auto", "NoDevFiles", []),
        ("auto", "3", ["3"]),
        ("auto", " 2, 0", ["2", "0"]),
        ("auto", "2,-1,0", ["2"]),  # CUDA takes what comes before the first that is none
        ("auto", f"{A},{B}", [A, B]),
        ("auto", f"{M1},{M2}", [M1, M2]),
        ("cpu", "0,1", []),
        (["cpu"], None, []),
        ([0, 1], None, ["0", "1"]),
        (["1", 0], None, ["1", "0"]),
        (2, None, ["2"]),
        ([0], "5,7", ["5"]),
        ([1], "5,7", ["7"]),
        ([1], f"{A},{B}", [B]),
        ([A], None, [A]),
        (A, None, [A]),
        ([M2], None, [M2]),
        (["GPU-1b2c"], f"{A},{B}", [B]),
        ([A], "0,1", [A]),
        (["MIG-GPU-8932f937/1/1", "MIG-GPU-8932f937/1/10"], None, ["MIG-GPU-8932f937/1/1", "MIG-GPU-8932f937/1/10"]),
    ],
)
def test_devices(devices: Any, visible: str | None, expected: list[str]) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert find_gpus(devices, environment, lambda: TWO) == expected


@pytest.mark.parametrize(
    ("devices", "visible", "message"),
    [
        ([], None, r"devices=\[\]: expected auto, cpu, or a list"),
        ("gpu", None, "devices=gpu: expected auto, cpu, or a list"),
        ([0, "cpu"], None, "devices=cpu: expected"),
        ([-1], None, "devices=-1: expected"),
        ([True], None, "devices=True: expected"),
        ([1.5], None, "devices=1.5: expected"),
        (None, None, r"devices=null: expected auto, cpu, or a list"),
        ({"gpu": 0}, None, r"devices=.*: expected auto, cpu, or a list"),
        ([A[:8], A[:12]], None, "a device is named twice"),
        ([A, A[:12]], "0,1", "a device is named twice"),
        ("auto", f"{A[:8]},{A}", "is there twice"),
        ([0, 0], None, r"devices=\[0,0\]: a device is named twice.*per_gpu"),
        ([2], "5,7", "2 is not among the 2 of CUDA_VISIBLE_DEVICES=5,7, which are counted from 0"),
        ([0], "", "0 is not among the 0"),
        ([B], A, f"{B} is not among CUDA_VISIBLE_DEVICES={A}"),
        ("auto", "0,0", "CUDA_VISIBLE_DEVICES=0,0: 0 is there twice"),
    ],
)
def test_invalid_devices_are_refused(devices: Any, visible: str | None, message: str) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    with pytest.raises(LauncherError, match=message):
        find_gpus(devices, environment, lambda: TWO)


def test_mig_devices_are_selected_by_uuid() -> None:
    assert find_gpus("auto", {}, lambda: SPLIT) == [M1, B]


def test_cpu_is_used_without_a_gpu() -> None:
    assert find_gpus("auto", {}, lambda: "") == []
    assert find_gpus("auto", {}, lambda: "No devices found.\n") == []


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, prints: str, status: int) -> None:
    """Make a fake ``nvidia-smi`` the only program on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable} -S\nprint({prints!r})\nraise SystemExit({status})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_failing_nvidia_smi_is_an_error_and_not_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "Failed to initialize NVML: Driver/library version mismatch", 18)
    with pytest.raises(LauncherError, match=r"devices=auto: nvidia-smi -L fails \(.*version mismatch\).*devices=cpu"):
        find_gpus("auto", {})
    assert find_gpus("cpu", {}) == []
    assert find_gpus([1], {}) == ["1"]


@pytest.mark.parametrize("status", [0, 6])
def test_nvidia_smi_without_devices_means_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    fake_nvidia_smi(tmp_path, monkeypatch, "No devices were found", status)
    assert find_gpus("auto", {}) == []


def test_machine_without_nvidia_smi_uses_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus("auto", {}) == []


BROKEN = "Unable to determine the device handle for gpu 0000:3B:00.0: GPU is lost."


@pytest.mark.parametrize("status", [0, 15])
def test_gpus_beside_a_broken_one_are_selected_by_uuid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    first, second = TWO.replace("GPU 1", "GPU 2").splitlines()
    fake_nvidia_smi(tmp_path, monkeypatch, f"{first}\n{BROKEN}\n{second}", status)
    assert find_gpus("auto", {}) == [A, B]
    assert [record.message for record in caplog.records] == [
        f"nvidia-smi -L: {BROKEN} Jobs use GPU-8932f937, GPU-1b2c3d4e."
    ]


def test_displayed_device_names_are_short() -> None:
    assert [display_name("0"), display_name(A), display_name(M1)] == ["GPU 0", "GPU-8932f937", "MIG-3eb87630"]


def slots(gpus: list[str], cores: int, **options: Any) -> list[tuple[str, tuple[int, ...], int]]:
    result = make_slots(gpus, Options(**options), list(range(cores)))
    return [(slot.visible, slot.cores, slot.threads) for slot in result]


pinned = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be confined here")


@pinned
@pytest.mark.parametrize(
    ("gpus", "cores", "options", "expected"),
    [
        (["0", "1"], 4, {}, [("0", (0, 1), 2), ("1", (2, 3), 2)]),
        (["0", "1"], 5, {"per_gpu": "auto"}, [("0", (0, 1), 1), ("1", (2, 3, 4), 1)] * 2),
        ([], 2, {"per_gpu": "auto"}, [("", (0,), 1), ("", (1,), 1)]),
        (["0", "1"], 4, {"per_gpu": 2}, [("0", (0,), 1), ("1", (1,), 1), ("0", (2,), 1), ("1", (3,), 1)]),
        (["3"], 5, {}, [("3", (0, 1, 2, 3, 4), 5)]),
        (["0", "1", "2", "3"], 8, {"devices_per_job": 2}, [("0,1", (0, 1, 2, 3), 2), ("2,3", (4, 5, 6, 7), 2)]),
        (["0", "1", "2"], 4, {"devices_per_job": 2}, [("0,1", (0, 1, 2, 3), 2)]),
        (["0", "1", "2"], 2, {}, [("0", (0,), 1), ("1", (1,), 1), ("2", (0,), 1)]),
        ([], 2, {}, [("", (0,), 1), ("", (1,), 1)]),
        ([], 16, {}, [("", tuple(range(i, i + 4)), 4) for i in (0, 4, 8, 12)]),
        ([], 16, {"per_gpu": 1}, [("", tuple(range(16)), 16)]),
        ([], 4, {"devices_per_job": 2}, [("", (0, 1), 1), ("", (2, 3), 1)]),
        ([], 1, {"devices_per_job": 2}, [("", (0,), 1)]),
    ],
)
def test_slots(gpus: list[str], cores: int, options: dict[str, Any], expected: list[Any]) -> None:
    assert slots(gpus, cores, **options) == expected


@pytest.mark.parametrize(
    ("gpus", "size", "message"),
    [
        (["0"], 2, r"devices_per_job=2: there is 1 \(GPU 0\)"),
        (["0", "1"], 3, r"devices_per_job=3: there are 2 \(GPU 0, GPU 1\)"),
        ([M1, M2], 2, "one part of a GPU"),
    ],
)
def test_job_cannot_have_more_devices_than_exist(gpus: list[str], size: int, message: str) -> None:
    with pytest.raises(LauncherError, match=message):
        make_slots(gpus, Options(devices_per_job=size), [0, 1])


@pytest.mark.parametrize(("cores", "count"), [(1, 1), (5, 2), (7, 3), (64, 8), (2, 5)])
def test_every_core_is_assigned_once_unless_there_are_too_few(cores: int, count: int) -> None:
    shared = split_cores(range(cores), count)
    assert len(shared) == count
    assert {core for share in shared for core in share} == set(range(cores))
    if cores >= count:
        assert sum(map(len, shared)) == cores
        assert max(map(len, shared)) - min(map(len, shared)) <= 1


def test_only_cores_of_this_process_are_counted() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert set(usable_cores()) == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("per_gpu", 0),
        ("per_gpu", 1.5),
        ("per_gpu", True),
        ("per_gpu", "all"),
        ("wait_for_free", 1),
        ("devices_per_job", 0),
        ("devices_per_job", None),
        ("retries", -1),
        ("retries", "1"),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("timeout", True),
        ("fail_fast", 1),
        ("grace", -1),
        ("grace", None),
        ("requeue_statuses", 75),
        ("requeue_statuses", [0]),
        ("requeue_statuses", [256]),
    ],
)
def test_invalid_option_is_named(option: str, value: object) -> None:
    with pytest.raises(LauncherError, match=rf"^hydra\.launcher\.{option}={re.escape(str(value))}: expected "):
        Options(**{option: value})  # type: ignore[arg-type]


def test_uuids_of_gpus_come_from_nvidia_smi() -> None:
    assert listed_uuids(["1", A[:12], M1], TWO) == [B, A, M1]
    with pytest.raises(LauncherError, match=r"GPU 7 is not in nvidia-smi -L\. It lists: GPU 0, GPU 1"):
        listed_uuids(["7"], TWO)
