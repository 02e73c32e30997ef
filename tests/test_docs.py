"""README.md and docs/: every path, link and command on the pages exists."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig

from mcl.config.checks import check_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:mcl|conf|docs|tests|experiments|benchmarks|hydra_plugins)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def typed_lines() -> Iterator[str]:
    """Return the command lines in the code blocks of all pages, without comments."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                yield line.partition(" #")[0].strip()


TRAIN = [line for line in typed_lines() if line.startswith("python train.py ")]
COMPOSED = [line for line in TRAIN if not re.search(r"train\.py -m|custom|my_conf|mine|tracking\.wandb", line)]


@pages
def test_paths_on_a_page_exist(page: Path) -> None:
    assert [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


@pages
def test_links_on_a_page_have_targets(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_paths_in_the_readme_tree_exist() -> None:
    block = PAGES[0].read_text().partition("## Where things are\n\n```\n")[2].partition("```")[0]
    named = [name for line in block.splitlines() for name in re.split(r"  +", line)[0].split(", ")]
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_commands_of_mcl_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    commands = {file.stem for file in (ROOT / "mcl" / "commands").glob("*.py")} | {"import"}
    assert set(re.findall(r"python -m mcl ([a-z_]+)", text)) <= commands


def test_studies_in_commands_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"study=(\w+)", text))
    assert {name for name in named if not (ROOT / "experiments" / name / "study.yaml").is_file()} == set()


def test_pages_have_commands_to_check() -> None:
    assert len(COMPOSED) >= 5


@pytest.mark.parametrize("line", COMPOSED)
def test_documented_commands_compose(line: str, composed: Callable[..., DictConfig]) -> None:
    check_config(composed(*shlex.split(line)[2:]))
