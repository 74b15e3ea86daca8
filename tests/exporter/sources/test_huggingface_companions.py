"""What an export to a directory carries along from a Hugging Face source, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import hf_directories
from helpers.models import checkpoint

import exporter
from exporter import companions

CARRIED = {
    "tokenizer.json": b'{"\xc3\xa4": 1}\r\n',
    "tokenizer.model": b"\0\1\xff",
    "tokenizer_config.json": b"{}",
    "special_tokens_map.json": b"{ }",
    "added_tokens.json": b"{  }",
    "vocab.json": b'{"a": 0}',
    "merges.txt": b"a b\n",
    "tekken.json": b"[]",
    "qwen.tiktoken": b"IQ== 0\n",
    "chat_template.jinja": b"{{ messages }}",
    "chat_template.json": b"{}",
    "generation_config.json": b'{"eos_token_id": [1, 2]}',
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    hf_directories.save(directory)
    for name, content in CARRIED.items():
        (directory / name).write_bytes(content)
    (directory / "README.md").write_text("not carried")
    return directory


def token_ids(directory: Path) -> dict[str, object]:
    found = json.loads((directory / "config.json").read_text())
    return {name: found[name] for name in companions.TOKEN_IDS if name in found}


def test_every_byte_arrives_and_counts(tmp_path: Path, source: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "out"
    opened = exporter.open_checkpoint(source)
    summary = exporter.export(opened, out, format="hf", progress=lambda done, total: seen.append((done, total)))
    assert {name: (out / name).read_bytes() for name in CARRIED} == CARRIED
    assert {path.name for path in out.iterdir()} == {*CARRIED, "config.json", "model.safetensors"}
    assert summary.bytes == sum(path.stat().st_size for path in out.iterdir())
    assert seen[-1] == (summary.bytes, summary.bytes)


def test_a_source_of_another_kind_has_none(tmp_path: Path) -> None:
    exporter.export(checkpoint(), tmp_path / "out", format="hf")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", "model.safetensors"}
    assert token_ids(tmp_path / "out") == dict.fromkeys(companions.TOKEN_IDS)


@pytest.mark.parametrize("said", [{"bos_token_id": 3, "eos_token_id": [4, 5], "pad_token_id": None}, {}])
def test_token_ids_are_said_as_the_source_says_them(tmp_path: Path, source: Path, said: dict[str, object]) -> None:
    path = source / "config.json"
    rest = {key: value for key, value in json.loads(path.read_text()).items() if key not in companions.TOKEN_IDS}
    path.write_text(json.dumps({**rest, **said}))
    exporter.export(exporter.open_checkpoint(source), tmp_path / "out", format="hf")
    assert token_ids(tmp_path / "out") == said


def test_a_link_out_of_the_source_is_not_published(tmp_path: Path, source: Path) -> None:
    private = tmp_path / "private"
    private.write_text("a secret")
    (source / "merges.txt").unlink()
    (source / "merges.txt").symlink_to(private)
    opened = exporter.open_checkpoint(source)
    with pytest.raises(
        exporter.CheckpointError, match=r"merges\.txt: expected a file in this directory, found a link"
    ):
        exporter.export(opened, tmp_path / "out", format="hf")
    assert not (tmp_path / "out").exists()
    exporter.export(opened, tmp_path / "out.bin", format="v3")  # which has no use for it
    trusted = exporter.open_checkpoint(source, follow_links=True)
    exporter.export(trusted, tmp_path / "out", format="hf")
    assert (tmp_path / "out" / "merges.txt").read_text() == "a secret"


def test_a_companion_that_changes_meanwhile_is_refused(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Digest:
        """The file is written to while it is copied."""

        def update(self, _block: bytes) -> None:
            (source / "vocab.json").write_bytes(b"other")

    monkeypatch.setattr(companions.hashlib, "sha256", Digest)
    found = exporter.open_checkpoint(source).companions().files
    with pytest.raises(exporter.CheckpointError, match=r"vocab\.json: changed while it was being read"):
        companions.copy_companion(source / "vocab.json", found[source / "vocab.json"], tmp_path / "copy")
