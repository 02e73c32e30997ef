"""A search: which trials there are, and its report. Trials are compared on the validation part, and on nothing else."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mcl.config.compose import Composed
from mcl.config.identity import identity
from mcl.config.objective import value
from mcl.studies.runs import Run, read_run
from mcl.studies.tables import listed, percent, table
from mcl.tracking.tables import counted, shown

if TYPE_CHECKING:
    from mcl.studies.study import Search, Study

OBJECTIVE = "validation/top1_last"
SHOWN = 10  # trials in the table
PICTURE = "trials"


def find_trials(base: Composed, search: "Search") -> Iterator[tuple[Run, dict[str, str]]]:
    """The runs beside ``base`` that differ from it in what is searched and in nothing else, each with its values.

    Args:
        base: what every trial has in common; its own values of the searched options do not count.
        search: says which options are searched.
    """
    common = identity(base.config)
    for folder in sorted(base.folder.parent.glob("*/")):
        run = read_run(folder)
        if not run.config:
            continue
        own = identity(run.config)
        if all(own.get(key) == common.get(key) for key in {*own, *common} - set(search.options)):
            yield run, {option: f"{own[option]:.4g}" for option in search.options if option in own}


def search_page(study: "Study", command: str) -> tuple[list[str], dict[str, bytes]]:
    """Lines of a report, and its pictures by name: which values did best on the validation part."""
    assert study.search is not None
    assert study.base is not None
    options = list(study.search.options)
    trials = list(find_trials(study.base, study.search))
    pictures: dict[str, bytes] = {}
    done = [(run, values, score) for run, values in trials if (score := _score(run)) is not None]
    done.sort(key=lambda trial: (-trial[2], trial[0].folder.name))
    lines = [f"# {study.title}", "", study.text, "", f"{counted(len(done), 'finished trial')}.", ""]
    if done:
        lines += [
            "## The best trials",
            "",
            "Mean top-1 of the backbones on the validation part at the last epoch, %.",
            "",
        ]
        rows = [[*(values[option] for option in options), percent(score)] for _, values, score in done[:SHOWN]]
        lines += [*table([*options, "validation top-1"], rows, words=0), ""]
        best, spread = done[0][2], done[0][2] - done[-1][2]
        lines += [
            f"The best of {len(done)} trials reached {percent(best)} %, {percent(spread)} points above the worst. It is"
            " the greatest of many numbers that each vary with the seed, and so is partly luck: whether its values are"
            " better than the published ones is shown by training both with several seeds on all training images, and"
            " only then by the test part.",
            "",
            "```bash",
            " ".join(["python train.py -m", *_retrain(study), *(f"{k}={v}" for k, v in done[0][1].items())]),
            "```",
            "",
        ]
        pictures[f"{PICTURE}.png"] = _picture(options, done)
        alt = f"Validation top-1 of every trial against {listed(options)}."
        lines += [f"![{alt}]({PICTURE}.png)", ""]
    if unfinished := [run for run, _ in trials if not run.finished]:
        lines += ["## Trials that do not count", ""]
        lines += [f"- {shown(run.folder)}: {run.status}. {run.reason}" for run in unfinished] + [""]
    lines += ["## How this was made", "", "```bash", command, "```"]
    return lines, pictures


def _retrain(study: "Study") -> list[str]:
    kept = [text for text in study.common if not text.startswith(("dataset.validation=", "runs="))]
    return [*kept, "seed=0,1,2"]


def _score(run: Run) -> float | None:
    return value(run.summary, OBJECTIVE) if run.finished else None


def _picture(options: Sequence[str], done: Sequence[tuple[Run, dict[str, str], float]]) -> bytes:
    """One panel for each option, one point for each trial."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(options) + 0.8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(options), sharey=True, squeeze=False)[0]
    scores = [score for *_, score in done]
    for axes, option in zip(panels, options, strict=True):
        values = [float(of[option]) for _, of, _ in done]
        axes.plot(values[1:], scores[1:], "o", color="#0072B2", markersize=4, alpha=0.8)
        axes.plot(values[:1], scores[:1], "D", color="#D55E00", markersize=6)
        if min(values) > 0 and max(values) > 10 * min(values):
            axes.set_xscale("log")
        axes.set_xlabel(option)
        axes.grid(color="#e4e4e4")
    panels[0].set_ylabel("validation top-1, %")
    panels[0].set_title("diamond: the best trial", fontsize=9, loc="left")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150, metadata={"Software": None})
    return content.getvalue()
