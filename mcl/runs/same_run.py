"""Check that the files of a run folder were written by one run."""

import logging
from collections.abc import Mapping
from typing import Any

from mcl.errors import UserError
from mcl.runs.identity import differences, identity
from mcl.runs.layout import CONFIG, LAST_CHECKPOINT, SUMMARY

logger = logging.getLogger(__name__)


def check_same_run(
    checkpoint: Mapping[str, Any],
    place: object,
    *,
    config: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Raise UserError if a checkpoint and the files beside it were written by different runs.

    After ``resume=force`` the settings differ until the next checkpoint, so a warning is logged instead.

    Args:
        checkpoint: its content; what an imported one lacks is not compared.
        place: the run folder or bundle, for messages.
        config: the content of ``config.yaml``.
        summary: the content of ``summary.json``.
    """
    settings, summary = checkpoint.get("config") or {}, summary or {}
    changed = differences(identity(config), identity(settings)) if config is not None and settings else []
    known = {"config_hash": checkpoint.get("config_hash"), "seed": settings.get("seed"), "data": checkpoint.get("data")}
    known = {key: value for key, value in known.items() if value is not None and key in summary}
    changed += differences({key: summary[key] for key in known}, known)
    if not changed:
        return
    others = f"{CONFIG} or {SUMMARY}"
    message = f"{place}: its checkpoint {LAST_CHECKPOINT} is not of the same run as its {others} ({changed[0]})"
    if config is not None and config.get("resume") == "force":
        logger.warning("%s: no checkpoint has been written since resume=force.", message)
        return
    raise UserError(f"{message}. Put the run's own checkpoint back, or remove the files of the other run.")
