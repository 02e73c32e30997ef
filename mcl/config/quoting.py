"""Paths as values in Hydra's grammar."""

import re

from hydra.core.override_parser.types import Quote, QuotedString

_PLAIN = re.compile(r"[\w.+-]*/[\w./+-]*", re.ASCII)  # needs no quotes; without a slash, it could be a number


def quoted(path: str) -> str:
    """Return a path as a value of an override, in quotes if it needs them."""
    if _PLAIN.fullmatch(path):
        return path
    return QuotedString(path.replace("${", "\\${"), Quote.single).with_quotes()
