"""Reads a v3 file as a source: a conversion from it to another format is judged against it.

The C reader reads it here, where the exporter has a parser of its own: two roads here too.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import torch

import reader_c
from verify.errors import CannotJudgeError
from verify.sources.source import Hyperparameters, LayerKind, RopeScaling, Source
from verify.sources.tokenizer_place import tokenizer_beside
from verify.sources.unchanged_files import UnchangedFiles


class V3Source(Source):
    """One file, mapped for as long as this lives; every digest in it is checked first."""

    kind = "v3"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = UnchangedFiles(path)
        try:
            self._model = reader_c.open(path)
            if self._model.format != "v3":
                # v0 to v2 leave half of a model to those who read them
                raise CannotJudgeError(f"{path}: expected a source that says everything, found {self._model.format}")
            self._model.check_digests()
        except reader_c.ReaderError as error:
            raise CannotJudgeError(f"{error}") from error
        self.files = {path.name: hashlib.sha256(self._model.content).hexdigest()}
        self.expect_unchanged()
        said = dataclasses.asdict(self._model.config)
        del said["group_size"]
        scaling = RopeScaling(**said.pop("rope_scaling"))
        layers = tuple(LayerKind(**layer) for layer in said.pop("layers"))
        tied = said.pop("shared_classifier")
        self.hyperparameters = Hyperparameters(tied=tied, rope_scaling=scaling, layers=layers, **said)

    def expect_unchanged(self) -> None:
        self._opened.expect_unchanged()

    @property
    def tokenizer_path(self) -> Path:
        return tokenizer_beside(self.path.parent)

    @property
    def tokenizer_block(self) -> bytes:
        return self._model.tokenizer_block

    def dtype(self, name: str) -> str:
        storage = self._model.storage(name).storage
        return "fp32" if storage == "q8_0" else storage

    def tensor(self, name: str) -> torch.Tensor:
        wanted = "tok_embeddings.weight" if name == "output.weight" and self.hyperparameters.tied else name
        stored = self._model.tensor(wanted)
        numbers = stored.dequantize() if isinstance(stored, reader_c.QuantizedTensor) else stored
        # a copy: torch must not be given memory that cannot be written to
        return torch.from_numpy(np.array(numbers, np.float32))
