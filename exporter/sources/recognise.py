"""Which kind of source a path is, and what to do about those that are none."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from exporter.errors import CheckpointError
from exporter.sources.ajc1_header import is_ajc1
from exporter.sources.bin_header import is_v0
from exporter.sources.known_files import SNIFFED, known_file
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
# What the user gives for each kind.
_KINDS = {
    "huggingface": "a directory with config.json",
    "meta": "a directory with params.json and consolidated.00.pth",
    "llama2c": "a checkpoint of torch.save (.pt)",
    "v3": "a .bin file of version 3",
    "bin": "a .bin file of llama2.c (v0, v1 or v2) or qwen3.c (ajc1)",
}
_CONFIGS = ("config.json", "params.json")
_DIRECTORIES = ("huggingface", "meta")
_ADAPTER_FILE = ADAPTER_ALONE.replace("this directory", "its directory")


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
        raise CheckpointError(f"{name}: source: expected {_EXPECTED}, found nothing there{_similar(path)}")
    if path.is_dir():
        return _of_directory(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: expected {_EXPECTED}, found no regular file")
    refuse_pointer(path)
    start = first_bytes(path, SNIFFED)
    if start[:4] == _MAGIC:
        return "bin" if int.from_bytes(start[4:8], "little") in (1, 2) else "v3"
    if is_ajc1(start) or is_v0(start, path.stat().st_size):
        return "bin"
    if path.name in ADAPTER_WEIGHTS:
        raise CheckpointError(f"{path}: source: expected a model, found {_ADAPTER_FILE}")
    if known := known_file(path, start):
        found, advice = known
        raise CheckpointError(f"{path}: source: expected a checkpoint, found {found}: {advice}")
    return "llama2c"


def refuse_other_kind(path: Path, kind: str) -> None:
    """Raise CheckpointError where path is plainly not of the kind that the user named."""
    if not os.path.lexists(path):
        return
    if path.is_dir() != (kind in _DIRECTORIES):
        found = "a directory" if path.is_dir() else "a file"
    elif path.is_dir():
        return
    elif is_ajc1(start := first_bytes(path, SNIFFED)):
        if kind == "bin":
            return
        found = "a .bin file of qwen3.c"
    elif start[:4] != _MAGIC:
        return
    else:
        version = int.from_bytes(start[4:8], "little")
        if version not in (1, 2, 3) or kind == ("v3" if version == 3 else "bin"):
            return
        found = f"a .bin file of version {version}"
    raise CheckpointError(
        f"{path}: source: expected {_KINDS[kind]} for --source-kind {kind}, found {found}: "
        "omit --source-kind to detect the kind"
    )


def _similar(path: Path) -> str:
    """Name what stands beside a path that does not exist and is called nearly so."""
    try:
        there = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ": check the path"
    near = get_close_matches(path.name, there, n=1)
    return f": did you mean {path.parent / near[0]}?" if near else ": check the path"


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
        inside = sorted(place.parent.name for name in _CONFIGS for place in path.glob(f"*/{name}"))
        advice = f"give {path / inside[0]}" if inside else "give the directory that has the model"
        raise CheckpointError(f"{path}: source: expected config.json or params.json in it, found neither: {advice}")
    if says["meta"] and (whole["meta"] or not says["huggingface"]):
        return "meta"
    return "huggingface"
