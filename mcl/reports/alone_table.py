"""The gain of a deployed network from partners that are not deployed: its runs against training alone."""

from collections.abc import Mapping
from typing import Any

from mcl.reports.accuracy_tables import key, key_header
from mcl.reports.markdown import cell, interval, percent, signed
from mcl.reports.rows import Row, Rows
from mcl.reports.statistics import compare
from mcl.reports.tables import Table
from mcl.runs.identity import identity
from mcl.runs.pair import network_node, networks_of
from mcl.runs.reading import Run
from mcl.runs.summary import deployed_networks

_INDEPENDENT = "mcl.losses.independent.Independent"
_MAY_DIFFER = ("pair.", "loss.", "seed", "init_from", "trainer.views")


def alone_section(rows: Rows, metric: str) -> list[str]:
    """Return the section on networks with partners; empty without partners, or without the networks alone."""
    table = alone_table(rows, metric)
    return ["## Gain over training alone", "", cell(table.caption), "", *table.in_markdown(), ""] if table.rows else []


def alone_table(rows: Rows, metric: str) -> Table:
    """Return every deployed network that had partners, against the same network trained alone."""
    body = []
    for row in rows.rows:
        if not any(_has_partners(run) for run in row.finished):
            continue
        for network, values in row.values(metric).items():
            for other in rows.rows:
                if other is row or not _is_alone(other, row, network):
                    continue
                alone = other.values(metric).get(network, {})
                compared = compare(values, alone)
                if compared.difference.mean is not None:
                    shared = [alone[seed] for seed in compared.seeds]
                    body.append(
                        [
                            key(rows, row, network),
                            rows.name(other),
                            percent(sum(shared) / len(shared)),
                            signed(compared.difference.mean),
                            interval(compared.difference, difference=True),
                            str(len(compared.seeds)),
                        ]
                    )
    caption = (
        "Networks whose partners are deployed nowhere, minus the same network with loss=independent and otherwise"
        " equal settings, in percentage points, paired by seed."
    )
    return Table(
        "alone", caption, [key_header(rows), "alone", "accuracy alone", "gain", "95 % interval", "pairs"], body, words=2
    )


def _has_partners(run: Run) -> bool:
    return len(deployed_networks(run.summary)) < len(run.summary["networks"])


def _is_alone(other: Row, row: Row, network: str) -> bool:
    """Return whether a row has the same network alone, on the same data and with the same training."""
    if not other.finished or not row.finished:
        return False
    alone, helped = other.finished[0], row.finished[0]
    loss = alone.config.get("loss")
    if not isinstance(loss, Mapping) or loss.get("_target_") != _INDEPENDENT or _has_partners(alone):
        return False
    if _training(alone) != _training(helped):
        return False
    nodes = [_nodes(run, network) for run in (alone, helped)]
    return bool(nodes[0]) and all(node in nodes[0] for node in nodes[1])


def _training(run: Run) -> dict[str, Any]:
    return {name: value for name, value in identity(run.config).items() if not name.startswith(_MAY_DIFFER)}


def _nodes(run: Run, network: str) -> list[Any]:
    """Return the nodes of the deployed networks of a name."""
    keys = [each.get("key") for each in deployed_networks(run.summary) if each["name"] == network]
    return [network_node(node) for key, node in networks_of(run.config["pair"]).items() if key in keys]
