"""The text half of llama2.c's run.c, as PyPI's llamac2py compiles it: merges, random numbers, sampling.

That version begins with single bytes, not with characters; it has no dummy prefix, no byte fallback and no top-p.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.tokenizer_bins import Entry
from helpers.upstream import Engine, library


def encode(entries: Sequence[Entry], text: bytes) -> list[int]:
    """Tokens of a text each of whose bytes is a piece."""
    pieces = (ctypes.c_char_p * len(entries))(*(piece for piece, _ in entries))
    scores = (ctypes.c_float * len(entries))(*(score for _, score in entries))
    tokens, count = (ctypes.c_int * (len(text) + 1))(), ctypes.c_int()
    longest = max(len(piece) for piece, _ in entries)
    library().bpe_encode(text, pieces, scores, len(entries), longest, tokens, ctypes.byref(count))
    return list(tokens[: count.value])


def draw(logits: np.ndarray, temperature: float, state: int) -> tuple[int, int]:
    """The token that its main() samples from logits (vocab_size,), and the generator's next state."""
    run_c = library()
    values = logits.astype(np.float32)
    if temperature == 0.0:
        return run_c.argmax(values.ctypes.data_as(ctypes.c_void_p), len(values)), state
    values /= np.float32(temperature)
    given = values.ctypes.data_as(ctypes.c_void_p)
    seed = ctypes.c_ulonglong.in_dll(run_c, "rng_seed")
    seed.value = state
    run_c.softmax(given, len(values))
    return run_c.sample(given, len(values)), seed.value


def generate(path: Path, prompt: Sequence[int], steps: int, temperature: float, seed: int) -> list[int]:
    """The tokens that follow the prompt's first one, up to token 1 or `steps` of them, from a v0 file."""
    tokens, found, state = list(prompt), [], seed
    with Engine(path) as engine:
        for position in range(steps):
            logits = engine.step(tokens[position], position)
            if position + 1 == len(tokens):
                token, state = draw(logits, temperature, state)
                tokens.append(token)
            if tokens[position + 1] == 1:
                break
            found.append(tokens[position + 1])
    return found
