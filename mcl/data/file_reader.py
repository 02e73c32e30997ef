"""Read a batch of image files in a worker process, replacing damaged ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mcl.data.decoding import MAY_PASS, read_error
from mcl.data.encoded import Encoded, EncodedBatch, pack
from mcl.data.image_files import ImageFiles
from mcl.data.seeding import generator
from mcl.errors import UserError

Pixels = NDArray[np.uint8] | Encoded


class Request(NamedTuple):
    """This process's shard of a batch, as positions in the files."""

    positions: list[int]
    epoch: int | None = None  # None in evaluation
    repeats: Sequence[int] = ()  # how often each position came earlier in the epoch
    batch: list[int] | None = None  # the batch over all processes, if replacements must not be in it
    views: int = 1  # differently transformed views of each image


class Read(NamedTuple):
    """A worker's answer to a request."""

    images: Tensor | EncodedBatch  # (B, channels, height, width) uint8; (views, B, ...) with several views
    labels: Tensor  # (B,)
    indices: Tensor  # (B,) of the images that were read
    unreadable: dict[str, str]  # path -> reason
    failure: str = ""  # why training must stop, for the user
    request: Request | None = None  # if images are encoded: to read again those that the device cannot decode


class Reader(Dataset[Any]):
    """Reads the files of a request. Runs in the workers."""

    def __init__(self, files: ImageFiles, seed: int):
        self.files = files
        self.seed = seed

    def __getitem__(self, request: Request) -> Read:
        unreadable: dict[str, str] = {}
        try:
            with torch.random.fork_rng(devices=[]):
                images = self._read(request, unreadable)
        except UserError as error:
            return Read(torch.empty(0), torch.empty(0), torch.empty(0), unreadable, failure=str(error))
        indices = torch.tensor([position for position, _ in images], dtype=torch.int64)
        pixels = pack([image for _, image in images])
        if isinstance(pixels, EncodedBatch):
            return Read(pixels, self.files.labels[indices], indices, unreadable, request=request)
        if request.views > 1 and images:
            pixels = pixels.transpose(0, 1)  # (B, views, ...) to (views, B, ...)
        return Read(pixels, self.files.labels[indices], indices, unreadable)

    def _read(self, request: Request, unreadable: dict[str, str]) -> list[tuple[int, Pixels]]:
        """Return ``(position, image)`` of the images that were read."""
        if request.epoch is None:
            decoded = ((position, self._decode(position, unreadable)) for position in request.positions)
            return [(position, image) for position, image in decoded if image is not None]
        images = []
        for position, repeat in zip(request.positions, request.repeats, strict=True):
            # A repeated image gets new random transforms. The first occurrence keeps the key of earlier versions.
            image = self._views(request, [position, *([repeat] if repeat else [])], unreadable)
            if image is None:
                images.append(self._replacement(position, repeat, request, unreadable))
            else:
                images.append((position, image))
        return images

    def _replacement(
        self, position: int, repeat: int, request: Request, unreadable: dict[str, str]
    ) -> tuple[int, Pixels]:
        """Return the image of the same class that replaces a damaged one, with its position."""
        for candidate in self._candidates(position, request):
            image = self._views(request, [candidate, repeat, position], unreadable)
            if image is not None:
                return candidate, image
        path = self.files.path(position)
        raise UserError(
            f"Cannot read {path} ({unreadable[str(path)]}), and its class has no other readable image that is not in"
            " the batch already. Repair or remove the damaged files, or remove the class."
        )

    def _candidates(self, position: int, request: Request) -> list[int]:
        """Return the other images of the class, from the next one on, without those that the batch has.

        Earlier images of the batch may be damaged too. They are replaced first, so that all processes agree.
        """
        label = self.files.labels[position]
        members = (self.files.labels == label).nonzero().flatten().tolist()
        batch = request.batch or []
        taken = set(batch)

        def free(after: int) -> list[int]:
            order = [i for i in members if i > after] + [i for i in members if i < after]
            return [i for i in order if i not in taken]

        earlier = batch[: batch.index(position)] if batch else []
        for sibling in earlier:
            if self.files.labels[sibling] == label and not self._is_readable(sibling):
                taken |= {next((i for i in free(sibling) if self._is_readable(i)), position)}
        return free(position)

    def _is_readable(self, position: int) -> bool:
        return self._decode(position, {}) is not None

    def _views(self, request: Request, key: list[int], unreadable: dict[str, str]) -> Pixels | None:
        """Decode one image, whose position comes first in the key of its random transforms.

        Returns:
            (channels, height, width), or (views, ...) with several views; None if the image is damaged.
        """
        assert request.epoch is not None
        views: list[Any] = []
        for view in range(request.views):
            stream = f"transform of view {view}" if view else "transform"
            torch.set_rng_state(generator(stream, self.seed, request.epoch, *key).get_state())
            image = self._decode(key[0], unreadable)
            if image is None:
                return None
            views.append(image)
        return np.stack(views) if request.views > 1 else views[0]

    def _decode(self, position: int, unreadable: dict[str, str]) -> Pixels | None:
        """Decode one image. If it is damaged, return None and add the reason to ``unreadable``.

        Raises:
            UserError: The file is damaged and must not be skipped, or the file system fails.
        """
        path = self.files.path(position)
        try:
            return self.files.decode(path)
        except MAY_PASS as error:
            raise read_error(path, error) from error
        except Exception as error:  # a damaged file can raise anything
            reason = str(error) or type(error).__name__
            if not self.files.skip:
                raise UserError(
                    f"Cannot read {path} ({reason}). Repair or remove the damaged file, or use dataset.corrupt=skip to"
                    " replace it by another image."
                ) from error
            unreadable[str(path)] = reason
            return None
