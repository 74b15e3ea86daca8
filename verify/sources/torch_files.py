"""What the verifier's readers of torch.save's files share."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError

_DTYPE_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}


def sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CannotJudgeError(
            f"{path}: expected a readable checkpoint, found: {(error.strerror or str(error)).lower()}"
        ) from error


def mapped(path: Path) -> Any:
    """What was saved there: plain data, and tensors that lie in the file. Raises whatever torch.load does."""
    if zipfile.is_zipfile(path):
        _refuse_tricks(path)
    return torch.load(str(path), map_location="cpu", mmap=True, weights_only=True)


def _refuse_tricks(path: Path) -> None:
    """Raise ValueError for an archive that torch would read another way than other programs do."""
    with zipfile.ZipFile(path) as archive:
        sizes: dict[str, int] = {}
        for entry in archive.infolist():
            if entry.filename in sizes:
                raise ValueError(f"{entry.filename!a} twice")
            if (entry.compress_type, entry.compress_size) != (zipfile.ZIP_STORED, entry.file_size):
                raise ValueError(f"{entry.filename!a} compressed, which torch would map as it is")
            sizes[entry.filename] = entry.file_size
        if sum(sizes.values()) > path.stat().st_size:
            raise ValueError("entries that are larger than the file")
        for name in sizes:
            if name.endswith("/constants.pkl"):
                raise ValueError("TorchScript, which is a program")
            if name.endswith("/byteorder") and archive.read(name) != b"little":
                raise ValueError("numbers that are not little-endian")


@contextmanager
def refusing(path: Path, expected: str) -> Iterator[None]:
    """Whatever goes wrong within becomes a CannotJudgeError of one line. torch.load's failures have no common
    class."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise CannotJudgeError(f"{path}: expected plain tensors, found a pickle that asks for more") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CannotJudgeError(f"{path}: expected {expected}, found: {reason[:200]}") from error


def shown(value: object) -> str:
    """What a pickle holds in place of a number or a name, in few words. Of all that has parts only its type is told:
    they may be the same ones over and over, or nested without end."""
    if value is None or isinstance(value, (str, int, float)):
        return str(value)[:200]
    return f"a {type(value).__name__}"


def is_plain(value: object) -> bool:
    """Whether it is a dense tensor of floating-point numbers. Those of the meta device have no numbers."""
    if not isinstance(value, torch.Tensor) or value.device.type != "cpu":
        return False
    return value.layout == torch.strided and value.is_floating_point()


def identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Same type, shape and bytes."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool((a.contiguous().view(torch.uint8) == b.contiguous().view(torch.uint8)).all())


def dtype_name(dtype: torch.dtype) -> str:
    """As Source.dtype has it."""
    return _DTYPE_NAMES.get(dtype, "fp32")
