from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mcl.tracking import Tracker, WandbTracker

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def other_conf(tmp_path: Path) -> Path:
    """Make a configuration folder with a primary config and one more tracker."""
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "other.yaml").write_text("other:\n  _target_: mcl.tracking.Terminal\n")
    (tmp_path / "main.yaml").write_text(
        f"defaults:\n  - tracking: none\n  - _self_\nhydra:\n  searchpath: ['file://{CONF}']\n"
    )
    return tmp_path


def composed(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("main", overrides=list(overrides))


def test_tracking_none_is_empty(other_conf: Path) -> None:
    assert OmegaConf.to_container(composed(other_conf).tracking) == {}


def test_several_trackers_can_be_combined(other_conf: Path) -> None:
    config = composed(other_conf, "tracking=[wandb,other]", "tracking.wandb.project=digits")
    trackers = {name: instantiate(node) for name, node in config.tracking.items()}
    assert list(trackers) == ["wandb", "other"]
    assert all(isinstance(tracker, Tracker) for tracker in trackers.values())
    assert isinstance(trackers["wandb"], WandbTracker)
    assert trackers["wandb"].project == "digits"


def test_config_lists_every_default_of_the_constructor(other_conf: Path) -> None:
    tracker = instantiate(composed(other_conf, "tracking=wandb").tracking.wandb)
    assert vars(tracker) == vars(WandbTracker())
