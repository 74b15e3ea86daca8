"""Recognises which kind of source a path is, by what stands in a directory or how a file begins."""

from __future__ import annotations

import zipfile
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.sources.bin_layout import is_llama2c_bin
from verify.sources.directory import expect_no_pointer
from verify.sources.shards import WHOLE_NAMES

KINDS = ("llama2c", "meta", "huggingface", "v3", "bin")

_V3_MAGIC = b"24ka"


# Files, by whose names nobody calls a model on the hub.
_FILES = (".pt", ".pth", ".bin", ".safetensors", ".gguf", ".onnx", ".json")


def is_hub_id(text: str) -> bool:
    """Whether a name has the form owner/name, is not a file's and nothing of that name is on the disk. A path that
    begins with ./ is never an id."""
    plain = text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith(("/", *_FILES))
    return plain and not Path(text).exists()


def recognised(path: Path) -> str:
    """Return the kind of a file or a directory. Raises CannotJudgeError for what is no source, with what to give
    instead where that is known."""
    if path.is_dir():
        return _kind_of_directory(path)
    if not path.is_file():
        raise CannotJudgeError(f"{path}: expected a checkpoint, a directory of one, or a hub id, found no such file")
    expect_no_pointer(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
        size = path.stat().st_size
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if is_llama2c_bin(beginning, size):
        return "bin"
    if beginning.startswith(_V3_MAGIC):
        return "v3"
    _expect_no_other_format(path, beginning, size)
    return "llama2c"


def _kind_of_directory(path: Path) -> str:
    """Meta's where params.json has its shards beside it, Hugging Face's by config.json."""
    params, config = (path / "params.json").is_file(), (path / "config.json").is_file()
    if params and config:
        of_meta = any(path.glob("consolidated*.pth"))
        of_hub = any((path / name).is_file() for name in WHOLE_NAMES)
        if of_meta and of_hub:
            raise CannotJudgeError(
                f"{path}: expected one model, found two, of params.json and of config.json: give --source-kind meta "
                "or --source-kind huggingface"
            )
        return "meta" if of_meta else "huggingface"
    if params or config:
        return "meta" if params else "huggingface"
    if (path / "adapter_config.json").is_file():
        # refused there, with what to do
        return "huggingface"
    raise CannotJudgeError(f"{path}: expected one of params.json and config.json, found 0")


def _expect_no_other_format(path: Path, beginning: bytes, size: int) -> None:
    """Refuse files that belong to a directory, and formats of other programs."""
    if beginning.startswith(b"GGUF"):
        raise _refusal(path, "a GGUF file", "give the Hugging Face directory that it was made from")
    if path.suffix == ".safetensors" or (_begins_like_safetensors(beginning, size)):
        raise _refusal(path, "one safetensors file", "give the directory, with its config.json")
    # protobuf: a small ir_version, then the name of what wrote it
    if path.suffix == ".onnx" or (
        beginning[:1] == b"\x08" and beginning[2:3] == b"\x12" and b"\0" not in beginning[:4]
    ):
        raise _refusal(path, "an ONNX file", "give the checkpoint that it was made from")
    if path.suffix == ".pth" and path.name.startswith("consolidated"):
        raise _refusal(path, "one of Meta's shards", "give the directory, with its params.json")
    if path.name.startswith("pytorch_model") and path.suffix == ".bin" and zipfile.is_zipfile(path):
        raise _refusal(path, "the weights of a Hugging Face directory", "give the directory, with its config.json")


def _begins_like_safetensors(beginning: bytes, size: int) -> bool:
    length = int.from_bytes(beginning[:8], "little")
    return len(beginning) > 9 and beginning[8:10] == b'{"' and 8 + length <= size


def _refusal(path: Path, found: str, advice: str) -> CannotJudgeError:
    return CannotJudgeError(f"{path}: expected a checkpoint or a directory of one, found {found}: {advice}")
