"""Groups of pictures that are the same or nearly so."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.pictures import picture

from mcl.inspection import duplicates
from mcl.inspection.duplicates import find_groups, similar_pairs
from mcl.inspection.picture_facts import PictureFacts, picture_facts


def facts(image: Image.Image, form: str = "PNG") -> PictureFacts:
    content = io.BytesIO()
    image.save(content, form)
    return picture_facts(content.getvalue())


def random_hashes(count: int, flips: int) -> NDArray[np.uint64]:
    """Return hashes in clusters whose members differ from the first in at most ``flips`` bits."""
    rng = np.random.default_rng(0)
    bases = rng.integers(0, 2**63, count // 4, dtype=np.uint64)
    sizes = [int(rng.integers(0, flips + 1)) if i % 3 else 0 for i in range(count)]  # some are equal
    masks = [sum(1 << int(bit) for bit in rng.choice(64, size, replace=False)) for size in sizes]
    return bases[np.arange(count) % len(bases)] ^ np.array(masks, np.uint64)


def components(pairs: NDArray[np.int64], count: int) -> set[frozenset[int]]:
    group = {i: {i} for i in range(count)}
    for i, j in pairs.tolist():
        merged = group[i] | group[j]
        for member in merged:
            group[member] = merged
    return {frozenset(members) for members in group.values()}


@pytest.mark.parametrize("distance", [0, 1, 4, 9, 12])
def test_bands_find_the_same_groups_as_all_pairs(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = random_hashes(80, 12)
    alike = np.tile(np.arange(256, dtype=np.uint8), (80, 1))
    bits = np.array([[int(a ^ b).bit_count() for b in hashes.tolist()] for a in hashes.tolist()])
    expected = components(np.argwhere(bits <= distance), 80)
    assert 20 <= len(expected) < 80
    assert components(similar_pairs(hashes, alike, distance), 80) == expected
    monkeypatch.setattr(duplicates, "_KEPT", 20)  # reduced to groups several times
    assert components(similar_pairs(hashes, alike, distance), 80) == expected


def test_similar_hashes_of_uncorrelated_thumbnails_are_not_linked() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (2, 256), dtype=np.uint8)
    assert len(similar_pairs(np.array([5, 4], np.uint64), thumbnails, 4)) == 0
    assert len(similar_pairs(np.array([5, 4], np.uint64), thumbnails[[0, 0]], 4)) > 0
    assert len(similar_pairs(np.array([5, 5], np.uint64), thumbnails, 4)) == 0


def test_groups_hold_equal_and_similar_pictures() -> None:
    small = facts(picture(1).resize((40, 30)), "JPEG")
    flat = [facts(Image.new("RGB", (9, 9), color)) for color in ("white", "black", "white")]
    pictures = [facts(picture(0)), facts(picture(1)), facts(picture(0), "TIFF"), small, facts(picture(2)), *flat]
    groups = find_groups(pictures)
    assert groups.linked == [[0, 2], [1, 3], [5, 7]]
    assert groups.pixels[0] == groups.pixels[2]
    assert groups.pixels[1] != groups.pixels[3]
    assert find_groups(pictures, -1).linked == [[0, 2], [5, 7]]


def test_flat_pictures_alone() -> None:
    assert find_groups([facts(Image.new("RGB", (9, 9), color)) for color in ("white", "black")]).linked == []


def test_many_equal_hashes_cost_no_pair_each() -> None:
    hashes = np.full(2_000, 7, np.uint64)
    assert len(similar_pairs(hashes, np.tile(np.arange(256, dtype=np.uint8), (2_000, 1)), 4)) == 1_999
