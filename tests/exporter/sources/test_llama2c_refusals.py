"""llama2.c checkpoints that are damaged, hostile or something else: each is refused in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import meta
from helpers.checkpoints import ARGS, save, state_dict
from helpers.models import arrays

import exporter
from verify.demo import CHECKPOINT


class _Payload:
    """Unpickling this creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "hostile.pt"
    torch.save({"model": state_dict(), "model_args": ARGS, "extra": _Payload(mark)}, path)
    with pytest.raises(exporter.CheckpointError, match="refused: expected tensors and plain data alone") as caught:
        exporter.open_checkpoint(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.pt"
    path.write_bytes(content)
    with pytest.raises(exporter.CheckpointError) as caught:
        exporter.open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "source: expected a checkpoint, found an empty file: copy or download it again"),
        (b"PK\x03\x04", "expected a checkpoint in torch.save's zip format, found one whose end is missing"),
        (b"odd" * 99, "source: expected a checkpoint, found a text file: give the model's checkpoint or directory"),
        (
            b"\1odd" * 99,
            "source: expected a checkpoint, found a file of an unknown kind: give a llama2.c .pt or .bin, or the "
            "model's directory",
        ),
    ],
)
def test_what_it_seems_to_be_is_said(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "odd.pt"
    path.write_bytes(content)
    with pytest.raises(exporter.CheckpointError, match=f"odd.pt: {re.escape(found)}$"):
        exporter.open_checkpoint(path)


@pytest.mark.parametrize("link", ["itself", "symlink", "hard link"])
def test_a_source_is_never_overwritten_by_its_own_export(tmp_path: Path, link: str) -> None:
    source = save(tmp_path, state_dict())
    before = source.read_bytes()
    out = source if link == "itself" else tmp_path / "out.bin"
    if link == "symlink":
        out.symlink_to(source)
    elif link == "hard link":
        out.hardlink_to(source)
    with pytest.raises(exporter.WriteError, match="found the source itself"):
        exporter.export(exporter.open_checkpoint(source), out, format="v2", overwrite=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize("kind", ["llama2c", "meta", "huggingface", "v3"])
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json", "tokenizer_config.json", "link.bin"])
def test_a_source_s_tokenizer_is_never_overwritten_by_its_export(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "meta":
        source = meta.write(tmp_path, arrays(meta.MODEL), meta.MODEL, 1)
    else:
        source = save(tmp_path, state_dict())
    if kind in ("huggingface", "v3"):
        made = tmp_path / ("model" if kind == "huggingface" else "v3.bin")
        exporter.export(exporter.open_checkpoint(source), made, format="hf" if kind == "huggingface" else kind)
        source = made
    tokenizer = (source if source.is_dir() else tmp_path) / name
    if name == "link.bin":
        tokenizer.symlink_to("tokenizer.model")
        tokenizer.with_name("tokenizer.model").write_text("kept")
    else:
        tokenizer.write_text("kept")
    with pytest.raises(exporter.WriteError, match="found its tokenizer"):
        exporter.export(exporter.open_checkpoint(source), tokenizer, format="v3", overwrite=True)
    assert tokenizer.read_text() == "kept"


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict())
    content = path.read_bytes()
    for size in range(0, len(content), 997):
        path.write_bytes(content[:size])
        with pytest.raises(exporter.CheckpointError):
            exporter.open_checkpoint(path)


@pytest.mark.parametrize("saved", [[1, 2], {"model": {}}, {"model_args": {}}, {"model": [], "model_args": {}}])
def test_another_structure_is_refused(tmp_path: Path, saved: object) -> None:
    path = tmp_path / "odd.pt"
    torch.save(saved, path)
    with pytest.raises(exporter.CheckpointError, match="expected a dict"):
        exporter.open_checkpoint(path)


def test_a_file_that_changes_under_the_reader_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict())
    opened = exporter.open_checkpoint(path)
    save(tmp_path, state_dict(seed=1))
    with pytest.raises(exporter.CheckpointError, match="changed while it was being read"):
        opened.load("norm.weight")


@pytest.mark.parametrize("name", ["absent.pt", "directory"])
def test_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(
        exporter.CheckpointError,
        match=r"a llama2\.c \.pt or .*, found nothing|config\.json or params\.json in it, found neither: give",
    ):
        exporter.open_checkpoint(tmp_path / name)


def test_more_layers_than_tensors_are_refused_before_they_are_counted_out(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict(), {**ARGS, "n_layers": 2**31 - 1})
    with pytest.raises(exporter.CheckpointError, match="n_layers: expected at most as many as there are tensors"):
        exporter.open_checkpoint(path)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(exporter.CheckpointError, match="--source-kind: expected one of llama2c"):
        exporter.open_checkpoint(CHECKPOINT, kind="gguf")
