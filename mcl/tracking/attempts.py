"""The attempts at one run: its id at a service, and the summary in flat names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.identity import flatten
from mcl.runs.layout import RUN_ID
from mcl.tracking.tracker import RunInfo
from mcl.untrusted.limits import KIB
from mcl.untrusted.regular_files import read_bytes

LONGEST_ERROR = 2000  # letters


def kept_id(run: RunInfo, service: str) -> str | None:
    """Return the id under which a service knows the run to resume; None for a new run.

    Args:
        run: the run.
        service: folder of the service in the run folder, such as ``wandb``.
    """
    path = run.run_dir / service / RUN_ID
    if not run.resumed_step or not path.exists():
        return None
    stored = read_bytes(path, KIB).decode(errors="replace").strip()
    return stored if re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", stored) else None


def keep_id(run: RunInfo, service: str, run_id: str) -> None:
    """Store the id of a run at a service, for the next attempt at it."""
    path = run.run_dir / service / RUN_ID
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, run_id + "\n")


def failure_reason(error: BaseException | None) -> str:
    """Return the reason of a failure in one text."""
    if error is None:
        return "unknown"
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return text[:LONGEST_ERROR]


def flat_config(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return a configuration under dotted names; text for everything but numbers."""
    scalars, flat = (bool, int, float, str), flatten(config)
    return {name: value if isinstance(value, scalars) else str(value) for name, value in flat.items() if name}


def flat_summary(summary: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a summary under flat names: ``first/top1_best``, ``ensemble/top1_last``, ``seconds``."""
    flat = {name: value for name, value in summary.items() if isinstance(value, (int, float, str))}
    parts = dict(zip(keys, summary.get("networks", []), strict=False))
    parts |= {name: summary.get(name) or {} for name in ("ensemble", "multiply_adds")}
    for part, values in parts.items():
        flat |= {f"{part}/{name}": value for name, value in values.items() if value is not None}
    return flat
