"""Colors of every picture: one color, marker and dash per method, and heat maps whose numbers can be read.

A method looks the same in all studies. Colors are told apart by readers who are color-blind, and each also has a
marker and a dash of its own. They reach a contrast of 4.5 : 1 against their background, light or dark, and so do the
numbers in heat maps: the scales stop where the ink would become hard to read, so it never changes its color.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap

LIGHT, DARK = "light", "dark"
MODES = (LIGHT, DARK)
BACKGROUND = {LIGHT: "#ffffff", DARK: "#15181c"}
INK = {LIGHT: "#1c1f23", DARK: "#e6e8ea"}
COLORS = {  # after Okabe and Ito; darker on white, brighter on black
    LIGHT: ("#000000", "#0072b2", "#bf5200", "#007f5c", "#a8457f", "#8a6500", "#69737d"),
    DARK: ("#ffffff", "#4aa8e8", "#ff8b3d", "#2fcf9f", "#e6a1c8", "#f2bd42", "#9aa5b0"),
}
DIVERGING = {LIGHT: ("#f1a340", "#ffffff", "#a79fd6"), DARK: ("#8f4c00", "#15181c", "#5b4b9e")}
SEQUENTIAL = {LIGHT: ("#f6f7f8", "#6fb1e0"), DARK: ("#1d2126", "#2465a4")}

MARKERS = ("o", "s", "D", "^", "v", "P", "*", "X")  # matplotlib's names; charts.js has Plotly's in the same order
DASHES = ("-", "--", ":", "-.")
_LOSSES = ("independent", "deep_supervision", "mcl", "lmcl", "dml", "kdcl", "one", "okddip", "pcl", "ffl", "cl_ilr")
METHODS = {loss: slot for slot, loss in enumerate((*_LOSSES, "switokd", "dks", "byot", "kd"))}  # new ones at the end
SLOTS = len(COLORS[LIGHT]) * len(MARKERS)  # 7 and 8 have no common divisor: each slot has its own color and marker


@dataclass(frozen=True)
class Style:
    """How a row is drawn: indices into `COLORS`, `MARKERS` and `DASHES`."""

    color: int
    marker: int
    dash: int


def assign_styles(methods: Mapping[str, str]) -> dict[str, Style]:
    """Return the style of each row. The order of the rows does not matter.

    A known method has a fixed style, any other one that follows from its name. Rows of one method share its color;
    the first of them by name has its marker and dash. If all rows are of one method, their own names take its place.

    Args:
        methods: name of a row -> name of its method.
    """
    if len(methods) > 1 and len(set(methods.values())) == 1:
        methods = {name: name for name in methods}
    slots: dict[str, int] = {}
    for method in sorted(set(methods.values()), key=lambda method: (method not in METHODS, method)):
        slot = METHODS.get(method, _preferred_slot(method))
        taken = set(slots.values())
        following = (len(METHODS) + (slot + i) % (SLOTS - len(METHODS)) for i in range(SLOTS))
        slots[method] = slot if slot not in taken else next((free for free in following if free not in taken), slot)
    styles = {}
    variants: dict[str, int] = {}
    for name in sorted(methods, key=lambda name: (name != methods[name], name)):
        slot, variant = slots[methods[name]], variants.get(methods[name], 0)
        variants[methods[name]] = variant + 1
        styles[name] = Style(slot % len(COLORS[LIGHT]), (slot + variant) % len(MARKERS), (slot + variant) % len(DASHES))
    return {name: styles[name] for name in methods}


def diverging() -> "LinearSegmentedColormap":
    """Return the colors of matching weights, neutral in the middle."""
    return _colormap("mcl-diverging", DIVERGING[LIGHT])


def sequential() -> "LinearSegmentedColormap":
    """Return the colors of shares from 0 to 1."""
    return _colormap("mcl-sequential", SEQUENTIAL[LIGHT])


def mix(stops: Sequence[str], position: float) -> str:
    """Return the color at a position from 0 to 1 between evenly spaced stops."""
    scaled = position * (len(stops) - 1)
    first = min(int(scaled), len(stops) - 2)
    pairs = zip(_channels(stops[first]), _channels(stops[first + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (scaled - first)):02x}" for a, b in pairs)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors, from 1 to 21, as WCAG 2 defines it."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _preferred_slot(name: str) -> int:
    digest = hashlib.sha256(name.encode()).digest()
    return len(METHODS) + int.from_bytes(digest[:4], "big") % (SLOTS - len(METHODS))


def _channels(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def _luminance(color: str) -> float:
    shares = [channel / 255 for channel in _channels(color)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _colormap(name: str, stops: Sequence[str]) -> "LinearSegmentedColormap":
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(name, list(stops))
