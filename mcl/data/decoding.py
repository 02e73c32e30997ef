"""Decode image files into one uint8 array."""

import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from os import cpu_count
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mcl.errors import UserError

log = logging.getLogger(__name__)
_CHUNK = 128  # images a thread decodes at a time
_QUIET_SECONDS = 10.0  # between two lines of progress where there is no terminal


class FileSystemError(Exception):
    """The file system did not give a file. The image in it may be whole, and be read a moment later."""


def read_file(path: Path) -> io.BytesIO:
    """Return the content of a file.

    Raises:
        FileSystemError: The file system does not give it.
    """
    try:
        return io.BytesIO(path.read_bytes())
    except OSError as error:
        raise FileSystemError(error.strerror or str(error)) from error


MAY_PASS = (FileSystemError, MemoryError)  # failures that say nothing about the image: the file is not damaged


def read_error(path: Path, error: Exception) -> UserError:
    """Return what to tell the user when a file cannot be read for a reason that lies outside of it."""
    reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return UserError(
        f"Cannot read {path} ({reason}). This says nothing about the image in it, so dataset.corrupt=skip does not skip"
        " it: type the same command again, or remove the file if it can never be read."
    )


def open_image(file: IO[bytes] | Path, channels: int, draft: int | None = None) -> Image.Image:
    """An image in 8 bits, grey (1) or RGB (3 channels).

    Turned upright by its EXIF orientation; 16-bit grey values scaled to 8 bits; transparent parts shown on white.

    Args:
        file: name or content.
        channels: 3 or 1.
        draft: a JPEG may be decoded at a fraction of its size, as long as no side falls below this.

    Raises:
        Exception: of many kinds, when the file cannot be read as an image.
    """
    try:
        opened = Image.open(file)
    except UnidentifiedImageError:  # its message names the buffer
        raise UnidentifiedImageError("no image, or one of an unknown format") from None
    with opened:
        if draft is not None and min(opened.size) > draft:
            opened.draft(None, (draft, draft))
        return _eight_bit(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB")


def decode(path: Path, size: int, channels: int, resize: int | None = None) -> NDArray[np.uint8]:
    """One image, as `open_image` reads it, as (channels, size, size).

    The largest centred square is resampled bilinearly with antialiasing (which equals resizing the shorter side, then
    a centre crop); an image that has the size already is not touched. With ``resize``, its shorter side is resized to
    that and the centre is cut out, pixel by pixel as torchvision does it.

    Raises:
        FileSystemError: The file system does not give the file.
        Exception: of many kinds, when the file cannot be read as an image.
    """
    content = read_file(path)
    if resize is not None:
        from torchvision.transforms import functional  # slow to import

        image = functional.resize(open_image(content, channels), [resize], functional.InterpolationMode.BILINEAR)
        image = functional.center_crop(image, [size, size])
    else:
        image = open_image(content, channels, draft=2 * size)  # at least twice the wanted
    width, height = image.size
    if (width, height) != (size, size):
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decode_all(
    paths: Sequence[Path], size: int, channels: int, *, name: str, keep_going: bool
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Many images, in threads, with progress on stderr.

    Args:
        paths: N files.
        size, channels: as in :func:`decode`.
        name: what the progress calls them.
        keep_going: go on after an unreadable file.

    Returns:
        (N, channels, size, size), black where a file is unreadable, and why each of these is, by its position. Unless
        ``keep_going``, the first ones end the work.

    Raises:
        UserError: A file cannot be read for a reason that lies outside of it.
    """
    images = np.zeros((len(paths), channels, size, size), np.uint8)

    def decode_into(position: int) -> None:
        images[position] = decode(paths[position], size, channels)

    return images, _unreadable(paths, decode_into, f"Decoding {name}", keep_going=keep_going)


def find_unreadable(paths: Sequence[Path], size: int, channels: int, *, name: str) -> dict[int, str]:
    """Return which files `decode_all` would find unreadable, by position, and why. No image is kept.

    Raises:
        UserError: A file cannot be read for a reason that lies outside of it.
    """
    return _unreadable(
        paths, lambda position: decode(paths[position], size, channels), f"Checking {name}", keep_going=True
    )


def _unreadable(
    paths: Sequence[Path], decode_one: Callable[[int], object], what: str, *, keep_going: bool
) -> dict[int, str]:
    """Decode every position in threads, and return those that fail, with the reason."""

    def reason(position: int) -> str | None:
        try:
            decode_one(position)
        except MAY_PASS as error:
            raise read_error(paths[position], error) from error
        except Exception as error:  # a damaged file can raise anything
            return str(error) or type(error).__name__
        return None

    def work(start: int) -> tuple[int, dict[int, str]]:
        chunk = range(start, min(start + _CHUNK, len(paths)))
        return len(chunk), {position: why for position in chunk if (why := reason(position)) is not None}

    unreadable: dict[int, str] = {}
    pool = ThreadPoolExecutor(min(32, cpu_count() or 1))
    try:
        tasks = [pool.submit(work, start) for start in range(0, len(paths), _CHUNK)]
        done = (task.result() for task in as_completed(tasks))
        for broken in _told(done, len(paths), what):
            unreadable |= broken
            if broken and not keep_going:
                break
    finally:  # at once when interrupted, too
        pool.shutdown(cancel_futures=True)
    return dict(sorted(unreadable.items()))


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; older versions of Pillow open some of them as 32
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save the image with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _told(chunks: Iterable[tuple[int, dict[int, str]]], total: int, what: str) -> Iterator[dict[int, str]]:
    """Pass on the second items, while telling the sum of the first: a bar, or now and then a line."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        done, told = 0, time.monotonic()
        for count, result in chunks:
            done += count
            bar.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - told > _QUIET_SECONDS:
                print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
                told = time.monotonic()
            yield result
