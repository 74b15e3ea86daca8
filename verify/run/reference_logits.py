"""The references for a window: logits on the source's and on the file's weights, and how far rounding may move them.

Both are computed by one program, so their difference is what the storage costs and nothing else: by transformers for
a Hugging Face source, by the verifier's own reference in float64 for others. For transformers' logits, the verifier's
own reference must agree, because rounding is modelled in it; the two were written independently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch

import reader_c
from verify.checks.execution import LIMIT_SIGMAS, Execution, WorstLogit, worst_logit
from verify.checks.logit_blocks import Logits
from verify.checks.result import CheckResult, exact
from verify.evidence import Window
from verify.oracle import llama
from verify.oracle.expected import dequantized, numbers, quantized
from verify.oracle.logit_margins import Margins, WindowMargins
from verify.oracle.logit_sigma import LogitNoise, WindowSigma
from verify.oracle.routing import Certainty, RecordingNoise, Routing
from verify.oracle.transformers import TransformersOracle
from verify.oracle.weight_cache import QuantizedCache, WeightCache
from verify.run.memory import AT_EASE, Plan
from verify.sources import Source
from verify.sources.huggingface import HuggingFaceSource
from verify.system.optional_imports import wanted

# Tensors whose rows or elements RoPE pairs.
_REORDERED = tuple(f".attention.{name}." for name in ("wq", "wk", "q_norm", "k_norm"))


@dataclass(frozen=True)
class WindowReference:
    """The references for one window: arrays (length, vocab_size).

    of_source, of_file: logits on the source's weights, and on those that the file should hold; the same array if the
    file stores the source's numbers. sigma: the standard deviation that float32 rounding gives to each logit of
    of_file, at the positions that can be judged. agreement: the verifier's own reference against transformers, if
    that computed of_file. margins: returns how certain each most likely token is, by the draws that sigma has by
    then; None for a vocabulary of one token. certainty: of the choices of experts that of_file's weights make.
    """

    of_source: Logits
    of_file: Logits
    sigma: WindowSigma
    agreement: WorstLogit
    margins: Callable[[], WindowMargins] | None
    certainty: Certainty


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
        self.source_weights = WeightCache(source.tensor, memory.cache, source.dtype)
        self._quantized = QuantizedCache(memory.cache)
        self._streamed, self.walks = memory.streamed, memory.walks
        self._huggingface = source if isinstance(source, HuggingFaceSource) else None
        # by whether they have the file's weights; loaded with the first tokens
        self._transformers: dict[bool, TransformersOracle] = {}
        # the file's weights that transformers' model holds anyway
        self._held_by_model: dict[str, torch.Tensor] = {}
        self.versions = versions_of(source)

    @cached_property
    def same_numbers(self) -> bool:
        return same_numbers(self._source, self._model)

    def file_weights(self, name: str) -> torch.Tensor:
        """Derive a tensor from the source, stored as the file stores it. The file's own numbers are not used."""
        if name in self._held_by_model:
            return self._held_by_model[name]
        return self._as_stored(name, lambda: self.source_weights(name))

    def _as_stored(self, name: str, load: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Derive the file's numbers. load: loads the source's."""
        how = self._model.storage(name)
        if how.storage == "q8_0":
            return dequantized(*self._quantized(name, lambda: quantized(load(), how.group_size)))
        return numbers(load(), how.storage, how.group_size)

    def pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the source's tensor and the file's, from one read."""
        source = self.source_weights(name)
        return source, self._as_stored(name, lambda: source)

    def of(self, tokens: torch.Tensor, windows: list[int], *, agree: bool) -> list[WindowReference]:
        """Return every reference for tokens (windows, length). windows: their numbers.

        agree: compare the verifier's own reference with transformers, which takes one pass more.
        """
        # transformers' own choices do not serve: where it computes another model they would look undecided
        routing = Routing() if self._hyper.n_experts and self._huggingface is None else None
        of_source = self._logits(tokens, of_file=False, routing=routing if self.same_numbers else None)
        of_file = of_source if self.same_numbers else self._logits(tokens, of_file=True, routing=routing)
        # transformers rounds to float32, as the engine does; the verifier's own reference is exact
        rounders = 1 if self._huggingface is None else 2
        inputs = self._hyper, self._weights
        margins = Margins(*inputs, of_file) if self._hyper.vocab_size > 1 else None
        seen = None if margins is None else margins.add
        noise = LogitNoise(*inputs, tokens, of_file, windows[0], rounders=rounders, seen=seen, routing=routing)
        noise.draw()
        agreement = Execution().found
        if agree and self._huggingface is not None:
            agreement = self._agreement(tokens, windows, of_file, noise)
        found = []
        for row in range(len(windows)):
            source = of_source[row]
            file = source if self.same_numbers else of_file[row]
            of_row = None if margins is None else partial(margins.window, row, noise)
            certainty = noise.certainty(row)
            found.append(WindowReference(source, file, noise.window(row), agreement, of_row, certainty))
        return found

    @property
    def _weights(self) -> llama.Load:
        """The weights of of_file: noise on others would hide any mistake."""
        return self.source_weights if self.same_numbers else self.file_weights

    def _agreement(self, tokens: torch.Tensor, windows: list[int], of_file: Logits, noise: LogitNoise) -> WorstLogit:
        ours = llama.logits(self._hyper, self._weights, tokens, torch.float32).numpy()
        agreement = Execution()
        for row, number in enumerate(windows):
            agreement.merge(worst_logit(number, ours[row], noise.window(row), of_file[row], LIMIT_SIGMAS))
        return agreement.found

    def _logits(self, tokens: torch.Tensor, *, of_file: bool, routing: Routing | None) -> Logits:
        """Return the reference's logits. routing: records what the verifier's own reference chooses."""
        if self._huggingface is None:
            load = self.file_weights if of_file else self.source_weights
            noise = None if routing is None else RecordingNoise(routing)
            return llama.logits(self._hyper, load, tokens, noise=noise).numpy()
        if of_file not in self._transformers:
            stored = self._stored_for_transformers if of_file else None
            self._transformers[of_file] = TransformersOracle(self._huggingface, streamed=self._streamed, load=stored)
        logits: Logits = self._transformers[of_file].logits(tokens).numpy()
        return logits

    def _stored_for_transformers(self, name: str) -> torch.Tensor:
        """Return a tensor as the file stores it; groups lie within rows, so the order of rows changes nothing."""
        assert self._huggingface is not None
        name = "tok_embeddings.weight" if self._hyper.tied and name == "output.weight" else name
        if name in self._held_by_model:
            return self._held_by_model[name]
        # transformers has the rows of queries and keys in another order
        if any(part in name for part in _REORDERED):
            how = self._model.storage(name)
            return numbers(self._huggingface.transformers_tensor(name), how.storage, how.group_size)
        tensor = self.file_weights(name)
        # a streamed model holds nothing
        if not self._streamed:
            self._held_by_model[name] = tensor
        return tensor

    def done_with_logits(self) -> None:
        """Free the memory that only of() needs."""
        self._transformers.clear()
        self._held_by_model.clear()

    def quantized(self, name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return (int8, scale) of a matrix that the file stores as Q8_0, derived from the source; None for others."""
        how = self._model.storage(name)
        if how.storage != "q8_0":
            return None
        return self._quantized(name, lambda: quantized(self.source_weights(name), how.group_size))


def agrees(windows: Sequence[Window], batch: Sequence[int]) -> bool:
    """Return whether a batch shows that the references agree: it has the first window of its length.

    Whether two programs compute the same model depends on positions, and hardly on tokens. Where they disagree about
    tokens alone, the reader's logits show it.
    """
    length = len(windows[batch[0]].tokens)
    return next(n for n, window in enumerate(windows) if len(window.tokens) == length) in batch


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
