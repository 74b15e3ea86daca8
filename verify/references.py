"""What a window is judged by: the source's logits, the file's, and how far float32 may move them.

Of a Hugging Face source, transformers says what it computes. The verifier's own reference must agree with it: it is
what the file's logits are held against, and each is written by other people from another text.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.execution import Execution, noise_sigma
from verify.checks.result import CheckResult
from verify.expected import numbers
from verify.oracle import llama
from verify.oracle.transformers import TransformersOracle
from verify.sources import Source
from verify.weights import WeightCache

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Arrays (windows, length, vocab_size), float64. of_file: by the plain Llama on the file's weights; sigma: what
    float32 rounding may do to that; of_source: what the source computes, by whoever says so."""

    of_source: Floats
    of_file: Floats
    sigma: Floats


class References:
    """Of one source, and of its file as far as how it stores each tensor. Raises CannotJudgeError where
    transformers is wanted and cannot be had."""

    def __init__(self, source: Source, model: reader_c.Model) -> None:
        self._hyper, self._model, self._source = source.hyperparameters, model, source
        self.source_weights = WeightCache(source.tensor)
        self._file_weights = WeightCache(self._file_tensor)
        self._directory = source.path if source.kind == "huggingface" else None
        self._transformers: TransformersOracle | None = None  # loaded with the first tokens
        self._agreement = Execution()

    @property
    def versions(self) -> dict[str, str]:
        """Name -> version of what judged besides the verifier's own code."""
        return {"transformers": self._transformers.version} if self._transformers else {}

    @cached_property
    def _same_numbers(self) -> bool:
        """Whether the file stores every tensor without loss."""
        stored = (self._model.storage(name) for name in self._hyper.shapes())
        return all(how.storage in ("fp32", self._source.dtype(how.name)) for how in stored)

    def _file_tensor(self, name: str) -> torch.Tensor:
        """From the source, by way of how the file stores it: its own numbers are judged by `tensors`."""
        how = self._model.storage(name)
        return numbers(self._source.tensor(name), how.storage, how.group_size)

    def compute(self, tokens: torch.Tensor, windows: list[int]) -> Batch:
        """Of tokens (windows, length); windows: their numbers."""
        plain = llama.logits(self._hyper, self.source_weights, tokens)
        # one choice for both, since noise on other weights than the clean pass had would hide any mistake
        weights = self.source_weights if self._same_numbers else self._file_weights
        of_file = plain if self._same_numbers else llama.logits(self._hyper, weights, tokens)
        sigma = noise_sigma(self._hyper, weights, tokens, of_file, seed=windows[0])
        batch = Batch(plain.numpy(), of_file.numpy(), sigma.numpy())
        if self._directory is None:
            return batch
        self._transformers = self._transformers or TransformersOracle(self._directory)
        theirs = self._transformers.logits(tokens).numpy()
        for row, number in enumerate(windows):
            # Quantized weights are the source's to a fraction of a percent, and so is what rounding does to them.
            self._agreement.add(number, batch.of_source[row], batch.sigma[row], theirs[row])
        return Batch(theirs.astype(np.float64), batch.of_file, batch.sigma)

    def disagreement(self) -> CheckResult | None:
        """A failure of the check `execution`, where the two references are not the same model."""
        judged = self._agreement.verdict("")
        if judged.status != "fail":
            return None
        detail = (
            "the verifier's own reference (expected) and transformers (found) do not compute the same model from "
            f"this source: {judged.observed:.2f} standard deviations of float32 rounding apart"
        )
        return dataclasses.replace(judged, detail=detail)
