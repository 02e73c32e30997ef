"""docs/first_steps.ipynb: made from its page, and executed."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from support.doc_pages import ROOT

PAGE, NOTEBOOK = ROOT / "docs" / "first_steps.md", ROOT / "docs" / "first_steps.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_notebook_is_that_of_its_page() -> None:
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.notebook(PAGE.read_text()) == NOTEBOOK.read_text(), "run python docs/notebook.py"
    assert {cell["cell_type"] for cell in CELLS} == {"markdown", "code"}


@pytest.mark.slow
def test_cells_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in CELLS:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and not code.startswith("%"):
            exec(compile(code, cell["id"], "exec"), names)
    printed = capfd.readouterr().out
    assert "together" in printed
    assert "epoch 2 top-1" in printed
    assert "predicted" in printed
