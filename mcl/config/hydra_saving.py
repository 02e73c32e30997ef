"""Leave the writing of ``.hydra`` to the run, which writes it when the folder is its own.

Hydra writes before the task starts. A command that is refused, or that only prints the result of a finished run, would
replace what ``.hydra`` says about the run in the folder, and leave files in a folder that is not a run.
"""

from pathlib import Path
from typing import Any

from hydra.core import utils
from hydra.core.hydra_config import HydraConfig

OURS = "new_folders"  # a callback of conf/hydra/default.yaml, which no other program has

_save = utils._save_config


def _save_unless_ours(cfg: Any, filename: str, output_dir: Path) -> None:
    if OURS not in (HydraConfig.get().callbacks or {}):
        _save(cfg, filename, output_dir)


def register() -> None:
    """Take effect in this process, for this project's runs only; calling it again is harmless."""
    utils._save_config = _save_unless_ours
