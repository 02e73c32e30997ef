"""Images seen and seconds spent, over all attempts of a run."""

import time
from collections.abc import Mapping
from typing import Any


class Throughput:
    """Count images and seconds; a resumed run continues the counts.

    Attributes:
        images_seen: training images so far.
        training_seconds: seconds of training, without start-up and evaluations, up to the last reading.
        images_timed: training images during ``training_seconds``.
    """

    def __init__(self) -> None:
        self.images_seen = 0
        self.training_seconds = 0.0
        self.images_timed = 0
        self._earlier_seconds = 0.0  # seconds of previous attempts
        self._started: float | None = None
        self._lap_started = 0.0
        self._lap_images = 0

    def start(self) -> None:
        """Start the clock of this attempt."""
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, previous attempts included."""
        return self._earlier_seconds + (0.0 if self._started is None else time.monotonic() - self._started)

    @property
    def images_per_second(self) -> float:
        """Average over the whole run."""
        return self.images_timed / max(self.training_seconds, 1e-9)

    def start_lap(self) -> None:
        """Start counting for the next reading."""
        self._lap_started, self._lap_images = time.monotonic(), 0

    def add(self, images: int) -> None:
        """Count the images of one step."""
        self._lap_images += images
        self.images_seen += images

    def read(self) -> float:
        """Return images per second since the last reading, and start a new lap. The device must be idle."""
        now = time.monotonic()
        seconds, images = now - self._lap_started, self._lap_images
        self.training_seconds += seconds
        self.images_timed += images
        self._lap_started, self._lap_images = now, 0
        return images / seconds

    def state_dict(self) -> dict[str, Any]:
        """Return the counts for a checkpoint."""
        return {
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "images_timed": self.images_timed,
            "images_seen": self.images_seen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the counts of a checkpoint."""
        self._earlier_seconds = state["seconds"]
        self.training_seconds = state["training_seconds"]
        self.images_seen = state["images_seen"]
        self.images_timed = state.get("images_timed", self.images_seen)  # absent from older checkpoints
