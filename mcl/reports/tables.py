"""A table of a report, which is written in Markdown and in LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcl.reports.markdown import NONE, table


@dataclass(frozen=True)
class Table:
    """Words and numbers in lines.

    Args:
        name: a short name, such as ``"accuracy"``.
        caption: what the numbers are, in sentences.
        headers: of each column.
        rows: the cells, as text.
        words: number of columns, from the left, that hold words.
        closing: number of columns, from the right, that hold words.
        explanation: what the columns mean, for a table without a page around it.
    """

    name: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    closing: int = 0
    explanation: str = ""

    def without_empty(self) -> "Table":
        """Return the table less the columns of numbers that are empty in every row."""
        kept = [
            column
            for column in range(len(self.headers))
            if column < self.words or any(row[column] != NONE for row in self.rows)
        ]
        return self.with_columns(kept)

    def without_closing(self) -> "Table":
        """Return the table less the last columns of words."""
        kept = list(range(len(self.headers) - self.closing))
        return replace(self.with_columns(kept), closing=0)

    def with_columns(self, kept: Sequence[int]) -> "Table":
        """Return the table with some of its columns."""
        rows = [[row[column] for column in kept] for row in self.rows]
        return replace(self, headers=[self.headers[column] for column in kept], rows=rows)

    def in_markdown(self) -> list[str]:
        """Return the lines of the table, without its caption."""
        return table(self.headers, self.rows, self.words, self.closing)
