"""Keep a copy of a model file of which parts hold zeros, on which an engine can be tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import reader_c
from verify.oracle import llama
from verify.sources import Hyperparameters
from verify.sources.row_order import heads_in, is_halved, paired

# The rows of each tensor that hold zeros; of a vector, its elements.
Zeros = Mapping[str, Sequence[int]]


class AlteredCopy:
    """A copy of a file: each alteration replaces the one before."""

    def __init__(self, model: reader_c.Model, hyper: Hyperparameters, path: Path) -> None:
        """Write the copy to path. Raises OSError."""
        self.path = path
        self._model, self._hyper = model, hyper
        self._altered: list[tuple[int, int]] = []
        path.write_bytes(model.content)

    def alter(self, zeros: Zeros) -> None:
        """Write zeros, and the file's own bytes wherever the alteration before had some. Raises OSError.

        In Q8_0 the integers alone become zeros: their scales may be anything.
        """
        places = [place for name, rows in zeros.items() for place in self._places(name, rows)]
        content = self._model.content
        with self.path.open("r+b") as file:
            for at, count in self._altered:
                file.seek(at)
                file.write(content[at : at + count])
            for at, count in places:
                file.seek(at)
                file.write(bytes(count))
        self._altered = places

    def _places(self, name: str, rows: Sequence[int]) -> list[tuple[int, int]]:
        """Return where rows in llama2.c's order stand in the file: offsets and how many bytes."""
        (span,) = (span for span in self._model.spans(name) if span.part != "scale")
        size = span.nbytes // span.shape[0]
        hyper = self._hyper
        if is_halved(self._model.format) and (heads := heads_in(name, hyper.n_heads, hyper.n_kv_heads)):
            rows = paired(heads, hyper.head_dim)[list(rows)].tolist()
        found: list[tuple[int, int]] = []
        for row in sorted(rows):
            at = span.offset + row * size
            if found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + size)
            else:
                found.append((at, size))
        return found


def altered(load: llama.Load, zeros: Zeros) -> llama.Load:
    """Return what loads the weights of the same alteration."""

    def loaded(name: str) -> torch.Tensor:
        tensor = load(name)
        if name not in zeros:
            return tensor
        tensor = tensor.clone()
        tensor[list(zeros[name])] = 0
        return tensor

    return loaded
