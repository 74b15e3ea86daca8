"""Pages, help texts, docstrings, messages and templates use plain modern English: each of these phrases has a better
one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pages import PAGES, ROOT

# Pattern -> better words. A space stands for any white space, so that a line's end hides nothing.
BETTER = {
    r"\bwho(m|se|)ever\b": "anyone who, a user who",
    r"\b(is|are|was|were|be|been|being) told\b": "gets, receives, is reported, is recognized",
    r"\bfound out\b": "detected",
    r"\bmend(s|ed|ing|)\b": "fix",
    r"\bat the (least|most)\b": "at least, at most",
    r"\b(leave|leaves|leaving|left) away\b": "omit",
    r"\bnor (do|does|did|is|are|was|were|has|have|can|will|would)\b": "it does not ... either",
    r"\b(as it were|so to say)\b": "omit it",
    r"\b(here|there|where)(of|by|in|to|upon|with|from)\b": "of it, by this, in which",
    r"\b(whence|thence|hitherto|heretofore|forthwith)\b": "from which, so far, at once",
    r"\b(is|are|was|were|be|been) spoken of\b": "is mentioned",
    r"\b(lies|lie|lay) at\b": "is, scores",
    r"\btimes its bound off\b": "exceeds its error bound N times",
    r"\ba yes or a no\b": "pass or fail",
    r"\b(let|lets|letting) go\b": "release",
    r"\bwanted for\b": "required for",
    r"\b(can|cannot) be given back\b": "can be reclaimed",
}
PATTERNS = {re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE): better for pattern, better in BETTER.items()}

OTHERS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md", "action.yml")
PROSE = [*PAGES, *(ROOT / name for name in OTHERS)]
TEMPLATES = [path for path in sorted((ROOT / "verify" / "report").iterdir()) if path.suffix in (".j2", ".js")]
CODE = [path for package in ("exporter", "reader_c", "verify") for path in sorted((ROOT / package).rglob("*.py"))]


def literals(node: ast.AST) -> Iterator[tuple[int, str]]:
    """First line and text of each string, docstrings included; {} stands for the values in an f-string."""
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        parts = [part for part in parts if not isinstance(part, ast.Constant)]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for part in parts:
        yield from literals(part)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from literals(ast.parse(content))
    else:
        yield 1, content


def phrases(path: Path) -> list[str]:
    """What a writer has to change there: line, phrase, better words."""
    return [
        f"line {first + text.count(chr(10), 0, match.start())}: {' '.join(match[0].split())!r}: better {better}"
        for first, text in texts(path)
        for pattern, better in PATTERNS.items()
        for match in pattern.finditer(text)
    ]


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in [*PROSE, *TEMPLATES, *CODE]])
def test_plain_words_are_used(path: str) -> None:
    found = phrases(ROOT / path)
    assert not found, "\n".join(found)


def test_a_phrase_is_found_across_lines_and_in_strings_of_any_kind(tmp_path: Path) -> None:
    page, module = tmp_path / "page.md", tmp_path / "module.py"
    page.write_text("One.\nIt is\ntold so. Whoever reads, therefore, amends nothing.\n")
    assert phrases(page) == [
        "line 3: 'Whoever': better anyone who, a user who",
        "line 2: 'is told': better gets, receives, is reported, is recognized",
    ]
    module.write_text('def mend(x):\n    """Nor\n    does it."""\n    return f"{x} found " f"out: {x!r:>{mend}}"\n')
    assert phrases(module) == [
        "line 2: 'Nor does': better it does not ... either",
        "line 4: 'found out': better detected",
    ]
