"""Convert a report's Markdown to HTML. Anything else that looks like HTML is shown as text."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

ALERT = "[!WARNING]\n"
LONGEST_WORD = 24  # letters in a cell; longer ones are broken after their dots and slashes
OWN_TAGS = re.compile(r"&lt;(/?(?:details|summary))&gt;")  # the tags that a report writes


@dataclass(frozen=True)
class Heading:
    """A heading of the second level: its text, and the anchor of links to it."""

    text: str
    anchor: str


def as_html(
    lines: Sequence[str], embed: Callable[[str, str], str | None], downloads: Mapping[str, str]
) -> tuple[str, list[Heading]]:
    """Return the lines of a report as HTML, and its headings of the second level.

    Args:
        lines: Markdown.
        embed: returns the HTML of an image, from its name and alternative text; None for an image that is not the
            report's own, which is replaced by its text.
        downloads: text files by name. A link to one leads to its content; one to another file is replaced by its text.
    """
    from markdown_it import MarkdownIt

    def embedded(token: Any) -> str | None:
        return embed(str(token.attrs["src"]), token.content)

    parser = MarkdownIt("commonmark").enable("table")
    for name, rule in _rules(embedded, downloads).items():
        parser.add_render_rule(name, rule)
    tokens = parser.parse("\n".join(lines))
    headings = _annotate(tokens, embedded)
    return str(parser.renderer.render(tokens, parser.options, {})), headings


def _annotate(tokens: Sequence[Any], embedded: Callable[[Any], str | None]) -> list[Heading]:
    """Give the tokens of a report anchors, labels and classes; return its headings of the second level."""
    headings: list[Heading] = []
    above = ""
    columns: list[str] = []
    column = 0
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            above = text = "".join(part.content for part in tokens[i + 1].children or [])
            token.attrSet("id", anchor(text))
            if token.tag == "h2":
                headings.append(Heading(text, anchor(text)))
        elif token.type == "table_open":
            token.meta["label"] = above
            columns = []
        elif token.type == "th_open":
            token.attrSet("scope", "col")
            columns.append(tokens[i + 1].content)
        elif token.type == "tr_open":
            column = 0
        elif token.type == "td_open" and tokens[i - 1].type == "tr_open":  # the name of the line
            token.tag = tokens[i + 2].tag = "th"
            token.attrSet("scope", "row")
        elif token.type == "td_open":
            column += 1
            token.attrSet("data-column", columns[column])  # named beside the cell on narrow screens
            if max(map(len, tokens[i + 1].content.split()), default=0) > LONGEST_WORD:
                token.attrSet("class", "long")
                for part in tokens[i + 1].children or []:
                    part.meta["breaks"] = True
        elif token.type == "blockquote_open" and tokens[i + 2].content.startswith(ALERT):
            token.attrSet("class", "warning")
            tokens[i + 2].children = (tokens[i + 2].children or [])[2:]  # the mark and the end of its line
        elif token.type == "inline" and [part.type for part in token.children or []] == ["image"]:
            tokens[i - 1].hidden = tokens[i + 1].hidden = embedded((token.children or [])[0]) is not None
    return headings


def _rules(embedded: Callable[[Any], str | None], downloads: Mapping[str, str]) -> dict[str, Callable[..., str]]:
    """Return how tokens of each type are rendered, where a report differs from Markdown."""

    def html(_: Any, tokens: Any, i: int, *__: Any) -> str:
        return OWN_TAGS.sub(r"<\1>", escape(tokens[i].content))

    def words(_: Any, tokens: Any, i: int, *__: Any) -> str:
        text = escape(tokens[i].content)
        return text.replace(".", ".<wbr>").replace("/", "/<wbr>") if tokens[i].meta.get("breaks") else text

    def image(_: Any, tokens: Any, i: int, *__: Any) -> str:
        picture = embedded(tokens[i])
        return escape(tokens[i].content) if picture is None else picture

    def table_open(_: Any, tokens: Any, i: int, *__: Any) -> str:
        return f'<div class="table" role="region" tabindex="0" aria-label="{escape(tokens[i].meta["label"])}"><table>\n'

    def link_open(_: Any, tokens: Any, i: int, *__: Any) -> str:
        target = str(tokens[i].attrs["href"])
        if target in downloads:
            content = base64.b64encode(downloads[target].encode()).decode()
            kind = "csv" if target.endswith(".csv") else "plain"
            return f'<a download="{escape(target)}" href="data:text/{kind};base64,{content}">'
        leads = target.startswith(("#", "https://", "http://"))
        return f'<a href="{escape(target)}">' if leads else '<a class="text">'

    return {
        "html_block": html,
        "html_inline": html,
        "text": words,
        "image": image,
        "table_open": table_open,
        "table_close": lambda *_: "</table></div>\n",
        "link_open": link_open,
    }


def anchor(text: str) -> str:
    """Return an anchor as GitHub makes it, such as ``"runs-that-do-not-count"``."""
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
