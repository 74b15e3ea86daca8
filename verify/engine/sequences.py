"""Run an engine on a window together with another sequence, so that what one sequence leaves behind shows.

A server runs one prompt after another in one process. So an engine that can gets three sequences: a window, and a
short one twice; or a short one, the window, and the short one again. The two orders take turns. What runs again must
have the same bits, and a window that comes second is judged as it comes out.

Only the same tokens in the same number run again: a matrix product of a batch may add up differently for 16 rows than
for 64, so the beginning of a sequence has other bits than the same tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.engine.command import Engine

# The short sequence and its repetition are together at most half as long as the window.
_SHORT = 64
_SHARE = 4
SEQUENCES_PER_PROCESS = 3
# A program that adds up in another order each time is random in its last bits, which explain no larger difference.
_RANDOM_SHARE = 0.1


# What is wrong with an engine whose logits of the same tokens differ. by: the largest difference.
RANDOM = (
    "the same tokens get other logits each time, even as the only sequence of a process, by up to {by:.3g} "
    "(dropout, sampling or uninitialised memory?)"
)
SECOND_WRONG = (
    "the second sequence in one process gets other logits than in a process of its own, by up to {by:.3g} "
    "(does the first one leave something behind, such as a cache that is not cleared?)"
)
AGAIN_WRONG = (
    "a sequence that runs again after the second sequence in one process gets other logits, by up to {by:.3g}, but "
    "the same ones each time in a process of its own (do others leave something behind, such as a cache that is not "
    "cleared?)"
)


@dataclass(frozen=True)
class Unrepeated:
    """Holds two runs of the same tokens in one process whose bits differ."""

    tokens: NDArray[np.int64]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    position: int


@dataclass(frozen=True)
class Ran:
    """Holds a window's logits. unrepeated: the sequence that ran again, if its bits differ."""

    logits: NDArray[np.float32]
    unrepeated: Unrepeated | None


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
        short = tokens[::-1][:count]
        if second:
            before, found, after = self.engine.logits(self.file, (short, tokens, short), self.vocab_size)
        else:
            found, before, after = self.engine.logits(self.file, (tokens, short, short), self.vocab_size)
        position = first_difference(before, after)
        return Ran(found, None if position is None else Unrepeated(short, before, after, position))

    def reason(self, unrepeated: Unrepeated) -> str:
        """Say why a sequence did not repeat, after two runs in processes of its own. Raises EngineFailedError."""
        one, other = self.alone(unrepeated.tokens), self.alone(unrepeated.tokens)
        if first_difference(one, other) is not None:
            return RANDOM.format(by=largest_difference(one, other))
        if first_difference(one, unrepeated.after) is None:
            return SECOND_WRONG.format(by=largest_difference(one, unrepeated.before))
        return AGAIN_WRONG.format(by=largest_difference(unrepeated.before, unrepeated.after))

    def reason_of_wrong(
        self, tokens: NDArray[np.int64], found: NDArray[np.float32], by: float
    ) -> tuple[str, int] | None:
        """Say why a window is wrong, and from where on, if it has other logits in a process of its own.

        by: the largest error of found. Raises EngineFailedError.
        """
        alone = self.alone(tokens)
        position, apart = first_difference(found, alone), largest_difference(found, alone)
        if position is None:
            return None
        if self.per_process > 1:
            return SECOND_WRONG.format(by=apart), position
        return None if apart < _RANDOM_SHARE * by else (RANDOM.format(by=apart), position)

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


def largest_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return by how much two runs differ at most; NaN if a logit is not finite."""
    with np.errstate(invalid="ignore"):
        return float(np.abs(one.astype(np.float64) - other).max())
