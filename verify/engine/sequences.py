"""Run an engine on a window together with another sequence, so that what one sequence leaves behind shows.

A server runs one prompt after another in one process. So an engine that can gets three sequences: a window, a short
one, and the beginning of the window again; or a short one, the window, and the short one again. The two orders take
turns. What runs again must have the same bits, and a window that comes second is judged as it comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.engine.command import Engine

# The short sequence and the repetition are together at most half as long as the window.
_SHORT = 64
_SHARE = 4
SEQUENCES_PER_PROCESS = 3


@dataclass(frozen=True)
class Ran:
    """Holds a window's logits. unrepeated: the first position with other bits when a sequence ran again, or None."""

    logits: NDArray[np.float32]
    unrepeated: int | None


@dataclass(frozen=True)
class Sequences:
    """Runs the sequences of one engine on one file."""

    engine: Engine
    file: str
    vocab_size: int

    @property
    def per_process(self) -> int:
        """Return how many sequences one process runs."""
        return SEQUENCES_PER_PROCESS if self.engine.runs_sequences else 1

    def run(self, tokens: NDArray[np.int64], *, second: bool) -> Ran:
        """Run the engine on a window. second: after another sequence. Raises EngineFailedError."""
        if self.per_process == 1:
            return Ran(self.alone(tokens), None)
        count = max(1, min(_SHORT, len(tokens) // _SHARE))
        short, beginning = tokens[::-1][:count], tokens[:count]
        if second:
            before, found, after = self.engine.logits(self.file, (short, tokens, short), self.vocab_size)
        else:
            found, _, after = self.engine.logits(self.file, (tokens, short, beginning), self.vocab_size)
            before = found[:count]
        return Ran(found, first_difference(before, after))

    def together(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Return the logits of several sequences from one process. Raises EngineFailedError."""
        return self.engine.logits(self.file, sequences, self.vocab_size)

    def alone(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a window's logits from a process of its own. Raises EngineFailedError."""
        (found,) = self.engine.logits(self.file, (tokens,), self.vocab_size)
        return found


def first_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> int | None:
    """Return the first position whose bits differ."""
    differing = (one.view("u4") != other.view("u4")).any(1)
    return int(differing.argmax()) if differing.any() else None
