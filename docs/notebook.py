"""Make first_steps.ipynb from first_steps.md: ``python docs/notebook.py``. A test compares the two."""

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "first_steps.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def notebook(text: str) -> str:
    """Return the notebook of a page: blocks of Python and shell become code cells, the rest text."""
    cells: list[dict[str, Any]] = []
    position = 0
    for block in _BLOCK.finditer(text):
        _add(cells, "markdown", text[position : block.start()])
        language, code = block.groups()
        _add(cells, "code", re.sub("^pip", "%pip", code) if language == "sh" else code)
        position = block.end()
    _add(cells, "markdown", text[position:])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _add(cells: list[dict[str, Any]], kind: str, text: str) -> None:
    if not text.strip():
        return
    cell = {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}}
    output = {"execution_count": None, "outputs": []} if kind == "code" else {}
    cells.append({**cell, **output, "source": text.strip("\n").splitlines(keepends=True)})


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
