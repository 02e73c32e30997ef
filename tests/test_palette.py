"""Colors: the same for a method in every picture, and readable over every color of every scale."""

import itertools
import re
from pathlib import Path

import pytest

from mcl import palette
from mcl.palette import BACKGROUND, COLORS, DIVERGING, INK, MODES, SEQUENTIAL, assign_styles, contrast, mix
from mcl.reports import page

READABLE = 4.5  # WCAG 2, level AA
CSS = (Path(page.__file__).parent / "page.css").read_text()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scale", [DIVERGING, SEQUENTIAL])
def test_numbers_are_readable_on_every_color_of_a_heat_map(mode: str, scale: dict[str, tuple[str, ...]]) -> None:
    ratios = [contrast(INK[mode], mix(scale[mode], i / 1000)) for i in range(1001)]
    assert min(ratios) >= READABLE


@pytest.mark.parametrize("draw", ["diverging", "sequential"])
def test_matplotlib_draws_the_same_scales(draw: str) -> None:
    from matplotlib.colors import to_hex

    colormap = getattr(palette, draw)()
    assert min(contrast(INK["light"], to_hex(colormap(i))) for i in range(colormap.N)) >= READABLE


@pytest.mark.parametrize("mode", MODES)
def test_methods_stand_out_from_the_background(mode: str) -> None:
    assert min(contrast(color, BACKGROUND[mode]) for color in COLORS[mode]) >= READABLE


@pytest.mark.parametrize("mode", MODES)
def test_the_page_has_the_same_colors(mode: str) -> None:
    light, dark = CSS.split("@media screen and (prefers-color-scheme: dark)")
    own = dict(re.findall(r"--([\w-]+): (#\w+);", {"light": light, "dark": dark.split("}")[0]}[mode]))
    assert [own[f"row-{i}"] for i in range(len(COLORS[mode]))] == list(COLORS[mode])
    assert (own["surface"], own["ink"]) == (BACKGROUND[mode], INK[mode])
    assert (own["low"], own["middle"], own["high"]) == DIVERGING[mode]
    assert (own["few"], own["much"]) == SEQUENTIAL[mode]


def test_text_of_the_page_is_readable() -> None:
    light, dark = CSS.split("@media screen and (prefers-color-scheme: dark)")
    for block in (light, dark.split("}")[0]):
        own = dict(re.findall(r"--([\w-]+): (#\w+);", block))
        for text, behind in itertools.product(("ink", "muted", "link"), ("surface", "raised")):
            assert contrast(own[text], own[behind]) >= READABLE, (text, behind)
        assert contrast(own["ink"], own["warning"]) >= READABLE


def test_a_method_looks_the_same_whatever_else_is_drawn_and_in_any_order() -> None:
    names = ["independent", "deep_supervision", "mcl", "lmcl"]
    whole = assign_styles({name: name for name in names})
    for chosen in itertools.permutations(names, 2):
        few = assign_styles({name: name for name in chosen})
        assert few == {name: whole[name] for name in chosen}
    assert len({style.color for style in whole.values()}) == len({style.dash for style in whole.values()}) == 4
    own = assign_styles({"mcl": "mcl", "my_loss": "my_loss"})
    assert own["mcl"] == whole["mcl"]
    assert own["my_loss"] == assign_styles({"my_loss": "my_loss"})["my_loss"]


def test_rows_of_one_method_share_its_color_and_differ_in_marker() -> None:
    names = ["mcl, loss.tau=0.1", "mcl, loss.tau=0.2"]
    styles = assign_styles({names[1]: "mcl", "independent": "independent", names[0]: "mcl"})
    one, other = (styles[name] for name in names)
    assert one == assign_styles({"mcl": "mcl"})["mcl"]
    assert one.color == other.color
    assert (one.marker, one.dash) != (other.marker, other.dash)


def test_many_rows_of_one_method_are_told_apart_by_their_own_names() -> None:
    names = [f"temperature={i}" for i in range(palette.SLOTS - len(palette.METHODS))]
    styles = assign_styles(dict.fromkeys(names, "lmcl"))
    assert len({(style.color, style.marker) for style in styles.values()}) == len(names)


def test_more_rows_than_styles_are_drawn_all_the_same() -> None:
    names = [f"loss{i}" for i in range(palette.SLOTS + 10)]
    assert len(assign_styles({name: name for name in names})) == len(names)
