"""The same source and options are the same bytes, whatever surrounds the process."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import huggingface
from helpers.checkpoints import save, state_dict
from helpers.surroundings import digests, twenty

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("options", [("--format", "v3", "--storage", "q8_0"), ("--format", "hf")], ids=lambda o: o[1])
def test_an_export_depends_on_nothing_but_source_and_options(tmp_path: Path, options: tuple[str, ...]) -> None:
    source, room = tmp_path / "sharded", tmp_path / "room"
    huggingface.save(source, huggingface.model(), max_shard_size="20KB")
    assert len(list(source.glob("*.safetensors"))) > 2
    room.mkdir()
    found = {str(surroundings): digest for surroundings, digest in digests(source, room, twenty()[:3], *options)}
    assert len(found) == 3
    assert len(set(found.values())) == 1, found


def test_the_count_can_tell_two_files_apart(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    found = set()
    for seed in (0, 1):
        source = save(tmp_path, state_dict(seed))
        found |= {digest for _, digest in digests(source, room, twenty()[:1], "--format", "v2")}
    assert len(found) == 2
