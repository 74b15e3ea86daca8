"""Which kind of source a path is, and what to do about those that are none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from exporter.errors import CheckpointError
from exporter.sources.bin_header import is_v0
from exporter.sources.source_files import first_bytes, refuse_pointer

_EXPECTED = "a llama2.c .pt or .bin, a v3 .bin, a directory of Meta's or Hugging Face's, or a hub id (org/name)"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".pt", ".pth", ".bin", ".safetensors", ".gguf", ".onnx", ".json")
_MAGIC = b"24ka"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_ALONE = "an adapter: give the base model as SOURCE and this directory as --adapter, or merge it"
_WHOLE = {
    "huggingface": (
        *("model.safetensors", "model.safetensors.index.json"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ),
    "meta": ("consolidated*.pth",),
}
_SHARD = re.compile(r"consolidated\..*\.pth|pytorch_model(-\d+-of-\d+)?\.bin|model(-\d+-of-\d+)?\.safetensors")


def is_hub_id(name: str, *, asked_for: bool) -> bool:
    """Whether a path where nothing stands may name a repository of the hub: not where its first part is a directory
    here or its end a file's, unless the user asked for a Hugging Face source."""
    if not _HUB_ID.fullmatch(name):
        return False
    mistyped = name.lower().endswith(_FILES) or os.path.lexists(name.split("/", maxsplit=1)[0])
    return asked_for or not mistyped


def detect(path: Path, name: str) -> str:
    """The kind of source that stands at path, which the user wrote as name. Raises CheckpointError."""
    if not os.path.lexists(path):
        raise CheckpointError(f"{name}: no such file or directory here: expected {_EXPECTED}, found nothing there")
    if path.is_dir():
        return _of_directory(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: expected {_EXPECTED}, found no regular file")
    refuse_pointer(path)
    start = first_bytes(path, 28)
    if start[:4] == _MAGIC:
        return "bin" if int.from_bytes(start[4:8], "little") in (1, 2) else "v3"
    if is_v0(start, path.stat().st_size):
        return "bin"
    found = _other_file(path, start)
    if found:
        raise CheckpointError(f"{path}: expected {_EXPECTED}, found {found}")
    return "llama2c"


def _other_file(path: Path, start: bytes) -> str | None:
    """What a file is that people have, and that is no source; with what to give instead."""
    if start[:4] == b"GGUF":
        return "a GGUF file: give the model that it was made of, or what transformers makes of it with gguf_file="
    if path.suffix == ".onnx" or (start[:1] == b"\x08" and start[2:3] == b"\x12" and path.suffix != ".pt"):
        return "an ONNX file: give the PyTorch model that it was exported from"
    if path.name in ADAPTER_WEIGHTS:
        return ADAPTER_ALONE.replace("this directory", "its directory")
    if _SHARD.fullmatch(path.name):
        return f"a part of a model: give the directory, {path.parent}"
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return "a safetensors file: give the directory that has its config.json"
    return None


def _of_directory(path: Path) -> str:
    says = {kind: (path / name).is_file() for kind, name in (("huggingface", "config.json"), ("meta", "params.json"))}
    whole = {kind: says[kind] and any(any(path.glob(name)) for name in _WHOLE[kind]) for kind in says}
    if all(whole.values()):
        raise CheckpointError(
            f"{path}: expected either params.json or config.json in it, found both, each with its weights: "
            "give --source-kind meta or --source-kind huggingface"
        )
    if not any(says.values()) and (path / ADAPTER_CONFIG).is_file():
        raise CheckpointError(f"{path}: expected a model, found {ADAPTER_ALONE}")
    if not any(says.values()):
        raise CheckpointError(f"{path}: expected either params.json or config.json in it, found neither")
    if says["meta"] and (whole["meta"] or not says["huggingface"]):
        return "meta"
    return "huggingface"
