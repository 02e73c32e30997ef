"""Share a batch among processes."""

from typing import NamedTuple

from mcl.errors import UserError

SMALLEST = 2  # images that batch normalisation can train on


class Split(NamedTuple):
    """Which images of a batch each process takes: pieces in order of rank, whose lengths differ by one at most.

    A batch too small for all of them has fewer pieces than there are processes, none shorter than `SMALLEST` unless
    the batch is: then some processes compute the same piece, and each counts for a part of it.
    """

    images: int
    processes: int

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return max(1, min(self.processes, self.images // SMALLEST))

    @property
    def even(self) -> bool:
        """Whether every process has as many images, and its own."""
        return self.images % self.processes == 0 and self.pieces == self.processes

    def piece(self, rank: int) -> int:
        """The number of a process's piece."""
        return rank * self.pieces // self.processes

    def part(self, rank: int) -> range:
        """The images of a process, as positions in the batch."""
        piece = self.piece(rank)
        return range(self.images * piece // self.pieces, self.images * (piece + 1) // self.pieces)

    def owners(self) -> list[int]:
        """The first process that has each piece."""
        return [-(-piece * self.processes // self.pieces) for piece in range(self.pieces)]

    def weight(self, rank: int) -> float:
        """Factor on a process's mean over its images: the mean over processes is then that over the batch."""
        copies = sum(self.piece(other) == self.piece(rank) for other in range(self.processes))
        return self.processes * len(self.part(rank)) / (self.images * copies)


class Shard(NamedTuple):
    """One process of several."""

    rank: int = 0
    world_size: int = 1

    def check(self, batch_size: int) -> None:
        """Raise UserError unless every process gets as many images of a batch, and enough."""
        if batch_size % self.world_size or batch_size < SMALLEST * self.world_size:
            raise UserError(
                f"trainer.batch_size={batch_size} is that of all {self.world_size} processes together: it must be a"
                f" multiple of {self.world_size}, and give each {SMALLEST} images or more."
            )

    def part(self, count: int) -> range:
        """This process's part of ``count`` images that are shared out without rest, for evaluation."""
        return range(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)


NO_SHARDING = Shard()
