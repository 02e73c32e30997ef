"""Report of a search: its trials, compared on the validation split alone."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl.config.compose import composing
from mcl.config.objective import ACCURACIES, directions, names, value
from mcl.console import display_path, pluralize
from mcl.drawing import new_figure
from mcl.files import expand_home
from mcl.palette import COLORS, LIGHT, MARKERS, assign_styles
from mcl.program import program
from mcl.reports.figures import files, style
from mcl.reports.image_sets import set_aside_other_images
from mcl.reports.markdown import cell, listed, percent, table
from mcl.reports.panels import last_epoch_of
from mcl.reports.row_labels import place_labels
from mcl.reports.search_importance import NAME as IMPORTANCE
from mcl.reports.search_importance import importance_picture, importances
from mcl.reports.trade_offs import pareto_front
from mcl.runs.reading import Run, find_runs, read_run
from mcl.search.matching_runs import RunMatcher
from mcl.search.space import Space, overrides, parse_space
from mcl.search.storage import quiet_optuna

if TYPE_CHECKING:
    from mcl.studies.study import Study

SHOWN = 10  # trials in the table
PICTURE = "trials"

Trial = tuple[Run, dict[str, Any]]  # a run, and the value of each option that the search varies


def find_trials(study: "Study", archived: Sequence[Run] = ()) -> list[Trial]:
    """Return the runs of a search: those whose settings are the study's own and a value for each option searched.

    A run on other images than most does not count.

    Args:
        study: study with a search.
        archived: runs that count beside those in the study's folder of runs, unless they are there, too.
    """
    trials = list(_trials(study, archived))
    set_aside_other_images(run for run, _ in trials)
    return trials


def _trials(study: "Study", archived: Sequence[Run]) -> Iterator[Trial]:
    space = space_of(study)
    with composing() as compose:
        matcher = RunMatcher(space, lambda overrides: compose(overrides).config)
        runs = list(map(read_run, _folders(study, space)))
        here = {run.folder.name for run in runs}
        for run in [*runs, *(run for run in archived if run.folder.name not in here)]:
            values = matcher.values(run)
            if values is not None:
                yield run, values


def _folders(study: "Study", space: Space) -> list[Path]:
    """Return the folders that may hold trials: choices, such as networks, decide more of their names than numbers."""
    assert study.base is not None
    runs = expand_home(study.base.config.runs)
    if any(hasattr(each, "choices") for each in space.distributions.values()):
        return find_runs(runs) if runs.is_dir() else []
    return sorted(study.base.folder.parent.glob("*/"))


def space_of(study: "Study") -> Space:
    """Return the ranges of a search, and the overrides that its trials share."""
    assert study.search is not None
    with quiet_optuna():
        return parse_space([*study.common, f"seed={study.seeds[0]}", *study.search.ranges], {})


def objectives_of(study: "Study") -> list[str]:
    """Return what a search optimizes, the accuracy first."""
    assert study.base is not None
    return sorted(names(study.base.config.objective), key=lambda name: name not in ACCURACIES)


def search_page(
    study: "Study", trials: Sequence[Trial], command: str, formats: Sequence[str] = ("png",)
) -> tuple[list[str], dict[str, bytes]]:
    """Return the lines of a report on which values did best on the validation split, and its plots by file name."""
    assert study.search is not None
    options, objectives = list(study.search.options), objectives_of(study)
    pictures: dict[str, bytes] = {}
    scored = [(run, values, value(run.summary, objectives)) for run, values in trials if run.finished]
    finished = [(run, values, scores) for run, values, scores in scored if isinstance(scores, list)]
    finished.sort(key=lambda trial: (-trial[2][0], trial[0].folder.name))
    pruned = [run for run, _ in trials if run.status == "pruned"]
    counted = f"{pluralize(len(finished), 'finished trial')}{f', {len(pruned)} pruned' if pruned else ''}."
    lines = [f"# {study.title}", "", study.text, "", counted, ""]
    if finished:
        done = [(run, values, scores[0]) for run, values, scores in finished]
        lines += _best(study, options, objectives, finished)
        if len(objectives) > 1:
            lines += _trade_offs(study, options, objectives, finished)
        space = space_of(study)
        pictures = {f"{PICTURE}.{form}": content for form, content in _pictures(space, done, formats).items()}
        alt = f"Validation top-1 of every trial against {listed(options)}."
        lines += [*[f"![{alt}]({name})" for name in pictures if not name.endswith(".pdf")][:1], ""]
        shares = importances(space, [(values, score) for _, values, score in done])
        if shares:
            drawn = {f"{IMPORTANCE}.{form}": each for form, each in importance_picture(shares, formats).items()}
            lines += _importance(shares, drawn)
            pictures |= drawn
    if pruned:
        steps = sum(run.evaluated_step or 0 for run in pruned)
        lines += [
            "## Pruned trials",
            "",
            f"{pluralize(len(pruned), 'trial')} ended early, because others did better by the same epoch. They took"
            f" {pluralize(steps, 'step')} together, and do not count as finished.",
            "",
        ]
        lines += [f"- {display_path(run.shown_folder)}: {run.reason}." for run in pruned] + [""]
    if unfinished := [run for run, _ in trials if not run.finished and run.status != "pruned"]:
        lines += ["## Trials that do not count", ""]
        lines += [f"- {display_path(run.shown_folder)}: {run.status}. {cell(run.reason)}" for run in unfinished] + [""]
    lines += ["## How this was made", "", "```bash", command, "```"]
    return lines, pictures


def _best(
    study: "Study",
    options: Sequence[str],
    objectives: Sequence[str],
    finished: Sequence[tuple[Run, dict[str, Any], list[float]]],
) -> list[str]:
    """Return the section on the most accurate trials."""
    rows = [_row(options, values, scores) for _, values, scores in finished]
    best, spread = finished[0][2][0], finished[0][2][0] - finished[-1][2][0]
    left_out = ("dataset.validation=", "trainer.test=", "objective=", "runs=")
    kept = [text for text in study.common if not text.startswith(left_out)]
    at = "at the last epoch" if objectives[0] == "validation/top1_last" else "at its best epoch"
    return [
        "## The best trials",
        "",
        f"Mean top-1 of the backbones on the validation split {at}, %.",
        "",
        *table([*options, *map(_heading, objectives)], rows[:SHOWN], words=0),
        "",
        f"The best of {pluralize(len(finished), 'trial')} reached {percent(best)} %, {percent(spread)} points above the"
        " worst. It is the greatest of many numbers that each vary with the seed, so it is partly luck. To show"
        " that its values are better than the published ones, train both with several seeds on all training images,"
        " and evaluate on the test part only then.",
        "",
        "```bash",
        f"{program('train')} -m " + shlex.join([*kept, "seed=0,1,2", *overrides(finished[0][1])]),
        "```",
        "",
    ]


def _trade_offs(
    study: "Study",
    options: Sequence[str],
    objectives: Sequence[str],
    finished: Sequence[tuple[Run, dict[str, Any], list[float]]],
) -> list[str]:
    """Return the section on the trials that no other one beats in every objective."""
    front = pareto_front([scores for *_, scores in finished], directions(objectives))
    rows = [_row(options, *finished[i][1:]) for i in front]
    return [
        "## The best trade-offs",
        "",
        f"No other trial is better in one of {listed(list(objectives))} without being worse in another.",
        "",
        *table([*options, *map(_heading, objectives)], rows, words=0),
        "",
    ]


def _row(options: Sequence[str], values: Mapping[str, Any], scores: Sequence[float]) -> list[str]:
    costs = [f"{score:,.0f}" for score in scores[1:]]
    return [*(_rounded(values[option]) for option in options), percent(scores[0]), *costs]


def _heading(objective: str) -> str:
    return "validation top-1" if objective in ACCURACIES else objective.replace("_", " ")


def _importance(shares: Mapping[str, float], pictures: Mapping[str, bytes]) -> list[str]:
    """Return the section on how much each option matters."""
    parts = listed([f"{option} {share:.0%}" for option, share in shares.items()])
    shown = [f"![Share of each option in the importance.]({name})" for name in pictures if not name.endswith(".pdf")]
    return [
        "## Which option matters",
        "",
        f"Share in what separates the best tenth of the trials from all of them (PED-ANOVA): {parts}. It describes"
        " these trials; a sampler that learns, such as TPE, chooses most of them where accuracies were good.",
        "",
        *shown[:1],
        "",
    ]


def _pictures(
    space: Space, done: Sequence[tuple[Run, dict[str, Any], float]], formats: Sequence[str]
) -> dict[str, bytes]:
    """Draw one panel for each numeric option, one point for each trial. Return the plot by format."""
    panels: dict[str, list[float]] = {}
    for option in space.distributions:
        with suppress(ValueError):  # an option with words has no axis
            panels[option] = [float(str(values.get(option))) for _, values, _ in done]
    if not panels:
        return {}
    from matplotlib.ticker import FuncFormatter, NullFormatter

    runs = [run for run, *_ in done]
    method = place_labels(runs[0])["loss"]
    drawn = assign_styles({method: method})[method]
    marker, color = MARKERS[drawn.marker], COLORS[LIGHT][drawn.color]
    with style():
        figure = new_figure(2.6 * len(panels) + 0.8, 3.4)
        figure.suptitle(_title(runs), fontsize=9)
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        scores = [score for *_, score in done]
        for axes, (option, values) in zip(grid, panels.items(), strict=True):
            axes.plot(values[1:], scores[1:], marker, color=color, markersize=4, alpha=0.8)
            axes.plot(values[:1], scores[:1], marker, color=color, markersize=8, markeredgecolor="black")
            if _is_logarithmic(space.distributions[option], values):
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(
                    FuncFormatter(lambda tick, _: f"{tick:g}")
                )  # the usual ones are formulas
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(option)
        grid[0].set_ylabel("validation top-1, %")
        return files(figure, formats)


def _is_logarithmic(distribution: object, values: Sequence[float]) -> bool:
    """Return whether a range is searched by its logarithm, or choices lie far apart."""
    if hasattr(distribution, "choices"):
        return min(values) > 0 and max(values) > 10 * min(values)
    return bool(getattr(distribution, "log", False))


def _title(runs: Sequence[Run]) -> str:
    """Return two lines: networks, method and data; the epoch, the number of trials, and how the best is marked."""
    labels = place_labels(runs[0])
    epoch = last_epoch_of(runs)
    at_end = f"epoch {epoch}, " if epoch else ""
    about = f"{labels['pair']} with {labels['loss']} on {labels['dataset']}"
    return f"{about}\n{at_end}n = {pluralize(len(runs), 'trial')}; large: the best"


def _rounded(chosen: object) -> str:
    return f"{chosen:.4g}" if isinstance(chosen, float) else str(chosen)
