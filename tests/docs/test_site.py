"""The documentation site builds without a warning; README is its first page; links out of docs/ lead somewhere."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[2]


def build_site(out: Path, **settings: object) -> Path:
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(out), **settings))
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.chdir(ROOT)  # mkdocstrings looks for the packages here
    patch.setenv("NO_MKDOCS_2_WARNING", "1")
    patch.setenv("REPOSITORY_URL", "https://example.org/mcl")
    yield build_site(tmp_path_factory.mktemp("site"))
    patch.undo()


def test_readme_is_the_first_page_and_its_links_lead_to_pages_and_files(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert "networks that teach each other" in page
    assert 'href="methods/"' in page
    assert 'href="https://example.org/mcl/blob/main/experiments/quickstart/RESULTS.md"' in page


def test_pictures_outside_docs_are_part_of_the_site(site: Path) -> None:
    assert (site / "experiments/tiny_imagenet_100/differences.png").stat().st_size > 1000
    assert 'src="../experiments/tiny_imagenet_100/differences.png"' in (site / "evidence/index.html").read_text()


def test_interface_is_written_from_docstrings(site: Path) -> None:
    page = (site / "api/index.html").read_text()
    assert 'id="mcl.losses.mutual_contrast"' in page
    assert "(S_i, B, D)" in page  # a shape of its docstring


def test_every_page_of_docs_is_in_the_navigation(site: Path) -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"(\w+)\.md", (ROOT / "mkdocs.yml").read_text()))
    assert pages <= {folder.name for folder in site.iterdir()}


def test_broken_link_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "page.md").write_text("[there is none](no_such_page.md)\n")
    with pytest.raises(Abort):
        build_site(tmp_path / "site", docs_dir=str(docs), nav=None, plugins=[], hooks=[])


def test_code_blocks_keep_their_text() -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    config, files = SimpleNamespace(repo_url=""), SimpleNamespace(src_uris={"runs.md": None, "index.md": None})
    text = "[runs](runs.md#stop) [start](../README.md) [code](../mcl/meta.py)\n```\n[a](../README.md)\n```\n"
    assert hooks.on_page_markdown(text, page, config, files) == (
        "[runs](runs.md#stop) [start](index.md) `mcl/meta.py`\n```\n[a](../README.md)\n```\n"
    )
