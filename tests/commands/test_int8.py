"""``python -m mcl export --int8`` and ``--format torch-export``: files to deploy, measured and without mcl."""

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_runs import Outcome

import mcl
from mcl.__main__ import main
from mcl.config.build_network import build_network
from mcl.data.preprocessing import Preprocessing
from mcl.deploy import quantization
from mcl.deploy.export import export_networks
from mcl.deploy.formats import FORMATS
from mcl.deploy.metadata import NetworkMetadata
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError

INT8 = ["--format", "onnx", "--int8", "--calibration", "16"]
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def test_int8_file_is_smaller_and_both_are_measured_on_the_test_images(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), *INT8, "--network", "first", "dataset.test_per_class=25"]) == 0
    output = capsys.readouterr().out
    assert "top-1 on 100 test images" in output
    file, original = run / "export" / "first-resnet8-int8.onnx", run / "export" / "first-resnet8.onnx"
    assert file.stat().st_size < original.stat().st_size / 2
    result = json.loads(file.with_suffix(".json").read_text())
    images, labels = SavedRun(run, ["dataset.test_per_class=25"]).dataset.load().test
    pixels = SavedRun(run).preprocessing.normalize(images)
    for path, name in ((original, "float32_top1"), (file, "int8_top1")):
        right = int((mcl.load(path)(pixels).argmax(1) == labels).sum())
        assert result[name] == pytest.approx(right)  # of 100 images
    assert result["difference"]["difference"] == pytest.approx(result["int8_top1"] - result["float32_top1"])
    assert (result["bytes"], result["calibration"]) == (file.stat().st_size, 16)
    card = (run / "export" / "README.md").read_text()
    assert f"| first-resnet8-int8.onnx | {original.stat().st_size:,} | {result['bytes']:,} |" in card
    assert "Measured with other settings than the run's: other images, dataset.test" in card


