"""A source that is written to while it is exported is refused, even with its mtime put back."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.changing import SOURCES, write_unseen
from helpers.models import checkpoint

import exporter
import reader_c


@pytest.mark.parametrize(("made", "name"), [source for source in SOURCES if not source[1].endswith(".json")])
def test_weights_that_were_written_to_are_not_read(tmp_path: Path, made: Callable[[Path], Path], name: str) -> None:
    source = made(tmp_path)
    changed = source / name
    opened = exporter.open_checkpoint(source)
    write_unseen(changed, changed.read_bytes())
    with pytest.raises(exporter.CheckpointError, match=rf"{changed.name}: changed while it was being read"):
        opened.load("tok_embeddings.weight")


@pytest.mark.parametrize(
    ("made", "name", "format_name"),
    [(*source, format_name) for source in SOURCES for format_name in ("v3", "hf")] + [(*SOURCES[0], "v1-fp32")],
)
def test_a_source_that_is_written_to_after_its_last_read_is_not_exported(
    tmp_path: Path, made: Callable[[Path], Path], name: str, format_name: str
) -> None:
    """v3 would tell the digest of a file that nobody read."""
    source, out = made(tmp_path), tmp_path / "out"
    changed = source / name

    def change(done: int, total: int) -> None:
        if done == total:
            write_unseen(changed, changed.read_bytes())

    opened = exporter.open_checkpoint(source)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(exporter.CheckpointError, match=rf"{changed.name}: changed while it was being read"):
        exporter.export(opened, out, format=format_name, progress=change)
    assert sorted(tmp_path.iterdir()) == before
    exporter.export(exporter.open_checkpoint(source), out, format=format_name)


READERS = {
    "params.json": "exporter.sources.meta.read_params",
    "config.json": "exporter.sources.huggingface.read_description",
}


@pytest.mark.parametrize(("made", "name"), [source for source in SOURCES if source[1] in READERS])
def test_v3_tells_the_digest_of_the_settings_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], Path], name: str
) -> None:
    source, reader = made(tmp_path), READERS[name]
    original = pkgutil.resolve_name(reader)

    def interrupted(path: Path, *more: Any) -> Any:
        found = original(path, *more)
        write_unseen(path, path.read_bytes())
        return found

    monkeypatch.setattr(reader, interrupted)
    with pytest.raises(exporter.CheckpointError, match=rf"{name}: changed while it was being read"):
        exporter.export(exporter.open_checkpoint(source), tmp_path / "out.bin", format="v3")
    assert not (tmp_path / "out.bin").exists()


def test_a_v3_source_is_read_a_tensor_at_a_time_and_noticed_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "source.bin"
    exporter.export(checkpoint(), path, format="v3", storage="bf16")
    opened = exporter.open_checkpoint(path)
    content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(exporter.CheckpointError, match="changed while it was being read"):
        opened.load("norm.weight")
    damaged = bytearray(content)
    with reader_c.open(path) as model:
        damaged[model.spans("output.weight")[0].offset] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(exporter.CheckpointError, match=r"output\.weight: digest"):
        exporter.open_checkpoint(path).load("output.weight")
    from verify.errors import CannotJudgeError
    from verify.sources import open_source

    with pytest.raises(CannotJudgeError, match=r"output\.weight: digest"):
        open_source(path)
    reader_c.open(path).close()
