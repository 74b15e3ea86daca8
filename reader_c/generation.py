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
from reader_c.tokenizer import Tokenizer

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
    """Continue a prompt with the model, token by token, until one of the tokenizer's eos_ids.

    Args:
        model, tokenizer: an open model, and the tokenizer of its vocabulary: model.tokenizer where that is not None.
        prompt: the text to continue.
        steps: the most tokens, the prompt's included; 0 for max_seq_len, which is the most there can be.
        temperature, top_p, seed: as in Sampler.
        arithmetic: "mirror" yields the bytes that run.c prints with the same options (runq.c with activations "q8"),
            without those that stand alone and are neither printable ASCII nor white space; "fast" yields every byte.
        activations: "fp32", or "q8" for a file of Q8_0 tensors.
        threads: of the reader; by default one a core.

    Returns:
        An iterator over the text of one token after the other: first those of the prompt, then the model's. Special
        tokens of a block are without text.

    Raises:
        ArgumentError: an option is outside its range, the tokenizer is of another vocabulary, or the prompt is empty
            and the tokenizer has no token that begins a text.
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise errors.ArgumentError(model.path, "steps", None, "0 or more", repr(steps))
    if tokenizer.vocab_size != model.config.vocab_size:
        expected = f"the model's {model.config.vocab_size}"
        raise errors.ArgumentError(tokenizer.path, "vocab_size", None, expected, str(tokenizer.vocab_size))
    # all options are refused before the first piece, not by it
    c_options(model.path, activations, arithmetic, "computed", "best")
    if activations == "q8" and not model.config.group_size:
        raise errors.ArgumentError(
            model.path, "group_size (q8 activations need a Q8_0 file)", None, "at least 1", "0"
        )
    sampler = Sampler(temperature, top_p, seed)
    tokens = _prompt_tokens(tokenizer, prompt)
    longest = model.config.max_seq_len
    steps = min(int(steps) or longest, longest)
    how = {"arithmetic": arithmetic, "activations": activations}
    return _run(model, tokenizer, sampler, tokens, steps, how, threads)


def _prompt_tokens(tokenizer: Tokenizer, prompt: str | bytes) -> list[int]:
    """Return the tokens to begin with: at least one, because a step feeds one and yields the next."""
    if not tokenizer.is_block:
        return tokenizer.encode(prompt, bos=True)
    tokens = tokenizer.encode(prompt, eos=False)
    # a model without bos separates its texts by what ends them
    begin = tokenizer.eos_ids[:1] if tokenizer.bos is None else (tokenizer.bos,)
    if not tokens and not begin:
        raise errors.ArgumentError(tokenizer.path, "prompt", None, "a text, for want of bos and eos", "none")
    return tokens or list(begin)


def _run(
    model: Model,
    tokenizer: Tokenizer,
    sampler: Sampler,
    tokens: list[int],
    steps: int,
    how: dict[str, Any],
    threads: int | None,
) -> Iterator[bytes]:
    """Yield the pieces; a step feeds one token and yields the next. The first of all is mostly bos, without text.

    A first token with text is one of the steps.
    """
    text = {"shown": how["arithmetic"] == "mirror" and not tokenizer.is_block, "special": False}
    if first := tokenizer.decode(tokens[:1], **text):
        yield first
        steps -= 1
    if not steps:
        return
    with model.session(steps, threads) as session:
        for previous, token in pairwise(tokens[: steps + 1]):
            # of a prompt, too, as in run.c; a block's prompt may be a chat, of which every part ends
            if token in tokenizer.eos_ids and not tokenizer.is_block:
                return
            yield tokenizer.decode([token], previous=previous, **text)
        if len(tokens) > steps:
            return
        for batch in in_batches(session, tokens, how):
            logits = batch
        previous = tokens[-1]
        while True:
            token = sampler.sample(logits)
            if token in tokenizer.eos_ids:
                return
            yield tokenizer.decode([token], previous=previous, **text)
            if session.position == steps:
                return
            logits, previous = session.forward([token], **how)[0], token


def in_batches(session: Session, tokens: list[int], how: dict[str, Any]) -> Iterator[NDArray[np.float32]]:
    """Feed a prompt; yield the logits (vocab_size,) after each batch of its tokens."""
    for first in range(0, len(tokens), _AT_ONCE):
        yield session.forward(tokens[first : first + _AT_ONCE], **how)[-1]
