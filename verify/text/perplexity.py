"""Perplexity of a text: how well a file predicts each token from those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import reader_c
from reader_c import Activations, Arithmetic
from verify.errors import CannotJudgeError
from verify.text.token_ids import beside, ids_by_block, token_ids

CONFIDENCE = 0.95
# Tokens of a window by default, where the model takes as many; half of them are scored.
LENGTH = 1024
# Tokens whose logits are held at a time.
_AT_ONCE = 128


@dataclass(frozen=True)
class Perplexity:
    """The result: nats a token with its 95 % interval, the same as perplexity, and bits a byte.

    tokens: of the text. scored: all but the first. windows: how many passes. length: tokens of the longest window.
    bytes: of the text that the scored tokens stand for. The intervals are None with fewer than two windows.
    """

    file: str
    text: str
    tokenizer: str
    arithmetic: str
    activations: str
    tokens: int
    scored: int
    windows: int
    length: int
    bytes: int
    nats_per_token: float
    nats_per_token_ci: tuple[float, float] | None
    bits_per_byte: float

    @property
    def perplexity(self) -> float:
        """Return e to the nats a token."""
        return exp(self.nats_per_token)

    @property
    def perplexity_ci(self) -> tuple[float, float] | None:
        """Return the interval of the perplexity."""
        nats = self.nats_per_token_ci
        return None if nats is None else (exp(nats[0]), exp(nats[1]))


@dataclass(frozen=True)
class _Window:
    """Tokens first to end, of which those from `scored` on are scored."""

    first: int
    scored: int
    end: int


def perplexity(
    file: Path,
    text: Path,
    tokenizer: Path | None = None,
    *,
    length: int | None = None,
    arithmetic: Arithmetic = "fast",
    activations: Activations = "fp32",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None,
) -> Perplexity:
    """Score every token of a text but the first, in windows that overlap by half.

    tokenizer: by default a v3 file's own, else the one beside the file. length: tokens of a window, at most
    max_seq_len. Each token is scored once, with at least half a window before it unless the text begins there.
    progress: called with a stage, tokens done, and tokens in all. Raises CannotJudgeError, reader_c.ReaderError.
    """
    with reader_c.open(file) as model:
        length = _length(length, model.config.max_seq_len)
        own = model.tokenizer if tokenizer is None else None
        if own is not None:
            tokenizer, given = file, ids_by_block(text, own)
        else:
            tokenizer = beside(file) if tokenizer is None else tokenizer
            given = token_ids(text, tokenizer, model.config.vocab_size)
        if len(given.ids) < 2:
            raise CannotJudgeError(f"{text}: expected text of at least 2 tokens, found {len(given.ids)}")
        windows = list(_windows(len(given.ids), length))
        total, nats = windows[-1].end, []
        for window in windows:
            progress("text", window.first, total)
            with model.session(window.end - window.first, threads) as session:
                how = {"arithmetic": arithmetic, "activations": activations}
                nats.append(_score(session, given.ids, window, how, str(file)))
            progress("text", window.end, total)
    every, size = np.concatenate(nats), len(given.content) - given.first
    return Perplexity(
        file=str(file),
        text=str(text),
        tokenizer=str(tokenizer),
        arithmetic=arithmetic,
        activations=activations,
        tokens=len(given.ids),
        scored=len(every),
        windows=len(windows),
        length=max(window.end - window.first for window in windows),
        bytes=size,
        nats_per_token=float(every.mean()),
        nats_per_token_ci=_interval(nats),
        bits_per_byte=float(every.sum()) / log(2) / size,
    )


def _length(length: int | None, longest: int) -> int:
    if longest < 2:
        raise CannotJudgeError(f"max_seq_len: expected at least 2, to have a next token to judge, found {longest}")
    if length is None:
        return min(LENGTH, longest)
    if not 2 <= length <= longest:
        raise CannotJudgeError(f"length: expected 2 to the model's max_seq_len of {longest}, found {length}")
    return length


def _windows(tokens: int, length: int) -> Iterator[_Window]:
    """Yield windows that score each token but the first once; all but the first score their second half."""
    step = ceil(length / 2)
    end = min(length, tokens)
    yield _Window(0, 1, end)
    while end < tokens:
        scored, end = end, min(end + step, tokens)
        yield _Window(max(0, end - length), scored, end)


def _score(
    session: reader_c.Session, ids: NDArray[np.int64], window: _Window, how: Mapping[str, Any], file: str
) -> NDArray[np.float64]:
    """Return the nats of a window's scored tokens."""
    nats = []
    # the last token predicts none of this window
    for first in range(window.first, window.end - 1, _AT_ONCE):
        after = min(first + _AT_ONCE, window.end - 1)
        logits = session.forward(ids[first:after], **how)
        skipped = max(0, window.scored - 1 - first)
        if skipped < after - first:
            nats.append(_nats(logits[skipped:], ids[first + skipped + 1 : after + 1], file))
    return np.concatenate(nats)


def _nats(logits: NDArray[np.float32], following: NDArray[np.int64], file: str) -> NDArray[np.float64]:
    """Return minus the log probability of each token, from the logits before it."""
    wide = logits.astype(np.float64)
    if not np.isfinite(wide).all():
        raise CannotJudgeError(f"{file}: logits: expected finite numbers, found others: the file is damaged")
    wide -= wide.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(wide)), following]
    return found


def _interval(nats: list[NDArray[np.float64]]) -> tuple[float, float] | None:
    """Return the interval of the mean over tokens, by Student's t over windows: tokens in one depend on each other.

    The mean is a ratio, of the windows' nats to their tokens; this is the usual variance of a ratio estimator.
    """
    count = len(nats)
    if count < 2:
        return None
    from scipy.stats import t  # noqa: PLC0415  # heavy, and only needed here

    sums, sizes = np.array([w.sum() for w in nats]), np.array([len(w) for w in nats])
    mean = sums.sum() / sizes.sum()
    deviation = sqrt(count / (count - 1) * np.square(sums - mean * sizes).sum()) / sizes.sum()
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation
    return float(mean - half), float(mean + half)
