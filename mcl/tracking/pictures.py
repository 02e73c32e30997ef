"""The sets of pictures that a tracker shows of a run: when one is made, and what is in it."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Literal

from mcl.errors import UserError
from mcl.tracking.media import confusion_picture, matching_pictures, samples_picture
from mcl.tracking.tracker import RunInfo, Snapshot, Tracker

if TYPE_CHECKING:
    import numpy as np

Pictures = int | Literal["auto"]

AUTO_PICTURES, AUTO_SECONDS = 10, 60.0  # sets of pictures that a run makes by itself, and time between two


@dataclass
class PictureSchedule:
    """Decide after which evaluations a run makes a set of pictures.

    Args:
        every: epochs from one set to the next; 0 for none; ``"auto"`` for up to ten sets a run, a minute apart, the
            last epoch's among them, and none in a study or multirun.
        option: name of the option, for the message.

    Raises:
        UserError: ``every`` is negative.
    """

    every: Pictures
    option: str
    _previous: float = field(default_factory=lambda: monotonic(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.every, int) and self.every < 0:
            raise UserError(f"{self.option}={self.every}: epochs between two sets, 0 for none, or auto.")

    def due(self, run: RunInfo, epoch: int) -> bool:
        """Return whether to make a set after this epoch."""
        last = epoch >= run.total_epochs
        if self.every != "auto":
            return self.every > 0 and (epoch % self.every == 0 or last)
        if run.group is not None:
            return False
        soon = monotonic() - self._previous < AUTO_SECONDS  # a set takes a second, which others may need
        if not last and (soon or epoch % max(1, run.total_epochs // AUTO_PICTURES)):
            return False
        self._previous = monotonic()
        return True


class SnapshotPictures:
    """The pictures of a snapshot, drawn when they are logged, since their titles have the epoch.

    Args:
        snapshot: of the test split.
        matching: the latest matching weights, ``{"matching/first.stage1/second.backbone": 0.5}``.
        run: whose networks, method and data the titles name.
    """

    def __init__(self, snapshot: Snapshot, matching: Mapping[str, float], run: RunInfo):
        self.snapshot = snapshot
        self._matching = dict(matching)
        self._names = {key: f"{key} {name}" for key, name in run.networks}
        data, *method = run.tags[:2] or (run.name,)
        self._about = " on ".join([*method, data])

    def drawn(self, epoch: int) -> Iterator[tuple[str, bytes, str]]:
        """Yield name, PNG and caption of each picture."""
        snapshot, about = self.snapshot, f"{self._about}, epoch {epoch}"
        for pair, content in matching_pictures(self._matching, self._names, about).items():
            first, _, second = pair.partition("-")
            yield f"matching/{pair}", content, f"matching weights of {first} and {second}, epoch {epoch}"
        for name in snapshot.predicted:
            title = f"{self._names.get(name, name)}, {about}\ntest split"
            content = confusion_picture(snapshot.confusion(name), snapshot.classes, title)
            yield f"confusion/{name}", content, f"{name}: confusion on the test split, epoch {epoch}"
        content = samples_picture(snapshot, f"test images, {about}; red: the last prediction is wrong")
        yield "samples", content, f"test images; red: the last of the predictions is wrong, epoch {epoch}"


class PictureLog(Tracker):
    """A tracker that shows pictures as arrays, beside the row of their evaluation.

    Args:
        every, option: as for `PictureSchedule`.
    """

    def __init__(self, every: Pictures, option: str):
        self.pictures = PictureSchedule(every, option)

    def begin(self, run: RunInfo) -> None:
        """Begin a run, or the next attempt at one."""
        self.info = run
        self.keys = [key for key, _ in run.networks]
        self._matching: dict[str, float] = {}  # the latest weights
        self._next: SnapshotPictures | None = None  # for the next row

    def wants_snapshot(self, run: RunInfo, epoch: int) -> bool:
        return self.pictures.due(run, epoch)

    def snapshot(self, snapshot: Snapshot) -> None:
        self._next = SnapshotPictures(snapshot, self._matching, self.info)

    def taken(self, metrics: Mapping[str, float], epoch: int) -> "Iterator[tuple[str, np.ndarray, str]]":
        """Yield name, image (height, width, channels) uint8 and caption of each picture that is due with a row."""
        self._matching |= {name: value for name, value in metrics.items() if name.startswith("matching/")}
        pictures, self._next = self._next, None
        if pictures is None:
            return
        import numpy as np
        from PIL import Image

        for name, content, caption in pictures.drawn(epoch):
            yield name, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), caption
