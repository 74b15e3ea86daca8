"""Files of torch.save: mapped safely, and their tensors checked, compared by bits and widened."""

from __future__ import annotations

import os
import pickle
import pickletools
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from exporter.checkpoint import Dtype, Weights
from exporter.errors import CheckpointError, WeightError

# float64 is read as float32, and refused where that is another number.
DTYPES: dict[torch.dtype, Dtype] = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float64: "fp32",
}
# By a tuple in a pickle; the state of Python's random numbers has 628.
_MOST_HELD = 10_000


def load_mapped(path: Path) -> object:
    """What was saved, its tensors mapped and not read. Tensors and plain data only: no pickle that runs code.
    Raises CheckpointError."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{path}: expected a name in UTF-8, as PyTorch opens no other, found bytes") from error
    _check_archive(path)
    try:
        return torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: expected tensors and plain data alone, found {_first_line(error)}: save it again "
            "where it was made, as tensors in plain dicts and lists (vars(args) where args is an object)"
        ) from error
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, IndexError) as error:
        found = "one that is cut or damaged" if zipfile.is_zipfile(path) else _without_directory(path)
        raise CheckpointError(f"{path}: expected a checkpoint in torch.save's zip format, found {found}") from error


def _check_archive(path: Path) -> None:
    """Refuse what torch would take otherwise than it seems. What is no archive at all is left to torch, which maps no
    other kind of file."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive)
    except CheckpointError:
        raise
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        LookupError,
    ) as error:
        if not zipfile.is_zipfile(path):
            return
        raise CheckpointError(f"{path}: expected torch.save's zip archive, found a damaged one: {error}") from error


def _check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    """None of them is read before all are known to stand in the file as they are."""

    def refuse(expected: str, found: object) -> CheckpointError:
        return CheckpointError(f"{path}: expected torch.save's zip archive, {expected}, found {found!a}")

    entries = archive.infolist()
    names = Counter(entry.filename for entry in entries)
    for entry in entries:
        if names[entry.filename] > 1:
            raise refuse("each entry once", entry.filename)
        # torch maps a record as it stands in the file, whatever its entry says of compression
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise refuse("nothing compressed", entry.filename)
        if entry.filename.endswith("/constants.pkl"):
            raise refuse("no TorchScript", entry.filename)
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise refuse("entries that are within it", "larger ones")
    for entry in entries:
        # torch finds its records whatever their case
        if entry.filename.lower().endswith("/data.pkl") and not _is_followed_soon(archive.read(entry)):
            raise refuse(f"tuples of at most {_MOST_HELD} values", "one that holds others over and over")
    orders = {archive.read(e) for e in entries if e.filename.endswith("/byteorder") and e.file_size < 16}
    if orders - {b"little"}:
        raise refuse("little-endian", orders.pop())


@lru_cache(maxsize=16)  # a file is mapped anew for each of its tensors
def _is_followed_soon(pickled: bytes) -> bool:
    """Whether every tuple holds few values, those of tuples within it counted wherever they stand again: to look one
    up takes a dict as many steps, however few bytes they take."""
    held: list[int] = []  # by each value on the pickle's stack
    marks: list[int] = []
    memo: dict[object, int] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        if "GET" in opcode.name:
            held.append(memo[argument])
        elif "PUT" in opcode.name or opcode.name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = held[-1]
        else:
            at = len(held) - len(opcode.stack_before)
            if pickletools.markobject in opcode.stack_before:
                at = marks.pop() - opcode.stack_before.index(pickletools.markobject)
            taken = sum(held[at:])
            del held[at:]
            for made in opcode.stack_after:
                if made is pickletools.markobject:
                    marks.append(len(held))
                else:
                    held.append(1 + taken if made is pickletools.pytuple else 1)
            if taken > _MOST_HELD and pickletools.pytuple in opcode.stack_after:
                return False
    return True


def checked_tensor(where: str, value: object) -> torch.Tensor:
    """value, if it is a tensor of floating-point numbers that are all there. Raises CheckpointError."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        raise CheckpointError(f"{where}: expected a dense tensor, found {type(value).__name__}")
    if value.dtype not in DTYPES:
        raise CheckpointError(f"{where}: expected a floating-point tensor, found {value.dtype}")
    # a tensor of the meta device has a shape and no numbers, a negated view other bits than its numbers
    if value.device.type != "cpu" or value.is_neg():
        found = "a negated view" if value.is_neg() else f"one on {value.device.type}"
        raise CheckpointError(f"{where}: expected a tensor with its numbers, found {found}")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise CheckpointError(
            f"{where}: expected {value.numel() * value.element_size()} bytes behind it, "
            f"found {value.untyped_storage().nbytes()}"
        )
    return value


def buffer_rows(where: str, value: object) -> tuple[tuple[int, ...], Callable[[range], NDArray[Any]]]:
    """A buffer's shape, and what reads rows of it, seen as a matrix of its last axis. Raises CheckpointError."""
    complex_parts = (
        isinstance(value, torch.Tensor)
        and value.dtype in (torch.complex64, torch.complex128)
        and value.layout == torch.strided
        and not value.is_conj()
    )
    checked_tensor(where, torch.view_as_real(value) if complex_parts else value)  # type: ignore[arg-type]
    assert isinstance(value, torch.Tensor)
    flat = value.detach().reshape(-1, value.shape[-1] if value.dim() else 1)

    def rows(wanted: range) -> NDArray[Any]:
        part = flat[wanted.start : wanted.stop].contiguous()
        if part.dtype == torch.bfloat16:  # which torch does not hand to numpy as it is
            return part.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        found: NDArray[Any] = part.numpy()
        return found

    return tuple(value.shape), rows


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal as bytes: 0.0 and -0.0 differ, and a NaN equals itself."""
    if a.dtype != b.dtype:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.detach().view(integer), b.detach().view(integer))


def to_float32(where: str, tensor: torch.Tensor, start: tuple[int, ...] = ()) -> Weights:
    """Exactly the same numbers as float32: a view of the map where they are float32 already.

    start: where in a larger tensor this one begins, for what is said of an element.
    Raises WeightError for a float64 that float32 cannot hold.
    """
    tensor = tensor.detach().contiguous()
    weights: Weights = tensor.to(torch.float32).numpy()
    if tensor.dtype == torch.float64:
        wide = tensor.numpy()
        differs = (weights != wide) & ~np.isnan(wide)
        if differs.any():
            found = tuple(int(i) for i in np.argwhere(differs)[0])
            index = tuple(i + s for i, s in zip(found, start or (0,) * len(found), strict=True))
            raise WeightError(
                f"{where}{list(index)}: expected a value that float32 can hold, found {float(wide[found])!r}", index
            )
    return weights


def _without_directory(path: Path) -> str:
    """What a file that lacks a zip archive's directory, which is at its end, seems to be."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        return "one whose end is missing"
    return "a file of another kind" if start else "an empty file"


def _first_line(error: BaseException) -> str:
    """torch explains itself over many lines; the reason is the part that names what it met."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (telling or lines or [type(error).__name__])[0][:200]
