"""Files that people give as a source and that are none: what they are, and what to give instead."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

# Only the beginning is read.
SNIFFED = 64
_ZIP = b"PK\x03\x04"
_MODEL_OF_PART = (
    (re.compile(r"consolidated.*\.pth"), "a weight file of Meta's", "params.json"),
    (re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"), "a weight file of a Hugging Face model", "config.json"),
    (re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors|.+\.safetensors"), "a safetensors file", "config.json"),
)
_MAGICS = (
    (b"GGUF", "a GGUF file", "give the Hugging Face model that it was made from"),
    (b"\x93NUMPY", "an .npy file of numpy", "give the checkpoint that it was made from"),
    (b"\x89HDF\r\n", "an HDF5 file", "convert it to safetensors, or give the PyTorch checkpoint"),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and give the checkpoint in it"),
    (b"(\xb5/\xfd", "a zstd archive", "unpack it, and give the checkpoint in it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it, and give the checkpoint in it"),
    (b"\x80\x02", "a pickle of an old torch.save", "load it with torch.load and save it again with torch.save"),
    (b"\x80\x04", "a Python pickle", "save its tensors with torch.save"),
)


def known_file(path: Path, start: bytes) -> tuple[str, str] | None:
    """Return what a file is and what to give instead of it; None for what may be a llama2.c checkpoint.

    start: its first SNIFFED bytes.
    """
    for rule in (_part, _by_magic, _onnx, _archive, _text):
        if found := rule(path, start):
            return found
    if start.startswith(_ZIP):
        return None
    if path.suffix == ".bin":
        return "a file whose size is not that of a v0 file with its header", "copy or export it again"
    return "a file of an unknown kind", "give a llama2.c .pt or .bin, or the model's directory"


def _part(path: Path, start: bytes) -> tuple[str, str] | None:
    for pattern, found, beside in _MODEL_OF_PART:
        if pattern.fullmatch(path.name):
            return found, give_directory(path, beside)
    return ("a safetensors file", give_directory(path, "config.json")) if start[8:9] == b"{" else None


def _by_magic(_path: Path, start: bytes) -> tuple[str, str] | None:
    if not start:
        return "an empty file", "copy or download it again"
    if b"<unk>" in start:
        return "a tokenizer", "give the model that it belongs to"
    return next(((found, advice) for magic, found, advice in _MAGICS if start.startswith(magic)), None)


def _onnx(path: Path, start: bytes) -> tuple[str, str] | None:
    if path.suffix == ".onnx" or (start[:1] == b"\x08" and start[2:3] == b"\x12" and path.suffix != ".pt"):
        return "an ONNX file", "give the PyTorch model that it was exported from"
    return None


def give_directory(path: Path, beside: str) -> str:
    """Advise to give the directory of a file, which is a part of a model."""
    if (path.parent / beside).is_file():
        return f"give its directory, {path.parent}"
    return f"give the directory that has its {beside}"


def _archive(path: Path, start: bytes) -> tuple[str, str] | None:
    """Tell other zip archives from torch.save's, which holds a data.pkl. A damaged one is left to torch."""
    if not start.startswith(_ZIP):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if any(name.lower().endswith("data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "an .npz file of numpy", "give the checkpoint that it was made from"
    return "a zip archive without a checkpoint of torch.save", "unpack it, and give the model in it"


def _text(path: Path, start: bytes) -> tuple[str, str] | None:
    if not all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return None
    if start.lstrip()[:1] in (b"{", b"["):
        named = path.name in ("config.json", "params.json")
        return "a JSON file", f"give its directory, {path.parent}" if named else "give the model's directory"
    return "a text file", "give the model's checkpoint or directory"
