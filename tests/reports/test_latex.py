"""tables.tex: the tables of a report for a paper."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.report_pages import three_seeds

from mcl.__main__ import main
from mcl.reports.claim_answer import Paragraph
from mcl.reports.latex import escaped, in_latex
from mcl.reports.page.build import page_of_rows
from mcl.reports.rows import rows_of_folders
from mcl.reports.tables import Table
from mcl.runs.reading import find_runs

NUMBERS = Table("a", "In %: mean", ["row", "100 % of d_z", "words"], [["x_1", "−1.00 ± 0.20", "why"]], closing=1)


def test_special_characters_are_escaped() -> None:
    assert escaped("50 % & a_b #1 {x} $5 C:\\x ~^ < 1\n|") == (
        r"50 \% \& a\_b \#1 \{x\} \$5 C:\textbackslash{}x \textasciitilde{}\textasciicircum{} $<$ 1 \textbar{}"
    )
    assert escaped("−0.5 ± 1 × – \x1b") == r"$-$0.5 $\pm$ 1 $\times$ -- \textbackslash{}x1b"
    assert escaped("λτ ≤ 1 → Ω") == r"$\lambda$$\tau$ $\leq$ 1 $\to$ $\Omega$"


def test_labels_are_no_formulas_and_no_arguments_of_the_line_before() -> None:
    rows = [[label, "1"] for label in ("padded_zeros", "[1, 2]", "*")]
    text = in_latex([], [Table("a", "d_z", ["row", "d_z"], rows)], "mark")
    assert "padded\\_zeros & 1 \\\\\n{[}1, 2] & 1 \\\\\n{*} & 1 \\\\\n" in text
    assert "row & $d_z$" in text


def test_table_has_numbers_on_the_right_and_no_closing_words() -> None:
    answer = Paragraph("A gain of d_z 1.", "5 % & more")
    lines = in_latex([answer], [NUMBERS, Table("empty", "", ["row"], [])], "mark").splitlines()
    assert r"\paragraph{A gain of $d_z$ 1.} 5 \% \& more" in lines
    assert lines[0] == "% mark"
    assert r"\begin{tabular}{lr}" in lines
    assert r"row & 100 \% of $d_z$ \\" in lines
    assert r"x\_1 & $-$1.00 $\pm$ 0.20 \\" in lines
    assert r"\caption{In \%: mean}" in lines
    assert "tab:empty" not in "".join(lines)


def test_command_writes_every_table_once_and_each_line_has_all_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    three_seeds(tmp_path / "runs")
    monkeypatch.setattr("mcl.reports.report.pictures", lambda *_: [])
    assert main(["report", "runs/digits", "--latex"]) == 0
    assert capsys.readouterr().out == "runs/digits/RESULTS.md\nruns/digits/tables.tex\n"
    text = Path("runs/digits/tables.tex").read_text()
    assert re.findall(r"\\label{tab:(\w+)}", text) == ["accuracy", "differences", "ensemble", "matching", "cost"]
    for columns, body in re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", text, re.DOTALL):
        cells = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(cells) > 1
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in cells} == {len(columns)}
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert text.isascii()
    results = Path("runs/digits/RESULTS.md").read_text()
    assert "python -m mcl report runs/digits --latex" in results
    assert "[tables.tex](tables.tex) has the tables in LaTeX." in results


def test_page_offers_the_tables_as_a_download(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    rows = rows_of_folders(find_runs(three_seeds(tmp_path)))
    after = ["[tables.tex](tables.tex) has the tables."]
    page = page_of_rows(rows, "top1_last", ["# Results"], after, [], {"tables.tex": "% tables"})
    assert '<a download="tables.tex" href="data:text/plain;base64,JSB0YWJsZXM=">' in page


@pytest.mark.parametrize("options", [["--latex"], ["--baseline", "loss=mcl"], ["--metric", "ensemble", "--latex"]])
def test_report_of_a_search_has_no_tables(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    search = "search: {options: {optimizer.lr: 'interval(0.01, 1)'}}"
    Path("mine/study.yaml").write_text(f"title: Mine\nhold: [dataset.validation=0.1]\n{search}\n")
    assert main(["report", "mine", *options]) == 1
    given = " and ".join(option for option in ("--latex", "--baseline", "--metric") if option in options)
    assert f"error: {given}: a search has its best trials" in capsys.readouterr().err
    assert not Path("mine/RESULTS.md").exists()


def test_own_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    three_seeds(tmp_path / "runs")
    Path("runs/tables.tex").write_text("my own tables")
    assert main(["report", "runs", "--latex"]) == 1
    assert "runs/tables.tex was not written by this command" in capsys.readouterr().err
    assert Path("runs/tables.tex").read_text() == "my own tables"


def test_name_of_a_table_makes_a_valid_label() -> None:
    (label,) = (
        line
        for line in in_latex([], [replace(NUMBERS, name="ranks-50 % #1, a_b")], "mark").splitlines()
        if "label" in line
    )
    assert label == r"\label{tab:ranks-50 - -1, a_b}"
