"""Reads files of torch.save without running anything that is pickled in them."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch

from verify.errors import CannotJudgeError
from verify.system.digests import sha256_of_file

_DTYPE_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16"}

# What weights_only refuses is most often an object of the training code, such as a config class.
_SAVE_AGAIN = "load it where you trust it, and torch.save only dicts, lists, numbers, strings and tensors"

# Python's own random numbers have a state of some 600.
_LONGEST_TUPLE = 10_000


def sha256(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise CannotJudgeError(
            f"{path}: expected a readable checkpoint, found: {(error.strerror or str(error)).lower()}"
        ) from error


def mapped(path: Path) -> Any:
    """What was saved there: plain data, and tensors that lie in the file. Raises whatever torch.load does."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a name that is not UTF-8, and PyTorch opens no other") from error
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
            if name.casefold().endswith("/data.pkl"):
                _refuse_echoes(archive.read(name))


@cache
def _shape_of(opcode: pickletools.OpcodeInfo) -> tuple[int, bool, list[str]]:
    """How many values it takes off the stack below a mark, whether it takes those above one, and what it leaves."""
    before, after = ([each.name for each in side] for side in (opcode.stack_before, opcode.stack_after))
    return before.index("mark") if "mark" in before else len(before), "mark" in before, after


@lru_cache(maxsize=16)
def _refuse_echoes(pickled: bytes) -> None:
    """Raise ValueError for a tuple that, written out, would be endless: hashing it follows all that it repeats."""
    stacks: list[list[int]] = [[]]  # lengths written out; a new stack at each mark
    kept: dict[int, int] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            stacks[-1].append(kept[int(argument or 0)])
            continue
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            kept[len(kept) if opcode.name == "MEMOIZE" else int(argument or 0)] = stacks[-1][-1]
            continue
        count, to_mark, after = _shape_of(opcode)
        length = 1 + (sum(stacks.pop()) if to_mark else 0)
        length += sum(stacks[-1].pop() for _ in range(count))
        for left in after:
            if left == "mark":
                stacks.append([])
            else:
                stacks[-1].append(length if left == "tuple" else 1)
        # the tuple itself is one of them
        if "tuple" in after and length - 1 > _LONGEST_TUPLE:
            raise ValueError(f"a tuple of more than {_LONGEST_TUPLE} values, written out")


@contextmanager
def refusing(path: Path, expected: str) -> Iterator[None]:
    """Whatever goes wrong within becomes a CannotJudgeError of one line. torch.load's failures have no common
    class."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise CannotJudgeError(
            f"{path}: expected plain tensors, found a pickle that asks for more: {_SAVE_AGAIN}"
        ) from error
    except CannotJudgeError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CannotJudgeError(f"{path}: expected {expected}, found: {reason[:200]}") from error


def shown(value: object) -> str:
    """Describe what a pickle holds in place of a number or a name. Of values with parts only the type is shown:
    they may be the same ones over and over, or nested without end."""
    if value is None or isinstance(value, (str, int, float)):
        return str(value)[:200]
    return f"a {type(value).__name__}"


def is_plain(value: object) -> bool:
    """Whether it is a dense tensor of floating-point numbers. Those of the meta device have no numbers, and a negated
    view has other numbers than its bits say."""
    if not isinstance(value, torch.Tensor) or value.device.type != "cpu" or value.is_neg():
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
