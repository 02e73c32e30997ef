"""Empty figures, and fonts: names in Chinese, Japanese and Korean are drawn in a font of the system, if it has one."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib takes each character from the first font that has it; its own one has Latin, Greek and Cyrillic.
FURTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
)


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def fonts_of_the_system() -> Iterator[None]:
    """Draw and save figures inside the block with these fonts. What none has is a box, without a warning."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    known = fontManager.get_font_names()
    families = [*matplotlib.rcParams["font.family"], *(font for font in FURTHER_FONTS if font in known)]
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # a font may lack the usual weight
    # Not within catch_warnings, which is not safe in the thread of a tracker.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
    with matplotlib.rc_context({"font.family": families}):
        yield
