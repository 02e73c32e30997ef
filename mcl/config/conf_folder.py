"""Find the folder of the YAML files."""

from pathlib import Path


def conf_folder() -> Path:
    """Return ``conf`` of the repository, or the copy inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    repository = package.parent / "conf"
    return repository if (repository / "train.yaml").is_file() else package / "conf"
