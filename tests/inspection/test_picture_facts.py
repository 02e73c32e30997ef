"""Facts of one picture."""

import io

import numpy as np
import pytest
from PIL import Image
from support.pictures import picture

from mcl.inspection.picture_facts import PictureFacts, picture_facts


def facts(image: Image.Image, form: str = "PNG", **options: object) -> PictureFacts:
    content = io.BytesIO()
    image.save(content, form, **options)
    return picture_facts(content.getvalue())


def distance(one: PictureFacts, other: PictureFacts) -> int:
    assert one.similarity_hash is not None
    assert other.similarity_hash is not None
    return (one.similarity_hash ^ other.similarity_hash).bit_count()


def test_equal_pixels_in_other_files_have_the_same_digest() -> None:
    assert (
        facts(picture(0)).digest == facts(picture(0), "WEBP", lossless=True).digest == facts(picture(0), "TIFF").digest
    )


def test_one_changed_value_changes_the_digest() -> None:
    pixels = np.array(picture(0))
    pixels[3, 5, 1] ^= 1
    assert facts(Image.fromarray(pixels)).digest != facts(picture(0)).digest


def test_shape_is_part_of_the_digest() -> None:
    pixels = np.asarray(picture(0))
    assert facts(Image.fromarray(pixels.reshape(64, 48, 3))).digest != facts(picture(0)).digest


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_other_size_compression_and_brightness_have_a_similar_hash(seed: int) -> None:
    original = facts(picture(seed))
    small = facts(picture(seed).resize((40, 30)), "WEBP", quality=60)
    dark = facts(picture(seed).point(lambda value: int(value * 0.8) + 10), "JPEG", quality=70)
    assert distance(original, small) <= 4
    assert distance(original, dark) <= 4


def test_different_pictures_have_different_hashes() -> None:
    hashes = [facts(picture(seed)) for seed in range(20)]
    assert min(distance(one, other) for i, one in enumerate(hashes) for other in hashes[:i]) > 12


def test_flat_picture_has_no_hash() -> None:
    assert facts(Image.new("RGB", (20, 20), "white")).similarity_hash is None


def test_turned_by_exif_is_noticed_and_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = facts(picture(0), exif=exif)
    assert turned.rotated
    assert (turned.width, turned.height) == (48, 64)
    assert turned.digest == facts(picture(0).transpose(Image.Transpose.ROTATE_270)).digest
    assert not facts(picture(0)).rotated


def test_sums_give_mean_and_mean_square_of_each_channel() -> None:
    values = np.asarray(picture(1)) / 255
    assert np.allclose(facts(picture(1)).sums, [values.mean((0, 1)), (values**2).mean((0, 1))])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_mode_of_the_file_is_kept(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    else:
        image = picture(0).convert(mode)
    assert facts(image, "JPEG" if mode == "CMYK" else "PNG").mode == mode
