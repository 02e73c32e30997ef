"""README.md and docs/: every path, link, command, study and choice on the pages exists."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from support.doc_pages import PAGES, ROOT

from mcl.__main__ import COMMANDS, PROGRAMS
from mcl.config.checks import check_config
from mcl.runs.renames import current_overrides

PATH = re.compile(r"`((?:mcl|conf|docs|tests|experiments|benchmarks|hydra_plugins|packages)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


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
    named = set(re.findall(r"(?m)(?:python -m mcl|`mcl|^mcl) ([a-z_]+)", text))
    assert len(named) >= 8
    assert named <= {*COMMANDS, *PROGRAMS}


def test_studies_in_commands_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"study=(\w+)", text))
    assert {name for name in named if not (ROOT / "experiments" / name / "study.yaml").is_file()} == set()


OPTIONS = (ROOT / "docs" / "options.md").read_text().partition("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in OPTIONS.splitlines() if line.startswith("| `")]
ELSEWHERE = {
    "network/imagenet",
    "pair/imagenet",
    "hydra",
    "hydra/launcher",
    "hydra/sweeper",
    "hydra/sweeper/sampler",
    "hydra/sweeper/pruner",
}  # in the row of pair; sweeps.md; search.md
WITHOUT_LIST = {"trainer", "network", "pair"}  # described, or too many
GROUPS = {
    str(folder.relative_to(ROOT / "conf")): {file.stem for file in folder.glob("*.yaml")}
    for folder in (ROOT / "conf").rglob("*")
    if any(folder.glob("*.yaml"))
}


def test_table_of_options_names_every_group_and_choice() -> None:
    named = {
        group.removesuffix("@pair.first"): set(re.findall(r"`([\w/-]+)`", choices))
        for groups, choices, _ in ROWS
        for group in re.findall(r"`([\w/@.]+)`", groups)
    }
    missing = {group: sorted(choices - named.get(group, set())) for group, choices in GROUPS.items()}
    assert {group for group in GROUPS if group not in named} == ELSEWHERE
    assert {g: names for g, names in missing.items() if names and g not in ELSEWHERE | WITHOUT_LIST} == {}


@pytest.mark.parametrize("example", [row[2].strip("`") for row in ROWS])
def test_example_in_the_table_of_options_is_accepted(example: str, composed: Callable[..., DictConfig]) -> None:
    check_config(composed(*current_overrides(example.split())))
