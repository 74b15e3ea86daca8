"""The types of options: paths, choices and sizes, whose errors say what was expected and what to type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click


class _Path(click.Path):
    """A path that is not empty: an unset shell variable would otherwise mean the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("expected a path, found none: is a variable of the shell unset?", param, ctx)
        return super().convert(value, param, ctx)


PATH = _Path(path_type=Path)
# as it was typed: "./a/b" is a path, and "a/b" may be a hub id
SOURCE_PATH = _Path(path_type=str)


class _Target(_Path):
    """A path that is written to. Nothing is written to standard output: a file is complete or absent."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            self.fail("expected a path, found -: give a file's name; for a file called -, give ./-", param, ctx)
        return super().convert(value, param, ctx)


TARGET = _Target(path_type=Path)


def one_of(words: Sequence[str]) -> str:
    """Write a choice: "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ": did you mean X?" for the known word that is nearest to a mistyped one; "" if none is near."""
    found = get_close_matches(word, known, n=1, cutoff=0.6)
    return f": did you mean {found[0]}?" if found else ""


class Choice(click.Choice[str]):
    """One of some words. An error names them, and the nearest."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        words = [str(word) for word in self.choices]
        if value not in words:
            expected = f"expected {one_of(words)}, found {str(value)!r:.80}"
            self.fail(f"{expected}{nearest(str(value), words)}", param, ctx)
        return str(value)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002
        return f"expected {one_of([str(word) for word in self.choices])}"


if TYPE_CHECKING:
    _Parameter = click.ParamType[int]
else:
    # generic only in click's annotations, and only in its newer versions
    _Parameter = click.ParamType

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class _Size(_Parameter):
    """The bytes of a size such as 4GiB, 500MB, 1.5 GB, or plain bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", str(value))
        known = found is not None and found[2].upper() in _UNITS
        size = int(float(found[1]) * _UNITS[found[2].upper()]) if found is not None and known else 0
        if not size:
            again = f": write {value}iB" if re.fullmatch(r"[0-9.]+[KMGkmg]", str(value)) else ""
            self.fail(f"expected a size as 4GiB or 500MB, found {str(value)!r:.80}{again}", param, ctx)
        return size


SIZE = _Size()


def read_storage(_context: click.Context, _: click.Parameter, given: tuple[str, ...]) -> str | dict[str, str]:
    """Return one storage for all tensors, or patterns with theirs; a storage without a pattern matches all names."""
    if not given:
        return "source"
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    patterns: dict[str, str] = {}
    for text in given:
        pattern, _sign, storage = text.rpartition("=") if "=" in text else ("*", "=", text)
        # repeated at the end, because the order counts
        patterns.pop(pattern, None)
        patterns[pattern] = storage
    return patterns


def read_group_size(_context: click.Context, option: click.Parameter, given: int) -> int:
    """Return the group size. A group of one weight would take 5 bytes, where float32 takes 4."""
    if given < 2:
        raise click.BadParameter(
            f"expected 2 or more, found {given}: a weight with a scale of its own takes 5 bytes, and 4 as float32: "
            f"give --group-size 64, or --format v1-fp32",
            param=option,
        )
    return given
