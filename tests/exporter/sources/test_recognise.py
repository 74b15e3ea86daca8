"""Which kind of source a path is, and what people are told of those that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import checkpoints, hf_directories, meta
from helpers.models import arrays

import exporter
from exporter.sources.recognise import is_hub_id

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def refused(path: Path | str, message: str, **options: Any) -> None:
    with pytest.raises(exporter.CheckpointError, match=message) as caught:
        exporter.open_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "model.gguf",
            b"GGUF" + bytes(99),
            "source: expected a checkpoint, found a GGUF file: give the Hugging Face model that it was made from$",
        ),
        ("model.bin", b"GGUF" + bytes(99), "found a GGUF file"),
        ("model.onnx", b"anything", "found an ONNX file: give the PyTorch model that it was exported from$"),
        ("model", b"\x08\x08\x12\x07pytorch", "found an ONNX file"),
        ("model.safetensors", b"", "found a safetensors file: give the directory that has its config.json$"),
        ("model-00001-of-00002.safetensors", b"", "found a safetensors file: give the directory that has its config"),
        ("weights.safetensors", b"", "found a safetensors file: give the directory that has its config.json$"),
        ("weights", b"\x08\0\0\0\0\0\0\0{}", "found a safetensors file: give the directory"),
        (
            "consolidated.00.pth",
            b"PK\x03\x04",
            "a weight file of Meta's: give the directory that has its params.json$",
        ),
        (
            "pytorch_model.bin",
            b"PK\x03\x04",
            "a weight file of a Hugging Face model: give the directory that has its",
        ),
        (
            "adapter_model.safetensors",
            b"",
            "found an adapter: give the base model as SOURCE and its directory as --adapter, or merge it$",
        ),
        (
            "checkpoint.pt",
            POINTER,
            "expected the file itself, found a Git LFS pointer to it: run",
        ),
        ("stories.bin", POINTER, "found a Git LFS pointer to it: run git lfs pull in its directory$"),
    ],
)
def test_a_file_that_is_no_source_is_told_what_it_is(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


def test_an_adapter_alone_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(
        tmp_path,
        "found an adapter: give the base model as SOURCE and this directory as --adapter, or merge it$",
    )


def test_a_directory_of_both_kinds_is_the_whole_one(tmp_path: Path) -> None:
    hf_directories.save(tmp_path)
    said = meta.params(meta.MODEL)
    (tmp_path / "params.json").write_text(json.dumps(said))
    assert exporter.open_checkpoint(tmp_path).kind == "huggingface"
    for number, state in enumerate(meta.shards(arrays(meta.MODEL), 2)):
        torch.save(state, tmp_path / f"consolidated.{number:02}.pth")
    refused(
        tmp_path,
        "found both, each with its weights: give --source-kind meta or --source-kind huggingface$",
    )
    assert exporter.open_checkpoint(tmp_path, "meta").kind == "meta"
    assert exporter.open_checkpoint(tmp_path, "huggingface").kind == "huggingface"
    (tmp_path / "model.safetensors").unlink()
    assert exporter.open_checkpoint(tmp_path).kind == "meta"
    for path in tmp_path.glob("consolidated*"):
        path.unlink()
    refused(tmp_path, "expected one of model.safetensors, .* in it, found none$")


@pytest.mark.parametrize("name", ["./org/name", "absent.pt", "org/model.pt", "a/b/c", "runs/modle", "../x/y"])
def test_what_cannot_be_a_hub_id_is_told_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exporter.sources.hub.download", lambda _: pytest.fail("asked the hub"))
    (tmp_path / "runs" / "model").mkdir(parents=True)
    with pytest.raises(exporter.CheckpointError) as caught:
        exporter.open_checkpoint(name)
    assert str(caught.value).startswith(f"{name}: source: expected a llama2.c .pt or .bin, ")
    near = "did you mean runs/model?" if name == "runs/modle" else "check the path"
    assert str(caught.value).endswith(f"found nothing there: {near}")


def test_a_user_who_asks_for_hugging_face_means_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    assert not is_hub_id("org/name", asked_for=False)
    assert is_hub_id("org/name", asked_for=True)
    assert is_hub_id("other/name", asked_for=False)
    assert not is_hub_id("./other/name", asked_for=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rope_theta": 1e4}, r"--rope-theta \(rope_theta= in Python\): expected a source of kind meta, found "),
        ({"rope_scaling_factor": 8}, "--rope-scaling-factor .*: expected a source of kind meta, found "),
        ({"adapter": "x"}, "--adapter .*: expected a source of kind huggingface, found "),
    ],
)
def test_an_option_of_another_kind_of_source_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    hf_directories.save(tmp_path / "hf")
    sources = {
        "llama2c": checkpoints.save(tmp_path, checkpoints.state_dict()),
        "meta": meta.write(tmp_path / "meta", arrays(meta.MODEL), meta.MODEL),
        "huggingface": tmp_path / "hf",
    }
    for kind, source in sources.items():
        if f"kind {kind}" in message:
            continue
        with pytest.raises(exporter.CheckpointError, match=message + kind):
            exporter.open_checkpoint(source, **options)
