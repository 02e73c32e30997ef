"""Attacks by text: Markdown, HTML, spreadsheets and terminals show it and do nothing else."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.received import as_json, metadata_of, save_safetensors

from mcl.__main__ import main
from mcl.reports.markdown import cell, code
from mcl.runs import checkpoints
from mcl.runs.confusion_file import read_confusion, write_confusion
from mcl.runs.summary import with_checksum
from mcl.untrusted.spreadsheet import without_formulas
from mcl.untrusted.text import on_terminal, printable

MARKUP = [
    "[x](javascript:alert(1))",
    "![x](http://evil/x.png)",
    "<img src=x onerror=alert(1)>",
    "<script>",
    "`x`",
    "a\n# b",
]


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_escaped(text: str) -> None:
    shown = cell(text)
    assert "\n" not in shown
    assert "<" not in shown
    assert "](" not in shown.replace("\\](", "")
    assert code(text).count("`") == 2


@pytest.mark.parametrize("text", ["=1+1", "+1-2", "-x", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|'/c calc'!A0"])
def test_no_cell_of_a_csv_file_is_a_formula(text: str, tmp_path: Path) -> None:
    assert without_formulas([text, f"x{text}"]) == [f"'{printable(text)}", f"x{printable(text)}"]
    file = write_confusion(tmp_path, "first/backbone", [[1, 0], [0, 1]], [text, "b"])
    assert all(
        not row[0].startswith(tuple("=+-@\t\r"))
        for row in csv.reader(io.StringIO(file.read_bytes().decode(), newline=""))
    )
    assert read_confusion(file)[1] == ((1, 0), (0, 1))


@pytest.mark.parametrize("value", ["-0.5", "+3", "1e-5", "resnet8", "", -1.5, None, 3])
def test_numbers_and_words_stay_as_they_are(value: object) -> None:
    assert without_formulas([value]) == [value]


@pytest.mark.parametrize("text", ["\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "a\rb", "a\x08b", "\u202egnp.exe", "\0"])
def test_nothing_in_a_name_reaches_the_terminal_as_a_command(text: str) -> None:
    assert printable(text).isprintable()
    assert on_terminal(f"{text}\n{text}").replace("\n", "").isprintable()


def test_class_names_cannot_command_the_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = metadata_of(place) | {"classes": ["\x1b[2Jcat", "a\nb", "\x9b", "d"]}
    save_safetensors(place / "network.safetensors", as_json(about))
    assert main(["predict", "network.safetensors", "image.png", "--top", "4"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.rstrip("\n").isprintable()


def test_a_report_of_a_hostile_run_is_inert(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "[x](javascript:alert(1))<script>$\\frac{"
    run = place / "run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["dataset"]["name"] = config["pair"]["first"]["name"] = evil
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"best_epoch_chosen_on": evil, "device": evil, "code": {"version": evil, "commit": evil}}
    for network in summary["networks"]:
        network["name"] = "=" + evil
    (run / "summary.json").write_text(json.dumps(with_checksum(summary)))
    assert main(["report", "run", "--out", "report"]) == 0
    text = (place / "report" / "RESULTS.md").read_text()
    assert "javascript" in text
    assert "](javascript" not in text.replace("\\](", "")
    assert "<script" not in text
    table = (place / "report" / "results.csv").read_text()
    assert all(not value.startswith("=") for row in csv.reader(io.StringIO(table)) for value in row)


def test_a_model_card_of_a_hostile_run_is_inert(place: Path) -> None:
    evil = "[x](javascript:alert(1))<script>"
    for file in (place / "run" / "checkpoints").iterdir():
        state = checkpoints.load(file)
        checkpoints.save(file, {**state, "classes": [evil, "b", "c", "d"], "code": {"version": evil}})
    assert main(["export", "run", "--format", "safetensors", "--network", "0", "--out", "out"]) == 0
    card = (place / "out" / "README.md").read_text()
    assert "javascript" in card
    assert "](javascript" not in card.replace("\\](", "")
    assert "<script" not in card


def test_an_error_prints_no_escape_sequence(place: Path, refused: Callable[..., str]) -> None:
    (place / "run" / "config.yaml").write_text('pair: {"\\e[2J": {_target_: x}}\ndataset: {}\n')
    assert "u001b" in (message := refused("evaluate", "run")) or "x1b" in message
