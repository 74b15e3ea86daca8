"""Blocks of positions, so that logits of a whole vocabulary are compared in float64 within bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# float32 by transformers and by engines, float64 by the verifier's own reference
Logits = NDArray[np.floating[Any]]

# Logits that are compared at a time: in float64 they fit into a core's cache, where each step takes a fraction of the
# time.
_BLOCK = 1 << 17


def blocks(positions: int, vocab_size: int) -> Iterator[slice]:
    """Yield slices that cover all positions in their order."""
    step = max(1, _BLOCK // vocab_size)
    for first in range(0, positions, step):
        yield slice(first, min(first + step, positions))
