"""Build the page: one file that makes no network request."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from mcl.reports.figures import Picture
from mcl.reports.local_paths import without_local_paths
from mcl.reports.markdown import cell
from mcl.reports.page.charts import charts, description
from mcl.reports.page.confusion_matrices import find_matrices
from mcl.reports.page.markup import as_html
from mcl.reports.page.run_tables import run_table, settings_table
from mcl.reports.page.series import ACCURACY, PACE, TERMS
from mcl.reports.rows import Rows

CHARTS = {  # chart -> title and caption, unless a picture of the report has them
    ACCURACY: (
        "Accuracy over training",
        "Top-1, %. Thick lines are means over the finished runs of a row; bands reach from the worst to the best of"
        " them. Each method has a color, a dash and a marker.",
    ),
    TERMS: ("Terms of the loss", "Raw: as a term is computed. Weighted: as it enters the total."),
    PACE: ("Learning rate and speed", "Images per second depend on the machine, and on what else it had to do."),
    "cost": ("", ""),
    "matching": ("", ""),
    "confusion": (
        "What is taken for what",
        "Each line is a true class, in shares of its images. After the last epoch, unless its name gives another:"
        " `python -m mcl evaluate RUN` adds other heads, splits, images and settings.",
    ),
}
IMAGES = {".png": "image/png", ".svg": "image/svg+xml"}
PICTURES = {"cost": "cost", "matching": "matching"}  # chart -> the plot that shows the same


def page_of_rows(
    rows: Rows,
    metric: str,
    before: Sequence[str],
    after: Sequence[str],
    drawn: Sequence[Picture],
    downloads: Mapping[str, str],
) -> str:
    """Return the report of some rows as a page.

    Args:
        rows: rows of the report.
        metric: a name of ``mcl.reports.rows.METRICS``.
        before: the Markdown above the plots of the report.
        after: the Markdown below them.
        drawn: the pictures, for their texts.
        downloads: text files by name, which the page offers as downloads.
    """
    matrices, notes = find_matrices(rows.runs)
    values = charts(rows, metric, matrices)
    by_name = {picture.name: picture for picture in drawn}
    lines = list(before)
    still: dict[str, bytes] = {}
    if (differences := by_name.get("differences")) is not None:
        lines += _still_picture(differences, still)
    for chart, (title, caption) in CHARTS.items():
        picture = by_name.get(PICTURES.get(chart, ""))
        if picture and not values[chart]:
            lines += _still_picture(picture, still)
            continue
        title, caption = (picture.title, picture.caption) if picture else (title, caption)
        if values[chart] and title:
            alt = picture.alt if picture else description(chart, title, values)
            lines += [f"## {title}", "", f"![{alt}]({chart})", "", caption, ""]
            if chart == "confusion":
                lines += [*(f"- {cell(note)}" for note in notes), ""]
    return page([*lines, *run_table(rows), *settings_table(rows), *after], still, values, downloads)


def _still_picture(picture: Picture, still: dict[str, bytes]) -> list[str]:
    """Return the Markdown of a picture that is shown as it is, and put its file into ``still``."""
    form = next((form for form in ("svg", "png") if form in picture.files), None)
    if form is None:
        return []
    name = f"{picture.name}.{form}"
    still[name] = picture.files[form]
    return [f"## {picture.title}", "", f"![{picture.alt}]({name})", "", picture.caption, ""]


def page(
    lines: Sequence[str],
    pictures: Mapping[str, bytes],
    values: Mapping[str, Any] | None = None,
    downloads: Mapping[str, str] | None = None,
    *,
    command: str = "report",
) -> str:
    """Return Markdown as a page.

    Args:
        lines: Markdown, its title first.
        pictures: the plots that it shows, by file name; the page contains them.
        values: the data of the charts it shows, as `mcl.reports.page.charts.charts` returns it.
        downloads: text files by name; links to them lead to their content in the page.
        command: the command that writes the page.
    """

    def embed(name: str, alt: str) -> str | None:
        kind = IMAGES.get(Path(name).suffix)
        if name in pictures and kind:
            return f'<img alt="{escape(alt)}" src="data:{kind};base64,{base64.b64encode(pictures[name]).decode()}">'
        if values and name in CHARTS:
            plot = f'<div class="plot" role="img" aria-label="{escape(alt)}"></div>'
            texts = '<div class="controls"></div><p class="heading"></p><p class="note" aria-live="polite"></p>'
            return f'<figure class="chart" id="chart-{name}">{texts}{plot}</figure>'
        return None

    lines = without_local_paths(list(lines))
    values = without_local_paths(values)
    body, headings = as_html(lines, embed, downloads or {})
    title = next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "Results")
    scripts = [_asset("page.js")]
    if values:
        from plotly.offline import get_plotlyjs

        scripts = [str(get_plotlyjs()), _asset("charts.js"), *scripts]
    return Template(_asset("page.html")).substitute(
        command=command,
        title=escape(title),
        hashes=" ".join(map(_hash, scripts)),
        style=_asset("page.css"),
        contents="".join(f'<li><a href="#{heading.anchor}">{escape(heading.text)}</a></li>' for heading in headings),
        body=body,
        values=json.dumps(values or {}, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
        scripts="\n".join(f"<script>{code}</script>" for code in scripts),
    )


def _hash(script: str) -> str:
    """Return the hash by which the content security policy allows a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
