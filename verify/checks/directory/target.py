"""A Hugging Face directory that is judged: what it says, and its tensors in llama2.c's names and order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.checks.directory.containers import StoredTensor
from verify.checks.directory.file_set import FileSet
from verify.checks.directory.names import fused_rows, stored_name, stored_rows
from verify.checks.directory.switches import NEIGHBOURS
from verify.checks.directory.weights import read_weights
from verify.errors import CannotJudgeError
from verify.sources import Hyperparameters
from verify.system.optional_imports import one_line, quiet_transformers
from verify.system.reading import read_object

_MOST_BYTES = 10 * 1000 * 1000
# transformers makes a list of as many before it can be asked.
_MOST = {"num_hidden_layers": 100_000, "num_labels": 10_000}


class Directory:
    """A directory with a config.json.

    settings: that file's content. config: what transformers makes of it. weights: the tensors by Hugging Face's
    names. After of_model() it also answers what the checks on tensors ask of a .bin file: names, storage, spans, view
    and tensor, in llama2.c's terms. Raises CannotJudgeError where transformers cannot read a config.json.
    """

    format: Literal["hf"] = "hf"
    # for the search of a .bin file for bytes that stand elsewhere
    content = memoryview(b"")
    file_size = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = FileSet(path)
        if "config.json" not in self.files.digests:
            raise CannotJudgeError(f"{path}: expected a Hugging Face directory with a config.json, found none in it")
        self.settings = read_object(path / "config.json", _MOST_BYTES)
        for key, most in _MOST.items():
            said = self.settings.get(key)
            if isinstance(said, int) and said > most:
                raise CannotJudgeError(f"{path / 'config.json'}: {key}: expected at most {most}, found {said}")
        self.config = transformers_config(path)
        # transformers reads it with the model
        if "generation_config.json" in self.files.digests:
            read_object(path / "generation_config.json", _MOST_BYTES)
        self.weights = read_weights(path, set(self.files.digests))
        self._hyper: Hyperparameters | None = None
        self._held: tuple[str, NDArray[Any]] | None = None

    def of_model(self, hyper: Hyperparameters) -> None:
        """Take the tensors for those of this model, all of which must be there in its shapes."""
        self._hyper = hyper

    @property
    def is_complete(self) -> bool:
        """Whether every tensor of the model is there."""
        return all(self._name(name) in self.weights.tensors for name in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._hyper.shapes()) if self._hyper else ()

    def stored(self, name: str) -> StoredTensor:
        """Return where a tensor is. A tied classifier is the embedding."""
        tied = self._hyper is not None and self._hyper.tied and name == "output.weight"
        found = self.weights.tensors[self._name("tok_embeddings.weight" if tied else name)]
        rows = fused_rows(name, self._hyper) if self._hyper and self.is_fused else None
        return found if rows is None else found.part(*rows)

    @property
    def is_fused(self) -> bool:
        """Whether queries, keys and values are one matrix, and gate and up another."""
        return bool(self.config.model_type == "phi3")

    @property
    def is_mixtral(self) -> bool:
        """Whether experts have Mixtral's names."""
        return bool(self.config.model_type == "mixtral")

    def _name(self, name: str) -> str:
        """Return Hugging Face's name for a tensor of llama2.c's."""
        place = self._hyper.norm_place if self._hyper else "before"
        return stored_name(name, place, fused=self.is_fused, mixtral=self.is_mixtral)

    def storage(self, name: str) -> reader_c.Storage:
        stored = self.stored(name)
        return reader_c.Storage(name, stored.shape, stored.storage, 0, "")

    def spans(self, name: str) -> tuple[reader_c.Span, ...]:
        """Return the one part of a tensor; it is named by its type."""
        stored = self.stored(name)
        return (reader_c.Span(name, stored.storage, stored.shape, stored.offset, stored.nbytes),)

    def view(self, span: reader_c.Span) -> NDArray[Any]:
        """Return a tensor's bits, rows in llama2.c's order: float32, float16, or bfloat16 as uint16."""
        if self._held is None or self._held[0] != span.name:
            self._held = None  # freed before the next one is read
            array = self.stored(span.name).read()
            rows = self._stored_rows(span.name)
            self._held = span.name, array if rows is None else array[rows]
        return self._held[1]

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a tensor's numbers."""
        (span,) = self.spans(name)
        bits = self.view(span)
        if span.part == "bf16":
            return (bits.astype(np.uint32) << 16).view(np.float32)
        return bits.astype(np.float32)

    def place(self, name: str, index: list[int]) -> str:
        """Return where an element stands in the directory, by Hugging Face's name and order."""
        stored = self.stored(name)
        rows = self._stored_rows(name)
        here = index if rows is None or not index else [int(rows[index[0]]), *index[1:]]
        here = [here[0] + stored.first, *here[1:]] if stored.first and here else here
        return f"{stored.file.name}: {stored.name} {here}"

    def _stored_rows(self, name: str) -> NDArray[np.intp] | None:
        if self._hyper is None or self.config.model_type in NEIGHBOURS:
            return None
        return stored_rows(name, self._hyper)

    @property
    def headline(self) -> str:
        """Describe the directory in one line."""
        return f"{self.path}: hf, {self.files.bytes:,} bytes, {len(self.weights.tensors)} tensors"


def transformers_config(path: Path) -> Any:
    """Return transformers' own config object of a directory. Raises CannotJudgeError."""
    with quiet_transformers() as transformers:
        try:
            return transformers.AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        except Exception as error:  # its checks have no common class
            raise CannotJudgeError(
                f"{path / 'config.json'}: expected a config that transformers accepts, found: {one_line(error)}"
            ) from error
