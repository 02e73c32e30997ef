"""docs/evidence.md quotes the committed reports of studies, word for word."""

import re

from support.doc_pages import ROOT

PAGE = (ROOT / "docs" / "evidence.md").read_text()
REPORT = re.compile(r"\((\.\./experiments/\w+/RESULTS\.md)\)")
BULLET = re.compile(r"^- .*(?:\n  .*)*", re.MULTILINE)


def test_quoted_findings_are_those_of_the_reports() -> None:
    reports = [(ROOT / "docs" / path).read_text().splitlines() for path in REPORT.findall(PAGE)]
    bullets = [" ".join(bullet.split()) for bullet in BULLET.findall(PAGE)]
    quoted = [bullet for bullet in bullets if " points against " in bullet]
    assert len(quoted) >= 4
    assert [line for line in quoted if not any(line in report for report in reports)] == []


def test_rows_of_tables_are_those_of_the_reports() -> None:
    reports = {line for path in REPORT.findall(PAGE) for line in (ROOT / "docs" / path).read_text().splitlines()}
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert len(rows) >= 15
    assert [row for row in rows if row not in reports] == []


def test_every_reported_study_can_be_drawn_again_by_a_command_on_the_page() -> None:
    for path in REPORT.findall(PAGE):
        study = path.split("/")[2]
        assert (ROOT / "experiments" / study / "runs.tar.xz").is_file()
        assert f"python -m mcl report experiments/{study}\n" in PAGE
