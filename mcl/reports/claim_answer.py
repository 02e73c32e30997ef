"""The answer to a study's claim in words: the first paragraph of its report."""

from collections.abc import Sequence
from dataclasses import dataclass

from mcl.console import pluralize
from mcl.reports.comparisons import NOTHING_SHOWN, Comparisons, Difference
from mcl.reports.equal_cost import cost_ratio, time_ratio
from mcl.reports.findings import could_show
from mcl.reports.markdown import cell, interval, listed, percent, probability, signed
from mcl.reports.panels import other_key, row_key
from mcl.reports.rows import METRICS, Row, Rows

TOLERANCE = 0.1  # by which a row may cost less than the method and still be called at equal cost
TUNED = "tuned"
EQUAL_COST = "equal cost"
CONTROLS = {EQUAL_COST: "the baseline at equal cost", TUNED: "the tuned baseline"}
CHEAPER = "the baseline at less than equal cost"


@dataclass(frozen=True)
class Paragraph:
    """The answer in a few words, and the sentences that support it. Nothing is escaped yet."""

    answer: str
    text: str


def claim_paragraphs(rows: Rows, comparisons: Comparisons, metric: str) -> list[Paragraph]:
    """Return a paragraph for each network and each group of rows: is the method better, and does the gain survive?"""
    if rows.claim is None:
        return []
    paragraphs = []
    for gain in comparisons.baseline:
        if rows.has_labels(gain.row, rows.claim.method):
            controls = {name: _same(gain, group) for name, group in comparisons.controls.items()}
            paragraphs.append(_paragraph(rows, gain, controls, metric))
    if not paragraphs:
        method = listed(f"{factor} = {label}" for factor, label in rows.claim.method.items())
        paragraphs = [Paragraph("Not shown yet.", f"No run of {method} and of its baseline has finished.")]
    return paragraphs


def claim_section(rows: Rows, comparisons: Comparisons, metric: str) -> list[str]:
    """Return the paragraphs of a claim in Markdown."""
    paragraphs = claim_paragraphs(rows, comparisons, metric)
    return [line for each in paragraphs for line in (f"**{cell(each.answer)}** {cell(each.text)}", "")]


def answer(gain: Difference, controls: dict[str, Difference | None], *, is_tuned: bool = False) -> str:
    """Return the answer in a few words.

    Args:
        gain: the method minus its baseline.
        controls: the method minus the rows that the gain has to survive; None for a row without runs.
        is_tuned: whether the baseline itself is tuned.
    """
    if not gain.is_finding:
        return "a gain is not shown"
    if not gain.is_gain:
        return "the method is lower than its baseline"
    tested = {name: one for name, one in controls.items() if one is not None and one.holm is not None}
    named = {name: CHEAPER if _is_cheaper(name, one) else CONTROLS[name] for name, one in tested.items()}
    lost = [named[name] for name, one in tested.items() if not one.is_gain]
    kept = [named[name] for name, one in tested.items() if one.is_gain]
    missing = [words for name, words in CONTROLS.items() if name not in tested and not (is_tuned and name == TUNED)]
    parts = [f"a gain is shown over {CONTROLS[TUNED] if is_tuned else 'the baseline'}"]
    if kept:
        parts.append(f"and over {listed(kept)}")
    if lost:
        parts.append(f"but not over {listed(lost)}")
    text = ", ".join(parts)
    return f"{text}; {listed(missing)} {'are' if len(missing) > 1 else 'is'} not tested" if missing else text


def _paragraph(rows: Rows, gain: Difference, controls: dict[str, Difference | None], metric: str) -> Paragraph:
    method, baseline = (row_key(rows, row) for row in (gain.row, gain.other))
    where = ", ".join(filter(None, [rows.name(gain.row, rows.shared), gain.network]))
    cost = [f"{ratio:.2f} × its {name}" for name, ratio in _ratios(gain.row, gain.other).items()]
    text = f"{method} minus {baseline}: {_numbers(gain)}"
    if gain.comparison.difference.mean is not None:
        text += f" of test top-1 ({METRICS[metric]})"
    sentences = [f"{text}, at {listed(cost)}." if cost else f"{text}."]
    if not gain.is_finding:
        sentences.append(_not_shown(gain))
    sentences += [_control(rows, gain, name, controls.get(name)) for name in CONTROLS]
    return Paragraph(f"{where}: {answer(gain, controls, is_tuned=_is_tuned(rows, gain))}.", " ".join(sentences))


