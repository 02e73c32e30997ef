"""``.hydra`` in a run folder: the command as Hydra records it, for people and tools. No part of a run reads it."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs.layout import CONFIG
from mcl.runs.secret_values import without_secrets

HYDRA, OVERRIDES = "hydra.yaml", "overrides.yaml"  # beside config.yaml, as Hydra names them


def write_hydra_folder(run: Path, config: DictConfig, hydra: Any) -> None:
    """Write ``config.yaml``, ``hydra.yaml`` and ``overrides.yaml`` with interpolations as they were typed.

    Values of options that are named like a key, a token, a secret or a password are replaced by ``***``, as are
    passwords in URLs.

    Args:
        run: the run folder.
        config: the composed configuration, not resolved.
        hydra: Hydra's own part of it; its ``output_subdir`` names the folder, and None asks for no files.

    Raises:
        UserError: The folder does not lie in the run folder, or cannot be written.
    """
    if hydra.output_subdir is None:
        return
    folder = run / str(hydra.output_subdir)
    if folder.resolve() == run.resolve() or not folder.resolve().is_relative_to(run.resolve()):
        raise UserError(f"hydra.output_subdir={hydra.output_subdir}: must be a folder inside the run folder.")
    folder.mkdir(parents=True, exist_ok=True)
    files = {CONFIG: config, HYDRA: OmegaConf.create({"hydra": hydra}), OVERRIDES: hydra.overrides.task}
    for name, content in files.items():
        plain = without_secrets(OmegaConf.to_container(content, resolve=False, enum_to_str=True))
        write_atomically(folder / name, OmegaConf.to_yaml(OmegaConf.create(plain)))
