"""Report a search: its trials, compared on the validation part alone."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcl.config.compose import composing
from mcl.config.objective import value
from mcl.console import display_path, pluralize
from mcl.errors import UserError
from mcl.reports.figures import files, new_figure, style
from mcl.reports.image_sets import set_aside_other_images
from mcl.reports.markdown import listed, percent, table
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
        study: with a search.
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
            with suppress(UserError):  # values that this study would refuse
                if compose([*common, *_overrides(values)]).folder.name == run.folder.name:
                    yield run, values


def search_page(
    study: "Study", trials: Sequence[Trial], command: str, formats: Sequence[str] = ("png",)
) -> tuple[list[str], dict[str, bytes]]:
    """Lines of a report, and its pictures by name: which values did best on the validation part."""
    assert study.search is not None
    options = list(study.search.options)
    pictures: dict[str, bytes] = {}
    done = [(run, values, score) for run, values in trials if (score := _score(run)) is not None]
    done.sort(key=lambda trial: (-trial[2], trial[0].folder.name))
    lines = [f"# {study.title}", "", study.text, "", f"{pluralize(len(done), 'finished trial')}.", ""]
    if done:
        lines += [
            "## The best trials",
            "",
            "Mean top-1 of the backbones on the validation part at the last epoch, %.",
            "",
        ]
        rows = [[*(_shown(values[option]) for option in options), percent(score)] for _, values, score in done[:SHOWN]]
        lines += [*table([*options, "validation top-1"], rows, words=0), ""]
        best, spread = done[0][2], done[0][2] - done[-1][2]
        lines += [
            f"The best of {pluralize(len(done), 'trial')} reached {percent(best)} %, {percent(spread)} points above the"
            " worst. It is the greatest of many numbers that each vary with the seed, and so is partly luck: whether"
            " its values are better than the published ones is shown by training both with several seeds on all"
            " training images, and only then by the test part.",
            "",
            "```bash",
            "python train.py -m " + shlex.join([*_retrain(study), *_overrides(done[0][1])]),
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


def _retrain(study: "Study") -> list[str]:
    kept = [text for text in study.common if not text.startswith(("dataset.validation=", "runs="))]
    return [*kept, "seed=0,1,2"]


def _score(run: Run) -> float | None:
    return value(run.summary, OBJECTIVE) if run.finished else None


def _pictures(
    options: Sequence[str], done: Sequence[tuple[Run, dict[str, Any], float]], formats: Sequence[str]
) -> dict[str, bytes]:
    """One panel for each option that is a number, one point for each trial; by format."""
    found = {option: [_as_number(of.get(option)) for _, of, _ in done] for option in options}
    numeric = {option: [x for x in values if x is not None] for option, values in found.items()}
    panels = {option: values for option, values in numeric.items() if len(values) == len(done)}
    if not panels:
        return {}
    with style():
        figure = new_figure(2.6 * len(panels) + 0.8, 3.2)
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        scores = [score for *_, score in done]
        for axes, (option, values) in zip(grid, panels.items(), strict=True):
            axes.plot(values[1:], scores[1:], "o", color="#0072B2", markersize=4, alpha=0.8)
            axes.plot(values[:1], scores[:1], "D", color="#D55E00", markersize=6)
            if min(values) > 0 and max(values) > 10 * min(values):
                axes.set_xscale("log")
            axes.set_xlabel(option)
        grid[0].set_ylabel("validation top-1, %")
        grid[0].set_title("diamond: the best trial", loc="left")
        return files(figure, formats)


def _overrides(values: Mapping[str, Any]) -> list[str]:
    """Return values as they are typed, with all their digits: what a command needs to train the same run again."""
    return [f"{option}={found if isinstance(found, str) else json.dumps(found)}" for option, found in values.items()]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None
