"""Pictures of the results, as PNG and SVG, in the colors of all pictures of this project."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING, Any

from measuring import ratio

from mcl.drawing import new_figure
from mcl.files import write_atomically
from mcl.palette import COLORS, LIGHT, MARKERS
from mcl.reports.figures import files, style
from mcl.reports.markdown import count
from on_gpu.journal import UNREADABLE, Journal
from on_gpu.kernels import shares
from on_gpu.limits import PRECISIONS
from on_gpu.page import limits_of
from on_gpu.plan import MAIN, OTHERS, Item

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXTBOOK = "textbook"
FORMS = {  # color of each form; its marker follows from its place
    TEXTBOOK: 6,
    "eager": 1,
    "captured": 2,
    "compiled": 3,
    "compiled and captured": 4,
    "reduce-overhead": 5,
    "max-autotune and captured": 0,
}
COLOR = {form: COLORS[LIGHT][place] for form, place in FORMS.items()}
MARKER = dict(zip(FORMS, MARKERS, strict=False))
INK = COLORS[LIGHT][0]
PAIRS = (MAIN, *OTHERS)
FILLS = ("#7fb6dc", "#e8a878", "#8accb6", "#d6a3c0", "#d3bf84", "#b9c0c6", "#4f8fbf", "#c27f4b", "#5aa891", "#dddddd")
WIDTH, LINE, MARGINS = 7.5, 0.34, 1.3  # inches
Rows = Sequence[dict[str, Any]]


def draw(journal: Journal, plan: Sequence[Item]) -> dict[str, str]:
    """Draw what has been measured; return the name of each picture and its alternative text."""
    limits = limits_of(journal)
    measured: dict[str, list[dict[str, Any]]] = {}
    for item in plan:
        if journal.measured(item.name):
            measured.setdefault(item.module, []).append(journal.rows[item.name])
    measured |= {
        module: sorted(measured[module], key=_order)
        for module in ("steps", "kernels", "meta_rounds")
        if module in measured
    }
    pictures: list[tuple[str, str, str, Callable[[Rows], Figure | None]]] = [
        ("times", "steps", "Speed of training steps relative to the textbook", _times),
        (
            "rates",
            "steps",
            "Multiply-adds per second of steps and of a matrix product",
            lambda rows: _rates(rows, limits),
        ),
        ("where", "kernels", "Shares of a step by kind of kernel", _where),
        ("meta_round", "meta_rounds", "Time and memory of a meta round", _meta_rounds),
        ("runs", "runs_per_card", "Steps per second of several runs on one card", _runs),
        ("training", "real_training", "Accuracy of a real training by epoch", _training),
    ]
    drawn = {}
    for name, module, text, drawing in pictures:
        with style():
            figure = _figure(drawing, measured.get(module))
            if figure is None:
                continue
            for ending, content in files(figure, ["png", "svg"]).items():
                write_atomically(journal.folder / f"{name}.{ending}", content)
        drawn[name] = text
    return drawn


def _figure(drawing: "Callable[[Rows], Figure | None]", rows: Rows | None) -> "Figure | None":
    """Return a drawing of the rows, if there are some and this version can read them."""
    with suppress(*UNREADABLE):
        return drawing(rows) if rows else None
    return None


def _times(rows: Rows) -> "Figure | None":
    """Draw how many times as fast as the textbook each form is, with the middle half of the pairs."""
    by_line: dict[str, dict[str, Any]] = {}
    for row in rows:
        seconds = row["found"]["seconds"]
        for form, values in seconds.items():
            if form != TEXTBOOK and TEXTBOOK in seconds:
                by_line.setdefault(_label(row), {})[form] = ratio(seconds[TEXTBOOK], values)
    if not by_line:
        return None
    figure, axes = _lines(by_line, "times as fast as the textbook in the same precision")
    for place, forms in enumerate(by_line.values()):
        for form, times in forms.items():
            reach = [[max(0.0, times.value - times.low)], [max(0.0, times.high - times.value)]]
            axes.errorbar(times.value, place, xerr=reach, label=form, capsize=2, **_mark(form))
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xlim(left=0)
    _legend(axes)
    return figure


def _rates(rows: Rows, limits: dict[str, float]) -> "Figure | None":
    """Draw the rate of each form beside that of a large matrix product in the same precision."""
    by_line: dict[str, dict[str, float]] = {}
    for row in rows:
        points = by_line.setdefault(_label(row), {})
        points |= {form: row["found"]["multiply_adds"] / median(s) for form, s in row["found"]["seconds"].items()}
        if row["arguments"]["precision"] in limits:
            points["large matrix product"] = limits[row["arguments"]["precision"]]
    figure, axes = _lines(by_line, "multiply-adds per second")
    for place, points in enumerate(by_line.values()):
        for form, rate in points.items():
            mark = _mark(form) if form in COLOR else {"color": INK, "marker": "|", "markersize": 12, "linestyle": ""}
            axes.errorbar(rate, place, label=form, **mark)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda rate, _: count(rate))  # numbers, not formulas
    axes.xaxis.set_minor_formatter(lambda rate, _: "")
    _legend(axes)
    return figure


def _where(rows: Rows) -> "Figure":
    """Draw the shares of the kinds of kernels as stacked bars, and write those that have room."""
    parts = {f"{_label(row)}, {row['arguments']['form']}": shares(row["found"]) for row in rows}
    what = rows[0]["found"]["what"]
    figure, axes = _lines(parts, f"share of the time of all {what}, %")
    kinds = list(dict.fromkeys(kind for part in parts.values() for kind in part))
    for place, part in enumerate(parts.values()):
        left = 0.0
        for kind in kinds:
            width = 100 * part.get(kind, 0.0)
            color = FILLS[kinds.index(kind) % len(FILLS)]
            axes.barh(place, width, left=left, height=0.62, color=color, edgecolor="white", label=kind)
            if width > 4:
                axes.text(left + width / 2, place, f"{width:.0f}", ha="center", va="center", color=INK, fontsize=8)
            left += width
    axes.set_xlim(0, 100)
    axes.grid(False)
    _legend(axes)
    return figure


def _meta_rounds(rows: Rows) -> "Figure":
    """Draw the time of each form, and its memory where that was measured."""
    seconds = {f"{_label(row)}: {form}": median(s) for row in rows for form, s in row["found"]["seconds"].items()}
    memory = {f"{_label(row)}: {form}": m["peak"] for row in rows for form, m in row["found"]["memory"].items()}
    figure = new_figure(WIDTH, MARGINS + LINE * len(seconds))
    grid = figure.subplots(1, 2 if memory else 1, sharey=True, squeeze=False)[0]
    places = range(len(seconds))
    colors = [COLOR[TEXTBOOK] if TEXTBOOK in name else COLOR["eager"] for name in seconds]
    grid[0].barh(places, [1e3 * value for value in seconds.values()], height=0.6, color=colors)
    grid[0].set_xlabel("ms of a meta round")
    grid[0].set_yticks(places, list(seconds))
    grid[0].invert_yaxis()
    if memory:
        grid[1].barh(places, [memory.get(name, 0) / 1e9 for name in seconds], height=0.6, color=colors)
        grid[1].set_xlabel("peak of tensors, GB")
    for axes in grid:
        axes.grid(axis="y", visible=False)
    return figure


def _runs(rows: Rows) -> "Figure":
    """Draw the steps per second of all runs by their number, and those of runs one after the other."""
    points = sorted((row["arguments"]["runs"], sum(row["found"]["steps_per_second"])) for row in rows)
    numbers, rates = zip(*points, strict=True)
    figure = new_figure(5, 3)
    axes = figure.subplots()
    axes.plot(numbers, rates, color=COLORS[LIGHT][1], marker=MARKERS[0], label="at the same time")
    if numbers[0] == 1:
        axes.axhline(rates[0], color=COLORS[LIGHT][6], linestyle="--", label="one after the other")
    axes.set(xlabel="runs on one card", ylabel="steps per second of all", ylim=(0, 1.1 * max(rates)))
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, list(map(str, numbers)))
    axes.minorticks_off()
    axes.legend()
    return figure


def _training(rows: Rows) -> "Figure | None":
    """Draw the accuracy of each network and of the ensemble by epoch."""
    curve = rows[-1]["found"]["curve"]
    if not curve:
        return None
    figure = new_figure(5, 3)
    axes = figure.subplots()
    for number, name in enumerate(curve[-1]["top1"]):
        color, marker = COLORS[LIGHT][number + 1], MARKERS[number]
        epochs = [each["epoch"] for each in curve]
        accuracies = [each["top1"][name] for each in curve]
        every = max(1, len(curve) // 10)
        axes.plot(epochs, accuracies, color=color, marker=marker, markersize=4, markevery=every, label=name)
    axes.set(xlabel="epoch", ylabel="top-1 on the test images, %", xlim=(0, 1.02 * curve[-1]["epoch"]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure


def _lines(names: Sequence[str] | dict[str, Any], label: str) -> "tuple[Figure, Axes]":
    """Return a figure with a line for each name, the first on top."""
    figure = new_figure(WIDTH, MARGINS + LINE * len(names))
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)
    return figure, axes


def _legend(axes: "Axes") -> None:
    """Name each label once, above the picture."""
    handles, labels = axes.get_legend_handles_labels()
    first = dict(zip(reversed(labels), reversed(handles), strict=True))
    names = list(dict.fromkeys(labels))
    axes.legend(
        [first[name] for name in names], names, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=4, fontsize=8
    )


def _mark(form: str) -> dict[str, Any]:
    return {"color": COLOR[form], "marker": MARKER[form], "markersize": 6, "linestyle": ""}


def _pair(row: dict[str, Any]) -> str:
    return str(row["arguments"]["problem"])


def _order(row: dict[str, Any]) -> tuple[int, int]:
    """Return where a row stands in a picture: by pair, then by precision."""
    return PAIRS.index(_pair(row)), list(PRECISIONS).index(row["arguments"]["precision"])


def _label(row: dict[str, Any]) -> str:
    return f"{_pair(row)}, {row['arguments']['precision']}"
