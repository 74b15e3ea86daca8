"""Fixtures of the tests of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.wrong_inputs import wrong_inputs


@pytest.fixture(scope="session")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of mistakes, which no test changes."""
    return wrong_inputs(tmp_path_factory.mktemp("wrong"))


@pytest.fixture
def in_wrong(wrong: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory is the one with the mistakes; nothing in it may change."""
    monkeypatch.chdir(wrong)

    def contents() -> dict[str, tuple[int, int]]:
        places = (Path(where) / name for where, dirs, files in os.walk(wrong) for name in (*dirs, *files))
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in places}

    before = contents()
    yield wrong
    assert contents() == before
