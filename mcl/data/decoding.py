"""Decode image files into one uint8 array."""

import functools
import io
import stat
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mcl.data.in_threads import in_threads
from mcl.errors import UserError


class FileSystemError(Exception):
    """The file system failed to give a file. The image in it may be intact and readable a moment later."""


_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")  # bytes 4 to 12 of a file
_SIXTEEN_BITS_AT_MOST = ("PNG", "PPM")  # formats whose 16 bits Pillow, or an older version of it, opens as 32
_MISSING = {
    **dict.fromkeys(_HEIC, "HEIC, or a relative of it; pip install pillow-heif reads HEIC"),
    **dict.fromkeys((b"ftypavif", b"ftypavis"), "AVIF, which Pillow reads from 11.3; pip install -U pillow"),
}


def read_file(path: Path) -> io.BytesIO:
    """Return the content of a file.

    Raises:
        FileSystemError: The file system fails to give it, or it is a pipe or a device, which could block for ever.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileSystemError("it is not a regular file")
        return io.BytesIO(path.read_bytes())
    except OSError as error:
        raise FileSystemError(error.strerror or str(error)) from error


Read = Callable[[Path], io.BytesIO]  # as `read_file`
MAY_PASS = (FileSystemError, MemoryError)  # temporary failures: they do not mean that the file is damaged


def read_error(path: Path, error: Exception) -> UserError:
    """Return the error for a file that cannot be read although it may be intact."""
    reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return UserError(
        f"Cannot read {path} ({reason}). The image in it may be intact, so dataset.corrupt=skip does not skip it: type"
        " the same command again, or remove the file if it can never be read."
    )


def open_header(file: IO[bytes] | Path) -> Image.Image:
    """Open an image without decoding it; raises as `open_image` does."""
    try:
        return Image.open(file)
    except UnidentifiedImageError:  # its message contains the buffer's address
        content = read_file(file) if isinstance(file, Path) else file
        content.seek(0)
        brand = content.read(12)[4:]
        content.seek(0)
        if brand in _HEIC and find_spec("pillow_heif"):
            _register_heic()
            with suppress(UnidentifiedImageError):
                return Image.open(content)
        raise UnidentifiedImageError(_MISSING.get(brand, "no image, or one of an unknown format")) from None


def optional_decoders() -> list[str]:
    """Return in what the formats that can be read differ from those of a recent Pillow alone."""
    differences = ["heic"] if find_spec("pillow_heif") else []
    return differences if find_spec("PIL._avif") else [*differences, "no avif"]


@functools.cache
def _register_heic() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def open_image(file: IO[bytes] | Path, channels: int, draft: int | None = None) -> Image.Image:
    """Open an image in 8 bits, gray (1 channel) or RGB (3).

    The EXIF orientation is applied, 16-bit gray values are scaled to 8 bits, and transparent parts become white.

    Args:
        file: path or content.
        channels: 3 or 1.
        draft: decode a JPEG at a fraction of its size if no side falls below this.

    Raises:
        Exception: The file cannot be read as an image; the exception can be of any type.
    """
    with open_header(file) as opened:
        if draft is not None and min(opened.size) > draft:
            opened.draft(None, (draft, draft))
        return _eight_bit(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB", opened.format)


def decode(
    path: Path, size: int, channels: int, resize: int | None = None, read: Read = read_file
) -> NDArray[np.uint8]:
    """Decode one image, opened by `open_image`, to (channels, size, size).

    The largest centered square is resampled bilinearly with antialiasing, which equals resizing the shorter side and
    cropping the center; an image of the right size is left as it is. With ``resize``, the shorter side is resized to
    that and the center is cropped, with exactly the pixels of torchvision.

    Raises:
        FileSystemError: The file system fails to give the file.
        Exception: The file cannot be read as an image; the exception can be of any type.
    """
    content = read(path)
    if resize is not None:
        from torchvision.transforms import functional  # slow to import

        image = functional.resize(open_image(content, channels), [resize], functional.InterpolationMode.BILINEAR)
        image = functional.center_crop(image, [size, size])
    else:
        image = open_image(content, channels, draft=2 * size)
    width, height = image.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return to_channels_first(image)


def to_channels_first(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels (channels, height, width) of a gray or RGB image."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_all(
    paths: Sequence[Path], size: int, channels: int, *, name: str, keep_going: bool, read: Read = read_file
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode many images in threads, with progress on stderr.

    Args:
        paths: N files.
        size, channels: as in :func:`decode`.
        name: name of the images in the progress.
        keep_going: continue after an unreadable file; otherwise stop soon after the first.
        read: returns the content of a file.

    Returns:
        (N, channels, size, size), black for unreadable files, and the reasons why these are unreadable, by position.

    Raises:
        UserError: A file cannot be read although it may be intact.
    """
    images = np.zeros((len(paths), channels, size, size), np.uint8)

    def decode_into(position: int) -> None:
        images[position] = decode(paths[position], size, channels, read=read)

    return images, _unreadable(paths, decode_into, f"Decoding {name}", keep_going=keep_going)


def find_unreadable(
    paths: Sequence[Path], size: int, channels: int, *, name: str, read: Read = read_file
) -> dict[int, str]:
    """Return the reasons why some files are unreadable, by position, as `decode_all` does. No image is kept.

    Raises:
        UserError: A file cannot be read although it may be intact.
    """

    def check(position: int) -> None:
        decode(paths[position], size, channels, read=read)

    return _unreadable(paths, check, f"Checking {name}", keep_going=True)


def _unreadable(
    paths: Sequence[Path], decode_one: Callable[[int], None], title: str, *, keep_going: bool
) -> dict[int, str]:
    """Decode every position in threads. Return those that fail, with the reasons."""

    def reason(position: int) -> str:
        try:
            decode_one(position)
        except MAY_PASS as error:
            raise read_error(paths[position], error) from error
        except Exception as error:  # a damaged file can raise anything
            return str(error) or type(error).__name__
        return ""

    unreadable: dict[int, str] = {}
    with closing(in_threads(reason, len(paths), title)) as chunks:
        for reasons in chunks:
            damaged = {position: text for position, text in reasons.items() if text}
            unreadable |= damaged
            if damaged and not keep_going:
                break
    return dict(sorted(unreadable.items()))


def _eight_bit(image: Image.Image, mode: str, format: str | None) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and format not in _SIXTEEN_BITS_AT_MOST):
        raise ValueError(
            "floating-point pixels and those of 32 bits have no fixed range; save the image with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)
