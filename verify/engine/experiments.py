"""Try an engine on a file of which parts hold zeros: the parts that remain are right, or wrong, by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray

import reader_c
from verify.engine.altered_copy import AlteredCopy, Zeros, altered
from verify.oracle import llama
from verify.oracle.logit_sigma import LogitNoise
from verify.sources import Hyperparameters

# By float activations, an engine on an altered file is right within the limit, and wrong beyond so many limits.
_WRONG = 3.0
# By int8 activations: up to and beyond which share of what rounding them to int8 adds it is right, or wrong.
_INT8_RIGHT, _INT8_WRONG = 0.3, 1.0
_DRAWS = 4

# (path of a file) -> the logits of the experiment's tokens, float32 (length, vocab_size)
Run = Callable[[str], NDArray[np.float32]]


class Outcome(Enum):
    """Says whether an engine computes what an altered file says."""

    RIGHT = "right"
    WRONG = "wrong"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Experiment:
    """Holds the logits of an altered file (length, vocab_size): the engine's, the right ones, and their rounding.

    sigma: one for each logit by float activations, the same for all by int8 activations. limit: in sigma.
    """

    engine: NDArray[np.float32]
    reference: NDArray[np.float64]
    sigma: NDArray[np.float64]
    limit: float | None

    @property
    def outcome(self) -> Outcome:
        """Judge all positions."""
        return self.within(slice(None))

    def within(self, positions: slice) -> Outcome:
        """Judge some positions."""
        engine, reference, sigma = self.engine[positions], self.reference[positions], self.sigma[positions]
        if not np.isfinite(engine).all():
            # a vector of zeros has no scale, by which an int8 engine may divide
            return Outcome.UNSURE if self.limit is None else Outcome.WRONG
        error = np.abs(engine - reference)
        if self.limit is None:
            right, wrong = _INT8_RIGHT, _INT8_WRONG
            off = float(np.sqrt(np.square(error).mean() / np.square(sigma).mean()))
        else:
            right, wrong = 1.0, _WRONG
            off = float((error / sigma).max() / self.limit)
        return Outcome.RIGHT if off <= right else Outcome.WRONG if off > wrong else Outcome.UNSURE

    def share(self, without: Experiment) -> float:
        """Return how far the logits are off as a share of what a part does. without: the same file without it."""
        off, done = self.engine - self.reference, self.reference - without.reference
        return math.sqrt(np.square(off).mean() / np.square(done).mean()) if done.any() else math.inf


@dataclass(frozen=True)
class Laboratory:
    """Runs experiments on one file and one sequence of tokens (length,).

    limit: None for int8 activations. quantized: the file has tensors of Q8_0.
    """

    run: Run
    copy: AlteredCopy
    hyper: Hyperparameters
    load: llama.Load
    tokens: NDArray[np.int64]
    limit: float | None
    quantized: bool = False

    def try_with(self, zeros: Zeros) -> Experiment:
        """Run the engine on the file with these zeros.

        Raises:
            EngineFailedError: the engine gave no logits.
            OSError: the copy could not be written.
        """
        self.copy.alter(zeros)
        found = self.run(str(self.copy.path))
        if self.limit is None:
            return self._by_int8(found)
        load, tokens = altered(self.load, zeros), torch.from_numpy(self.tokens).unsqueeze(0)
        right = llama.logits(self.hyper, load, tokens).numpy()
        noise = LogitNoise(self.hyper, load, tokens, right, seed=0)
        noise.draw(_DRAWS)
        return Experiment(found, right[0], noise.sigma(0, slice(None)).numpy().astype(np.float64), self.limit)

    def _by_int8(self, found: NDArray[np.float32]) -> Experiment:
        """Compare with the C reader, which rounds activations as the engine does."""
        with reader_c.open(self.copy.path) as model:
            right = model.forward(self.tokens, activations="q8", arithmetic="mirror").astype(np.float64)
            floats = model.forward(self.tokens, arithmetic="mirror")
        noise = float(np.sqrt(np.square(right - floats).mean()))
        return Experiment(found, right, np.full_like(right, max(noise, np.finfo(np.float32).tiny)), None)
