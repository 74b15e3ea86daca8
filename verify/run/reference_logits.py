"""The references for a window: logits of the source and of the file, and how far float32 rounding may move them.

For a Hugging Face source, transformers computes the source's logits. The verifier's own reference must agree with
it, because the file's logits are compared with that reference; the two were written independently.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.checks.execution import Execution, WorstLogit
from verify.checks.result import CheckResult, exact
from verify.oracle import llama
from verify.oracle.expected import numbers, quantized
from verify.oracle.logit_sigma import logit_sigma
from verify.oracle.transformers import TransformersOracle
from verify.oracle.weight_cache import WeightCache
from verify.run.memory import AT_EASE, Plan
from verify.sources import Source
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import wanted

Floats = NDArray[np.float64]


def versions_of(source: Source) -> dict[str, str]:
    """Return {name: version} of the libraries that judge this source besides the verifier's own code."""
    return {"transformers": str(wanted("transformers").__version__)} if source.kind == "huggingface" else {}


def same_numbers(source: Source, model: reader_c.Model) -> bool:
    """Whether the file stores every tensor of the source losslessly."""
    stored = (model.storage(name) for name in source.hyperparameters.shapes())
    return all(how.storage in ("fp32", source.dtype(how.name)) for how in stored)


class References:
    """The references for one source and one file. Of the file, only the storage of each tensor is used.

    Raises CannotJudgeError if transformers is required and cannot be imported.
    """

    def __init__(self, source: Source, model: reader_c.Model, memory: Plan = AT_EASE) -> None:
        self._hyper, self._model, self._source = source.hyperparameters, model, source
        self.source_weights = WeightCache(source.tensor, memory.cache)
        self.file_weights = WeightCache(self._file_tensor, memory.cache)
        self._streamed, self.walks = memory.streamed, memory.walks
        self._hub_source = source if isinstance(source, HuggingFaceSource) else None
        self._transformers: TransformersOracle | None = None  # loaded with the first tokens
        self.versions = versions_of(source)

    @cached_property
    def same_numbers(self) -> bool:
        return same_numbers(self._source, self._model)

    def _file_tensor(self, name: str) -> torch.Tensor:
        """Derive a tensor from the source, stored as the file stores it. The file's own numbers are not used."""
        return self._as_stored(name, self._source.tensor(name))

    def _as_stored(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        how = self._model.storage(name)
        return numbers(tensor, how.storage, how.group_size)

    def pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the source's tensor and the file's, from one read."""
        source = self.source_weights(name)
        if self.file_weights.holds(name):
            return source, self.file_weights(name)
        return source, self._as_stored(name, source)

    def of_source(self, tokens: torch.Tensor) -> Floats:
        """Return the source's logits (windows, length, vocab_size), from transformers for a Hugging Face source."""
        if self._hub_source is None:
            return llama.logits(self._hyper, self.source_weights, tokens).numpy()
        if self._transformers is None:
            self._transformers = TransformersOracle(self._hub_source, streamed=self._streamed)
        return self._transformers.logits(tokens).numpy().astype(np.float64)

    def done_with_source(self) -> None:
        """Free the memory that only of_source() needs."""
        self._transformers = None

    def of_file(
        self, tokens: torch.Tensor, windows: list[int], of_source: Floats
    ) -> tuple[Floats, NDArray[np.float32], WorstLogit]:
        """Return two arrays like of_source, and the worst disagreement of the two references.

        The arrays: float64 logits on the weights that the file should hold, and the standard deviation that float32
        rounding gives to each. The disagreement: between the verifier's own reference and of_source, if that comes
        from transformers. windows: the numbers of the windows in tokens.
        """
        agreement = Execution()
        # the same weights for both: noise on other weights than the clean pass had would hide any mistake
        weights = self.source_weights if self.same_numbers else self.file_weights
        sigma = logit_sigma(self._hyper, weights, tokens, seed=windows[0]).numpy()
        by_plain = of_source
        if self._hub_source is not None:
            by_plain = llama.logits(self._hyper, self.source_weights, tokens).numpy()
            for row, number in enumerate(windows):
                # quantizing changes weights, and so what rounding does to logits, by a fraction of a percent
                agreement.add(number, by_plain[row], sigma[row], of_source[row].astype(np.float32))
        by_file = by_plain if self.same_numbers else llama.logits(self._hyper, weights, tokens).numpy()
        return by_file, sigma, agreement.found

    def quantized(self, name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return (int8, scale) of a matrix that the file stores as Q8_0, derived from the source; None for others."""
        how = self._model.storage(name)
        return quantized(self._source.tensor(name), how.group_size) if how.storage == "q8_0" else None


def disagreement(agreement: Execution) -> CheckResult | None:
    """Return a failed check `execution` if the two references do not compute the same model."""
    judged = agreement.verdict("")
    if judged.status != "fail":
        return None
    detail = (
        "the verifier's own reference (expected) and transformers (found) do not compute the same model from "
        f"this source: they differ by {judged.observed:.2f} standard deviations of float32 rounding"
    )
    # no policy may excuse this
    return exact("execution", 1, detail, judged.where)
