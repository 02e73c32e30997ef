"""The picture of a search: its title, its axes, and the color of its method."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from support.run_folders import write_run

from mcl.palette import COLORS, LIGHT, MARKERS, METHODS
from mcl.reports import search_report
from mcl.runs.reading import find_runs, read_run
from mcl.search.space import parse_space

RANGES = ["loss.weights.vcl=tag(log,interval(0.001,1))", "loss.tau=interval(0,1)", "loss.dim=16,64,256"]


def test_title_says_network_method_data_epoch_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        write_run(tmp_path, "lmcl", seed, [70.0 + seed] * 2)
    runs = map(read_run, find_runs(tmp_path))
    values = [{"loss.weights.vcl": 10.0**-i, "loss.tau": 10.0**-i, "loss.dim": 4 ** (i + 2)} for i in range(3)]
    done = [(run, chosen, 72.0 - i) for i, (run, chosen) in enumerate(zip(runs, values, strict=True))]
    drawn: list[Figure] = []
    monkeypatch.setattr(search_report, "files", lambda figure, formats: drawn.append(figure) or {"png": b""})
    assert search_report._pictures(parse_space(RANGES, {}), done, ["png"]) == {"png": b""}
    (figure,) = drawn
    epoch = done[0][0].summary["epochs"]
    assert figure.get_suptitle() == f"resnet8 with lmcl on digits\nepoch {epoch}, n = 3 trials; large: the best"
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert {"0.01", "0.1", "1"} <= {*ticks}
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "log"]
    for line in figure.axes[0].lines:
        assert line.get_color() == COLORS[LIGHT][METHODS["lmcl"]]
        assert line.get_marker() == MARKERS[METHODS["lmcl"]]
