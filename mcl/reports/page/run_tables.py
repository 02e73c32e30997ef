"""Tables that only the page has: every run, and the settings in which rows differ."""

import os
from pathlib import Path

from mcl.console import format_duration
from mcl.reports.accuracy_tables import key, key_factors
from mcl.reports.image_sets import IMAGES
from mcl.reports.local_paths import portable_path
from mcl.reports.markdown import NONE, cell, percent, table, without_empty
from mcl.reports.page.setting_names import in_words
from mcl.reports.rows import ENSEMBLE, Row, Rows, run_values
from mcl.runs.identity import identity
from mcl.runs.pair import networks_of
from mcl.runs.reading import Run, mapping, number


def run_table(rows: Rows) -> list[str]:
    """Return a line for each run, finished or not."""
    runs = [(row, run) for row in rows.rows for run in row.runs]
    place = os.path.commonpath([run.shown_folder.absolute().parent for _, run in runs])
    networks = list(dict.fromkeys(name for _, run in runs for name in networks_of(mapping(run.config.get("pair")))))
    body = [
        [
            key(rows, row, f"seed {run.seed}"),
            run.status,
            *(percent(_top1(run, network)) for network in networks),
            percent(run_values(run.summary, ENSEMBLE)[ENSEMBLE]) if run.finished else NONE,
            _epochs(run),
            NONE if (seconds := number(run.summary.get("seconds"))) is None else format_duration(seconds),
            os.path.relpath(run.shown_folder.absolute(), place),
        ]
        for row, run in runs
    ]
    headers = [", ".join([*key_factors(rows), "seed"]), "status", *networks, "ensemble", "epochs", "time", "folder"]
    return [
        "## Runs",
        "",
        *table(*without_empty(headers, body), 2, closing=1),
        "Top-1 of each backbone and of the ensemble on the test part at the last epoch, %."
        f" Folders are those in {cell(portable_path(Path(place)))}.",
        "",
    ]


def settings_table(rows: Rows) -> list[str]:
    """Return a line for each setting that rows differ in, a column for each row that has begun."""
    settings = in_words({rows.name(row): own for row in rows.rows if (own := _settings(row))})
    names = list(dict.fromkeys(name for own in settings.values() for name in own))
    body = [[name, *(own.get(name, NONE) for own in settings.values())] for name in names]
    body = [line for line in body if len({*line[1:]}) > 1]
    if not body:
        return []
    return [
        "## Settings that differ",
        "",
        *table(["setting", *settings], body, len(settings) + 1),
        f"All others that can change a result are the same in all rows. {NONE}: the row has no such setting.",
        "",
    ]


def _settings(row: Row) -> dict[str, object]:
    config = next((run.config for run in row.runs if run.config), None)
    if config is None:
        return {}
    own = {name: value for name, value in identity(config).items() if name != "seed"}
    return {**own, IMAGES: row.labels[IMAGES]} if row.labels.get(IMAGES) else own


def _top1(run: Run, key: str) -> float | None:
    networks = run.summary.get("networks", [])
    return next((number(network.get("top1_last")) for network in networks if network.get("key") == key), None)


def _epochs(run: Run) -> str:
    done = run.evaluations[-1].epoch if run.evaluations else 0
    planned = mapping(run.config.get("trainer")).get("epochs")
    if run.finished:
        return str(run.summary.get("epochs", done))
    return NONE if not run.config else f"{done} of {planned}" if planned else str(done)
