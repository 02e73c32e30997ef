"""RESULTS.md and results.json from the rows of a journal."""

import json
import re
from importlib import import_module
from typing import Any

from mcl.files import write_atomically
from mcl.reports.markdown import listed, warning
from on_gpu import in_short
from on_gpu.journal import PAGE, RESULTS, UNREADABLE, Journal, Row
from on_gpu.plan import Item

MODULES = (
    *("limits", "gpu_tests", "steps", "loop_share", "meta_rounds", "runs_per_card", "launcher", "contrasts"),
    *("kernels", "image_loading", "scaling", "real_training"),
)
HEAD = """# {title}

`python benchmarks/gpu.py --minutes 12 --out DIR` measured this, ours and the textbook (`mcl/reference/`: the same
training as plain loops) in turns on the same card; `results.json` has every measurement. How to read it:
`docs/gpu.md`.
"""
REHEARSAL = (
    "> [!WARNING]\n> A rehearsal: sizes are tiny and pairs smaller than named, so every figure is meaningless.\n"
)


def write(journal: Journal, plan: list[Item], pictures: dict[str, str]) -> None:
    """Write both files.

    Args:
        journal: its rows.
        plan: all items, measured or not.
        pictures: file name of each picture, without its ending -> alternative text.
    """
    rows = [journal.rows[item.name] for item in plan if item.name in journal.rows]
    text = json.dumps({row["item"]: row for row in rows}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text)  # a list of numbers on one line
    write_atomically(journal.folder / RESULTS, text + "\n")
    write_atomically(journal.folder / PAGE, "\n".join(_page(journal, plan, pictures)))


def limits_of(journal: Journal) -> dict[str, float]:
    """Return the multiply-adds per second of a large matrix product by precision; empty before it is measured."""
    from on_gpu.limits import limits_of

    return limits_of(journal.rows["limits"]["found"]) if journal.measured("limits") else {}


def _page(journal: Journal, plan: list[Item], pictures: dict[str, str]) -> list[str]:
    measured = [journal.rows[item.name] for item in plan if journal.measured(item.name)]
    card = measured[0]["where"]["card"] if measured else "nothing measured yet"
    lines = [HEAD.format(title=f"Speed on {card}")]
    if any(row["where"]["tiny"] for row in measured):
        lines += warning(REHEARSAL)
    limits = limits_of(journal)
    steps, rounds = ([row for row in measured if row["module"] == module] for module in ("steps", "meta_rounds"))
    lines += in_short.report(steps, rounds)
    for name, text in pictures.items():
        lines += [f"![{text}]({name}.png)", ""]
    for module in MODULES:
        chosen = [row for row in measured if row["module"] == module]
        if not chosen:
            continue
        part = import_module(f"on_gpu.{module}")
        lines += [f"## {part.TITLE}", ""]
        try:
            lines += [*part.report(chosen, limits), f"<sub>{_provenance(chosen)}</sub>", ""]
        except UNREADABLE:
            lines += ["Measured by another version of this program; see `results.json`.", ""]
    return [*lines, *_left_out(journal, plan)]


def _left_out(journal: Journal, plan: list[Item]) -> list[str]:
    missing = [item for item in plan if not journal.measured(item.name)]
    if not missing:
        return ["Everything was measured.", ""]
    lines = []
    for item in missing:
        row = journal.rows.get(item.name)
        lines.append(f"- `{item.name}`: {row['status']}: {row['reason']}." if row else f"- `{item.name}`: not reached.")
    return ["## Not measured", "", *lines, "", "The same command measures them: what is there already stays.", ""]


def _provenance(rows: list[Row]) -> str:
    codes = dict.fromkeys(_code(row["code"]) for row in rows)
    dates = sorted(row["date"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"Commit {listed(codes)}; {when}; {seconds:,.0f} s."


def _code(code: dict[str, Any]) -> str:
    commit = str(code["commit"])[:10] if code["commit"] else f"unknown, version {code['version']}"
    return f"{commit}{' with uncommitted changes' if code['dirty'] else ''}"
