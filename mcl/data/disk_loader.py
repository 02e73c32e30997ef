"""Load batches from image files, which worker processes read ahead of the training step."""

import ctypes
import itertools
import logging
import os
import signal
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mcl.console import pluralize, summarize
from mcl.data.device_decoding import decode_batch
from mcl.data.encoded import Encode
from mcl.data.epoch_plan import Epoch
from mcl.data.file_reader import Read, Reader, Request
from mcl.data.image_files import NAMED, ImageFiles
from mcl.data.prefetch import CudaSideStream, SideStream, prefetch
from mcl.errors import UserError

log = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1
PREFETCH = 4  # batches that a worker reads ahead


class DiskLoader:
    """Loads uint8 images, labels and indices, each (B, ...), to a device.

    An unreadable file raises UserError unless ``files.skip`` is set. In training it is then replaced by the next
    readable image of its class, so that batches keep their size and classes; in evaluation it is left out. Unreadable
    files are logged and added to ``files.unreadable``. A failure of the file system always raises UserError.

    Args:
        files: the images of one split.
        device: device of the batches.
        seed: seed of the random transforms.
        distinct: do not replace a file by an image that the batch, over all processes, has already.
        persistent: keep the workers from epoch to epoch.
        views: views of each training image, if its transforms are random: images are then (views, B, ...).
    """

    def __init__(
        self,
        files: ImageFiles,
        device: torch.device,
        *,
        seed: int = 0,
        distinct: bool = True,
        persistent: bool = False,
        views: int = 1,
    ):
        self.files = files
        self.device = device
        self.distinct = distinct
        self.views = 1 if files.decode_plainly is None else views  # without random transforms, they would be equal
        self._side_stream: SideStream | None = CudaSideStream(device) if device.type == "cuda" else None
        self._requests = _Requests()
        self._reader = Reader(files, seed)  # decodes every file in main memory
        if files.device_crop is not None:
            files = replace(files, decode=Encode(files.decode, files.device_crop))
        has_workers = files.workers > 0
        self._workers: DataLoader[Any] = DataLoader(
            Reader(files, seed),
            sampler=self._requests,
            batch_size=None,  # a request is a batch
            num_workers=files.workers,
            pin_memory=device.type == "cuda",
            persistent_workers=persistent and has_workers,
            prefetch_factor=PREFETCH if has_workers else None,
            worker_init_fn=partial(_init_worker, os.getpid()),
            generator=torch.Generator(),  # by default it draws from the global generator at every start
        )

    def follow(self, plan: Epoch, start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the batches of an epoch, from step ``start`` on.

        Raises:
            UserError: A file can be neither read nor replaced, or a process that reads was killed.
        """
        distinct = self.files.skip and self.distinct
        steps = zip(plan.indices.split(plan.lengths), plan.repeats.split(plan.lengths), plan.batches, strict=True)
        requests = (
            Request(indices.tolist(), plan.epoch, repeats.tolist(), batch.tolist() if distinct else None, self.views)
            for indices, repeats, batch in itertools.islice(steps, start, None)
        )
        unreadable: dict[str, str] = {}
        try:
            yield from self._load(requests, unreadable)
        finally:  # training takes the last batch and asks for no other
            if unreadable:
                self.files.unreadable.update(unreadable)
                log.warning("epoch %d: replaced %s", plan.epoch + 1, _summarize(unreadable))

    def in_order(self, positions: range, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the readable images at ``positions``, without random transforms.

        Raises:
            UserError: A file can be neither read nor left out, or a process that reads was killed.
        """
        requests = (Request(list(positions[i : i + batch_size])) for i in range(0, len(positions), batch_size))
        unreadable: dict[str, str] = {}
        yield from self._load(requests, unreadable)
        if unreadable:
            self.files.unreadable.update(unreadable)
            log.warning("left out of the evaluation: %s", _summarize(unreadable))

    def _load(self, requests: Iterable[Request], unreadable: dict[str, str]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        self._requests.pending = requests
        reads, move = self._readable(unreadable), partial(self._move, unreadable)
        yield from map(move, reads) if self._side_stream is None else prefetch(reads, move, self._side_stream)

    def _readable(self, unreadable: dict[str, str]) -> Iterator[Read]:
        for read in _read(self._workers, self.device):
            unreadable |= read.unreadable
            if len(read.labels):
                yield read

    def _move(self, unreadable: dict[str, str], read: Read) -> tuple[Tensor, Tensor, Tensor]:
        """Begin to move a batch to the device, and decode it there if it is encoded."""
        images: Tensor
        if isinstance(read.images, Tensor):
            images = read.images.to(self.device, non_blocking=True)
        else:
            assert self.files.device_crop is not None
            images, failed = decode_batch(read.images, self.files.device_crop, self.device)
            for i in failed:
                self._replace(i, images, read, unreadable)
        labels, indices = (tensor.to(self.device, non_blocking=True) for tensor in (read.labels, read.indices))
        return images, labels, indices

    def _replace(self, i: int, images: Tensor, read: Read, unreadable: dict[str, str]) -> None:
        """Read an image that the device could not decode again, as workers do without the device."""
        request = read.request
        assert request is not None
        again = self._reader[request._replace(positions=[request.positions[i]], repeats=[request.repeats[i]])]
        if again.failure:
            raise UserError(again.failure)
        assert isinstance(again.images, Tensor)
        images[i], read.labels[i], read.indices[i] = again.images[0], again.labels[0], again.indices[0]
        unreadable |= again.unreadable


def _summarize(unreadable: Collection[str]) -> str:
    return f"{pluralize(len(unreadable), 'unreadable file')}: {summarize(sorted(unreadable), NAMED)}"


def raise_if_worker_lost(error: RuntimeError) -> None:
    """Raise UserError if an error means that a worker was killed. Such an error can reach training anywhere."""
    if "DataLoader worker" in str(error):
        raise UserError(
            "A process that reads images was killed, perhaps because memory ran out. Use fewer of them"
            " (dataset.workers=1, or 0), then run the same command again to resume from the last checkpoint."
        ) from error


class _Requests(Sampler[Request]):
    """The requests to the workers, set anew for each epoch."""

    def __init__(self) -> None:
        self.pending: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.pending)


def _init_worker(parent: int, number: int) -> None:
    torch.set_num_threads(1)
    _die_with(parent)
    if hasattr(os, "setsid"):  # signals to a terminal's or a launcher's process group are for the process that trains
        os.setsid()


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends; elsewhere torch looks now and then."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended before
            os._exit(1)


def _read(workers: DataLoader[Any], device: torch.device) -> Iterator[Read]:
    # The thread that pins memory opens a context on the GPU that is current when it starts, and keeps to it.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        batches = iter(workers)
    while True:
        try:
            read = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            raise_if_worker_lost(error)
            raise
        if read.failure:
            raise UserError(read.failure)
        yield read
