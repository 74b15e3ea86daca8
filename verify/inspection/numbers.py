"""The numbers of a tensor in a .bin file, some rows at a time, so that memory does not grow with the tensor."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.errors import CannotJudgeError

Rows = slice | NDArray[np.int64]

# Numbers that are widened at a time.
BLOCK = 1 << 20


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of the first axis that hold at most BLOCK numbers, or one row if it has more."""
    step = max(1, BLOCK // max(1, int(np.prod(shape[1:], dtype=np.int64))))
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


def parts_of(model: reader_c.Model, name: str) -> dict[str, NDArray[Any]]:
    """Return the stored arrays of a tensor by part, as views of the file."""
    return {span.part: model.view(span) for span in model.spans(name)}


def widened(parts: dict[str, NDArray[Any]], rows: Rows) -> NDArray[np.float32]:
    """Return rows of a tensor as float32: what an engine computes with."""
    if "int8" in parts:
        steps, scale = parts["int8"][rows], parts["scale"][rows]
        groups = steps.reshape(*scale.shape, -1).astype(np.float32)
        numbers: NDArray[np.float32] = (groups * scale[..., None]).reshape(steps.shape)
        return numbers
    ((part, stored),) = parts.items()
    if part == "bf16":
        # its bits: a bfloat16 is the upper half of a float32
        wide: NDArray[np.float32] = (stored[rows].astype(np.uint32) << np.uint32(16)).view(np.float32)
        return wide
    return stored[rows].astype(np.float32)


def known_name(path: object, name: str, names: tuple[str, ...]) -> str:
    """Return name if it is one of names. Raises CannotJudgeError with the nearest ones."""
    if name in names:
        return name
    within = [known for known in names if name and name in known][:3]
    near = within or get_close_matches(name, names, n=3, cutoff=0.5) or list(names[:3])
    raise CannotJudgeError(
        f"{path}: tensor: expected a name in the file, found {name!r:.80}: the nearest are {', '.join(near)}"
    )
