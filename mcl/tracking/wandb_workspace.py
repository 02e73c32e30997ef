"""The workspace of a Weights & Biases project: panels over the metric names of `mcl.tracking.tracker.Tracker`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

NAME = "Networks that teach each other"
TERMS = ("classification", "distillation", "vcl", "icl", "soft_vcl", "soft_icl")
HEADS = ("stage1", "stage2", "stage3", "backbone", "aggregated")


def workspace(project: str, entity: str, networks: Sequence[str] = ("first", "second")) -> "Workspace":
    """Return a workspace with accuracy, loss terms, matching, cost and comparison of a project. Needs no network.

    Args:
        project, entity: W&B project and entity of the workspace.
        networks: their keys.
    """
    from wandb_workspaces.workspaces import RunsetSettings, Workspace

    sections = [_accuracy(networks), _terms(), _matching(networks), _cost(networks), _comparison(networks)]
    accuracies = [f"summary:{part}/top1_last" for part in (*networks, "ensemble")]  # every run has these
    settings = RunsetSettings(pinned_columns=["run:displayName", "run:group", *accuracies])
    return Workspace(name=NAME, entity=entity, project=project, sections=sections, runset_settings=settings)


def _accuracy(networks: Sequence[str]) -> "Section":
    from wandb_workspaces.reports.v2 import BarPlot, LinePlot, MediaBrowser

    last = [f"{network}/top1_last" for network in networks]
    parts = [f"{network}/backbone" for network in networks]
    return _section(
        "Accuracy",
        [
            *(
                LinePlot(
                    title=f"{split} top-1 of the backbones and the ensemble, %",
                    x="epoch",
                    y=[f"{split}/{part}/top1" for part in [*parts, "ensemble"]],
                )
                for split in ("test", "validation")
            ),
            *(
                LinePlot(
                    title=f"test top-1 of every head of {network}, %",
                    x="epoch",
                    y=[f"test/{network}/{head}/top1" for head in HEADS],
                )
                for network in networks
            ),
            LinePlot(title="test cross-entropy", x="epoch", y=[f"test/{part}/loss" for part in parts]),
            LinePlot(title="training top-1, %", x="step", y=[f"train/top1/{network}" for network in networks]),
            BarPlot(title="top-1 after the last epoch, %", metrics=[*last, "ensemble/top1_last"]),
            MediaBrowser(
                title="confusion", media_keys=[f"pictures/confusion/{part}" for part in [*networks, "ensemble"]]
            ),
            MediaBrowser(title="samples", media_keys=["pictures/samples"]),
        ],
    )


def _terms() -> "Section":
    from wandb_workspaces.reports.v2 import LinePlot

    return _section(
        "Loss terms",
        [
            LinePlot(title="total", x="step", y=["train/total"]),
            LinePlot(title="all terms of any method, weighted", x="step", metric_regex=r"^train/weighted/"),
            LinePlot(title="weights that follow a ramp", x="step", metric_regex=r"^train/weight/"),
            *(LinePlot(title=f"{term}, raw", x="step", y=[f"train/{term}"]) for term in TERMS),
            LinePlot(title="outer loss of meta rounds", x="step", y=["meta/outer_loss"]),
        ],
    )


def _matching(networks: Sequence[str]) -> "Section":
    from wandb_workspaces.reports.v2 import LinePlot, MediaBrowser

    pairs = [(one, other) for i, one in enumerate(networks) for other in networks[i + 1 :]]
    lines = [
        LinePlot(
            title=f"matching weights of {one} and {other}", x="step", metric_regex=rf"^matching/{one}\..*/{other}\."
        )
        for one, other in pairs
    ]
    maps = MediaBrowser(
        title="matching weights", media_keys=[f"pictures/matching/{one}-{other}" for one, other in pairs]
    )
    return _section("Matching", [*lines, *([maps] if pairs else [])])


def _cost(networks: Sequence[str]) -> "Section":
    from wandb_workspaces.reports.v2 import BarPlot, LinePlot, ScatterPlot, SummaryMetric

    return _section(
        "Cost",
        [
            LinePlot(title="images per second", x="step", y=["train/images_per_second"]),
            LinePlot(title="gradient norm", x="step", y=["train/grad_norm"], log_y=True),
            LinePlot(title="learning rate", x="step", y=["train/lr"]),
            BarPlot(title="seconds", metrics=["seconds"]),
            BarPlot(title="multiply-adds of the whole run", metrics=["multiply_adds/total"]),
            *(
                ScatterPlot(
                    title=f"accuracy of {network} against cost",
                    x=SummaryMetric("multiply_adds/total"),
                    y=SummaryMetric(f"{network}/top1_last"),
                )
                for network in networks
            ),
        ],
    )


def _comparison(networks: Sequence[str]) -> "Section":
    from wandb_workspaces.reports.v2 import (
        BarPlot,
        Config,
        ParallelCoordinatesPlot,
        ParallelCoordinatesPlotColumn,
        RunComparer,
        SummaryMetric,
    )

    settings: list[Any] = [Config("optimizer.lr"), *(Config(f"loss.weights.{term}") for term in TERMS)]
    results = [SummaryMetric(f"{network}/top1_last") for network in networks]
    return _section(
        "Comparison",
        [
            *(
                BarPlot(
                    title=f"{network}: mean top-1 by group",
                    metrics=[f"{network}/top1_last"],
                    groupby="group",
                    groupby_aggfunc="mean",
                    groupby_rangefunc="stddev",
                )
                for network in networks
            ),
            ParallelCoordinatesPlot(
                title="settings and accuracy",
                columns=[ParallelCoordinatesPlotColumn(metric=metric) for metric in (*settings, *results)],
            ),
            RunComparer(diff_only="split"),
        ],
    )


def _section(name: str, panels: list[Any]) -> "Section":
    from wandb_workspaces.workspaces import Section

    return Section(name=name, panels=panels, is_open=True)
