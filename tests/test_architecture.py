"""Imports point down, as the layers of docs/architecture.md have it; names and docstrings keep their rules."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
# From the lowest. A package imports from lower layers, and from packages of its own layer without an import cycle.
LAYERS = [
    {"accelerators", "errors", "types", "extras", "lazy", "version", "allocator", "signals", "program"}
    | {"double_backward", "gradient_rescaling", "torchrun"},
    {"files", "console", "devices", "distributed", "drawing", "intervals", "meta", "palette"}
    | {"peak_memory", "untrusted"},
    {"runs", "networks", "losses", "data"},
    {"tracking", "config"},
    {"training", "launching", "search"},
    {"studies", "deploy", "probing", "benchmarking", "reference"},
    {"reports", "inspection"},
    {"commands", "__main__"},
]
LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}
APART = ("networks", "losses", "data", "tracking", "config")  # none of the first three imports another of these
WITHOUT_EXPORTS = {"commands"}  # imported module by module, as commands are typed
EXPORTING = sorted({file.parent.name for file in (ROOT / "mcl").glob("*/__init__.py")} - WITHOUT_EXPORTS)
SHADOWED = {"compose"}  # by a file of the same name: import it from that
CODE = ("mcl", "hydra_plugins", "packages", "benchmarks", "tests")


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield ``(package, file, imported package)`` for every import inside ``mcl``, including imports in functions."""
    for file in sorted((ROOT / "mcl").rglob("*.py")):
        path = file.relative_to(ROOT).with_suffix("")
        package = package_of(".".join(path.parts))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mcl":
                names = [f"mcl.{alias.name}" for alias in node.names] if node.module == "mcl" else [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.split(".")[0] == "mcl"]
            else:
                continue
            yield from ((package, str(path), package_of(name)) for name in names if package_of(name) in LAYER_OF)


def test_every_package_has_a_layer() -> None:
    packages = {file.relative_to(ROOT / "mcl").parts[0].removesuffix(".py") for file in (ROOT / "mcl").rglob("*.py")}
    assert packages - {"__init__"} == set(LAYER_OF)


def test_imports_point_to_lower_layers() -> None:
    upward = [
        f"{file} ({package}) imports {other}"
        for package, file, other in imports()
        if package in LAYER_OF and LAYER_OF[other] > LAYER_OF[package]
    ]
    assert upward == []


def test_packages_do_not_import_each_other_mutually() -> None:
    arrows = {(package, other) for package, _, other in imports() if package != other}
    assert [pair for pair in sorted(arrows) if pair[::-1] in arrows] == []


def test_networks_losses_and_data_are_independent() -> None:
    upward = [
        f"{file} imports {other}"
        for package, file, other in imports()
        if package in APART[:3] and other in APART and other != package
    ]
    assert upward == []


def test_a_name_of_a_file_says_its_subject() -> None:
    """A command has the name of what it calls; no other two files have the same name."""
    names = Counter(file.stem for part in ("mcl", "hydra_plugins") for file in (ROOT / part).rglob("*.py"))
    twice = {name for name, count in names.items() if count > 1} - {"__init__"}
    assert twice == {"benchmark", "bundle", "export", "probe", "release", "report"}
    assert all(names[name] == 2 and (ROOT / f"mcl/commands/{name}.py").is_file() for name in twice)


@pytest.mark.parametrize("package", EXPORTING)
def test_a_package_has_what_it_exports(package: str) -> None:
    """A lazy export must not have the name of a file, which replaces it once the file is imported."""
    module = import_module(f"mcl.{package}")
    exported = set(module.__all__) - SHADOWED
    assert exported
    for name in exported:
        getattr(module, name)  # imports its file
    assert [name for name in exported if isinstance(getattr(module, name), ModuleType)] == []


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every docstring."""
    for file in [*(file for folder in CODE for file in (ROOT / folder).rglob("*.py")), *ROOT.glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if documented and (text := ast.get_docstring(node)):
                yield f"{file.relative_to(ROOT)}:{node.body[0].lineno}", text


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = list(docstrings())
    assert len(found) > 1000
    assert [place for place, text in found if re.match(r"(What|Of|Those|That)\b", text)] == []
