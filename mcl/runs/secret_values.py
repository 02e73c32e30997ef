"""Hide keys, tokens and passwords in what is shown to others."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_SECRET = re.compile(r"api_?key|token|secret|passw|credential", re.IGNORECASE)
_PASSWORD = re.compile(r"(://[^/:@\s]*:)[^/@\s]+@")  # of a URL, such as postgresql://me:PASSWORD@host/mlflow


def without_secrets(node: Any, name: str = "") -> Any:
    """Return plain data with the values of secret options hidden, in mappings and in overrides ``option=value``.

    Passwords in URLs are hidden, too.
    """
    if isinstance(node, Mapping):
        return {key: without_secrets(child, str(key)) for key, child in node.items()}
    if isinstance(node, list):
        return [without_secrets(child, name) for child in node]
    if not isinstance(node, str) or not node or "${" in node:  # an interpolation names a variable, not its value
        return node
    if _SECRET.search(name):
        return HIDDEN
    node = _PASSWORD.sub(rf"\1{HIDDEN}@", node)
    option, equals, value = node.partition("=")
    names = node if "{" in value else option  # a mapping as value has names of its own
    return f"{option}={HIDDEN}" if equals and value and _SECRET.search(names) else node
