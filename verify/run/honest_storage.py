"""Run the check `storage`: compare what the file costs with what honest storage costs, on some of the windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import reader_c
from verify.checks.result import CheckResult, skipped
from verify.checks.storage import HonestCost, honest_cost, judged_windows, lossless, verdict
from verify.evidence import Window
from verify.oracle import llama, multiplications
from verify.run.cost import batches_of
from verify.run.reference_logits import References
from verify.sources import Hyperparameters
from verify.system.pulse import pulse

# The arithmetic of the engine's int8 activations.
_ARITHMETIC: reader_c.Arithmetic = "mirror"


def check_storage(
    model: reader_c.Model, hyper: Hyperparameters, references: References, windows: Sequence[Window], *, seed: int
) -> CheckResult:
    """Judge what the file costs.

    A position depends on none after it, so only the judged positions are computed, by the verifier's own reference on
    both sides. seed: of the draws.
    """
    if references.same_numbers:
        return lossless()
    short = judged_windows(hyper, windows)
    found = HonestCost()
    for batch in batches_of(short, list(range(len(short))), hyper):
        tokens = torch.from_numpy(np.stack([short[number].tokens for number in batch]))
        of_source = llama.logits(hyper, references.source_weights, tokens).numpy()
        of_file = llama.logits(hyper, references.file_weights, tokens).numpy()
        of_q8 = _int8_logits(model, tokens)
        if not all(logits is None or np.isfinite(logits).all() for logits in (of_source, of_file, of_q8)):
            return skipped("storage", "statistical", "logits are not finite")
        found = found.merged(
            honest_cost(hyper, references.source_weights, model.storage, tokens, of_source, of_file, of_q8, seed=seed)
        )
    return verdict(found)


def _int8_logits(model: reader_c.Model, tokens: torch.Tensor) -> np.ndarray | None:
    if not model.config.group_size:
        return None
    logits = []
    for row in tokens.numpy():
        logits.append(model.forward(row, arithmetic=_ARITHMETIC, activations="q8"))
        pulse(multiplications.of_reader(model.config, len(row), "q8"))
    return np.stack(logits)
