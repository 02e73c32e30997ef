"""How cost grows with the number of networks N, of their stages S, of images in a batch B, and of classes C."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import contrast
from measuring import Options, Seconds, alternate

from mcl.reports.markdown import table

TITLE = "Growth"
PICTURE = "growth.png"
SIDE = 16  # of the images of steps, in pixels
KEYS = ("first", "second", "third", "fourth", "fifth", "sixth")
STYLES = {"textbook": ("#D55E00", "s"), "ours": ("#0072B2", "o")}
WHAT = {"contrast": "contrast", "step": "training step"}


class Size(NamedTuple):
    N: int = 2
    S: int = 3
    B: int = 64
    C: int = 100


class Expected(NamedTuple):
    """Growth with one number lies between two laws: where two parts of the work follow different ones."""

    words: str
    low: Callable[[int], float]
    high: Callable[[int], float]


def _law(words: str, law: Callable[[int], float]) -> Expected:
    return Expected(words, law, law)


EXPECTED = {  # networks grow with N, B and the stages of all branches, contrast with pairs of stages and of images
    "contrast": {
        "N": _law("N (N - 1)", lambda n: n * (n - 1)),
        "S": _law("S²", lambda s: s**2),
        "B": _law("B²", lambda b: b**2),
        "C": _law("no growth", lambda c: 1),
    },
    "step": {
        "N": Expected("N to N²", lambda n: n, lambda n: n**2),
        "S": Expected("S (S + 1) to S²", lambda s: s * (s + 1), lambda s: s**2),
        "B": Expected("B to B²", lambda b: b, lambda b: b**2),
        "C": Expected("none to C", lambda c: 1, lambda c: c),
    },
}


def measure(options: Options) -> dict[str, Any]:
    base = Size(B=options.growth_batch)
    return {what: list(_points(what, base, options.repeats)) for what in WHAT}


def _points(what: str, base: Size, repeats: int) -> Iterator[dict[str, Any]]:
    axes = {
        "N": range(2 if what == "contrast" else 1, 7),
        "S": range(1, 5),
        "B": [base.B // 4, base.B // 2, base.B, 2 * base.B, 4 * base.B],
        "C": [10, 100, 1000],
    }
    for axis, values in axes.items():
        for value in values:
            size = base._replace(**{axis: value})
            seconds = _contrast(size, repeats) if what == "contrast" else _step(size, repeats)
            yield {"axis": axis, "size": size._asdict(), "seconds": seconds}


def _contrast(size: Size, repeats: int) -> Seconds:
    calls = contrast.forms(networks=size.N, stages=size.S, batch=size.B, classes=size.C)
    return alternate(calls, contrast.TURNS * repeats)


def _step(size: Size, repeats: int) -> Seconds:
    from trainings import PLAIN, Ours, Textbook, assembled, keep_threads

    chosen = [f"+network@pair.{key}=resnet8" for key in KEYS[2 : size.N]]
    chosen += [f"pair.{key}.depths={[1] * size.S}" for key in KEYS[: size.N]]
    alone = ["pair=single", "network@pair.first=resnet8", "loss=deep_supervision"]  # nobody to contrast with
    overrides = [
        *("dataset=synthetic", f"dataset.image_size={SIDE}", f"dataset.classes={size.C}"),
        *("dataset.train_per_class=16", "dataset.test_per_class=1", f"trainer.batch_size={size.B}", keep_threads()),
        *(alone if size.N == 1 else ["pair=resnet8"]),
        *PLAIN,
        *chosen,
    ]
    kinds = {"ours": Ours} if size.N == 1 else {"textbook": Textbook, "ours": Ours}
    calls = {}
    for name, kind in kinds.items():
        parts = assembled(overrides)
        training = kind(parts, parts.dataset.load())
        calls[name] = partial(training.step, next(training.batches))
    return alternate(calls, repeats)


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    for what, axes in EXPECTED.items():
        for axis, expected in axes.items():
            at, ours = _curve(result["found"][what], axis, "ours")
            of, textbook = _curve(result["found"][what], axis, "textbook")
            work = [f"{law(at[-1]) / law(at[0]):.0f}" for law in dict.fromkeys((expected.low, expected.high))]
            since = "" if of == at else f" (from {of[0]})"
            rows.append(
                [
                    f"{WHAT[what]}: {axis} from {at[0]} to {at[-1]}",
                    expected.words,
                    " to ".join(work),
                    f"{ours[-1] / ours[0]:.1f}",
                    f"{textbook[-1] / textbook[0]:.1f}{since}",
                    f"{1e3 * ours[0]:.2f}",
                    f"{1e3 * ours[-1]:.2f}",
                ]
            )
    base = Size(B=result["options"]["growth_batch"])
    (folder / PICTURE).write_bytes(_picture(result["found"]))
    return [
        f"One number is changed at a time, from N = {base.N} networks of S = {base.S} stages, batches of B = {base.B},"
        f" C = {base.C} classes. Contrast is forward and backward; a step is one of ResNets of one block per stage, on"
        f" images of {SIDE} x {SIDE}, without meta round and data; a network alone (N = 1) trains by"
        " `loss=deep_supervision`, without contrast. *Expected* is how the work grows: a step has parts that grow by"
        " either law. Where fixed costs still count, time grows more slowly.",
        "",
        *table(["", "law", "expected ×", "ours ×", "textbook ×", "ours first, ms", "ours last, ms"], rows, 2),
        f"![Time of contrast and of a training step by N, S, B and C, ours and the textbook]({PICTURE})",
        "",
        "Grey: the growth expected from the first point of ours.",
        "",
    ]


def _curve(points: list[dict[str, Any]], axis: str, form: str) -> tuple[list[int], list[float]]:
    """Values of one number, and the median seconds there."""
    chosen = [point for point in points if point["axis"] == axis and form in point["seconds"]]
    return [point["size"][axis] for point in chosen], [median(point["seconds"][form]) for point in chosen]


def _picture(found: dict[str, Any]) -> bytes:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    from mcl.reports.figures import files, new_figure, style

    with style():
        figure = new_figure(10, 5)
        grid = figure.subplots(2, 4, sharey="row", sharex=False)
        for row, (what, axes) in zip(grid, EXPECTED.items(), strict=True):
            for plot, (axis, expected) in zip(row, axes.items(), strict=True):
                at, ours = _curve(found[what], axis, "ours")
                bounds = [[1e3 * ours[0] * law(x) / law(at[0]) for x in at] for law in (expected.low, expected.high)]
                plot.fill_between(at, *bounds, color="#bbbbbb", linewidth=2, alpha=0.6)
                for form, (colour, marker) in STYLES.items():
                    of, seconds = _curve(found[what], axis, form)
                    plot.plot(of, [1e3 * second for second in seconds], color=colour, marker=marker, label=form)
                plot.set(xscale="log", yscale="log", xlabel=axis, title=f"{WHAT[what]}: {expected.words}")
                plot.xaxis.set_major_locator(FixedLocator(at))
                plot.xaxis.set_minor_locator(NullLocator())
                plot.xaxis.set_major_formatter(ScalarFormatter())
            row[0].set_ylabel("ms")
        grid[0][0].legend()
        return files(figure, ["png"])["png"]
