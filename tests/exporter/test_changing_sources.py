"""A source that is written to while it is exported is refused, even with its mtime put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.changing import SOURCES, write_unseen

import exporter


@pytest.mark.parametrize(("made", "name"), [source for source in SOURCES if not source[1].endswith(".json")])
def test_weights_that_were_written_to_are_not_read(tmp_path: Path, made: Callable[[Path], Path], name: str) -> None:
    source = made(tmp_path)
    changed = source / name
    opened = exporter.open_checkpoint(source)
    write_unseen(changed, changed.read_bytes())
    with pytest.raises(exporter.CheckpointError, match=rf"{changed.name}: changed while it was being read"):
        opened.load("tok_embeddings.weight")
