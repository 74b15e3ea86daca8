"""Says what a file is that is no source, by its first bytes, and what to give instead.

Written without a look at the exporter's table, which the verifier does not share.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

# As many bytes as the table below needs.
BEGINNING = 64

_UNPACK = "unpack it, and give the model in it"
_UNKNOWN = ("a file of an unknown kind", "give a llama2.c .pt or .bin, or the model's directory")
_BY_MAGIC = {
    b"GGUF": ("a GGUF file", "give the Hugging Face model that it was made from"),
    b"\x93NUMPY": ("an .npy file of numpy", "give the checkpoint that it was made from"),
    b"\x89HDF": ("an HDF5 file", "give the PyTorch checkpoint"),
    b"\x1f\x8b": ("a gzip archive", _UNPACK),
    b"(\xb5/\xfd": ("a zstd archive", _UNPACK),
    b"\xfd7zXZ": ("an xz archive", _UNPACK),
    b"\x80\x02": ("a pickle of an old torch.save", "load it with torch.load and save it again with torch.save"),
    b"\x80\x04": ("a Python pickle", "save its tensors with torch.save"),
}


def other_file(path: Path, beginning: bytes, size: int) -> tuple[str, str] | None:
    """Return (what it is, what to do), or None if the file may be a llama2.c checkpoint. size: of the whole file."""
    if part := _part_of_a_model(path, beginning, size):
        found, belongs_to = part
        here = (path.parent / belongs_to).is_file()
        where = f"its directory, {path.parent}" if here else f"the directory that has its {belongs_to}"
        return found, f"give {where}"
    if size == 0:
        return "an empty file", "copy or download it again"
    if beginning.startswith(b"PK"):
        return _other_archive(path)
    if magic := next((magic for magic in _BY_MAGIC if beginning.startswith(magic)), None):
        return _BY_MAGIC[magic]
    if path.suffix == ".bin":
        return "a file whose size is not that of a v0 file with its header", "copy or export it again"
    return _of_text_or_protobuf(path, beginning) or _UNKNOWN


def _of_text_or_protobuf(path: Path, beginning: bytes) -> tuple[str, str] | None:
    # protobuf: a small ir_version, then the name of what wrote it
    if path.suffix == ".onnx" or (beginning[:1] == b"\x08" and beginning[2:3] == b"\x12" and 0 not in beginning[:4]):
        return "an ONNX file", "give the PyTorch model that it was exported from"
    if b"<unk>" in beginning:
        return "a tokenizer", "give the model that it belongs to"
    if not _is_text(beginning):
        return None
    if not beginning.lstrip().startswith((b"{", b"[")):
        return "a text file", "give the model's checkpoint or directory"
    of_model = path.name in ("config.json", "params.json")
    return "a JSON file", f"give its directory, {path.parent}" if of_model else "give the model's directory"


def _part_of_a_model(path: Path, beginning: bytes, size: int) -> tuple[str, str] | None:
    """Return (what it is, the file that stands beside it)."""
    if path.name.startswith("consolidated") and path.suffix == ".pth":
        return "a weight file of Meta's", "params.json"
    if path.name.startswith("pytorch_model") and path.suffix == ".bin":
        return "a weight file of a Hugging Face model", "config.json"
    length = int.from_bytes(beginning[:8], "little")
    if path.suffix == ".safetensors" or (beginning[8:10] == b'{"' and 8 + length <= size):
        return "a safetensors file", "config.json"
    return None


def _other_archive(path: Path) -> tuple[str, str] | None:
    """Return what a zip archive is that torch.save did not write; damaged ones are PyTorch's to refuse."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        members = set(zipfile.ZipFile(path).namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if any(member.lower().endswith("data.pkl") for member in members):
        return None
    arrays = bool(members) and all(member.endswith(".npy") for member in members)
    if arrays:
        return "an .npz file of numpy", "give the checkpoint that it was made from"
    return "a zip archive without a checkpoint of torch.save", _UNPACK


def _is_text(beginning: bytes) -> bool:
    return all(byte >= 0x20 or byte in (0x09, 0x0A, 0x0D) for byte in beginning)
