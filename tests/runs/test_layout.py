"""Only ``mcl.runs`` spells the names of the files in a run folder."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcl.runs import layout

ROOT = Path(__file__).parents[2]
OTHERS = ("mcl", "hydra_plugins", "benchmarks")
FILES = [value for value in vars(layout).values() if isinstance(value, str) and re.fullmatch(r"[\w*-]+\.[a-z]+", value)]
FOLDERS = [layout.CHECKPOINTS, layout.EVALUATION, layout.EXPORT, layout.LOCK]


def docstrings(tree: ast.Module) -> set[int]:
    owners = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    first = [owner.body[0] for owner in owners if owner.body]
    return {id(statement.value) for statement in first if isinstance(statement, ast.Expr)}


def named_files(source: str) -> Iterator[str]:
    """Return literals that name a file of a run folder, alone or in a path; a sentence may mention one."""
    tree = ast.parse(source)
    left_out = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            parts = set(node.value.split("/"))
            names = FILES + FOLDERS if len(parts) > 1 else FILES
            if parts.intersection(names) and not re.search(r"\s", node.value):
                yield node.value
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            sides = [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]
            yield from (side for side in sides if side in FOLDERS)


@pytest.mark.parametrize("folder", OTHERS)
def test_only_layout_spells_file_names_of_run_folders(folder: str) -> None:
    files = [file for file in sorted((ROOT / folder).rglob("*.py")) if not file.is_relative_to(ROOT / "mcl" / "runs")]
    assert files
    spelled = {str(file.relative_to(ROOT)): list(named_files(file.read_text(encoding="utf-8"))) for file in files}
    assert {file: names for file, names in spelled.items() if names} == {}


def test_spelled_names_are_found() -> None:
    assert list(named_files('read(folder / "metrics.jsonl")')) == ["metrics.jsonl"]
    assert list(named_files('f"{folder}/checkpoints/last.pt"')) == ["/checkpoints/last.pt"]
    assert list(named_files('folder / "lock"')) == ["lock"]
    assert list(named_files('print(f"{folder} has no config.yaml")')) == []
