"""The commands and code blocks of README.md and docs/, as they are written there."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_ORDER = ("photos.md",)  # each command needs those before it: tests/docs/test_photos_page.py runs them
PROGRAMS = ("python", "torchrun", "pip", "pytest", "wandb", "tar", "srun", "sbatch", "scontrol", "mcl", "docker")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Command:
    """A command as typed, without its comment."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of the command, without the environment variables before it."""
        words = shlex.split(self.text)
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        return words

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables before the command."""
        values = {}
        for word in shlex.split(self.text):
            if not _ASSIGNMENT.fullmatch(word):
                break
            name, _, values[name] = word.partition("=")
        return values

    def arguments(self, *program: str) -> list[str] | None:
        """Return the arguments after ``program``, such as ``("python", "train.py")``; None if it is another one."""
        words = self.words
        return words[len(program) :] if tuple(words[: len(program)]) == program else None


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the code blocks of a page in these languages."""
    return [text for language, text in _BLOCK.findall(page.read_text()) if language in languages]


def commands() -> list[Command]:
    """Return every command of every page once: the lines of shell blocks, and code spans that begin with a program."""
    lines = [(page, text) for page in PAGES if page.name not in IN_ORDER for text in typed_lines(page)]
    in_text = [(page, text) for page in PAGES for text in _typed_spans(page)]
    found = [Command(page.name, text) for page, text in [*lines, *in_text]]
    return list({command.text: command for command in found}.values())


def typed_lines(page: Path) -> Iterator[str]:
    """Return the commands in the shell blocks of a page, in order."""
    for block in blocks(page, "sh", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.split(r"(?:^|\s+)#", line)[0].strip()
            yield from (" ".join(part.split()) for part in line.split("&&") if part.strip())


def spans(page: Path) -> list[str]:
    """Return the code spans in the text and tables of a page."""
    return [" ".join(span.split()) for span in _SPAN.findall(_BLOCK.sub("", page.read_text()))]


def _typed_spans(page: Path) -> Iterator[str]:
    for text in spans(page):
        words = [word for word in text.split(" ") if not _ASSIGNMENT.fullmatch(word)]
        if len(words) > 1 and words[0] in PROGRAMS:
            yield text.replace("\\|", "|")
