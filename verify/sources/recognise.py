"""Recognises which kind of source a path is, by what stands in a directory or how a file begins."""

from __future__ import annotations

from pathlib import Path

from verify.errors import CannotJudgeError
from verify.sources.ajc1 import is_ajc1
from verify.sources.bin_layout import is_llama2c_bin
from verify.sources.directory import expect_no_pointer
from verify.sources.known_files import BEGINNING, other_file
from verify.sources.refusal import refusal
from verify.sources.shards import WHOLE_NAMES

KINDS = ("llama2c", "meta", "huggingface", "v3", "bin")

_V3_MAGIC = b"24ka"
_GIVEN_FOR = {
    "huggingface": "a directory with config.json",
    "meta": "a directory with params.json and consolidated.00.pth",
    "llama2c": "a checkpoint of torch.save (.pt)",
    "v3": "a .bin file of version 3",
    "bin": "a .bin file of llama2.c (v0, v1 or v2) or qwen3.c (ajc1)",
}


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
        expected = "a checkpoint, a directory of one, or a hub id"
        raise refusal(path, "source", expected, "nothing there", "check the path")
    expect_no_pointer(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
        size = path.stat().st_size
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if is_ajc1(beginning) or is_llama2c_bin(beginning, size):
        return "bin"
    if beginning.startswith(_V3_MAGIC):
        return "v3"
    if known := other_file(path, beginning, size):
        found, advice = known
        raise refusal(path, "source", "a checkpoint", found, advice)
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
    raise refusal(
        path, "source", "config.json or params.json in it", "neither", "give the directory that has the model"
    )


def expect_kind(path: Path, kind: str) -> None:
    """Raise CannotJudgeError if path cannot be of the kind that the user named, by what is seen at once."""
    if path.is_dir():
        fits, found = kind in ("meta", "huggingface"), "a directory"
    elif path.is_file():
        fits, found = kind not in ("meta", "huggingface"), "a file"
        with path.open("rb") as file:
            magic, version = file.read(4), int.from_bytes(file.read(4), "little")
        if fits and is_ajc1(magic):
            fits, found = kind == "bin", "a .bin file of qwen3.c"
        if fits and magic == _V3_MAGIC and version in (1, 2, 3):
            fits, found = kind == ("bin" if version in (1, 2) else "v3"), f"a .bin file of version {version}"
    else:
        return
    if not fits:
        expected = f"{_GIVEN_FOR[kind]} for --source-kind {kind}"
        raise refusal(path, "source", expected, found, "omit --source-kind to detect the kind")
