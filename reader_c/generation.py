"""generate(): a model's continuation of a prompt, piece by piece, as run.c generates it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c.model import Model
from reader_c.options import Activations, Arithmetic, c_options
from reader_c.sampler import Sampler
from reader_c.session import Session
from reader_c.tokenizer import BOS, Tokenizer

# Prompt tokens that are computed together. All their logits are kept for a moment.
_AT_ONCE = 64


def generate(
    model: Model,
    tokenizer: Tokenizer,
    prompt: str | bytes = b"",
    *,
    steps: int = 256,
    temperature: float = 1.0,
    top_p: float = 0.9,
    seed: int = 1,
    arithmetic: Arithmetic = "fast",
    activations: Activations = "fp32",
    threads: int | None = None,
) -> Iterator[bytes]:
    """Continue a prompt with the model, token by token, until token 1, which separates texts.

    Args:
        model, tokenizer: an open model, and the tokenizer of its vocabulary.
        prompt: the text to continue.
        steps: the most tokens, the prompt's included; 0 for max_seq_len, which is the most there can be.
        temperature, top_p, seed: as in Sampler.
        arithmetic: "mirror" yields the bytes that run.c prints with the same options (runq.c with activations "q8"),
            without those that stand alone and are neither printable ASCII nor white space; "fast" yields every byte.
        activations: "fp32", or "q8" for a file of Q8_0 tensors.
        threads: of the reader; by default one a core.

    Returns:
        An iterator over the text of one token after the other: first those of the prompt, then the model's.

    Raises:
        ArgumentError: an option is outside its range, or the tokenizer is of another vocabulary.
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise errors.ArgumentError(model.path, "steps", None, "0 or more", repr(steps))
    if tokenizer.vocab_size != model.config.vocab_size:
        expected = f"the model's {model.config.vocab_size}"
        raise errors.ArgumentError(tokenizer.path, "vocab_size", None, expected, str(tokenizer.vocab_size))
    # all options are refused before the first piece, not by it
    c_options(model.path, activations, arithmetic, "computed", "best")
    sampler = Sampler(temperature, top_p, seed)
    tokens = tokenizer.encode(prompt, bos=True)
    longest = model.config.max_seq_len
    steps = min(int(steps) or longest, longest)
    how = {"arithmetic": arithmetic, "activations": activations}
    return _run(model, tokenizer, sampler, tokens, steps, how, threads)


def _run(
    model: Model,
    tokenizer: Tokenizer,
    sampler: Sampler,
    tokens: list[int],
    steps: int,
    how: dict[str, Any],
    threads: int | None,
) -> Iterator[bytes]:
    """Yield the pieces; a step feeds one token and yields the next, so the first token of all is not shown."""
    shown = how["arithmetic"] == "mirror"
    with model.session(steps, threads) as session:
        for previous, token in pairwise(tokens[: steps + 1]):
            if token == BOS:
                return
            yield tokenizer.decode([token], previous=previous, shown=shown)
        if len(tokens) > steps:
            return
        logits = _feed(session, tokens, how)
        previous = tokens[-1]
        while True:
            token = sampler.sample(logits)
            if token == BOS:
                return
            yield tokenizer.decode([token], previous=previous, shown=shown)
            if session.position == steps:
                return
            logits, previous = session.forward([token], **how)[0], token


def _feed(session: Session, tokens: list[int], how: dict[str, Any]) -> NDArray[np.float32]:
    """Return the logits after a prompt."""
    parts = [tokens[first : first + _AT_ONCE] for first in range(0, len(tokens), _AT_ONCE)]
    for part in parts[:-1]:
        session.forward(part, **how)
    logits: NDArray[np.float32] = session.forward(parts[-1], **how)[-1]
    return logits
