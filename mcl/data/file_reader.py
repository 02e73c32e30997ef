"""Read a batch of image files in a worker process, replacing damaged ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mcl.data.decoding import MAY_PASS, read_error
from mcl.data.image_files import ImageFiles
from mcl.data.seeding import generator
from mcl.errors import UserError

Found = list[tuple[int, NDArray[np.uint8]]]  # (position, image)


class Request(NamedTuple):
    """What a worker is asked for: this process's part of a batch, as positions in the files."""

    positions: list[int]
    epoch: int | None = None  # None in evaluation
    repeats: Sequence[int] = ()  # how often each position came earlier in the epoch
    batch: list[int] | None = None  # the whole batch, over all processes, if replacements must not be in it


class Read(NamedTuple):
    """What a worker hands over."""

    images: Tensor  # (B, channels, height, width) uint8
    labels: Tensor  # (B,)
    indices: Tensor  # (B,) of the images really read
    unreadable: dict[str, str]  # path -> reason
    failure: str = ""  # why training stops here, for the user


class Reader(Dataset[Any]):
    """Reads a batch; runs in the workers."""

    def __init__(self, files: ImageFiles, seed: int):
        self.files = files
        self.seed = seed

    def __getitems__(self, request: Request) -> Read:
        unreadable: dict[str, str] = {}
        read = self._evaluation if request.epoch is None else self._training
        try:
            with torch.random.fork_rng(devices=[]):
                found = read(request, unreadable)
        except UserError as error:
            return Read(torch.empty(0), torch.empty(0), torch.empty(0), unreadable, failure=str(error))
        at = torch.tensor([position for position, _ in found], dtype=torch.int64)
        images = np.stack([image for _, image in found]) if found else np.empty((0, 0, 0, 0), np.uint8)
        return Read(torch.from_numpy(images), self.files.labels[at], at, unreadable)

    def _evaluation(self, request: Request, unreadable: dict[str, str]) -> Found:
        read = ((position, self._decode(position, unreadable)) for position in request.positions)
        return [(position, image) for position, image in read if image is not None]

    def _training(self, request: Request, unreadable: dict[str, str]) -> Found:
        found = []
        for position, repeat in zip(request.positions, request.repeats, strict=True):
            # An image that comes again is transformed anew. The first time has the key that it always had.
            self._seed(request, position, *([repeat] if repeat else []))
            image = self._decode(position, unreadable)
            taken = (position, image) if image is not None else self._replacement(position, repeat, request, unreadable)
            found.append(taken)
        return found

    def _replacement(
        self, position: int, repeat: int, request: Request, unreadable: dict[str, str]
    ) -> tuple[int, NDArray[np.uint8]]:
        """The image of the same class that is taken instead of a damaged one, and its position."""
        for candidate in self._candidates(position, request):
            self._seed(request, candidate, repeat, position)
            image = self._decode(candidate, unreadable)
            if image is not None:
                return candidate, image
        path = self.files.path(position)
        raise UserError(
            f"Cannot read {path} ({unreadable[str(path)]}), and its class has no other readable image that the batch"
            " does not have already. Remove what is damaged, or the class."
        )

    def _candidates(self, position: int, request: Request) -> list[int]:
        """The other images of a class, from the next one on, less those that some process takes in this batch.

        Those that come earlier in the batch may be damaged too, and are replaced first: every process finds the same.
        """
        label = self.files.labels[position]
        members = (self.files.labels == label).nonzero().flatten().tolist()
        batch = request.batch or []
        taken = set(batch)

        def free(after: int) -> list[int]:
            order = [i for i in members if i > after] + [i for i in members if i < after]
            return [i for i in order if i not in taken]

        siblings = [i for i in batch[: batch.index(position)] if self.files.labels[i] == label] if batch else []
        for earlier in siblings:
            if not self._is_readable(earlier):
                taken |= {next((i for i in free(earlier) if self._is_readable(i)), position)}
        return free(position)

    def _is_readable(self, position: int) -> bool:
        return self._decode(position, {}) is not None

    def _seed(self, request: Request, *key: int) -> None:
        assert request.epoch is not None
        torch.set_rng_state(generator("transform", self.seed, request.epoch, *key).get_state())

    def _decode(self, position: int, unreadable: dict[str, str]) -> NDArray[np.uint8] | None:
        """One image; None if it is damaged, which ``unreadable`` then says.

        Raises:
            UserError: It cannot be read, and is not to be skipped.
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
                    f"Cannot read {path} ({reason}). Mend or remove what is damaged, or use dataset.corrupt=skip to"
                    " take another image instead."
                ) from error
            unreadable[str(path)] = reason
            return None