def test_weights_have_a_scale_for_each_channel_and_activations_are_unsigned(run: Path) -> None:
    assert main(["export", str(run), *INT8, "--network", "first"]) == 0
    graph = onnx.load(run / "export" / "first-resnet8-int8.onnx").graph
    types = {tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in graph.initializer}
    scales = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    by_output = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 6
    for node in convolutions:
        activation, weight = (by_output[name] for name in node.input[:2])
        assert (activation.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert types[weight.input[0]] == "INT8"
        assert scales[weight.input[1]] in (16, 32, 64)
        assert types[activation.input[2]] == "UINT8"
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize(("name", "left"), [("resnet8", 0), ("wrn_10_1", 4)])  # 3 of 7 norms follow a convolution
def test_normalization_is_part_of_a_convolution_where_it_follows_one(name: str, left: int) -> None:
    preprocessing = Preprocessing(3, 32, (0.5,) * 3, (0.25,) * 3)
    about = NetworkMetadata(name, "first", {}, ("a", "b"), preprocessing, "last", 0)
    graph = onnx.load_from_string(FORMATS["onnx"].encode(build_network(name, 2).eval(), about)).graph
    assert [node.op_type for node in graph.node].count("BatchNormalization") == left


def test_int8_file_takes_batches_of_any_size_and_loads_like_any_other(run: Path) -> None:
    assert main(["export", str(run), *INT8, "--network", "first"]) == 0
    network = mcl.load(run / "export" / "first-resnet8-int8.onnx")
    assert network.classes == mcl.load(run).classes
    rng = torch.Generator().manual_seed(0)
    for batch in (1, 7):
        assert network(torch.randn(batch, 1, 8, 8, generator=rng)).shape == (batch, 4)


def test_a_small_data_set_calibrates_with_all_its_images_unless_a_number_is_asked_for(run: Path) -> None:
    assert main(["export", str(run), *INT8[:3], "--network", "first"]) == 0
    assert json.loads((run / "export" / "first-resnet8-int8.json").read_text())["calibration"] == 32


def test_the_seed_chooses_the_calibration_images(run: Path) -> None:
    def content(*options: str) -> bytes:
        assert main(["export", str(run), *INT8, "--network", "first", "--out", "out", *options]) == 0
        return Path("out/first-resnet8-int8.onnx").read_bytes()

    first = content()
    assert content() == first
    assert content("--seed", "1") != first


def test_a_large_loss_is_noted(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "LARGE_LOSS", -101.0)  # any loss counts
    assert main(["export", str(run), *INT8, "--network", "first"]) == 0
    assert "note: first-resnet8-int8.onnx: int8 loses more than" in capsys.readouterr().out
    assert "Try more calibration images (`--calibration`)" in (run / "export" / "README.md").read_text()


def test_a_later_export_keeps_what_was_measured_while_the_files_are_the_same(run: Path) -> None:
    def rows() -> list[str]:
        return re.findall(r"^\| \S+-int8\.onnx \|", (run / "export" / "README.md").read_text(), re.MULTILINE)

    assert main(["export", str(run), *INT8, "--network", "first"]) == 0
    for file in (run / "export").glob("first-*"):
        shutil.copy(file, file.with_name(file.name.replace("first", "second")))
    record = run / "export" / "second-resnet8-int8.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"calibration": 8}))
    both = ["| first-resnet8-int8.onnx |", "| second-resnet8-int8.onnx |"]
    for _ in range(2):
        assert main(["export", str(run), "--format", "torch"]) == 0
        assert rows() == both
    card = (run / "export" / "README.md").read_text()
    assert (card.count("that 16 training images have"), card.count("that 8 training images have")) == (1, 1)
    (run / "export" / "second-resnet8.onnx").write_bytes(b"other weights")
    assert main(["export", str(run), "--format", "torch"]) == 0
    assert rows() == both[:1]


def test_a_full_disk_is_an_error_for_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")  # of a write: it names no file

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", full)
    with pytest.raises(UserError, match=r"No space left on device\. Free some space there"):
        quantization._quantize_one(tmp_path / "first.onnx", torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--format", "torch", "--int8"], ["--int8", "--format onnx"]),
        (["--format", "onnx", "--calibration", "16"], ["--calibration", "Add --int8"]),
        (["--format", "onnx", "dataset.root=x"], ["dataset.root=x", "Add --int8"]),
        ([*INT8[:3], "--calibration", "0"], ["--calibration 0", "at least 1"]),
        ([*INT8[:3], "--calibration", "33"], ["--calibration 33", "32 training images"]),
        ([*INT8, "dataset.image_size=16"], ["1 x 16 x 16", "dataset.image_size=8"]),
        ([*INT8, "dataset=digits"], ["10 classes"]),
    ],
)
def test_errors_come_before_anything_is_written(
    arguments: list[str], parts: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message
    assert not (run / "export").exists()


def test_a_program_of_torch_export_runs_as_its_card_says_without_mcl(run: Path) -> None:
    (file,) = export_networks(SavedRun(run), "torch-export", networks=["first"])
    (code,) = re.findall(r"```python\n(.*?)```", (run / "export" / "README.md").read_text(), re.DOTALL)
    names = [f"{number}.png" for number in range(7)]
    for name, pixels in zip(names, np.random.default_rng(0).integers(0, 256, (7, 15, 20), np.uint8), strict=True):
        Image.fromarray(pixels).save(run / "export" / name)
    script = "import sys\nsys.modules['mcl'] = None  # any import of it fails\nimport torch\n"
    for batch in (1, 7):
        several = ", ".join(f'read("{name}")' for name in names[:batch])
        script += code.replace('read("image.png")', several) + f"torch.save(logits, '{batch}.pt')\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=run / "export", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    network = mcl.load(run)
    with torch.no_grad():
        expected = network(network.preprocessing(*(run / "export" / name for name in names)))
    for batch in (1, 7):
        torch.testing.assert_close(torch.load(run / "export" / f"{batch}.pt"), expected[:batch])
    assert done.stdout.splitlines()[1] == str([network.classes[label] for label in expected.argmax(1)])
    assert file.path.suffix == ".pt2"


def test_a_program_is_not_read_because_it_could_run_code(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = run / "first.pt2"
    program.write_bytes(b"whatever")
    with pytest.raises(UserError, match=r"can run code when it is read.*torch\.export\.load"):
        mcl.load(program)
    assert main(["latency", str(program)]) == 1
    assert "can run code" in capsys.readouterr().err
