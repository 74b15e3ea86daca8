"""Sources of every kind, and files of theirs that change unseen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from helpers import huggingface, meta
from helpers.checkpoints import save, state_dict
from helpers.models import arrays, toy_file


def write_unseen(path: Path, content: bytes) -> None:
    """In place, by somebody who puts the times back that can be put back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _llama2c(directory: Path) -> Path:
    return save(directory, state_dict())


def _meta(directory: Path) -> Path:
    return meta.write(directory / "meta", arrays(meta.MODEL), meta.MODEL, 2)


def _huggingface(directory: Path) -> Path:
    return huggingface.save(directory / "hf", huggingface.model())


def _v3(directory: Path) -> Path:
    return toy_file(directory, "v3")


# How each is made, and the name of a file of it, where it is a directory.
SOURCES: list[tuple[Callable[[Path], Path], str]] = [
    (_llama2c, ""),
    (_meta, "params.json"),
    (_meta, "consolidated.01.pth"),
    (_huggingface, "config.json"),
    (_huggingface, "model.safetensors"),
    (_v3, ""),
]
