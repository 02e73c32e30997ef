"""Remember the checks that have passed in this process, so that none is repeated."""

import json
from collections.abc import Collection
from typing import Any

_PASSED: set[str] = set()


class Once:
    """A check whose result depends on its arguments alone.

    Args:
        allow: modules of the user. With any, nothing is noted: their code may change.
        arguments: all that the check depends on, as plain data.
    """

    def __init__(self, allow: Collection[str], *arguments: Any):
        self._key = "" if allow else json.dumps(arguments, default=repr)

    @property
    def passed(self) -> bool:
        """Whether the check with these arguments has passed before."""
        return self._key in _PASSED

    def note(self) -> None:
        """Note that it has passed."""
        if self._key:
            _PASSED.add(self._key)
