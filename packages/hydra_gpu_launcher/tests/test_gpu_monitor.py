"""The usage of GPUs, from NVML or nvidia-smi."""

import sys
from pathlib import Path

import pytest
from fakes.fake_pynvml import GIB, FakeGpu, install

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.gpu_monitor import Usage, gpu_monitor

A, B = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c3d4e-0000"
OPTION = "hydra.launcher.per_gpu=auto"


@pytest.fixture
def without_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_nvml_reads_devices_by_uuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = {A: FakeGpu(tmp_path, others=1.5, utilization=40), B: FakeGpu(tmp_path, total=8.0, utilization=None)}
    install(monkeypatch, gpus)
    monitor = gpu_monitor({"1": A, "0": B}, OPTION)
    assert monitor() == {"1": Usage(3 * GIB // 2, 16 * GIB, 40), "0": Usage(0, 8 * GIB, None)}
    assert monitor()["0"].free == 8 * GIB
    gpus[A].lost = True
    assert monitor() == {"0": Usage(0, 8 * GIB, None)}


def test_older_nvml_counts_reserved_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {A: FakeGpu(tmp_path)}, second_memory_version=False)
    assert gpu_monitor({"0": A}, OPTION)()["0"].used == GIB


@pytest.mark.parametrize(
    ("uuid", "lost", "message"),
    [(B, False, r"per_gpu=auto: NVML fails \(Not Found\)"), (A, True, "per_gpu=auto: the memory of 0 cannot be read")],
)
def test_device_that_nvml_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uuid: str, lost: bool, message: str
) -> None:
    install(monkeypatch, {A: FakeGpu(tmp_path, lost=lost)})
    with pytest.raises(LauncherError, match=message):
        gpu_monitor({"0": uuid}, OPTION)


@pytest.mark.usefixtures("without_pynvml")
def test_nvidia_smi_is_read_without_pynvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    lines = f"{A}, 1536, 16384, 40\n{B}, 0, 8192, [N/A]\nGPU-other, [N/A], 1, 1"
    program.write_text(f"#!{sys.executable} -S\nprint({lines!r})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monitor = gpu_monitor({"1": A, "0": B}, OPTION)
    assert monitor() == {"1": Usage(3 * GIB // 2, 16 * GIB, 40), "0": Usage(0, 8 * GIB, None)}
    with pytest.raises(LauncherError, match=r"parts of a GPU \(MIG-1\) through NVML: pip install nvidia-ml-py"):
        gpu_monitor({"MIG-1": "MIG-1"}, OPTION)
    program.unlink()
    assert monitor() == {}


@pytest.mark.usefixtures("without_pynvml")
def test_without_nvml_and_nvidia_smi_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match=r"^hydra\.launcher\.per_gpu=auto reads .*pip install nvidia-ml-py"):
        gpu_monitor({"0": A}, OPTION)
