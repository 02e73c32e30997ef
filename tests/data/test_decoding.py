"""Decoding of image files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError, features

from mcl.data.decoding import decode, decode_all

RGB = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.webp", "a.ppm"])
def test_image_of_the_right_size_is_untouched(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    pixels = decode(saved(tmp_path / name, Image.fromarray(RGB), **options), 8, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, RGB.transpose(2, 0, 1))


def test_gray_image_becomes_three_equal_channels(tmp_path):
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(RGB[..., 0])), 8, 3)
    assert np.array_equal(pixels, np.stack([RGB[..., 0]] * 3))


def test_color_becomes_gray_by_luminance(tmp_path):
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(RGB)), 8, 1)
    assert pixels.shape == (1, 8, 8)
    assert np.abs(pixels[0] - RGB @ [0.299, 0.587, 0.114]).max() <= 1


def test_palette_image_gives_the_colors_of_its_palette(tmp_path):
    palette = Image.fromarray(RGB).quantize(16)
    pixels = decode(saved(tmp_path / "a.png", palette), 8, 3)
    assert np.array_equal(pixels, np.asarray(palette.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(tmp_path, mode):
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:, :4] = 0
    image = Image.fromarray(np.dstack([np.zeros((8, 8, 3), np.uint8), alpha])).convert(mode)
    options = {"transparency": image.getpixel((0, 0))} if mode == "P" else {}
    if mode == "P":
        image.putdata([1 if x < 4 else 0 for _ in range(8) for x in range(8)])
        image.putpalette([0, 0, 0, 9, 9, 9])
        options = {"transparency": 1}
    pixels = decode(saved(tmp_path / "a.png", image, **options), 8, 3)
    assert (pixels[:, :, :4] == 255).all()
    assert (pixels[:, :, 4:] == 0).all()


def test_half_transparent_black_is_gray(tmp_path):
    pixels = decode(saved(tmp_path / "a.png", Image.new("RGBA", (8, 8), (0, 0, 0, 128))), 8, 3)
    assert np.abs(pixels.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_gray_is_scaled_and_not_clipped(tmp_path, name):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    pixels = decode(saved(tmp_path / name, Image.fromarray(values)), 8, 1)
    assert np.array_equal(pixels[0], np.round(values / 257))
    assert len(np.unique(pixels)) == 64


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_without_a_fixed_range_are_refused(tmp_path, kind):
    image = Image.fromarray(np.linspace(0, 10**6, 64).astype(kind).reshape(8, 8))
    with pytest.raises(ValueError, match=r"have no fixed range; save the image with 8 or 16 bits"):
        decode(saved(tmp_path / "a.tif", image), 8, 1)


def test_cmyk_becomes_rgb(tmp_path):
    pixels = decode(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95), 8, 3)
    assert pixels[0].min() > 230
    assert pixels[1:].max() < 25


def test_black_and_white_image_of_one_bit(tmp_path):
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(RGB[..., 0] > 128)), 8, 3)
    assert np.array_equal(pixels[0], np.where(RGB[..., 0] > 128, 255, 0))


def test_exif_orientation_is_respected(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise when shown
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(RGB), exif=exif), 8, 3)
    assert np.array_equal(pixels, np.rot90(RGB, -1).transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(24, 8), (8, 24), (48, 16), (15, 45)])
def test_other_shapes_are_cropped_at_the_center(tmp_path, width, height):
    image = np.zeros((height, width, 3), np.uint8)
    third = max(width, height) // 3
    if width > height:
        image[:, third : 2 * third] = 200
    else:
        image[third : 2 * third] = 200
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(image)), 8, 3)
    assert pixels.shape == (3, 8, 8)
    assert (pixels[:, 1:-1, 1:-1] == 200).all()  # antialiasing mixes the neighbors into the edge
    assert pixels.min() > 120


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode(saved(tmp_path / "a.png", Image.fromarray(stripes)), 8, 1)
    assert np.abs(pixels.astype(int) - 127).max() < 10


def test_large_jpeg_decoded_at_reduced_size_gives_the_same_image(tmp_path):
    ramp = np.add.outer(np.arange(256), np.arange(256)) // 2
    path = saved(tmp_path / "a.jpg", Image.fromarray(ramp.astype(np.uint8)), quality=95)
    expected = ramp.reshape(16, 16, 16, 16).mean((1, 3))
    assert np.abs(decode(path, 16, 1)[0] - expected)[1:-1, 1:-1].max() < 6


def test_many_images_are_decoded_in_order_and_unreadable_ones_named(tmp_path):
    paths = [saved(tmp_path / f"{n}.png", Image.new("L", (4, 4), n)) for n in range(200)]
    paths[7].write_text("not an image")
    paths[150].write_bytes(paths[151].read_bytes()[:40])
    images, unreadable = decode_all(paths, 4, 1, name="numbers", keep_going=True)
    assert list(unreadable) == [7, 150]
    assert all(unreadable.values())
    assert images[:, 0, 0, 0].tolist() == [0 if n in (7, 150) else n for n in range(200)]


def test_progress_goes_to_stderr_as_plain_lines_without_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mcl.data.in_threads._QUIET_SECONDS", -1)
    decode_all([saved(tmp_path / "a.png", Image.fromarray(RGB))] * 300, 8, 3, name="pets", keep_going=False)
    output = capsys.readouterr()
    assert output.out == ""
    assert "Decoding pets: 300 of 300\n" in output.err
    assert "\x1b" not in output.err


@pytest.mark.skipif(not features.check("avif"), reason="Pillow before 11.3, or without AVIF")
def test_avif(tmp_path):
    pixels = decode(saved(tmp_path / "a.avif", Image.new("RGB", (8, 8), (200, 30, 90)), quality=100), 8, 3)
    assert np.abs(pixels - np.array([200, 30, 90])[:, None, None]).max() <= 4


def test_heic_with_its_decoder(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 64), (200, 30, 90)))
    heif.save(tmp_path / "a.heic", quality=90)
    pixels = decode(tmp_path / "a.heic", 8, 3)
    assert np.abs(pixels - np.array([200, 30, 90])[:, None, None]).max() <= 8


@pytest.mark.parametrize(("brand", "needed"), [("heic", "pip install pillow-heif"), ("avif", "pip install -U pillow")])
def test_format_without_its_decoder_says_what_to_install(tmp_path, monkeypatch, brand, needed):
    monkeypatch.setattr("mcl.data.decoding.find_spec", lambda module: None)
    (tmp_path / "a.img").write_bytes(b"\0\0\0\x1cftyp" + brand.encode() + b"\0" * 20)
    with pytest.raises(UnidentifiedImageError, match=needed):
        decode(tmp_path / "a.img", 8, 3)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("a.tif", mode) for mode in ("CMYK", "LA", "RGBA", "P", "1", "YCbCr")),
        *[("a.webp", "RGBA"), ("a.gif", "P"), ("a.bmp", "L"), ("a.pgm", "L"), ("a.jpg", "L"), ("a.jpg", "RGB")],
    ],
)
def test_every_mode_of_a_format_gives_its_colors(tmp_path, name, mode):
    image = Image.new("RGB", (8, 8), (204, 204, 204)).convert(mode)
    options = {"lossless": True} if name.endswith("webp") else {}
    pixels = decode(saved(tmp_path / name, image, **options), 8, 3)
    expected = (0, 255) if mode == "1" else (202, 206)
    assert pixels.shape == (3, 8, 8)
    assert expected[0] <= pixels.min() <= pixels.max() <= expected[1]
