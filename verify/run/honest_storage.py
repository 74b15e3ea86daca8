"""Compute what the file costs and what honest storage costs, on some of the windows, for the check `storage`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import reader_c
from verify.checks.storage import HonestCost, honest_cost, judged_windows
from verify.evidence import Window
from verify.oracle import llama, multiplications
from verify.run.cost import batches_of
from verify.run.reference_logits import References
from verify.sources import Hyperparameters
from verify.system.pulse import pulse

# The arithmetic of the engine's int8 activations.
_ARITHMETIC: reader_c.Arithmetic = "mirror"


def storage_batches(hyper: Hyperparameters, windows: Sequence[Window]) -> list[list[int]]:
    """Return batches of numbers of those windows that judged_windows() chooses."""
    judged = judged_windows(hyper, windows)
    return list(batches_of(judged, list(range(len(judged))), hyper))


def storage_cost(
    model: reader_c.Model,
    hyper: Hyperparameters,
    references: References,
    windows: Sequence[Window],
    batch: Sequence[int],
    *,
    int8: bool,
    seed: int,
) -> HonestCost:
    """Return what a batch of storage_batches() costs, and what the draws cost.

    A position depends on none after it, so only the judged positions are computed, by the verifier's own reference on
    both sides, in float32 as the draws are: the check adds to each cost far more than that rounding causes.
    int8: whether the file can be run with int8 activations. seed: of the draws.
    """
    judged = judged_windows(hyper, windows)
    tokens = torch.from_numpy(np.stack([judged[number].tokens for number in batch]))
    of_source, of_file = (
        llama.logits(hyper, load, tokens, torch.float32).double().numpy()
        for load in (references.source_weights, references.file_weights)
    )
    of_q8 = _int8_logits(model, tokens) if int8 else None
    if not all(logits is None or np.isfinite(logits).all() for logits in (of_source, of_file, of_q8)):
        return HonestCost(finite=False)
    return honest_cost(hyper, references.source_weights, model.storage, tokens, of_source, of_file, of_q8, seed=seed)


def _int8_logits(model: reader_c.Model, tokens: torch.Tensor) -> np.ndarray:
    logits = []
    for row in tokens.numpy():
        logits.append(model.forward(row, arithmetic=_ARITHMETIC, activations="q8"))
        pulse(multiplications.of_reader(model.config, len(row), "q8"))
    return np.stack(logits)
