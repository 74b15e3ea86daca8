"""A directory with one good model in every format, and with files of every kind that people give by mistake."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import torch

from helpers.checkpoints import save, state_dict
from helpers.command_line import run
from helpers.models import BIN_FORMATS
from verify.demo import CHECKPOINT


def wrong_inputs(directory: Path) -> Path:
    """Fill the directory; its model is checkpoint.pt, and v2.bin is a healthy file of it."""
    source = save(directory, state_dict())
    for name in BIN_FORMATS:
        assert run("export", source, directory / f"{name}.bin", "--format", name, "--group-size", 8).returncode == 0
    assert run("export", source, directory / "hf", "--format", "hf").returncode == 0
    _parts_of_models(directory)
    _other_files(directory)
    whole = (directory / "v2.bin").read_bytes()
    (directory / "cut.bin").write_bytes(whole[:-5])
    (directory / "long.bin").write_bytes(whole + b"xx")
    return directory


def _parts_of_models(directory: Path) -> None:
    shutil.copy(directory / "hf" / "model.safetensors", directory / "alone.safetensors")
    torch.save(state_dict(), directory / "consolidated.00.pth")
    torch.save(state_dict(), directory / "weights.pth")
    torch.save({"model.embed_tokens.weight": torch.ones(2, 2)}, directory / "hf_weights.pth")
    torch.save({"a": torch.ones(2)}, directory / "old.pt", _use_new_zipfile_serialization=False)
    meta = directory / "meta"
    meta.mkdir()
    torch.save(state_dict(), meta / "consolidated.00.pth")
    (meta / "params.json").write_text("{}")


def _other_files(directory: Path) -> None:
    (directory / "model.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(100))
    (directory / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch" + bytes(100))
    (directory / "text.txt").write_text("Hello, this is a text.\n" * 10)
    (directory / "latin.txt").write_bytes("café".encode("latin1") * 50)
    (directory / "empty.pt").write_bytes(b"")
    (directory / "archive.tar.gz").write_bytes(b"\x1f\x8b\x08\0" + bytes(50))
    (directory / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(60))
    (directory / "odd").write_bytes(b"\1\2\3\4" * 20)
    (directory / "nothing_in_it").mkdir()
    with zipfile.ZipFile(directory / "archive.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    np.save(directory / "array.npy", np.ones(3))
    np.save(directory / "floats.npy", np.ones((2, 4)))
    np.save(directory / "large_ids.npy", np.full((2, 4), 999))
    shutil.copy(CHECKPOINT.with_name("tokenizer.model"), directory / "tokenizer.model")
    (directory / "bad.toml").write_text("x = = 1")
    (directory / "empty.toml").write_text("")
    (directory / "other.json").write_text("{}")
