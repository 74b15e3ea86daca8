"""Sampler: the next token, drawn from logits as run.c draws it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib
from reader_c.status import check

_WHERE = "sampler"


class Sampler:
    """Draws tokens with run.c's random generator: the same seed and logits give the same tokens.

    Of equally probable tokens, the lower id comes first, as with glibc's qsort.

    Args:
        temperature: a finite number, 0 or more; 0 takes the most probable token.
        top_p: draw from the smallest set of tokens that is more probable than this; 0 or 1 for all tokens.
        seed: of the draws, 1 to 2^64 - 1.

    Raises:
        ArgumentError: a number is outside its range.
    """

    def __init__(self, temperature: float = 1.0, top_p: float = 0.9, seed: int = 1) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 < seed < 1 << 64:
            raise errors.ArgumentError(_WHERE, "seed", None, "1 to 2^64 - 1", repr(seed))
        self.temperature = _number("temperature", temperature, "a finite number, 0 or more", math.inf)
        self.top_p = _number("top_p", top_p, "a number from 0 to 1", 1.0)
        self.seed = int(seed)
        self._options = ffi.new("rc_sampling *", (self.temperature, self.top_p))
        self._state = ffi.new("uint64_t *", self.seed)

    def sample(self, logits: NDArray[np.float32]) -> int:
        """Draw the next token.

        Args:
            logits: float32 [vocab_size], all finite.

        Returns:
            The token's id.

        Raises:
            ArgumentError: logits of more than one dimension, none, or one that is not finite.
        """
        given: NDArray[np.float32] = np.ascontiguousarray(logits, np.float32)
        if given.ndim != 1:
            raise errors.ArgumentError(_WHERE, "logits", None, "one dimension", str(given.ndim))
        probabilities = ffi.new("float[]", len(given))
        room = ffi.new("rc_candidate[]", len(given))
        token, status = ffi.new("int32_t *"), ffi.new("rc_status *")
        code = lib.rc_sample(
            ffi.from_buffer("float[]", given),
            len(given),
            self._options,
            self._state,
            probabilities,
            room,
            token,
            status,
        )
        check(_WHERE, code, status)
        return int(token[0])

    def __repr__(self) -> str:
        return f"Sampler(temperature={self.temperature}, top_p={self.top_p}, seed={self.seed})"


def _number(name: str, value: Any, expected: str, most: float) -> float:
    """Return a number from 0 to most, not infinite as float32."""
    number = float(value) if isinstance(value, (int, float, np.integer, np.floating)) else math.nan
    if not 0 <= number <= most or not number <= float(np.finfo(np.float32).max):
        raise errors.ArgumentError(_WHERE, name, None, expected, repr(value))
    return number
