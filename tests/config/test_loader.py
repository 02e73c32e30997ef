"""Composing many configurations at once."""

from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mcl.config import loader
from mcl.config.compose import composing
from mcl.config.conf_folder import conf_folder
from mcl.config.loader import Progress, ReusingLoader
from mcl.config.schema import register

pytestmark = pytest.mark.composed_by_hydra

JOBS = [
    ["seed=1", "loss=mcl"],
    ["seed=2", "loss=mcl", "optimizer.lr=0.5"],
    ["loss=mcl", "seed=${dataset.limit}", "hydra.job.name=x", "+hydra.job.env_set.A=${seed}"],
    ["~tracking", "+network@pair.third=resnet8", "++pair.third.widths=[1,2]", "trainer.max_steps=7"],
    ["+network@pair.third=resnet8", "~pair.third", "++optimizer.foo=1", "~optimizer.momentum"],
    ["dataset={limit: 3}", "dataset.limit=4", "+allow_modules=[a]", "debug=dry"],
    ["dataset.limit=4", "dataset={limit: 3}"],
    ["optimizer=mine", "hydra.searchpath=[FOLDER]"],
    ["seed=1", "loss=mcl"],
]
WRONG = [["lr=1"], ["seed=1,2"], ["loss=none_such"], ["~nothing"], ["seed=x"], ["optimizer=mine"]]


def loaders() -> tuple[ConfigLoaderImpl, ReusingLoader]:
    register()
    setup_globals()
    path = create_config_search_path(str(conf_folder()))
    return ConfigLoaderImpl(path), ReusingLoader(path)


def plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=False, enum_to_str=True)


def test_reused_compositions_equal_hydras(tmp_path: Any) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.5\n")
    hydra, reusing = loaders()
    for job in JOBS:
        overrides = [text.replace("FOLDER", str(tmp_path)) for text in job]
        expected = hydra.load_configuration("train", list(overrides), run_mode=RunMode.RUN)
        config = reusing.load_configuration("train", list(overrides), run_mode=RunMode.RUN)
        assert plain(config) == plain(expected), job
        assert OmegaConf.is_struct(config)


@pytest.mark.parametrize("overrides", WRONG)
def test_hydras_errors_are_kept(overrides: list[str]) -> None:
    messages = []
    for each in loaders():
        with pytest.raises(HydraException) as error:
            each.load_configuration("train", list(overrides), run_mode=RunMode.RUN)
        messages.append((type(error.value), str(error.value), type(error.value.__cause__)))
    assert messages[0] == messages[1]


def test_composition_does_not_depend_on_the_previous_one() -> None:
    _, reusing = loaders()
    first = reusing.load_configuration("train", ["seed=1"], run_mode=RunMode.RUN)
    first.optimizer.lr = 100
    assert reusing.load_configuration("train", ["seed=2"], run_mode=RunMode.RUN).optimizer.lr == 0.1
    with pytest.raises(ConfigCompositionException):
        reusing.load_configuration("train", ["lrr=2"], run_mode=RunMode.RUN)


def test_files_are_read_once_for_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []
    compose = ConfigLoaderImpl._compose_config_from_defaults_list
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "_compose_config_from_defaults_list",
        lambda self, *args, **named: (read.append([]), compose(self, *args, **named))[1],
    )
    with composing() as compose_one:
        configs = [compose_one([f"loss={loss}", f"seed={seed}"]) for seed in range(3) for loss in ("mcl", "lmcl")]
    assert len(read) == 2
    assert len({config.folder for config in configs}) == 6


def test_long_compositions_show_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(loader.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loader, "FIRST_LINE", 2.0)
    progress = Progress(40)
    for _ in range(40):
        now[0] += 0.5
        progress.advance()
    assert [line.split()[3:6] for line in capsys.readouterr().err.splitlines()] == [
        ["4", "of", "40"],
        ["24", "of", "40"],
    ]
    progress = Progress()
    now[0] += 100.0  # with the first one torch is imported
    progress.advance()
    assert capsys.readouterr().err == ""
