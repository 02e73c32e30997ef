"""An inspection as one HTML file."""

from collections.abc import Sequence

from mcl.inspection.inspection import Inspection
from mcl.inspection.problems import Finding
from mcl.inspection.sections import sections
from mcl.inspection.sheet import class_sheet, sheet
from mcl.reports.markdown import cell, table
from mcl.reports.page.build import page
from mcl.untrusted.text import printable

SHOWN = 20  # pairs of pictures, and lines of a list of files
_SHEET, _PAIRS = "classes.png", "pairs.png"


def inspection_page(inspection: Inspection, found: Sequence[Finding]) -> str:
    """Return the page: the sections, pictures of each class, pairs that are the same or nearly so, and their files."""
    lines = [f"# Images of {cell(inspection.files.root.name)}", ""]
    for section in sections(inspection, found):
        lines += [f"## {section.title}", "", *(f"- {cell(line)}" for line in section.lines), ""]
        if section.rows:
            lines += table(section.headers, section.rows, words=1)
    pictures = {_SHEET: class_sheet(inspection)}
    lines += ["## Contact sheet", "", f"![A few pictures of each class]({_SHEET})", ""]
    if pairs := _pairs(inspection):
        pictures[_PAIRS] = sheet(inspection.files.root, pairs)
        lines += ["## Equal or nearly equal pictures", "", f"![Pairs of pictures]({_PAIRS})", ""]
    for finding in found:
        if finding.files:
            rows = [[inspection.name(each.position), printable(each.detail)] for each in finding.files[:SHOWN]]
            lines += [f"## Files: {cell(finding.kind)}", "", *table(["file", "detail"], rows, words=2)]
            if len(finding.files) > SHOWN:
                lines += [f"The first {SHOWN} of {len(finding.files):,}; `--list FILE` writes all.", ""]
    return page(lines, pictures, command="inspect")


def _pairs(inspection: Inspection) -> dict[str, list[str]]:
    """Return the first groups of pictures, those of several classes or splits before others."""
    files = inspection.files

    def spread(group: list[int]) -> int:
        return -len({files.splits[i] for i in group}) - len({files.classes[i] for i in group})

    groups = sorted(inspection.groups, key=spread)[:SHOWN]
    return {" = ".join(inspection.name(i) for i in group[:4]): [files.paths[i] for i in group[:4]] for group in groups}
