from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mcl.runs.identity import config_hash
from mcl.tracking import MlflowTracker, TensorBoardTracker, Tracker, WandbTracker

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


@pytest.mark.parametrize(
    ("name", "kind"), [("wandb", WandbTracker), ("tensorboard", TensorBoardTracker), ("mlflow", MlflowTracker)]
)
def test_config_lists_every_default_of_the_constructor(other_conf: Path, name: str, kind: type[Tracker]) -> None:
    if name != "wandb":
        pytest.importorskip(name)
    tracker = instantiate(composed(other_conf, f"tracking={name}").tracking[name])
    assert type(tracker) is kind
    assert vars(tracker) == vars(kind())


def test_all_trackers_at_once_do_not_change_the_hash(other_conf: Path) -> None:
    settings = ["+trainer=default", "+seed=0"]
    alone = composed(other_conf, *settings)
    together = composed(other_conf, "tracking=[wandb,tensorboard,mlflow]", "tracking.mlflow.models=true", *settings)
    assert list(together.tracking) == ["wandb", "tensorboard", "mlflow"]
    assert config_hash(together) == config_hash(alone)
