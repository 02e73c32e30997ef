"""Assign the images of a batch to processes."""

from typing import NamedTuple

from mcl.errors import UserError

SMALLEST = 2  # images that batch normalization needs


class Split(NamedTuple):
    """Cut a batch into pieces, in order of rank, whose lengths differ by at most one.

    A small batch has fewer pieces than there are processes, so that none is shorter than `SMALLEST` unless the batch
    is. Then several processes compute the same piece and share its weight.
    """

    images: int
    processes: int

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return max(1, min(self.processes, self.images // SMALLEST))

    @property
    def shortest(self) -> int:
        """Number of images of the shortest piece."""
        return self.images // self.pieces

    @property
    def even(self) -> bool:
        """Whether every process has the same number of images, and a piece of its own."""
        return self.images % self.processes == 0 and self.pieces == self.processes

    def piece(self, rank: int) -> int:
        """Return the index of a process's piece."""
        return rank * self.pieces // self.processes

    def part(self, rank: int) -> range:
        """Return the images of a process, as positions in the batch."""
        piece = self.piece(rank)
        return range(self.images * piece // self.pieces, self.images * (piece + 1) // self.pieces)

    def owners(self) -> list[int]:
        """Return the first process of each piece."""
        return [-(-piece * self.processes // self.pieces) for piece in range(self.pieces)]

    def weight(self, rank: int) -> float:
        """Return the factor on a process's mean that makes the mean over processes the mean over the batch."""
        copies = sum(self.piece(other) == self.piece(rank) for other in range(self.processes))
        return self.processes * len(self.part(rank)) / (self.images * copies)


class Shard(NamedTuple):
    """One process of several, as data loading needs it."""

    rank: int = 0
    world_size: int = 1

    def check(self, batch_size: int) -> None:
        """Raise UserError unless the batch divides evenly and every process gets enough images."""
        if batch_size % self.world_size or batch_size < SMALLEST * self.world_size:
            raise UserError(
                f"trainer.batch_size={batch_size} is that of all {self.world_size} processes together: it must be a"
                f" multiple of {self.world_size}, and give each at least {SMALLEST} images."
            )

    def part(self, count: int) -> range:
        """Return this process's shard of ``count`` images, for evaluation: every image belongs to one process."""
        return range(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)


NO_SHARDING = Shard()
