"""How a card reads image files: its code gives the pixels that mcl reads."""

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image, ImageOps
from support.small_runs import Outcome

import mcl
from mcl.data.preprocessing import Preprocessing
from mcl.deploy.card_images import describe_reading, reading_code
from mcl.deploy.export import export_networks
from mcl.deploy.saved_run import SavedRun

SIDEWAYS, ORIENTATION = 6, 0x0112  # a tag of EXIF


def photo(*, rotated: bool = False, mode: str = "RGB", size: tuple[int, int] = (151, 100)) -> Image.Image:
    """Draw smooth colors, half of them transparent in RGBA; EXIF may say that the camera was held sideways."""
    colors = numpy.random.default_rng(0).integers(0, 256, (5, 7, 4), numpy.uint8)
    image = Image.fromarray(colors, "RGBA").resize(size, Image.Resampling.BICUBIC).convert(mode)
    if rotated:
        image.getexif()[ORIENTATION] = SIDEWAYS
    return image


PHOTOS: dict[str, dict[str, Any]] = {
    "wide.png": {},
    "turned.jpg": {"rotated": True},
    "large.jpg": {"rotated": True, "size": (700, 460)},  # decoded at a fraction of its size
    "clear.png": {"mode": "RGBA", "size": (90, 133)},
    "gray.png": {"mode": "L"},
    "palette.png": {"mode": "P"},
    "right_size.png": {"size": (32, 32)},
}


@pytest.mark.parametrize("resize", [None, 40])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PHOTOS)
def test_code_of_a_card_gives_the_same_pixels(name: str, channels: int, resize: int | None, tmp_path: Path) -> None:
    image = photo(**PHOTOS[name])
    image.save(tmp_path / "image.png", "JPEG" if name.endswith("jpg") else "PNG", exif=image.getexif())
    preprocessing = Preprocessing(channels, 32, (0.5,) * channels, (0.25,) * channels, resize)
    names: dict[str, Any] = {"numpy": numpy, "Image": Image, "ImageOps": ImageOps}
    with contextlib.chdir(tmp_path):
        exec(reading_code(preprocessing), names)
    assert names["images"].dtype == numpy.uint8
    actual = preprocessing.normalize(torch.from_numpy(names["images"].copy()))
    assert torch.equal(actual, preprocessing(tmp_path / "image.png"))


def test_words_of_a_card_have_every_step() -> None:
    square = describe_reading(Preprocessing(3, 32, (0.5,) * 3, (0.25,) * 3))
    for part in ("EXIF", "transparent parts become white", "red, green and blue, in this order", "centered square"):
        assert part in square
    assert "bilinearly, with antialiasing, to 32 x 32 pixels." in square
    center = describe_reading(Preprocessing(1, 224, (0.5,), (0.25,), 256))
    assert "its pixels become 8-bit values of gray. The image is" in center
    assert "its shorter side has 256 pixels; then the center of 224 x 224 pixels is cropped." in center


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_code_of_a_card_classifies_a_photo_as_mcl_does(
    format: str, undisturbed: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    run = Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))
    export_networks(SavedRun(run), format, networks=["first"])
    card = (run / "export" / "README.md").read_text()
    assert describe_reading(SavedRun(run).preprocessing) in card
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    image = photo(rotated=True)
    image.save(run / "export" / "image.png", exif=image.getexif())
    done: dict[str, Any] = {}
    capsys.readouterr()
    with contextlib.chdir(run / "export"):
        exec(code, done)
    network = mcl.load(run)
    with torch.no_grad():
        expected = network(network.preprocessing(run / "export" / "image.png"))
    torch.testing.assert_close(torch.as_tensor(done["logits"]), expected, atol=1e-4, rtol=1e-4)
    assert capsys.readouterr().out == f"{[network.classes[label] for label in expected.argmax(1)]}\n"
