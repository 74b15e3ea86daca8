"""One window of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """Token ids (length,) and their origin: "text", "tokens", "random" or "fixed"."""

    tokens: NDArray[np.int64]
    origin: str
