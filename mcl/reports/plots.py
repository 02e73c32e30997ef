"""Plots of a report: learning curves, accuracy against cost, matching weights."""

from collections.abc import Sequence

from mcl.reports.comparisons import Comparisons
from mcl.reports.cost_plot import against_cost
from mcl.reports.difference_plot import difference_plot
from mcl.reports.equal_cost import by_name
from mcl.reports.figures import Picture, alternative_text, files, style
from mcl.reports.markdown import listed, percent
from mcl.reports.matching_maps import matching
from mcl.reports.panels import panels_of, row_key, row_styles
from mcl.reports.rows import Row, Rows
from mcl.reports.small_multiples import label_axes, legend, line_style, set_title, small_multiples

MARKED = 6  # marks on a curve, about


def pictures(rows: Rows, comparisons: Comparisons, metric: str, formats: Sequence[str]) -> list[Picture]:
    """Return the pictures that the runs have numbers for. Ablations are in the one of differences only."""
    shown = rows.without_ablations()
    with style():
        drawn = [
            difference_plot(rows, comparisons, metric, formats),
            _curves(shown, formats),
            against_cost(shown, metric, formats),
            matching(shown, formats),
        ]
    return [picture for picture in drawn if picture is not None]


def _curves(rows: Rows, formats: Sequence[str]) -> Picture | None:
    """Draw test accuracy of the backbones by epoch: mean over runs, with a band from the worst to the best."""
    panels = [
        (panel, curves)
        for panel in panels_of(rows, "top1_last")
        if (curves := [(row, curve) for row in panel.rows if (curve := _curve(row, panel.network))])
    ]
    if not panels:
        return None
    from matplotlib.ticker import MaxNLocator

    styles = row_styles(rows)
    figure, grid = small_multiples(len(panels))
    ends, fewer = [], []
    for axes, (panel, curves) in zip(grid, panels, strict=False):
        last = []
        for number, (row, curve) in enumerate(curves):
            key = row_key(rows, row)
            line = line_style(styles[key])
            epochs, values = list(curve), list(curve.values())
            means = [sum(runs) / len(runs) for runs in values]
            every = max(1, len(epochs) // MARKED)
            axes.plot(epochs, means, **line, linewidth=1.5, markersize=4.5, markevery=(number % every, every))
            low, high = list(map(min, values)), list(map(max, values))
            axes.fill_between(epochs, low, high, color=line["color"], alpha=0.15, linewidth=0)
            last.append(f"{key} ends at {percent(means[-1])}")
            if len(values[-1]) < len(row.finished):
                fewer.append(f"{rows.name(row) or panel.network}, {len(values[-1])} of {len(row.finished)}")
        ends.append(f"{panel.title}: {listed(last)}")
        set_title(axes, panel.title, panel.caption([row for row, _ in curves], at_end=False), len(panels))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    label_axes(figure, grid, "epoch", "test top-1 of the backbone, %")
    legend(figure, styles, lines=True)
    caption = "Lines are means over finished runs; the band around a line reaches from the worst to the best of them."
    if fewer:
        caption += f" Drawn without the runs that have no complete curve: {'; '.join(dict.fromkeys(fewer))}."
    return Picture(
        "curves",
        "Learning curves",
        alternative_text("Learning curves: test top-1 of the backbone in percent by epoch, one line per row.", ends),
        caption,
        files(figure, formats),
    )


def _curve(row: Row, network: str) -> dict[int, list[float]]:
    """Return epoch -> one accuracy per run that has a curve, for the epochs that all of these evaluated.

    Empty if there are not two such epochs.
    """
    by_epoch = [
        {evaluation.epoch: by_name(run, evaluation).get(network) for evaluation in run.evaluations}
        for run in row.finished
        if run.has_curve
    ]
    curves = [{epoch: top1 for epoch, top1 in run.items() if top1 is not None} for run in by_epoch]
    curves = [curve for curve in curves if curve]
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return {epoch: [curve[epoch] for curve in curves] for epoch in shared} if len(shared) > 1 else {}
