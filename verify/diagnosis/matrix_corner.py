"""Read the first rows of a matrix in the file and in the source, with how much rounding moves each number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from verify.diagnosis.bit_comparison import BitComparison
from verify.diagnosis.found_numbers import numbers_beside
from verify.diagnosis.mistakes import Mistake

# Rows and columns of a matrix that are looked at.
SQUARE = 256
STORAGE_UNIT = {"fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8}

Seen = tuple[Mistake, str]


# Rows of a matrix, float64: the file's numbers, the source's, and how much rounding moves each.
Block = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Corner:
    """Holds the first rows of a matrix, float64: the file's numbers, the source's, and how much rounding moves each.

    blocks: reads all rows, as corners of the same kind. is_embedding: whether its columns are outputs, too.
    int8: of a quantized matrix. group_size: 0 if it is not quantized.
    """

    found: torch.Tensor
    expected: torch.Tensor
    bound: torch.Tensor
    storage: str
    blocks: Callable[[], Iterator[Block]]
    is_embedding: bool
    int8: torch.Tensor | None = None
    group_size: int = 0


def corner_of(compared: BitComparison, name: str) -> Corner:
    """Read the corner of a matrix."""
    how = compared.model.storage(name)
    blocks = partial(_blocks, compared, name)
    found, expected, bound = (part[:SQUARE] for part in next(blocks()))
    of_embedding = name == "tok_embeddings.weight"
    if how.storage != "q8_0":
        return Corner(found, expected, bound, how.storage, blocks, of_embedding)
    int8 = torch.from_numpy(compared.found(name)["int8"][: len(found)].astype("i8"))
    return Corner(found, expected, bound, how.storage, blocks, of_embedding, int8, how.group_size)


def _blocks(compared: BitComparison, name: str) -> Iterator[Block]:
    how = compared.model.storage(name)
    for _, found, expected in numbers_beside(compared, name):
        if how.storage != "q8_0":
            bound = STORAGE_UNIT[how.storage] * torch.maximum(found.abs(), expected.abs())
        else:
            # each number is off by up to half a step, which is a 254th of its group's largest
            step = found.unflatten(1, (-1, how.group_size)).abs().amax(dim=2) / 127
            bound = step.repeat_interleave(how.group_size, dim=1) / 2
        yield found, expected, bound
