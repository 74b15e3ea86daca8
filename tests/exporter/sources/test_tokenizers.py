"""The exporter finds a source's tokenizer in one order of formats, and refuses a link out of its directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import checkpoints, hf_directories

import exporter
from exporter.errors import CheckpointError
from exporter.sources.tokenizers import checked_tokenizer_in, tokenizer_in


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], None),
        (["vocab.json"], None),
        (["merges.txt"], None),
        (["vocab.json", "merges.txt"], "vocab.json"),
        (["vocab.json", "merges.txt", "tokenizer.model"], "tokenizer.model"),
        (["vocab.json", "merges.txt", "tokenizer.model", "tokenizer.json"], "tokenizer.json"),
    ],
)
def test_one_order_of_formats(tmp_path: Path, there: list[str], found: str | None) -> None:
    for name in there:
        (tmp_path / name).write_bytes(b"")
    expected = None if found is None else tmp_path / found
    assert tokenizer_in(tmp_path) == expected
    assert checked_tokenizer_in(tmp_path, follow_links=False) == expected


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"])
def test_a_link_out_is_refused(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for file in {"vocab.json", "merges.txt", name}:
        (tmp_path / file).write_bytes(b"")
        (directory / file).symlink_to(tmp_path / file)
    with pytest.raises(CheckpointError, match="expected a file in this directory, found a link out of it"):
        checked_tokenizer_in(directory, follow_links=False)
    assert checked_tokenizer_in(directory, follow_links=True) == tokenizer_in(directory)
    # another format is preferred, and the links are not read
    (directory / "tokenizer.json").unlink(missing_ok=True)
    (directory / "tokenizer.json").write_bytes(b"{}")
    assert checked_tokenizer_in(directory, follow_links=False) == directory / "tokenizer.json"


def test_checkpoints_have_the_tokenizer_beside_them(tmp_path: Path) -> None:
    hf_directories.save(tmp_path / "model")
    single = checkpoints.save(tmp_path, checkpoints.state_dict())
    for source, directory in ((tmp_path / "model", tmp_path / "model"), (single, tmp_path)):
        for name in ("merges.txt", "vocab.json"):
            (directory / name).write_bytes(b"")
        assert exporter.open_checkpoint(source).tokenizer == directory / "vocab.json"
        with pytest.raises(exporter.WriteError, match=r"merges.txt: .*, found its tokenizer"):
            exporter.open_checkpoint(source).refuse_as_target(directory / "merges.txt")
