"""The provenance in a v3 file: digests of what was read, of a length that is known before they are."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import pytest
from helpers.models import arrays, checkpoint, config

import exporter
from exporter.config import tensor_shapes
from exporter.provenance import Provenance


def read_from(*files: Path, tokenizer: Path | None = None) -> exporter.Checkpoint:
    return exporter.Checkpoint(
        config(),
        tensor_shapes(config()),
        arrays(config()).__getitem__,
        where="here",
        kind="llama2c",
        files=files,
        tokenizer=tokenizer,
    )


def test_it_has_a_digest_of_every_file_and_of_the_tokenizer(tmp_path: Path) -> None:
    contents = {"a.pt": b"first", "b c.pt": b"", "tokenizer.model": b"third"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    lines = {name: f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()}
    source = read_from(tmp_path / "b c.pt", tmp_path / "a.pt", tokenizer=tmp_path / "tokenizer.model")
    with Provenance(source) as provenance:
        before, found = provenance.placeholder(), provenance.metadata()
    assert found == {
        "exporter": f"export-and-verify {metadata.version('export-and-verify')}",
        "source.kind": "llama2c",
        "source.sha256": lines["b c.pt"] + lines["a.pt"],
        "tokenizer.sha256": lines["tokenizer.model"],
    }
    assert {key: len(value) for key, value in before.items()} == {key: len(value) for key, value in found.items()}


def test_a_source_without_files_has_its_kind_alone() -> None:
    with Provenance(checkpoint()) as provenance:
        assert list(provenance.metadata()) == ["exporter", "source.kind"]


def test_a_file_that_cannot_be_read_is_refused_when_its_digest_is_requested(tmp_path: Path) -> None:
    with Provenance(read_from(tmp_path / "gone.pt")) as provenance:
        provenance.placeholder()
        with pytest.raises(exporter.CheckpointError) as caught:
            provenance.metadata()
    assert str(caught.value) == f"{tmp_path / 'gone.pt'}: no such file or directory"


def test_a_name_that_provenance_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a\nname.bin"
    exporter.export(checkpoint(), path, format="v3")
    opened = exporter.open_checkpoint(path)
    with pytest.raises(exporter.CheckpointError, match="expected a printable name") as caught:
        exporter.export(opened, tmp_path / "out.bin", format="v3")
    assert str(caught.value).endswith("found another; --no-provenance (provenance=False) omits it")
    exporter.export(opened, tmp_path / "out.bin", format="v3", provenance=False)