def _is_tuned(rows: Rows, gain: Difference) -> bool:
    """Return whether the baseline of the method is itself the row with tuned settings."""
    tuned = rows.claim.tuned if rows.claim is not None else {}
    return bool(tuned) and rows.counterparts(gain.row, tuned) == [gain.other]


def _not_shown(gain: Difference) -> str:
    """Return why a gain is not shown, and how large it would have to be to be shown by as many runs."""
    sentences = [f"Not shown: {gain.conclusion}."] if gain.conclusion != NOTHING_SHOWN else []
    if gain.detectable is not None:
        sentences.append(
            f"With the spread of these runs, a true difference of {percent(gain.detectable)} points would be shown in"
            " four of five such studies; a smaller one may exist."
        )
    return " ".join(sentences)


def _control(rows: Rows, gain: Difference, name: str, one: Difference | None) -> str:
    """Return whether the gain survives one of the controls."""
    words = CONTROLS[name]
    labels = rows.claim.controls.get(name) if rows.claim is not None else None
    if name == TUNED and _is_tuned(rows, gain):
        return "The baseline itself is tuned."
    if labels is None or not rows.counterparts(gain.row, labels):
        return f"The study has no row that is {words}."
    if one is None or one.comparison.difference.mean is None:
        return f"Against {words}: not tested, because no runs of equal seed have finished."
    row = other_key(rows, one.row, one.other)
    if name == EQUAL_COST:
        row += _cost_of_control(one)
    if one.holm is None:
        verdict = f"not tested: {one.conclusion}"
    elif one.is_gain:
        verdict = "the gain survives" if gain.is_gain else "the method is higher"
    elif one.is_finding:
        verdict = "the gain does not survive: the method is lower" if gain.is_gain else "the method is lower"
    else:
        verdict = "the gain does not survive: " if gain.is_gain else ""
        verdict += f"no difference is shown{could_show(one)}"
    return f"Against {words} ({row}): {_numbers(one)}; {verdict}."


def _cost_of_control(one: Difference) -> str:
    """Return what the row at equal cost did cost, and a warning if it was less than the method."""
    ratios = _ratios(one.other, one.row)
    if not ratios:
        return ""
    cost = ", ".join(f"{ratio:.2f} × the {name}" for name, ratio in ratios.items())
    return f", {cost} of the method{': less than equal cost' if _is_cheaper(EQUAL_COST, one) else ''}"


def _is_cheaper(name: str, one: Difference) -> bool:
    """Return whether a row that stands for equal cost did cost less than the method."""
    return name == EQUAL_COST and min(_ratios(one.other, one.row).values(), default=1.0) < 1 - TOLERANCE


def _ratios(row: Row, other: Row) -> dict[str, float]:
    """Return the cost of a row's training divided by another row's: its time only if no multiply-adds were counted."""
    if ratio := cost_ratio(row, other):
        return {"multiply-adds": ratio}
    ratio = time_ratio(row, other)
    return {"training time": ratio} if ratio else {}


def _numbers(one: Difference) -> str:
    """Return a difference with its interval, its seeds and its test."""
    found = one.comparison.difference
    if found.mean is None:
        return "no seed in common"
    about = [f"95 % interval {interval(found, difference=True)}"] if found.interval else []
    about.append(f"{pluralize(found.count, 'pair')} of equal seed")
    if one.holm is not None:
        corrected = f"after Holm's correction over {one.family} comparisons" if one.family > 1 else "in one test"
        about += [
            f"p = {probability(one.holm)} {corrected}".replace("= <", "<"),
            f"d_z {signed(one.comparison.effect)}",
        ]
    return f"{signed(found.mean)} points ({'; '.join(about)})"


def _same(gain: Difference, group: Sequence[Difference]) -> Difference | None:
    """Return the comparison of the same row and network in a group."""
    return next((one for one in group if one.row is gain.row and one.network == gain.network), None)
