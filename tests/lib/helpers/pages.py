"""The documentation as data: its pages, their examples, commands and anchors."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

PROGRAM = "export-and-verify"

_FENCE = re.compile(r"^( *)```(\w*)([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A fenced block. line: of its first line in the page; title: the name of the file that it shows, or empty."""

    language: str
    title: str
    text: str
    line: int


def examples(page: Path) -> Iterator[Example]:
    content = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(content):
        title = re.search(r'title="(.+?)"', match[3])
        yield Example(
            match[2], title[1] if title else "", textwrap.dedent(match[4]), content.count("\n", 0, match.start(4)) + 1
        )


def arguments(line: str) -> list[str] | None:
    """What a line of a shell gives this program; None where it runs another, or shows output."""
    words = line.strip().removeprefix("$ ").removeprefix("- ")
    return shlex.split(words, comments=True)[1:] if words.startswith(f"{PROGRAM} ") else None


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every command line of this program in the page's examples."""
    for example in examples(page):
        for line in example.text.replace("\\\n", " ").splitlines():
            found = arguments(line)
            if found is not None:
                yield found


def anchors(page: Path) -> set[str]:
    """Of the page's headings, as GitHub and the site name them."""
    content = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {_slug(heading) for heading in _HEADING.findall(content)}


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
