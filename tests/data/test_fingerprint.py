"""Fingerprints of images, compared over versions."""

import pytest

from mcl.data.fingerprint import fingerprint, same_images


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (fingerprint("aa", "bb"), fingerprint("aa", "bb"), True),
        (fingerprint("aa", "bb"), fingerprint("aa", "cc"), False),
        (fingerprint("aa", "bb"), "aa", True),  # written before contents counted
        ("aa", fingerprint("aa", "bb"), True),
        (fingerprint("aa", "bb"), "bb", False),
        (fingerprint("aa", "bb"), "ab", False),
        ("aa", "aa", True),
        ("aa", "ab", False),
        ("my-own-a", "my-own-b", False),
        ("", fingerprint("aa", "bb"), False),
    ],
)
def test_fingerprints_of_different_versions_are_compared_by_names(one: str, other: str, expected: bool) -> None:
    assert same_images(one, other) is expected
