"""The folder of the YAML files."""

from pathlib import Path


def conf_folder() -> Path:
    """``conf`` of the repository, or the copy inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"
