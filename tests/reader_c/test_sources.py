"""The C reader's files stand in one order. Each includes only what is below it, and its header declares what it
defines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reader_c.build import SOURCE_DIR, SOURCES

MODULES = [Path(name).stem for name in SOURCES]
HEADERS = sorted(path.name for path in SOURCE_DIR.glob("*.h"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 60


def included(path: Path) -> list[str]:
    return re.findall(r'^#include "(.+)\.h"$', path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def reached(name: str, above: tuple[str, ...] = ()) -> set[str]:
    """Every header that a header leads to; fails on a circle."""
    assert name not in above, f"a circle: {' -> '.join((*above, name))}"
    found = {name}
    for other in included(SOURCE_DIR / f"{name}.h"):
        found |= reached(other, (*above, name))
    return found


def defined(text: str) -> set[str]:
    """Functions that other files can call."""
    return set(re.findall(r"^(?!static)[a-z]\w.*?\b(rc_\w+)\([^;{]*\)\n\{", text, flags=re.MULTILINE))


def test_every_source_is_built() -> None:
    assert sorted(SOURCES) == sorted(path.name for path in SOURCE_DIR.glob("*.c"))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_includes_only_what_stands_below_it(name: str) -> None:
    own = Path(name).stem
    below = MODULES[: MODULES.index(own) + 1]
    headers = set().union(*(reached(header) for header in included(SOURCE_DIR / name)))
    assert not headers & set(MODULES) - set(below)


@pytest.mark.parametrize("name", SOURCES)
def test_a_header_declares_what_the_source_of_its_name_defines(name: str) -> None:
    own = SOURCE_DIR / Path(name).with_suffix(".h")
    text = (SOURCE_DIR / "reader.h").read_text(encoding="utf-8")
    text += own.read_text(encoding="utf-8") if own.exists() else ""
    found = defined((SOURCE_DIR / name).read_text(encoding="utf-8"))
    assert found or name.startswith("fast_")
    for function in found:
        assert f"{function}(" in text


@pytest.mark.parametrize("name", [name for name in HEADERS if name != "reader.h"])
def test_nothing_else_is_declared_there(name: str) -> None:
    text = (SOURCE_DIR / name).read_text(encoding="utf-8")
    declared = set(re.findall(r"^[a-z][\w *]*?\b(rc_\w+)\([^;{]*\);", text, flags=re.MULTILINE))
    own = SOURCE_DIR / Path(name).with_suffix(".c")
    assert declared <= (defined(own.read_text(encoding="utf-8")) if own.exists() else set())


def test_the_lists_in_two_headers_have_every_other_file() -> None:
    headers = ((SOURCE_DIR / name).read_text(encoding="utf-8") for name in ("reader.h", "tokenizer.h"))
    listed = "".join(header.partition("#ifndef")[0] for header in headers)
    names = set(re.findall(r"[a-z0-9_]+", listed))
    files = {path.stem for path in SOURCE_DIR.iterdir()} - {"reader"}
    assert {name for name in files if not name.startswith(("vectors_", "fast_body"))} <= names


# a script writes them
TABLES = ("unicode_tables.h",)


@pytest.mark.parametrize("name", [name for name in (*SOURCES, *HEADERS) if name not in TABLES])
def test_files_and_functions_are_short(name: str) -> None:
    lines = (SOURCE_DIR / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert all(len(line) <= 120 for line in lines)
    begin = 0
    for number, line in enumerate(lines):
        begin = number if line == "{" else begin
        assert line != "}" or number - begin <= MOST_LINES_OF_A_FUNCTION
