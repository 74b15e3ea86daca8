"""A Hugging Face directory's tensors by the names that transformers gives them, as float32, in its order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint import Dtype, Weights
from exporter.config import ModelConfig
from exporter.errors import CheckpointError, WeightError
from exporter.sources.buffers import check_buffer, is_buffer, note_of
from exporter.sources.huggingface_files import WeightFiles
from exporter.sources.huggingface_text_part import TextPart
from exporter.sources.names import Renamed, without_prefixes

EMBEDDING, CLASSIFIER = "model.embed_tokens.weight", "lm_head.weight"

# What two tensors are compared by at a time.
_CHUNK_BYTES = 2**25


class Tensors:
    """Named without what wrappers put before them, and without buffers, which are checked."""

    def __init__(
        self, path: Path, files: WeightFiles, config: ModelConfig, expected: list[str], text: TextPart | None = None
    ) -> None:
        """text: of whose tensors a multimodal directory has the names."""
        buffers = [name for name in files.tensors if is_buffer(name)]
        for name in buffers:
            _check_buffer(files, name, config)
        left = [name for name in files.tensors if name not in set(buffers)]
        if text is None:
            renamed = without_prefixes(str(path), left, expected, "model.")
        else:
            renamed = Renamed(text.named(str(path), left), ())
        self.path, self.notes = path, (*renamed.notes, *note_of(buffers))
        self._files, self._stored = files, renamed.stored
        self.shapes = {name: files.tensors[stored].shape for name, stored in renamed.stored.items()}

    def where(self, name: str) -> str:
        """The file, and the name in it."""
        stored = self._stored[name]
        return f"{self._files.tensors[stored].file}: {stored}"

    def dtype(self, name: str) -> Dtype:
        return self._files.dtype(self._stored[name])

    def _stored_dtype(self, name: str) -> str:
        return self._files.tensors[self._stored[name]].dtype

    def float32(self, name: str, rows: slice | None = None) -> Weights:
        """Exactly the same numbers. Raises WeightError for a float64 that float32 cannot hold."""
        return _to_float32(self.where(name), self.read(name, rows), 0 if rows is None else rows.start)

    def expert(self, name: str, expert: int, rows: slice) -> Weights:
        """The same of some rows of one expert, in a tensor that has all experts of a layer."""
        before = expert * self.shapes[name][1]
        found = self._files.rows(self._stored[name], range(before + rows.start, before + rows.stop))
        return _to_float32(self.where(name), found, rows.start, (expert,))

    def read(self, name: str, rows: slice | None = None) -> NDArray[Any]:
        return self._files.read(self._stored[name], rows)

    def take_out_tied_classifier(self) -> None:
        """Where a tied classifier is stored all the same it is the embedding, bit by bit. Raises CheckpointError."""
        shape = self.shapes.pop(CLASSIFIER, None)
        if shape is None or EMBEDDING not in self.shapes:
            return
        where = (
            f"{self.path}: {CLASSIFIER}: expected {EMBEDDING} again, as config.json's tie_word_embeddings = true says"
        )
        # the stored types: float64 counts as fp32 elsewhere
        kind, found = (
            (shape, self._stored_dtype(CLASSIFIER)),
            (self.shapes[EMBEDDING], self._stored_dtype(EMBEDDING)),
        )
        if kind != found or len(shape) != 2:
            raise CheckpointError(f"{where}, {found[0]} in {found[1]}, found {kind[0]} in {kind[1]}")
        row = first_different_row(self._files, self._stored[EMBEDDING], self._stored[CLASSIFIER])
        if row is not None:
            raise CheckpointError(f"{where}, found other bits, in row {row} first")


def first_different_row(files: WeightFiles, one: str, other: str) -> int | None:
    """Return the first row in which two stored matrices of one shape and type differ; None where none does."""
    rows, width = files.tensors[one].shape
    step = max(1, _CHUNK_BYTES // (8 * max(1, width)))
    for start in range(0, rows, step):
        some = slice(start, min(start + step, rows))
        a, b = files.read(one, some), files.read(other, some)
        if a.tobytes() != b.tobytes():
            size = a.shape[1] * a.itemsize
            x, y = (np.ascontiguousarray(each).view(np.uint8).reshape(len(each), size) for each in (a, b))
            return start + int(np.flatnonzero((x != y).any(axis=1))[0])
    return None


def _check_buffer(files: WeightFiles, name: str, config: ModelConfig) -> None:
    stored = files.tensors[name]
    check_buffer(f"{stored.file}: {name}", name, stored.shape, lambda rows: files.rows(name, rows), config)


def _to_float32(where: str, array: NDArray[Any], first: int, before: tuple[int, ...] = ()) -> Weights:
    with np.errstate(over="ignore", invalid="ignore"):  # told below, and a NaN where it is written
        weights: Weights = np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype == np.float64:
        differs = (weights != array) & ~np.isnan(array)
        if differs.any():
            row, *rest = (int(i) for i in np.argwhere(differs)[0])
            found, index = float(array[(row, *rest)]), (*before, first + row, *rest)
            raise WeightError(f"{where}{list(index)}: expected a value that float32 can hold, found {found!r}", index)
    return weights
