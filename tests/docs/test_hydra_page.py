"""docs/hydra.md: every row of its tables is executed."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doc_pages import ROOT

from mcl.config.launch import _prepare

PAGE = (ROOT / "docs" / "hydra.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")]
TYPED = [(row[0].strip("`"), row[2].strip(" |`")) for row in ROWS if not row[0].startswith("`hydra/")]
PLUGINS = [(row[0].strip("`"), row[2].strip(" |`")) for row in ROWS if row[0].startswith("`hydra/")]
QUICKEST = ("seed=1 -m", "hydra.run.dir", "hydra.job.chdir")  # rows that train and are not slow
SHOW = ("--cfg", "--info", "--help", "--hydra-help", "--version", "-sc")
QUICK = ["trainer.max_steps=1", "trainer.batch_size=20", "dataset.limit=4", "tracking=none"]


def marked(typed: str, expected: str) -> Any:
    """Return a row as parameters; most of those that train are slow."""
    slow = not any(word in typed for word in SHOW) and not typed.startswith(QUICKEST)
    return pytest.param(typed, expected, id=typed, marks=[pytest.mark.slow] if slow else [])


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", "there")
    (tmp_path / "my_conf" / "loss").mkdir(parents=True)
    (tmp_path / "my_conf" / "loss" / "my_loss.yaml").write_text("defaults: [dml]\ntemperature: 7.0\n")
    (tmp_path / "my_conf" / "my_train.yaml").write_text("defaults: [train, _self_]\nseed: 41\n")
    (tmp_path / "my_conf" / "alone.yaml").write_text("answer: 42\n")


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(("typed", "expected"), [marked(*row) for row in TYPED])
def test_row_does_what_it_says(typed: str, expected: str, command: Callable[..., Any]) -> None:
    words = shlex.split(typed)
    shows = any(word in SHOW for word in words)
    loss = [] if "loss=" in typed else ["loss=independent"]  # without meta rounds
    done = command(*words, *([] if shows else [*loss, *QUICK]))
    assert done.status == 0, done.err
    assert expected in done.out
    if "output_subdir=null" in typed:
        assert not Path("here/.hydra").exists()
    if "job_logging" in typed:
        assert Path("here/train.log").is_file()


def test_table_has_all_flags_of_hydra() -> None:
    from hydra._internal.utils import get_args_parser

    flags = [each for action in get_args_parser()._actions for each in action.option_strings if each.startswith("--")]
    short = {"--shell-completion": "-sc", "--multirun": "--multirun"}
    typed = " ".join(row[0] for row in TYPED)
    missing = [each for each in flags if each not in typed and short.get(each, "?") not in typed]
    assert missing == ["--run", "--experimental-rerun"]  # the default; tested on its own


@pytest.mark.usefixtures("at_home")
def test_job_is_repeated_from_the_file_of_hydras_callback(command: Callable[..., Any]) -> None:
    callback = "+hydra.callbacks.job_info._target_=hydra.experimental.callbacks.PickleJobInfoCallback"
    first = command(callback, "hydra.run.dir=here", "loss=independent", *QUICK)
    assert first.status == 0, first.err
    Path("here/summary.json").unlink()  # as if it had been stopped after its last checkpoint
    again = command("--experimental-rerun", "here/.hydra/config.pickle")
    assert again.status == 0, again.err
    assert Path("here/summary.json").is_file()


@pytest.mark.parametrize(("typed", "needed"), PLUGINS, ids=[row[0] for row in PLUGINS])
def test_launcher_or_sweeper_is_composed_and_built(typed: str, needed: str) -> None:
    from hydra.core.plugins import Plugins

    module = needed.removeprefix("hydra-").replace("-", "_")
    if needed:
        pytest.importorskip(f"hydra_plugins.hydra_{module}")
    context, config = _prepare([typed, "hydra.sweep.dir=there"])
    build = Plugins.instance().instantiate_launcher if "launcher" in typed else Plugins.instance().instantiate_sweeper
    assert build(hydra_context=context, task_function=print, config=config)
