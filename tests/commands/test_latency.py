"""``python -m mcl latency``: what is timed and how it is compared; never how fast it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_runs import Outcome

from mcl.__main__ import main
from mcl.benchmarking import exported_speed
from mcl.benchmarking.exported_speed import measure_latency

QUICK = ["--turns", "3", "--batch-size", "5", "--threads", str(torch.get_num_threads())]  # they stay as they were


@pytest.fixture
def files(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    for extra in ("onnxruntime", "onnxscript"):
        pytest.importorskip(extra)
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))
    for form in (["safetensors"], ["onnx", "--int8", "--calibration", "4"]):
        assert main(["export", str(run), "--network", "first", "--format", *form]) == 0
    return [run / "export" / f"first-resnet8{end}" for end in (".safetensors", "-int8.onnx", ".onnx")]


def test_every_file_is_timed_and_int8_is_compared_with_its_float32_file(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["latency", *map(str, files), *QUICK, "--json", "speed.json"]) == 0
    output = capsys.readouterr().out
    results = json.loads(Path("speed.json").read_text())
    assert (results["turns"], results["batch_size"]) == (3, 5)
    torch_file, int8, onnx = results["files"]
    assert [each["runtime"] for each in results["files"]] == ["PyTorch", "onnxruntime", "onnxruntime"]
    assert int8["reference"] == onnx["path"]
    assert torch_file["reference"] == onnx["reference"] == torch_file["path"]
    assert (torch_file["speedup"], torch_file["batch_speedup"]) == (1, 1)
    for each in results["files"]:
        assert each["milliseconds"] > 0
        assert each["images_per_second"] > 0
        assert f"{each['milliseconds']:.3f} ± " in output


def test_files_take_turns_and_each_timed_call_follows_one_of_its_own(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[int, int]] = []

    def recorded(network: Any, images: torch.Tensor) -> torch.Tensor:
        called.append((id(network), len(images)))
        return images

    monkeypatch.setattr(exported_speed, "logits", recorded)
    measure_latency(files[1:], batch_size=5, threads=torch.get_num_threads(), turns=3)
    first, second = dict.fromkeys(network for network, _ in called)
    single = [network for network, images in called if images == 1]
    assert single == [first, first, second, second] * 6  # three turns to warm up, three that count
    assert {images for _, images in called} == {1, 5}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nothing.onnx"], "nothing.onnx: there is no such file"),
        (["nothing.onnx", "--threads", "0"], "--threads 0"),
        (["nothing.onnx", "--turns", "2"], "--turns 2"),
        (["nothing.onnx", "--json", "no/such.json"], "--json no/such.json"),
    ],
)
def test_errors_are_one_line(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["latency", *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert part in message
