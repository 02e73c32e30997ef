"""docs/extend.md: every example runs exactly as it is written, in an empty folder."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text())
METHODS = PAGE.with_name("methods.md")  # tests/docs/test_methods_page.py uses its example
FILES = {text.splitlines()[0].removeprefix("# "): text for kind, text in BLOCKS if kind in ("python", "yaml")}
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
QUICK = ["debug=dry", "++dataset.limit=8", "trainer.batch_size=20"]


@pytest.fixture
def follow(command: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``follow("loss=custom")`` write the page's files, run the command that contains this text, return its folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def type_in(part: str, *more: str) -> Path:
        for name, text in FILES.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        (line,) = (line for line in COMMANDS if part in line)
        program, script, *arguments = shlex.split(line)
        assert (program, script) == ("python", "train.py")
        result = command(*arguments, *QUICK, *more)
        assert result.status == 0, result.err
        (summary,) = Path("runs").rglob("summary.json")
        return summary.parent

    yield type_in
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def names(run: Path) -> list[str]:
    return [network["name"] for network in json.loads((run / "summary.json").read_text())["networks"]]


EXAMPLES = [text for page in (PAGE, METHODS) for kind, text in BLOCK.findall(page.read_text()) if kind == "python"]


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.splitlines()[0].removeprefix("# ") for text in EXAMPLES])
def test_each_example_has_twenty_lines_at_most(text: str) -> None:
    name, *lines = (line for line in text.splitlines() if line.strip())
    assert name.endswith(".py")
    assert len(lines) <= 20


def test_custom_network(follow: Callable[..., Path]) -> None:
    run = follow("network@pair.first=custom")
    assert run.parent == Path("runs/digits/PlainNet-resnet8/lmcl")
    assert names(run) == ["plain_net", "resnet8"]
    assert "width: 8" in (run / "config.yaml").read_text()


def test_custom_loss(follow: Callable[..., Path]) -> None:
    run = follow("loss=custom")
    assert run.parent == Path("runs/digits/resnet8/MutualLearning")
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert first["train/weighted/mimicry"] == pytest.approx(0.5 * first["train/mimicry"])
    assert first["train/mimicry"] > 0


def test_custom_dataset(follow: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    parts = {"train": 100, "test": 20}
    pixels = {f"x_{part}": rng.integers(0, 256, (n, 12, 12), dtype=np.uint8) for part, n in parts.items()}
    labels = {f"y_{part}": np.arange(n, dtype=np.uint8) % 5 for part, n in parts.items()}
    np.savez("mnist.npz", **pixels, **labels)
    run = follow("dataset=custom")
    assert run.parent == Path("runs/Npz/resnet8/lmcl")


def test_custom_group_choice(follow: Callable[..., Path]) -> None:
    run = follow("--config-dir my_conf")
    assert run.parent == Path("runs/digits/plain_net/lmcl")
    assert names(run) == ["plain_net", "plain_net"]


def test_module_that_is_not_allowed_is_not_imported(command: Callable) -> None:
    Path("harmful.py").write_text("raise SystemExit('imported')")
    typed = command("loss=custom", "loss._target_=harmful.Loss")
    assert typed.status == 1
    assert "To trust it: 'allow_modules=[harmful]' (python -m mcl: --allow harmful)" in typed.err
    assert str(Path.cwd()) not in sys.path


def test_current_folder_does_not_shadow_installed_modules(command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    Path("colorsys.py").write_text("raise SystemExit('imported')")
    result = command("loss=custom", "loss._target_=colorsys.Loss", "allow_modules=[colorsys]")
    assert result.status == 1
    assert "colorsys has no 'Loss'" in result.err


@pytest.mark.parametrize("group", ["network@pair.first", "loss", "dataset"])
def test_node_without_target_names_the_missing_option(group: str, command: Callable) -> None:
    where = "pair.first" if group.startswith("network") else group
    assert f"give {where}._target_=" in command(f"{group}=custom").err
