from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcl.reports import report
from mcl.runs.reading import find_runs
from mcl.studies.study import Study


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``page(place)`` or ``page(study=study)``: the text of RESULTS.md, without plots, which take time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "pictures", lambda *_: [])

    def write(place: Path | None = None, study: Study | None = None, **options: Any) -> str:
        folders = [] if place is None else find_runs(place)
        return report.write_report(study, folders, tmp_path / "out", **options).read_text()

    return write
