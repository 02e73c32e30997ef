"""Report of a search: its trials, compared on the validation split alone."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcl.config.compose import composing
from mcl.config.objective import value
from mcl.console import display_path, pluralize
from mcl.errors import UserError
from mcl.palette import COLOURS, LIGHT, MARKERS, assign_styles
from mcl.program import program
from mcl.reports.figures import files, new_figure, style
from mcl.reports.image_sets import set_aside_other_images
from mcl.reports.markdown import listed, percent, table
from mcl.reports.panels import last_epoch_of
from mcl.reports.row_labels import place_labels
from mcl.runs.identity import identity
from mcl.runs.reading import Run, read_run

if TYPE_CHECKING:
    from mcl.studies.study import Study

OBJECTIVE = "validation/top1_last"
SHOWN = 10  # trials in the table
PICTURE = "trials"

Trial = tuple[Run, dict[str, Any]]  # a run, and the value of each option that the search varies


def find_trials(study: "Study", archived: Sequence[Run] = ()) -> list[Trial]:
    """Return the runs of a search: those whose settings are the study's own and a value for each option searched.

    A run on other images than most does not count.

    Args:
        study: study with a search.
        archived: runs that are taken in place of those in the study's folder of runs.
    """
    trials = list(_trials(study, archived))
    set_aside_other_images(run for run, _ in trials)
    return trials


def _trials(study: "Study", archived: Sequence[Run]) -> Iterator[Trial]:
    assert study.search is not None
    assert study.base is not None
    runs = archived or map(read_run, sorted(study.base.folder.parent.glob("*/")))
    common = [*study.common, f"seed={study.seeds[0]}"]
    with composing() as compose:
        for run in runs:
            own = identity(run.config) if run.config else {}
            if not study.search.options.keys() <= own.keys():
                continue
            values = {option: own[option] for option in study.search.options}
            with suppress(UserError):  # values that the study refuses
                if compose([*common, *_overrides(values)]).folder.name == run.folder.name:
                    yield run, values


def search_page(
    study: "Study", trials: Sequence[Trial], command: str, formats: Sequence[str] = ("png",)
) -> tuple[list[str], dict[str, bytes]]:
    """Return the lines of a report on which values did best on the validation split, and its plots by file name."""
    assert study.search is not None
    options = list(study.search.options)
    pictures: dict[str, bytes] = {}
    scored = [(run, values, value(run.summary, OBJECTIVE)) for run, values in trials if run.finished]
    done = [(run, values, score) for run, values, score in scored if score is not None]
    done.sort(key=lambda trial: (-trial[2], trial[0].folder.name))
    lines = [f"# {study.title}", "", study.text, "", f"{pluralize(len(done), 'finished trial')}.", ""]
    if done:
        rows = [[*(_rounded(values[option]) for option in options), percent(score)] for _, values, score in done]
        best, spread = done[0][2], done[0][2] - done[-1][2]
        kept = [text for text in study.common if not text.startswith(("dataset.validation=", "runs="))]
        lines += [
            "## The best trials",
            "",
            "Mean top-1 of the backbones on the validation split at the last epoch, %.",
            "",
            *table([*options, "validation top-1"], rows[:SHOWN], words=0),
            "",
            f"The best of {pluralize(len(done), 'trial')} reached {percent(best)} %, {percent(spread)} points above the"
            " worst. It is the greatest of many numbers that each vary with the seed, so it is partly luck. To show"
            " that its values are better than the published ones, train both with several seeds on all training images,"
            " and evaluate on the test part only then.",
            "",
            "```bash",
            f"{program('train')} -m " + shlex.join([*kept, "seed=0,1,2", *_overrides(done[0][1])]),
            "```",
            "",
        ]
        pictures = {f"{PICTURE}.{form}": content for form, content in _pictures(options, done, formats).items()}
        alt = f"Validation top-1 of every trial against {listed(options)}."
        lines += [*[f"![{alt}]({name})" for name in pictures if not name.endswith(".pdf")][:1], ""]
    if unfinished := [run for run, _ in trials if not run.finished]:
        lines += ["## Trials that do not count", ""]
        lines += [f"- {display_path(run.shown_folder)}: {run.status}. {run.reason}" for run in unfinished] + [""]
    lines += ["## How this was made", "", "```bash", command, "```"]
    return lines, pictures


def _pictures(
    options: Sequence[str], done: Sequence[tuple[Run, dict[str, Any], float]], formats: Sequence[str]
) -> dict[str, bytes]:
    """Draw one panel for each numeric option, one point for each trial. Return the plot by format."""
    panels: dict[str, list[float]] = {}
    for option in options:
        with suppress(ValueError):  # an option with words has no axis
            panels[option] = [float(str(values.get(option))) for _, values, _ in done]
    if not panels:
        return {}
    from matplotlib.ticker import FuncFormatter, NullFormatter

    runs = [run for run, *_ in done]
    method = place_labels(runs[0])["loss"]
    drawn = assign_styles({method: method})[method]
    marker, colour = MARKERS[drawn.marker], COLOURS[LIGHT][drawn.colour]
    with style():
        figure = new_figure(2.6 * len(panels) + 0.8, 3.4)
        figure.suptitle(_title(runs), fontsize=9)
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        scores = [score for *_, score in done]
        for axes, (option, values) in zip(grid, panels.items(), strict=True):
            axes.plot(values[1:], scores[1:], marker, color=colour, markersize=4, alpha=0.8)
            axes.plot(values[:1], scores[:1], marker, color=colour, markersize=8, markeredgecolor="black")
            if min(values) > 0 and max(values) > 10 * min(values):
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(
                    FuncFormatter(lambda tick, _: f"{tick:g}")
                )  # the usual ones are formulas
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(option)
        grid[0].set_ylabel("validation top-1, %")
        return files(figure, formats)


def _title(runs: Sequence[Run]) -> str:
    """Return two lines: networks, method and data; the epoch, the number of trials, and how the best is marked."""
    labels = place_labels(runs[0])
    epoch = last_epoch_of(runs)
    at_end = f"epoch {epoch}, " if epoch else ""
    about = f"{labels['pair']} with {labels['loss']} on {labels['dataset']}"
    return f"{about}\n{at_end}n = {pluralize(len(runs), 'trial')}; large: the best"


def _overrides(values: Mapping[str, Any]) -> list[str]:
    """Return values as overrides with all their digits, as a command needs them to train the same run again."""
    return [
        f"{option}={chosen if isinstance(chosen, str) else json.dumps(chosen)}" for option, chosen in values.items()
    ]


def _rounded(chosen: object) -> str:
    return f"{chosen:.4g}" if isinstance(chosen, float) else str(chosen)
