"""Every block of Python in README.md and docs/ is executed.

Those of docs/extend.md are modules, which their commands import: see test_commands.py and test_own_classes.py.
"""

from collections.abc import Callable

import pytest
from support.doc_pages import PAGES, blocks

MODULES = "extend.md"
NOTEBOOK = "first_steps.md"  # one program: test_notebook.py
INDEPENDENT = [page for page in PAGES if page.name not in (MODULES, NOTEBOOK)]
BLOCKS = [(page.name, text) for page in INDEPENDENT for text in blocks(page, "python")]


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize(("page", "text"), BLOCKS, ids=lambda value: value if value.endswith(".md") else "")
def test_block_runs(page: str, text: str, typed: Callable[..., str]) -> None:
    if "import pandas" in text:
        pytest.importorskip("pandas")
    typed(exec, compile(text, page, "exec"), {"__name__": page})
