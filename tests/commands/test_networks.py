"""``python -m mcl networks``: the published counts in the printed table."""

from contextlib import redirect_stdout
from io import StringIO

import pytest

from mcl.__main__ import main
from mcl.commands import networks
from mcl.config.build_network import network_names

# name: parameters, multiply-adds in millions, parameters of a pair with branches, width; 100 classes, 32 pixels
PUBLISHED = {  # the other networks have their counts tested where they are
    "resnet8": ("83,892", 12.5, "453,752", "64"),
    "resnet32": ("472,756", 69.13, "2,563,704", "64"),
    "wrn_16_2": ("703,284", 101.12, "3,822,968", "128"),
    "shufflenetv2_05x": ("444,292", 10.99, "2,544,120", "1024"),
}
NAMES = "mcl.config.build_network.network_names"


def table(shown: str) -> dict[str, list[str]]:
    """Return the rows of the printed table by network, without units."""
    rows = [line.replace(" M", "").split() for line in shown.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in network_names()}


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stdout(StringIO()) as shown:
        monkeypatch.setattr(NAMES, lambda: list(PUBLISHED))
        assert main(["networks"]) == 0
    return table(shown.getvalue())


def test_every_network_has_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(networks, "_row", lambda name, classes, size: ["-"])
    assert main(["networks"]) == 0
    assert list(table(capsys.readouterr().out)) == network_names()


def test_no_count_is_cut_off_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(NAMES, lambda: ["imagenet/shufflenetv2_05x", "resnet8"])
    assert main(["networks"]) == 0
    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_equal_the_published_ones(name: str, rows: dict[str, list[str]]) -> None:
    parameters, millions, of_a_pair, width = PUBLISHED[name]
    classes, pixels, *counts = rows[name]
    assert (classes, pixels) == ("100", "32")
    assert (counts[0], counts[2], counts[3], counts[4]) == (parameters, "3", width, of_a_pair)
    assert float(counts[1]) == pytest.approx(millions, abs=0.015)


def test_step_of_a_pair_costs_three_forward_passes_with_branches(rows: dict[str, list[str]]) -> None:
    # resnet8 at 32 pixels: stem 3 -> 16, then one basic block of 16, 32 (1x1 shortcut) and 64 (1x1 shortcut) channels
    stem, first = 32 * 32 * 9 * 3 * 16, 2 * 32 * 32 * 9 * 16 * 16
    second = 16 * 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
    third = 8 * 8 * (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64)
    classifier = 64 * 100
    branched = stem + first + 2 * second + 3 * third + 3 * classifier
    assert float(rows["resnet8"][-1].replace(",", "")) == pytest.approx(3 * 2 * branched / 1e6, abs=0.005)


def test_classes_and_size_can_be_chosen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(NAMES, lambda: ["resnet8"])
    assert main(["networks", "--classes", "10", "--size", "16"]) == 0
    row = table(capsys.readouterr().out)["resnet8"]
    assert row[:3] == ["10", "16", f"{83_892 - 90 * 65:,}"]


def test_named_networks_list_every_kind_of_branches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["networks", "resnet8", "--size", "32"]) == 0
    stages, *kinds = capsys.readouterr().out.partition("resnet8: stages ")[2].partition("\n\n")[0].splitlines()
    assert stages == "1 (16 x 32 x 32), 2 (32 x 16 x 16), 3 (64 x 8 x 8)"
    assert [line.partition(":")[0].strip() for line in kinds] == [
        *("branches=copy", "branches=light", "branches=byot", "branches=dks")
    ]
    assert kinds[0].endswith("142,984 parameters and 11.02 M multiply-adds more")


@pytest.mark.parametrize("option", ["--size", "--classes"])
def test_sizes_below_one_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["networks", option, "0"]) == 1
    assert f"error: {option} 0: must be at least 1." in capsys.readouterr().err


def test_images_below_the_stride_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NAMES, lambda: ["resnet8"])
    assert main(["networks", "--size", "2"]) == 1
    assert "resnet8 has a total stride of 4" in capsys.readouterr().err
