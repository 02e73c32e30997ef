"""results.csv: one line per run and network, with every number of a report."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mcl.config.objective import score
from mcl.console import display_path
from mcl.reports.equal_cost import at_cost, cheapest
from mcl.reports.probe_table import probe_columns, probed_sets
from mcl.reports.rows import Rows
from mcl.runs.reading import Run, mapping
from mcl.runs.summary import deployed_networks
from mcl.untrusted.limits import MAX_CSV
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.spreadsheet import without_formulas

OF_NETWORK = (
    *("top1_last", "top5_last", "top1_best", "best_epoch", "top1_max_over_heads", "aggregated_top1_last"),
    *("ece_last", "validation_top1_last", "validation_top1_best", "multiply_adds", "parameters"),
)
OF_RUN = (
    *("top1_max_over_run", "best_epoch_chosen_on", "epochs", "steps", "images", "images_per_second"),
    "training_parameters",
)
ENSEMBLE = ("ensemble_top1_last", "ensemble_ece_last")
TIMES = ("seconds", "training_seconds")
COSTS = ("step", "meta_round", "total")
MEMORY = ("gpu", "process")
CODE = ("version", "commit", "dirty")
COLUMNS = (  # behind those of the factors
    *("seed", "status", "folder", "config_hash", "key", "network", "deployed", *OF_NETWORK, *ENSEMBLE, *OF_RUN),
    *TIMES,
    *(f"peak_memory_{name}" for name in MEMORY),
    *(f"training_multiply_adds_{name}" for name in COSTS),
    *("equal_cost", "top1_at_equal_cost", "epoch_at_equal_cost", "processes", "device", "precision", "data"),
    *(f"code_{name}" for name in CODE),
)


def as_csv(rows: Rows) -> str:
    """Return one line per run and network. Unfinished runs are included, without network and numbers.

    Columns are the factors (``images_label`` for one that is called like the column ``images``), then ``seed``,
    ``status``, ``folder``, ``config_hash``; ``key``, ``network``, ``deployed`` and the numbers of the network in
    summary.json; the numbers of its run in summary.json, repeated for each network. Accuracies and calibration errors
    are in percent, ``peak_memory_*`` in bytes; ``training_multiply_adds_*`` are of a step per image, of a meta round
    per image, and in total; ``equal_cost`` is the cost at which the cheapest row compared with this one ended,
    ``top1_at_equal_cost`` and ``epoch_at_equal_cost`` are of this run's last evaluation by then. ``data`` is the
    fingerprint of the images. If runs were probed, ``probe_DATASET_MEASURE`` follow, in percent.
    """
    header = [*map(_factor_column, rows.factors), *COLUMNS]
    lines = [line for _, of_run in lines_of(rows) for line in of_run]
    header += dict.fromkeys(name for line in lines for name in line if name not in header)  # of probes
    content = io.StringIO()
    writer = csv.DictWriter(content, header, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow(dict(zip(line, without_formulas(line.values()), strict=True)))
    return content.getvalue()


def lines_of(rows: Rows) -> list[tuple[Run, list[dict[str, Any]]]]:
    """Return each run with its lines, ``{column: value}``, among them those at equal cost and of probes."""
    probed = probed_sets(rows)
    budgets = {id(row): cheapest(group) for group in rows.groups().values() for row in group}
    found = []
    for row in rows.rows:
        for run in row.runs:
            lines = run_lines(run, row.labels, budgets[id(row)])
            for line in lines if run.finished else []:
                line |= probe_columns(run, str(line["key"]), probed)
            found.append((run, lines))
    return found


def trials_as_csv(
    trials: Sequence[tuple[Run, Mapping[str, Any]]], options: Sequence[str], objectives: Sequence[str]
) -> str:
    """Return one line per trial of a search: its values with all their digits, its steps, and what it reached.

    Args:
        trials: each with the value of every option.
        options: options that the search varies.
        objectives: what the search optimizes, as `mcl.config.objective` names it.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    reached = [objective.replace("/", "_") for objective in objectives]
    writer.writerow([*options, "seed", "status", "folder", "config_hash", "steps", *reached])
    for run, values in trials:
        line = [*map(values.get, options), run.seed, run.status, display_path(run.shown_folder)]
        scores = [score(run.summary, objective) if run.finished else None for objective in objectives]
        steps = run.summary.get("steps", run.evaluated_step)
        writer.writerow(without_formulas([*line, run.summary.get("config_hash", ""), steps, *scores]))
    return content.getvalue()


def hashes(runs: Iterable[Run]) -> set[str]:
    """Return the hash of each run that has finished, whether or not it counts."""
    return {_hash(run.summary.get("config_hash"), run.folder) for run in runs if run.summary}


def finished_in(path: Path) -> dict[str, str]:
    """Return the finished runs that a results.csv lists, each hash with the run's labels and seed in words.

    A missing file, or one that no report has written, lists none.
    """
    try:
        with io.StringIO(read_bytes(path, MAX_CSV).decode(), newline="") as file:
            reader = csv.DictReader(file)
            lines = [line for line in reader if line["status"] == "finished"]
            header = list(reader.fieldnames or ())
            factors = header[: header.index("seed")]
            return {
                _hash(line["config_hash"], Path(line["folder"])): ", ".join(
                    [*filter(None, map(line.get, factors)), f"seed={line['seed']}"]
                )
                for line in lines
            }
    except (OSError, UnicodeDecodeError, KeyError, ValueError, csv.Error):
        return {}


def _hash(stored: Any, folder: Path) -> str:
    """Return the hash that a run stored, else the name of its folder."""
    return str(stored or folder.name)


def _factor_column(factor: str) -> str:
    """Return the name of the column of a factor, other than those in `COLUMNS`."""
    return f"{factor}_label" if factor in COLUMNS else factor


def run_lines(run: Run, labels: Mapping[str, str], budget: float | None = None) -> list[dict[str, Any]]:
    """Return the lines of one run as ``{column: value}``; those at equal cost need the ``budget`` of its row."""
    folder = display_path(run.shown_folder)
    common: dict[str, Any] = {_factor_column(factor): label for factor, label in labels.items()}
    common |= {"seed": run.seed, "status": run.status, "folder": folder}
    if not run.finished:
        return [common]
    summary, trainer = run.summary, mapping(run.config.get("trainer"))
    common |= {name: summary.get(name) for name in ("config_hash", "processes", "data", *OF_RUN, *TIMES)}
    common |= {f"peak_memory_{name}": mapping(summary.get("peak_memory")).get(name) for name in MEMORY}
    common |= {f"training_multiply_adds_{name}": mapping(summary.get("multiply_adds")).get(name) for name in COSTS}
    common |= {f"code_{name}": mapping(summary.get("code")).get(name) for name in CODE}
    common |= {name: mapping(summary.get("ensemble")).get(name.removeprefix("ensemble_")) for name in ENSEMBLE}
    common |= {"device": summary.get("device", trainer.get("device")), "precision": trainer.get("precision")}
    at = None
    if budget is not None:
        common["equal_cost"] = round(budget)
        at = at_cost(run, budget)
    lines, deployed = [], deployed_networks(summary)
    for network in summary["networks"]:
        line = {**common, "key": network.get("key"), "network": network["name"], "deployed": network in deployed}
        line |= {name: network.get(name) for name in OF_NETWORK}
        if at is not None:
            line["epoch_at_equal_cost"] = at.epoch
            line["top1_at_equal_cost"] = at.top1.get(str(network.get("key")))
        lines.append(line)
    return lines
