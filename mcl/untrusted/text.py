"""Parse JSON and YAML from received files, and show text from them."""

import json
import re
from typing import Any

from mcl.errors import UserError
from mcl.untrusted.limits import MAX_CONFIG, MAX_DEPTH, MAX_INTEGER, MAX_JSON, MAX_NODES

LONGEST = 80  # characters of a value in a message
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def printable(text: object) -> str:
    """Return text in which every character that does not print (escape sequences, line breaks) is written out."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def on_terminal(message: str) -> str:
    """Return a message as the terminal may show it: its lines, without escape sequences."""
    return "\n".join(map(printable, message.split("\n")))


def shorten(value: object) -> str:
    """Return the beginning of a value, printable, for a message."""
    text = printable(str(value)[: LONGEST + 1])
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def decode_json(content: bytes | str, name: str, limit: int = MAX_JSON) -> Any:
    """Return the value in JSON from a file.

    Args:
        content: of the file, or of a part of it.
        name: what messages call it.
        limit: the most bytes that are parsed.

    Raises:
        UserError: It is not valid JSON, or too large, too deeply nested, or holds a number that is too large.
    """
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    if len(content) > limit:
        raise UserError(f"{name} has {len(content):,} bytes, and at most {limit:,} are read.")
    if _depth(content) > MAX_DEPTH:
        raise UserError(f"{name} is no valid JSON: nested more than {MAX_DEPTH} levels deep.")
    try:
        value = json.loads(content, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is no valid JSON: {shorten(error)}") from error
    return value


def decode_yaml(text: str | bytes, name: str) -> dict[str, Any]:
    """Return the mapping in YAML from a file as OmegaConf reads it; no interpolation is resolved.

    Raises:
        UserError: It is not a mapping, or too large, too deeply nested, or holds an alias or a tag.
    """
    import yaml
    from omegaconf import DictConfig, OmegaConf

    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if len(text) > MAX_CONFIG:
        raise UserError(f"{name} has {len(text):,} characters, and at most {MAX_CONFIG:,} are read.")
    try:
        _check_events(text, name)
        config = OmegaConf.create(text)
        content = OmegaConf.to_container(config, resolve=False) if isinstance(config, DictConfig) else None
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"{name} is no configuration: {_place(error)}") from error
    except Exception as error:  # OmegaConf raises many kinds
        raise UserError(f"{name} is no configuration: {shorten(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{name} is no configuration: it is not a mapping.")
    return {str(key): value for key, value in content.items()}


def _check_events(text: str, name: str) -> None:
    """Raise UserError for YAML that could grow or nest while it is built; the parser itself does neither."""
    import yaml

    depth = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{name} is no configuration: it holds an alias (*{shorten(event.anchor)}).")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag not in (None, "!"):
            raise UserError(f"{name} is no configuration: it holds a tag ({shorten(event.tag)}).")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise UserError(f"{name} is no configuration: more than {MAX_DEPTH} levels or {MAX_NODES:,} values.")


def _integer(digits: str) -> int:
    value = int(digits)  # ValueError beyond 4,300 digits
    if abs(value) > MAX_INTEGER:
        raise ValueError("a number of too many digits")
    return value


def _depth(content: bytes) -> int:
    """Return how deeply brackets are nested outside strings; 0 if there are too few to matter."""
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for token in _BRACKETS.finditer(content):
        if (bracket := token[0]) in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in b"]}":
            depth -= 1
    return deepest


def _place(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
    return shorten(problem) + (f" in line {mark.line + 1}" if mark is not None else "")
