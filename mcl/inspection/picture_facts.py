"""Facts of one picture: its file, its pixels, and a hash that similar pictures share."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcl.data.decoding import open_header, open_image

ORIENTATION = 0x0112  # tag of EXIF
_SIDE, _FREQUENCIES = 32, 8  # pixels that the hash sees, and frequencies of each direction that it keeps
THUMBNAIL = 16
_FLAT = 4.0  # standard deviation of gray values, of 255, below which a picture has nothing to compare
_DCT = np.cos(np.pi / (2 * _SIDE) * np.outer(np.arange(_FREQUENCIES), 2 * np.arange(_SIDE) + 1))  # (8, 32), type II


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Facts of a picture, as training reads it: turned as its EXIF data say, in 8 bits, RGB, on white.

    Attributes:
        width, height: in pixels, after turning.
        mode, format: of the file, in Pillow's words.
        rotated: whether EXIF data turn or mirror it.
        digest: hash of its size and pixels; equal for the same pixels in different files.
        similarity_hash: 64 bits, of which similar pictures share most; None for a flat picture.
        thumbnail: 16 x 16 gray values.
        sums: sums of the values and of their squares, for each channel, divided by the number of pixels.
    """

    width: int
    height: int
    mode: str
    format: str
    rotated: bool
    digest: bytes
    similarity_hash: int | None
    thumbnail: bytes
    sums: NDArray[np.float64]  # (2, 3), values in [0, 1]


def picture_facts(content: bytes) -> PictureFacts:
    """Decode a picture and return its facts.

    Raises:
        Exception: The content is no image that can be read; the exception can be of any type.
    """
    image = open_image(io.BytesIO(content), 3)  # first, for its messages
    with open_header(io.BytesIO(content)) as file:
        mode, form = file.mode, file.format or "unknown"
        rotated = file.getexif().get(ORIENTATION, 1) in range(2, 9)
    gray = image.convert("L")
    thumbnail = gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    pixels = image.tobytes()
    shares = np.array(image.histogram(), np.float64).reshape(3, 256) / (image.width * image.height)
    values = np.arange(256) / 255
    return PictureFacts(
        *image.size,
        mode=mode,
        format=form,
        rotated=rotated,
        digest=hashlib.sha256(b"%d,%d," % image.size + pixels).digest()[:16],
        similarity_hash=similarity_hash(gray) if np.asarray(thumbnail).std() >= _FLAT else None,
        thumbnail=thumbnail.tobytes(),
        sums=np.stack([shares @ values, shares @ values**2]),
    )


def similarity_hash(gray: Image.Image) -> int:
    """Return 64 bits: which of the 8 x 8 lowest frequencies (cosine transform) of a gray picture exceed their median.

    Scaling, compression, and small changes of brightness and contrast change few bits.
    """
    small = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)
    frequencies = _DCT @ small @ _DCT.T
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")
