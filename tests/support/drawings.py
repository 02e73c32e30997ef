"""Pictures without their pixels, for tests of what surrounds them: drawing takes most of the time of an evaluation."""

import io
from typing import Any

import pytest
from PIL import Image

MARK = "drawn"


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save every figure as a small image, whatever its format, except in a test marked ``drawn``."""
    from matplotlib.figure import Figure

    def save(figure: Figure, content: io.BytesIO, **_: Any) -> None:
        Image.new("RGB", (8, 8)).save(content, "png")

    if request.node.get_closest_marker(MARK) is None:
        monkeypatch.setattr(Figure, "savefig", save)
