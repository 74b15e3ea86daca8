"""Standard deviations of logits that no further draw of noise changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FixedSigma:
    """Wraps an array (length, vocab_size) as `execution` reads it."""

    values: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __getitem__(self, positions: slice) -> NDArray[np.float32]:
        return self.values[positions]

    def refine(self, _position: int) -> bool:
        return False
