"""The kinds of auxiliary branches, by name. Imports no torch; `mcl.networks.branch_kinds` makes them."""

from typing import Any

from mcl.errors import unknown

COPY, LIGHT, BYOT, DKS = "copy", "light", "byot", "dks"
BRANCH_KINDS = (COPY, LIGHT, BYOT, DKS)


def check_kind(option: str, kind: Any) -> None:
    """Raise UserError unless the value of an option names a kind of branches."""
    if kind not in BRANCH_KINDS:
        raise unknown("kind of branches", f"{option}={kind}", BRANCH_KINDS)
