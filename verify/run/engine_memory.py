"""The memory that the trial of a user's engine takes beside the references, if its activations are int8."""

from __future__ import annotations

from verify.engine.probes import LENGTH, PROBES
from verify.engine.trial import drawn_positions
from verify.oracle.int8_noise import TELLING
from verify.oracle.int8_probes import ROWS
from verify.run.work import FLOAT, Sizes
from verify.sources import Hyperparameters

# Arrays beside all drawn logits: themselves, and twice as many random numbers, which are kept.
_OF_LOGITS = 3
# Arrays of the clean pass's logits: variances, what is compared, and the engine's and the reader's logits.
_BESIDE = 14
# Arrays of a product's input while it is rounded to int8, and of attention's scores, with their random numbers.
_OF_ROUNDING = 10
_OF_SCORES = 7
# Random numbers and blocks that the smallest model needs.
_LEAST = 24 << 20


def memory_of_trial(hyper: Hyperparameters, length: int, sizes: Sizes) -> int:
    """Return bytes of the larger of two stages: the noise of a window of that length, and that of the probes."""
    positions = drawn_positions(hyper, length, TELLING)
    spread = _of_pass(hyper, 1 + len(TELLING.scales), 1, positions)
    probes = _of_pass(hyper, ROWS * PROBES, PROBES, min(LENGTH, length))
    return _LEAST + sizes.load + max(spread, probes)


def _of_pass(hyper: Hyperparameters, rows: int, clean: int, positions: int) -> int:
    """Return bytes of a noisy pass of so many rows of tokens, of which the first are clean."""
    sizes = Sizes.of(hyper, positions)
    logits = positions * hyper.vocab_size * (_OF_LOGITS * rows + _BESIDE * clean)
    widest = max(hyper.dim, hyper.widest_gate)
    layer = rows * (positions * (sizes.stream + _OF_ROUNDING * widest) + _OF_SCORES * sizes.scores)
    return FLOAT * (logits + layer)
