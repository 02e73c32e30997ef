"""The content of the HTML page of a report, without a browser."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.pages import EVIL, write_matrix
from support.run_folders import write_run

from mcl.__main__ import main
from mcl.reports import report
from mcl.reports.page import charts as charts_module
from mcl.reports.page.build import page
from mcl.reports.page.charts import charts
from mcl.reports.page.confusion_matrices import find_matrices
from mcl.reports.page.run_tables import run_table, settings_table
from mcl.reports.page.series import Line, lines, thinned
from mcl.reports.page.setting_names import in_words
from mcl.reports.rows import Rows, rows_of_folders
from mcl.runs.evaluation_record import EvaluationRecord
from mcl.runs.reading import find_runs

pytest.importorskip("plotly")

Write = Callable[..., str]


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """``write(runs)``: the text of report.html, without the plots of RESULTS.md, which take time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "pictures", lambda *_: [])

    def made(place: Path) -> str:
        report.write_report(None, find_runs(place), tmp_path / "out", html=True)
        return (tmp_path / "out" / report.PAGE).read_text()

    return made


def rows_in(runs: Path) -> Rows:
    return rows_of_folders(find_runs(runs))


def named(series: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    (named_lines,) = [item["lines"] for item in series if item["name"] == name]
    return named_lines


def test_row_has_a_mean_line_and_one_line_per_run(tmp_path: Path) -> None:
    for seed, top1 in enumerate([70.0, 74.0]):
        write_run(tmp_path, "mcl", seed, [top1, top1 + 2])
    write_run(tmp_path, "mcl", 2, [50.0, 50.0], finished=False)
    all_charts = charts(rows_in(tmp_path), "top1_last", [])
    mean, *runs = named(all_charts["accuracy"], "first (resnet8), backbone")
    assert (mean["run"], mean["runs"], mean["y"]) == (None, 2, [18.0, 36.0, 54.0, 72.0])
    assert [run["run"] for run in runs] == ["seed 0", "seed 1", "seed 2 (unfinished)"]
    assert runs[1]["y"][-1] == 74.0
    assert all_charts["epochs"][mean["x"]] == [1, 2, 3, 4]
    both = named(all_charts["accuracy"], "resnet8, backbone, mean of 2 networks")
    assert (both[0]["y"][-1], all_charts["accuracy"][0]["name"]) == (73.0, "resnet8, backbone, mean of 2 networks")


def test_raw_terms_weighted_terms_and_speed_are_separate_charts(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mcl", 0, [70.0, 70.0])
    logged = {"train/vcl": 8.0, "train/weighted/vcl": 0.8, "train/total": 1.0, "train/lr": 0.1, "meta/outer_loss": 2.0}
    line = json.dumps({"step": 5, "epoch": 1, "time": 0.5, **logged, "train/grad_norm": None})
    (folder / "metrics.jsonl").write_text(f"{line}\n[1]\n{{\n" + (folder / "metrics.jsonl").read_text())
    (row,) = rows_in(tmp_path).rows
    first_lines = {name: line[0] for name, line in lines(row).items()}
    expected = {("terms", "vcl, raw"): 8.0, ("terms", "vcl, weighted"): 0.8, ("terms", "total"): 1.0}
    expected |= {("terms", "outer_loss of meta rounds"): 2.0, ("pace", "learning rate"): 0.1}
    assert {name: line.values[0] for name, line in first_lines.items() if name[0] != "accuracy"} == expected
    assert first_lines["pace", "learning rate"].epochs == (0.5,)  # ten steps an epoch


def test_long_lines_are_thinned_out_between_their_ends() -> None:
    line = thinned(Line(None, tuple(map(float, range(9999))), tuple(map(float, range(9999)))), 500)
    assert len(line.epochs) == len(line.values) == 500
    assert (line.epochs[0], line.epochs[-1]) == (0.0, 9998.0)


def test_points_per_line_decrease_with_many_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        write_run(tmp_path, "mcl", seed, [70.0, 70.0], curve=[1.0] * 100)
    monkeypatch.setattr(charts_module, "MOST_OF_ALL", 800)
    all_charts = charts(rows_in(tmp_path), "top1_last", [])
    drawn = [line for series in all_charts["accuracy"] for line in series["lines"]]
    assert {len(line["y"]) for line in drawn} == {800 // len(drawn)}


def test_matching_can_be_followed_over_training(tmp_path: Path) -> None:
    write_run(tmp_path, "lmcl", 0, [70.0, 70.0], matching=True)
    chart = charts(rows_in(tmp_path), "top1_last", [])["matching"]
    (strip,) = chart["strips"]
    assert [moment["epoch"] for moment in strip["moments"]] == [1, 2, 3, 4]
    assert strip["down"] == strip["across"] == ["stage1", "stage2", "backbone"]
    assert strip["moments"][-1]["weights"][0] == [0.55, 0.5, 0.45]
    assert chart["reach"] == pytest.approx(0.05)


def test_confusion_matrices_are_found_and_damaged_ones_are_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mcl", 0, [70.0, 70.0])
    write_matrix(folder, ["cat", "dog"], [[5, 1], [2, 4]])
    write_matrix(folder, ["cat", "dog"], [[5, 1], [2, "x"]], "second-backbone")
    write_matrix(folder, ["cat", "dog"], [[5, 1], [2]], "ensemble")
    rows = rows_in(tmp_path)
    matrices, notes = find_matrices(rows.runs)
    found = charts(rows, "top1_last", matrices)["confusion"]
    (matrix,) = found["matrices"]
    assert (matrix["run"], matrix["head"]) == ("mcl, seed 0", "first backbone")
    assert (matrix["classes"], matrix["counts"]) == (0, ((5, 1), (2, 4)))
    assert matrix["about"] == "first (resnet8) backbone, mcl, digits, epoch 4, n = 12 images"
    assert found["classes"] == [("cat", "dog")]
    assert [note.rsplit(": ")[1] for note in notes] == ["is no confusion matrix.", "cannot be read."]


def test_evaluation_of_something_else_is_not_shown_as_that_after_the_last_epoch(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "mcl", 0, [70.0, 70.0])
    write_matrix(folder, ["cat", "dog"], [[5, 1], [2, 4]])
    evaluations = folder / "evaluation"

    def shown_as(name: str, record: EvaluationRecord | None) -> str:
        if name != "test":
            shutil.copytree(evaluations / "test", evaluations / name)
        if record is not None:
            record.write(evaluations / name)
        matrices, notes = find_matrices(rows_in(tmp_path).runs)
        assert notes == []
        return matrices[-1].head

    own = EvaluationRecord("test", "last", 40, True, "a1", False, [], [], {}, "2026-01-01")
    assert shown_as("test", None) == "first backbone"
    assert shown_as("test", own) == "first backbone"
    other = replace(own, other_images=True, changes=["dataset.limit: 5 -> 6"])
    assert shown_as("test-ab12", other) == "first backbone, test-ab12 (other images; dataset.limit: 5 -> 6)"
    assert shown_as("test-step-30", replace(own, step=30)) == "first backbone, test-step-30 (step 30)"
    (evaluations / "test" / "evaluation.json").write_text("[" * 100_000)
    assert find_matrices(rows_in(tmp_path).runs)[1][0].endswith("evaluation.json beside it cannot be read.")


def test_every_run_is_listed_with_its_outcome(tmp_path: Path) -> None:
    write_run(tmp_path, "mcl", 0, [70.0, 72.0])
    write_run(tmp_path, "mcl", 1, [70.0, 70.0], finished=False)
    body = [line.split(" | ") for line in run_table(rows_in(tmp_path)) if line.startswith("| mcl")]
    assert body[0][:7] == ["| mcl, seed 0", "finished", "70.00", "72.00", "75.00", "4", "0:20"]
    assert body[1][:7] == ["| mcl, seed 1", "unfinished", "–", "–", "–", "4 of 4", "–"]


def test_only_settings_that_differ_are_listed(tmp_path: Path) -> None:
    write_run(tmp_path, "mcl", 0, [70.0, 70.0])
    write_run(tmp_path, "lmcl", 0, [70.0, 70.0], settings={"optimizer__lr": 0.2})
    body = [line for line in settings_table(rows_in(tmp_path)) if line.startswith("| ")]
    assert body == [
        "| setting | mcl | lmcl |",
        "| --- | --- | --- |",
        "| learning rate | 0.1 | 0.2 |",
        "| steps between meta rounds | – | 20 |",
    ]


def test_settings_are_written_in_words() -> None:
    own = {"pair.first.depths.0": 1, "pair.first.depths.1": 2, "pair.second.depths.0": 1, "pair.second.depths.1": 2}
    own |= {
        "pair.first.width": 8,
        "pair.second.width": 16,
        "loss._target_": "mcl.losses.mcl.MCL",
        "loss.some_flag": True,
    }
    assert in_words({"one": own}) == {
        "one": {
            "loss, kind": "MCL",
            "loss, some flag": "yes",
            "networks, depths": "1, 2",
            "network first, width": "8",
            "network second, width": "16",
        }
    }


def test_no_path_of_this_machine_is_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(report, "pictures", lambda *_: [])
    for seed in (0, 1):
        folder = write_run(tmp_path / "runs", "mcl", seed, [70.0, 70.0], finished=seed == 0)
    message = f"cannot read {tmp_path}/photos/a.jpg and C:\\Users\\me\\b.jpg"
    (folder / "failure.json").write_text(json.dumps({"status": "failed", "error": "E", "message": message, "step": 1}))
    assert main(["report", str(tmp_path / "runs"), "--html", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.html").read_text().split("<body>")[1].split("<script>")[0]
    assert str(tmp_path) not in text
    assert "C:\\Users" not in text
    assert "a.jpg" in text
    for name in ("RESULTS.md", "results.csv"):
        assert f"{tmp_path}/runs" not in (tmp_path / "out" / name).read_text()


def test_results_are_in_the_page_and_other_files_are_named_only(tmp_path: Path, write: Write) -> None:
    write_run(tmp_path / "runs", "mcl", 0, [70.0, 70.0])
    (link,) = [link for link in Elements(write(tmp_path / "runs")).all("a") if link.get("download") == "results.csv"]
    content = base64.b64decode(str(link["href"]).removeprefix("data:text/csv;base64,")).decode()
    assert content == (tmp_path / "out" / "results.csv").read_text()
    assert '<a class="text">FINDINGS</a>' in page(["# T", "", "[FINDINGS](FINDINGS.md)"], {})


def test_a_total_of_unlike_methods_is_called_that(tmp_path: Path) -> None:
    for loss in ("independent", "mcl"):
        folder = write_run(tmp_path / loss, loss, 0, [70.0, 70.0])
        with open(folder / "metrics.jsonl", "a") as file:
            file.write('{"step": 40, "epoch": 4, "time": 4.0, "train/total": 1.0, "train/vcl": 1.0}\n')
    mixed = charts(rows_in(tmp_path), "top1_last", [])["terms"]
    assert "not between methods" in next(series["note"] for series in mixed if series["name"] == "total")
    assert mixed[-1]["name"] == "total"
    alone = charts(rows_in(tmp_path / "mcl"), "top1_last", [])["terms"]
    assert (alone[0]["name"], alone[0]["note"]) == ("total", "")


def test_the_page_draws_no_curve_of_one_point(tmp_path: Path) -> None:
    write_run(tmp_path, "lmcl", 0, [70.0, 70.0], curve=[1.0])
    assert charts(rows_in(tmp_path), "top1_last", [])["accuracy"] == []


def test_the_page_asks_for_nothing_and_runs_no_script_but_its_own(tmp_path: Path, write: Write) -> None:
    folder = write_run(tmp_path / "runs", "mcl", 0, [70.0, 70.0], networks=(EVIL, "b</script><b>*c*"))
    write_matrix(folder, [EVIL, "</script>"], [[5, 1], [2, 4]])
    failed = write_run(tmp_path / "runs", "mcl", 1, [70.0, 70.0], networks=(EVIL, "b</script><b>*c*"), finished=False)
    message = f"{EVIL} ![x](http://example.org/y.png) [a](javascript:alert(1)) `{EVIL}`"
    (failed / "failure.json").write_text(json.dumps({"status": "failed", "error": "E", "message": message, "step": 1}))
    elements = Elements(write(tmp_path / "runs"))
    kinds = [script.get("type") for script in elements.all("script")]
    assert kinds == ["application/json", None, None, None]  # values, Plotly, charts, tables
    assert not any("src" in attributes for _, attributes in elements.found)
    assert {link["href"] for link in elements.all("link")} == {"data:,"}
    assert all(link["href"].startswith(("#", "data:text/csv;base64,")) for link in elements.all("a"))  # type: ignore[union-attr]
    assert not elements.all("b")
    policy = next(meta["content"] for meta in elements.all("meta") if "http-equiv" in meta)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_tables_have_headers_and_charts_have_descriptions(tmp_path: Path, write: Write) -> None:
    for loss in ("independent", "lmcl"):
        write_run(tmp_path / "runs", loss, 0, [70.0, 70.0])
    text = write(tmp_path / "runs")
    elements = Elements(text)
    scopes = [header.get("scope") for header in elements.all("th")]
    assert set(scopes) == {"col", "row"}
    (plot,) = [of for of in elements.all("div") if of.get("class") == "plot"]
    assert plot["role"] == "img"
    label = str(plot["aria-label"])
    assert label.startswith("Accuracy over training, by epoch: resnet8, backbone, mean of 2 networks. ")
    assert label.endswith("independent ends at 70.0, lmcl ends at 70.0.")
    assert len(elements.all("h1")) == 1
    anchors = {str(link["href"])[1:] for link in elements.all("a") if str(link["href"]).startswith("#")}
    assert anchors <= {str(of.get("id")) for _, of in elements.found}
    assert "<td" in text.split('id="differences-from-the-baseline"')[1]  # as in RESULTS.md


def test_warnings_and_folded_sections_are_kept() -> None:
    lines = [
        "# T",
        "",
        "> [!WARNING]",
        "> Look.",
        "",
        "<details>",
        "<summary>13 commands</summary>",
        "",
        "x",
        "</details>",
    ]
    text = page(lines, {}).split("<main>")[1]
    assert '<blockquote class="warning">\n<p>Look.</p>' in text
    assert "<details>\n<summary>13 commands</summary>\n" in text


def test_plots_of_the_report_are_embedded() -> None:
    text = page(["# T", "", "![of trials](trials.png)", "", "![else](else.png)"], {"trials.png": b"abc"})
    assert '<img alt="of trials" src="data:image/png;base64,YWJj">' in text
    assert "<p>else</p>" in text


def test_command_writes_the_same_page_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "pictures", lambda *_: [])
    write_run(tmp_path / "runs", "mcl", 0, [70.0, 70.0])
    written = []
    for _ in range(2):
        assert main(["report", "runs", "--html"]) == 0
        assert capsys.readouterr().out == "runs/RESULTS.md\nruns/report.html\n"
        written.append((tmp_path / "runs/report.html").read_bytes())
    assert written[0] == written[1]
    assert "python -m mcl report runs --html" in written[0].decode()
    (tmp_path / "runs/report.html").write_text("my own page")
    assert main(["report", "runs", "--html"]) == 1
    assert "was not written by this command" in capsys.readouterr().err


def test_study_without_runs_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    page_of_study = ["title: Mine", "text: Look.", "vary: {trainer.epochs: [1, 2]}", "baseline: {trainer.epochs: 1}"]
    (tmp_path / "mine" / "study.yaml").write_text("\n".join([*page_of_study, "hold: [trainer.precision=float32]"]))
    assert main(["report", "mine", "--html"]) == 0
    text = (tmp_path / "mine" / "report.html").read_text()
    assert "<title>Mine</title>" in text
    assert text.count(">missing</td>") == 2
    assert "planned, and not run yet" in text
    assert 'class="chart"' not in text


def test_torch_is_not_needed() -> None:
    code = "import sys, mcl.reports.page.build, plotly.offline, markdown_it; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_plotly_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs", "mcl", 0, [70.0, 70.0])
    monkeypatch.setattr("mcl.extras.find_spec", lambda name: None if name == "plotly" else name)
    assert main(["report", "runs", "--html"]) == 1
    assert capsys.readouterr().err == "error: --html: needs plotly. Install it with: pip install 'plotly>=6'.\n"
    assert not (tmp_path / "runs" / "RESULTS.md").exists()


def test_long_names_of_rows_wrap_before_a_conclusion_is_cut_off() -> None:
    style = (Path(charts_module.__file__).parent / "page.css").read_text()
    (rule,) = re.findall(r"^tbody th \{(.*)\}$", style, re.MULTILINE)
    assert "white-space: normal" in rule
