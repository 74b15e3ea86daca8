"""Find the known mistake that explains the logits of an engine that fails."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from verify.checks.execution import LIMIT_SIGMAS
from verify.engine.hints import MistakenReference, logits_of, mistaken_references
from verify.oracle import llama
from verify.sources import Hyperparameters

# Positions on which mistakes are tried: most mistakes show early, and each position costs time.
_TRIED_POSITIONS = 48
# Positions after the first wrong one, where the mistake shows.
_POSITIONS_AFTER = 8
# A mistake is named if the engine is this near to the reference that makes it, in limits of `execution`. It is more
# than 1 because a mistake may make a model more sensitive to rounding.
_NEAR = 3.0
# With int8 activations no reference is as near as that, so this share of the difference may remain.
_LEFT = 0.3


@dataclass(frozen=True)
class WrongWindow:
    """Holds a window's logits, the right logits, and the first position that is wrong.

    sigma: of each logit under float32 rounding; None for int8 activations.
    """

    tokens: NDArray[np.int64]
    engine: NDArray[np.float32]
    reference: NDArray[np.floating]
    sigma: NDArray[np.floating] | None
    first: int


def find_mistake(
    wrong: WrongWindow, hyper: Hyperparameters, load: llama.Load, group_size: int, limit: float = LIMIT_SIGMAS
) -> MistakenReference | None:
    """Return the mistake whose reference is nearest to the engine, if it is near enough. limit: in sigmas."""
    count = min(len(wrong.tokens), max(_TRIED_POSITIONS, wrong.first + _POSITIONS_AFTER))
    tokens = torch.from_numpy(wrong.tokens[:count])
    best, least = None, math.inf
    for candidate in mistaken_references(hyper, load, group_size):
        left = _left(logits_of(candidate, tokens).numpy(), wrong, count, limit)
        if left < least:
            best, least = candidate, left
    return best if least <= 1 else None


def _left(made: NDArray[np.float64], wrong: WrongWindow, count: int, limit: float) -> float:
    """Return the engine's distance from a reference with a mistake; up to 1 it is near enough. A NaN is far."""
    error = np.abs(wrong.engine[:count] - made)
    if wrong.sigma is not None:
        far = float((error / wrong.sigma[:count]).max() / (_NEAR * limit))
    else:
        before = float(np.sqrt(np.square(wrong.engine[:count] - wrong.reference[:count]).mean()))
        far = float(np.sqrt(np.square(error).mean())) / (_LEFT * before) if before else math.inf
    return math.inf if math.isnan(far) else far
