"""Call the reader in the other ways that users call it: token by token, in uneven pieces, on threads, by other paths.

All of them promise the bits of one pass over a whole window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reader_c
from verify.checks.same_bits import SameBits, compare_bits
from verify.oracle import multiplications
from verify.system.pulse import pulse

# Tokens that come one by one at the beginning, as in generation.
_SINGLE = 16
# Lengths of the pieces after them, in turn: around the sizes of the reader's own blocks.
_PIECES = (5, 1, 17, 64, 2, 127)
# Threads of those calls: one for the pieces, several for the whole window.
THREADS = (1, 3)
# The ways of giving tokens, for a verdict's coverage.
CALLS = ("whole", "token by token", "uneven pieces")


def other_ways(
    model: reader_c.Model,
    window: int,
    tokens: NDArray[np.int64],
    recorded: NDArray[np.float32],
    arithmetic: reader_c.Arithmetic,
    activations: reader_c.Activations,
    *,
    every_path: bool,
) -> SameBits:
    """Compare each way with one pass over the whole window, tokens (length,).

    recorded: the logits of a recorded pass over the first positions, (positions, vocab_size), which must also be
    those of the whole pass. If it covers the window, it is the whole pass, and another one runs only where bits
    differ, to say which way has others. every_path: compare each instruction set of this processor, not only its best
    one.
    """
    pass_ = f"{arithmetic}, {'int8' if activations == 'q8' else 'float'} activations"
    work = multiplications.of_reader(model.config, len(tokens), activations)

    def forward(**how: Any) -> NDArray[np.float32]:
        logits = model.forward(tokens, arithmetic=arithmetic, activations=activations, **how)
        pulse(work)
        return logits

    def compared(whole: NDArray[np.float32]) -> SameBits:
        found = compare_bits("recorded", pass_, window, whole[: len(recorded)], recorded)
        way = "token by token and in uneven pieces"
        found = found.merged(compare_bits(way, pass_, window, whole, pieces))
        paths: tuple[str, ...] = reader_c.paths() if every_path and arithmetic == "fast" else ("best",)
        for path in paths:
            way = f"{THREADS[1]} threads" if path == "best" else f"{THREADS[1]} threads, {path}"
            logits = forward(path=path, threads=THREADS[1])
            found = found.merged(compare_bits(way, pass_, window, whole, logits))
        return found

    pieces = _in_pieces(model, tokens, arithmetic, activations, work)
    if len(recorded) == len(tokens):
        found = compared(recorded)
        if not found.difference:
            return found
    return compared(forward())


def _in_pieces(
    model: reader_c.Model,
    tokens: NDArray[np.int64],
    arithmetic: reader_c.Arithmetic,
    activations: reader_c.Activations,
    work: float,
) -> NDArray[np.float32]:
    """Return the logits of a session that gets tokens one by one, then in uneven pieces. work: of one pass."""
    parts = []
    with model.session(len(tokens), THREADS[0]) as session:
        for part in _parts(len(tokens)):
            parts.append(session.forward(tokens[part], arithmetic=arithmetic, activations=activations))
            pulse(3 * work * len(tokens[part]) / len(tokens))
    return np.concatenate(parts)


def passes_of(length: int) -> int:
    """Return how often other_ways() reads all weights, at most, for a window of this length, with one path."""
    return 2 + sum(1 for _ in _parts(length))


def _parts(length: int) -> Iterator[slice]:
    """Yield slices that cover a window: single tokens, then uneven pieces."""
    first, turn = 0, 0
    while first < length:
        step = 1 if first < _SINGLE else _PIECES[turn % len(_PIECES)]
        turn += first >= _SINGLE
        yield slice(first, min(first + step, length))
        first += step
