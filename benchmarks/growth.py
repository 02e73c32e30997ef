"""Growth of the cost with the numbers of networks N, stages S, images in a batch B and classes C."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import contrast
from measuring import Options, Seconds

from mcl.reports.markdown import table

TITLE = "Growth"
PICTURE = "growth.png"
SIDE = 16  # side of the images of a training step, in pixels
KEYS = ("first", "second", "third", "fourth", "fifth", "sixth")
STYLES = {"textbook": ("#D55E00", "s"), "ours": ("#0072B2", "o")}
LABELS = {"contrast": "contrast", "step": "training step"}


class Size(NamedTuple):
    N: int = 2
    S: int = 3
    B: int = 64
    C: int = 100


class Expected(NamedTuple):
    """The growth of the work with one number, between two laws where its parts follow different ones."""

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
    return {subject: list(_points(subject, base, options.repeats)) for subject in LABELS}


def _points(subject: str, base: Size, repeats: int) -> Iterator[dict[str, Any]]:
    axes = {
        "N": range(2 if subject == "contrast" else 1, 7),
        "S": range(1, 5),
        "B": [base.B // 4, base.B // 2, base.B, 2 * base.B, 4 * base.B],
        "C": [10, 100, 1000],
    }
    for axis, values in axes.items():
        for value in values:
            size = base._replace(**{axis: value})
            seconds = _contrast(size, repeats) if subject == "contrast" else _step(size, repeats)
            yield {"axis": axis, "size": size._asdict(), "seconds": seconds}


def _contrast(size: Size, repeats: int) -> Seconds:
    from mcl.benchmarking import time_in_turns

    calls = contrast.implementations(networks=size.N, stages=size.S, batch=size.B, classes=size.C)
    return time_in_turns(calls, contrast.REPEATS_FACTOR * repeats)


def _step(size: Size, repeats: int) -> Seconds:
    from trainings import CONTIGUOUS_FLOAT32, Textbook, build_parts, current_threads, ours

    from mcl.benchmarking import time_in_turns

    if size.N == 1:  # nothing to contrast with
        networks = ["pair=single", "network@pair.first=resnet8", "loss=deep_supervision"]
    else:
        networks = ["pair=resnet8", *(f"+network@pair.{key}=resnet8" for key in KEYS[2 : size.N])]
    networks += [f"pair.{key}.depths={[1] * size.S}" for key in KEYS[: size.N]]
    images = ["dataset=synthetic", f"dataset.image_size={SIDE}", f"dataset.classes={size.C}"]
    images += ["dataset.train_per_class=16", "dataset.test_per_class=1", f"trainer.batch_size={size.B}"]
    kinds = {"ours": ours} if size.N == 1 else {"textbook": Textbook, "ours": ours}
    calls = {}
    for name, kind in kinds.items():
        parts = build_parts([*images, current_threads(), *networks, *CONTIGUOUS_FLOAT32])
        training = kind(parts, parts.dataset.load())
        calls[name] = partial(training.step, next(training.batches))
    return time_in_turns(calls, repeats)


def report(result: dict[str, Any], folder: Path) -> list[str]:
    rows = []
    for subject, axes in EXPECTED.items():
        for axis, expected in axes.items():
            sizes, ours = _curve(result["found"][subject], axis, "ours")
            textbook_sizes, textbook = _curve(result["found"][subject], axis, "textbook")
            work = [f"{law(sizes[-1]) / law(sizes[0]):.0f}" for law in dict.fromkeys((expected.low, expected.high))]
            since = "" if textbook_sizes == sizes else f" (from {textbook_sizes[0]})"
            rows.append(
                [
                    f"{LABELS[subject]}: {axis} from {sizes[0]} to {sizes[-1]}",
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
        f"One number changes at a time, starting from N = {base.N} networks of S = {base.S} stages, batches of"
        f" B = {base.B} and C = {base.C} classes. The contrast is timed forward and backward. The training step is that"
        f" of ResNets with one block per stage, on images of {SIDE} x {SIDE}, without meta round and data loading; a"
        " single network (N = 1) trains with `loss=deep_supervision`, without contrast. *Expected* is the growth of the"
        " work, as a range where its parts follow different laws. Time grows more slowly while fixed costs dominate.",
        "",
        *table(["", "law", "expected ×", "ours ×", "textbook ×", "ours first, ms", "ours last, ms"], rows, 2),
        f"![Time of contrast and of a training step by N, S, B and C, ours and the textbook]({PICTURE})",
        "",
        "Gray: the expected growth, starting from our first point.",
        "",
    ]


def _curve(points: list[dict[str, Any]], axis: str, implementation: str) -> tuple[list[int], list[float]]:
    """Return the values of one number, and the median seconds at each."""
    chosen = [point for point in points if point["axis"] == axis and implementation in point["seconds"]]
    sizes = [point["size"][axis] for point in chosen]
    return sizes, [median(point["seconds"][implementation]) for point in chosen]


def _picture(results: dict[str, Any]) -> bytes:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    from mcl.drawing import new_figure
    from mcl.reports.figures import files, style

    with style():
        figure = new_figure(10, 5)
        grid = figure.subplots(2, 4, sharey="row", sharex=False)
        for row, (subject, axes) in zip(grid, EXPECTED.items(), strict=True):
            for plot, (axis, expected) in zip(row, axes.items(), strict=True):
                sizes, ours = _curve(results[subject], axis, "ours")
                bounds = [
                    [1e3 * ours[0] * law(x) / law(sizes[0]) for x in sizes] for law in (expected.low, expected.high)
                ]
                plot.fill_between(sizes, *bounds, color="#bbbbbb", linewidth=2, alpha=0.6)
                for name, (color, marker) in STYLES.items():
                    measured, seconds = _curve(results[subject], axis, name)
                    plot.plot(measured, [1e3 * second for second in seconds], color=color, marker=marker, label=name)
                plot.set(xscale="log", yscale="log", xlabel=axis, title=f"{LABELS[subject]}: {expected.words}")
                plot.xaxis.set_major_locator(FixedLocator(sizes))
                plot.xaxis.set_minor_locator(NullLocator())
                plot.xaxis.set_major_formatter(ScalarFormatter())
            row[0].set_ylabel("ms")
        grid[0][0].legend()
        return files(figure, ["png"])["png"]
