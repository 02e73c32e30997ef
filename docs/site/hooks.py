"""Hooks of the documentation site (mkdocs.yml): README.md is its first page, and links out of docs/ lead somewhere."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = "docs"
README, START = "README.md", "index.md"
PICTURES = {".png", ".svg", ".jpg"}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the first page, and every picture outside docs/ that a page shows."""
    files.append(File.generated(config, START, content=_start_page()))
    for page in [START, *(file.src_uri for file in files.documentation_pages() if file.src_uri != START)]:
        text = (ROOT / README if page == START else ROOT / DOCS / page).read_text()
        for _, _, link, _ in _LINK.findall(text):
            path = _path(page, link)
            if (
                PurePosixPath(path).suffix in PICTURES
                and not path.startswith(f"{DOCS}/")
                and path not in files.src_uris
            ):
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point each link at a page of the site, a picture, or a file of the repository."""

    def point(match: re.Match[str]) -> str:
        mark, text, link, anchor = match[1], match[2], match[3], match[4] or ""
        path = _path(page.file.src_uri, link)
        inside = path.removeprefix(f"{DOCS}/")
        if path == README:
            inside = START
        if inside in files.src_uris:
            start = str(PurePosixPath(page.file.src_uri).parent)
            return f"{mark}[{text}]({relpath(inside, start)}{anchor})"
        if not (ROOT / path).exists() or path.startswith(f"{DOCS}/"):
            return match[0]  # broken: mkdocs reports it
        if config.repo_url:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"[{text}]({config.repo_url.rstrip('/')}/{kind}/main/{path}{anchor})"
        return text if text.startswith("`") else f"`{path}`"

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(point, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(point, markdown[end:])])


def _start_page() -> str:
    return (ROOT / README).read_text()


def _path(page: str, link: str) -> str:
    """Return the path from the root of the repository that a link on a page means."""
    folder = PurePosixPath(".") if page == START else PurePosixPath(DOCS) / PurePosixPath(page).parent
    return normpath(str(folder / link))
