"""The tests marked ``gpu``: a figure is worth nothing if the numbers behind it are wrong."""

import os
import signal
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mcl.reports.markdown import table
from on_gpu.setup import NotAvailable, Setup

TITLE = "Tests on this machine"
MARKS = ("mark.gpu", "needs_gpu")
SHOWN = 8  # failures that are shown


def measure(setup: Setup, *, fast: bool, seconds: float) -> dict[str, Any]:
    """Run the tests marked ``gpu``, the fast ones or all; return how they ended."""
    from on_gpu.commands import ROOT, run

    if find_spec("pytest") is None:
        raise NotAvailable("pytest is not installed")
    places = _places(ROOT)[: setup.size(None, 1)]
    if not places:
        raise NotAvailable("there are no tests marked gpu here")
    log = setup.out / "tests.xml"
    log.unlink(missing_ok=True)
    # Without the project's own options: they ask for plugins, which a bare machine may lack.
    options = ["-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-q", "--tb=line"]
    options += ["--continue-on-collection-errors", f"--junit-xml={log}"]
    chosen = "gpu and not slow" if fast else "gpu"
    hidden = {} if setup.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    # An interrupted pytest writes what it has; one that is terminated writes nothing.
    done = run(setup, ["-m", "pytest", *options, "-m", chosen, *places], seconds, stop=signal.SIGINT, **hidden)
    if not log.exists():
        if done.status is None:
            raise TimeoutError(f"stopped after {seconds:.0f} s: {done.last_line}")
        raise NotAvailable(done.last_line)
    return {**_read(log), "places": places, "stopped": seconds if done.status is None else None}


def _places(root: Path) -> list[str]:
    """Return the files with tests marked ``gpu``, and the folders whose fixtures are: others may need more packages."""
    tests = root / "tests"
    marked = [
        file
        for file in tests.rglob("*.py")
        if file.relative_to(tests).parts[0] != "support" and any(mark in file.read_text() for mark in MARKS)
    ]
    places = [file.parent if file.name == "conftest.py" else file for file in marked]
    return sorted({place.relative_to(root).as_posix() for place in places})


def _read(log: "os.PathLike[str]") -> dict[str, Any]:
    cases = [case for case in ElementTree.parse(log).iter("testcase") if case.get("name")]  # not the interrupted one
    ended: dict[str, list[str]] = {"passed": [], "skipped": [], "failed": []}
    reasons = {}
    for case in cases:
        name = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        failures = [child for child in case if child.tag in ("failure", "error")]
        kind = "failed" if failures else "skipped" if case.find("skipped") is not None else "passed"
        ended[kind].append(name)
        if failures:
            reasons[name] = (failures[0].get("message") or "").splitlines()[:1]
    return {**ended, "reasons": {name: text[0] if text else "" for name, text in reasons.items()}}


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    words = [f"{len(found[kind])} {kind}" for kind in ("passed", "failed", "skipped") if found[kind]]
    words += [f"stopped after {found['stopped']:.0f} s"] if found["stopped"] else []
    return ", ".join(words) or "no tests"


def _stopped(found: dict[str, Any]) -> str:
    return f", those that ended in {found['stopped']:.0f} s" if found["stopped"] else ""


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    cells = [
        [
            ("the fast ones" if row["arguments"]["fast"] else "all") + _stopped(row["found"]),
            *(str(len(row["found"][kind])) for kind in ("passed", "failed", "skipped")),
        ]
        for row in rows
    ]
    reasons = {name: reason for row in rows for name, reason in row["found"]["reasons"].items()}
    failed = [f"- `{name}`: {reason}" for name, reason in list(reasons.items())[:SHOWN]]
    return [
        "`pytest -m gpu` in the files that have such tests; the fast ones are those not marked `slow`.",
        "",
        *table(["tests", "passed", "failed", "skipped"], cells, 1),
        *([*failed, ""] if failed else []),
    ]
