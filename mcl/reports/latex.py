"""The answer to a claim and the tables of a report for a paper, in LaTeX with the package booktabs."""

import re
import unicodedata
from collections.abc import Iterable

from mcl.reports.claim_answer import Paragraph
from mcl.reports.tables import Table
from mcl.untrusted.text import printable


def _greek_name(letter: str) -> str:
    """Return ``tau`` for τ, ``Omega`` for Ω; Unicode calls λ ``GREEK SMALL LETTER LAMDA``."""
    name = unicodedata.name(letter).rpartition(" ")[2].replace("LAMDA", "LAMBDA")
    return name.capitalize() if letter.isupper() else name.lower()


_GREEK = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    **{letter: rf"$\{_greek_name(letter)}$" for letter in _GREEK},
    "[": "{[}",  # at the beginning of a line, both would be arguments of the rule or of the line break before it
    "*": "{*}",
}
_EFFECT = re.compile(r"\bd\\_z\b")
_NOT_IN_A_LABEL = re.compile(r"[\\&%$#{}~^]")


def in_latex(paragraphs: Iterable[Paragraph], tables: Iterable[Table], mark: str) -> str:
    """Return a file of paragraphs and tables, to be included by ``\\input{tables}``.

    Args:
        paragraphs: the answer to the claim of a study.
        tables: the tables; those without rows are left out.
        mark: comment in the first line.
    """
    lines = [f"% {mark}", r"% The preamble needs \usepackage{booktabs}.", ""]
    for each in paragraphs:
        lines += [rf"\paragraph{{{_text(each.answer)}}} {_text(each.text)}", ""]
    for one in tables:
        if one.rows:
            lines += _environment(one.without_closing())
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return text from elsewhere with LaTeX's special characters escaped, on one line."""
    return "".join(_SPECIAL.get(mark, mark) for mark in printable(" ".join(str(text).split())))


def _environment(one: Table) -> list[str]:
    columns = "l" * one.words + "r" * (len(one.headers) - one.words)
    return [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_text(' '.join(filter(None, [one.caption, one.explanation])))}}}",
        rf"\label{{tab:{_NOT_IN_A_LABEL.sub('-', one.name)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(one.headers),
        r"\midrule",
        *map(_line, one.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def _line(cells: Iterable[str]) -> str:
    return " & ".join(map(_text, cells)) + r" \\"


def _text(text: str) -> str:
    """Return text with the symbol of the effect size as in a formula."""
    return _EFFECT.sub("$d_z$", escaped(text))
