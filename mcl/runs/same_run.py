"""Check that the files of a run folder were written by one run."""

import logging
from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError
from mcl.runs.identity import differences, identity

logger = logging.getLogger(__name__)


def refuse_other_run(
    checkpoint: Mapping[str, Any],
    place: object,
    *,
    config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Raise UserError when a checkpoint was written by another run than the files beside it.

    After ``resume=force`` the settings differ until the next checkpoint is written: then a warning is logged instead.

    Args:
        checkpoint: what it holds; an imported one says less, and what it lacks is not compared.
        place: the run folder or bundle, for messages.
        config: what ``config.yaml`` says.
        summary: what ``summary.json`` says.
    """
    theirs = checkpoint.get("config") or {}
    changed = differences(identity(config), identity(theirs)) if config is not None and theirs else []
    known = {"config_hash": checkpoint.get("config_hash"), "seed": theirs.get("seed"), "data": checkpoint.get("data")}
    known = {key: value for key, value in known.items() if value is not None and key in (summary or {})}
    changed += differences({key: (summary or {})[key] for key in known}, known)
    if not changed:
        return
    message = f"{place}: its checkpoint is not of the run that its config.yaml or summary.json is of ({changed[0]})"
    if config is not None and config.get("resume") == "force":
        logger.warning("%s: no checkpoint was written since resume=force.", message)
        return
    raise UserError(f"{message}. Put the run's own checkpoint back, or remove the files that are not the checkpoint's.")
