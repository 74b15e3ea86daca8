"""List mistakes that an engine makes with right logits: a factor, an offset, a cap, the wrong place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_vocabulary import of_some_tokens

Logits = NDArray[np.float64]
_OF_LARGEST = 2.0**-20
# Significant digits of a number that is read off the logits.
_DIGITS = range(1, 9)


def mistaken_logits(
    right: Logits, engine: Logits, tokens: NDArray[np.int64] | None = None
) -> Iterator[tuple[Mistake, str, Logits]]:
    """Yield (mistake, sentence, the logits that it makes of the right ones), the simplest first.

    right, engine: (length, vocab_size). tokens: (length,), of the window. Numbers in a sentence are read off the
    engine's logits; those with the fewest digits come first.
    """
    for factor in _short(float((right * engine).sum() / np.square(right).sum())):
        yield m.LOGITS_SCALED, _factor(factor), right * factor
    for offset in _short(float((engine - right).mean())):
        yield m.LOGITS_OFFSET, m.LOGITS_OFFSET.of_engine(offset=f"{offset:.8g}"), right + offset
    for cap in (*m.LOGITS_CAPPED.numbers, *_short(_fitted_cap(right, engine))):
        yield m.LOGITS_CAPPED, m.LOGITS_CAPPED.of_engine(cap=cap), cap * np.tanh(right / cap)
    for what, change in _NORMALISED.items():
        yield m.LOGITS_NORMALISED, m.LOGITS_NORMALISED.of_engine(what=what), change(right)
    for by, side in ((-1, "after"), (1, "before")):
        sentence = m.ROWS_SHIFTED.of_engine(tensor="the classifier", side=side)
        yield m.ROWS_SHIFTED, sentence, np.roll(right, by, axis=1)
    yield from _exchanged(right, engine)
    yield from _narrowed(right, engine)
    if tokens is not None:
        yield from _penalised(right, engine, tokens)
    yield m.LOGITS_LATE, m.LOGITS_LATE.of_engine(), np.concatenate((right[:1], right[:-1]))
    yield from of_some_tokens(right, engine)


def _exchanged(right: Logits, engine: Logits) -> Iterator[tuple[Mistake, str, Logits]]:
    """Exchange the two tokens whose logits are furthest off."""
    if right.shape[1] > 1:
        one, other = sorted(int(token) for token in np.square(engine - right).sum(axis=0).argsort()[-2:])
        made = right.copy()
        made[:, [one, other]] = right[:, [other, one]]
        yield m.LOGITS_EXCHANGED, m.LOGITS_EXCHANGED.of_engine(one=one, other=other), made


def _penalised(right: Logits, engine: Logits, tokens: NDArray[np.int64]) -> Iterator[tuple[Mistake, str, Logits]]:
    """Penalise at each position the tokens that have been, with its own one or without."""
    for begin, which in ((0, "tokens that have been"), (1, "tokens that have been before")):
        been = np.zeros(right.shape, np.bool_)
        for position, token in enumerate(tokens):
            been[position + begin :, token] = True
        positive = right > 0
        judged = been & (right != 0) & (engine != 0)
        if not judged.any():
            continue
        share = np.divide(engine, right, out=np.ones_like(right), where=judged)
        factors = np.where(positive, np.divide(1, share, out=np.ones_like(share), where=judged), share)
        for factor in _short(float(np.median(factors[judged]))):
            made = np.where(been, np.where(positive, right / factor, right * factor), right)
            yield m.REPETITION_PENALTY, m.REPETITION_PENALTY.of_engine(which=which, factor=factor), made


def _narrowed(right: Logits, engine: Logits) -> Iterator[tuple[Mistake, str, Logits]]:
    """Round the logits to a type that holds all of the engine's.

    Which of two neighbours a logit becomes depends on its last bits, so one that is the engine's is taken for right.
    """
    for found, held, digits in (("bf16", _bfloat16, 8), ("fp16", _float16, 11)):
        if (held(engine) == engine).all():
            step = np.exp2(np.floor(np.log2(np.maximum(np.abs(right), np.finfo(np.float64).tiny))) + 1 - digits)
            # a logit near zero also has the rounding of the largest
            step += _OF_LARGEST * np.abs(right).max()
            made = np.where(np.abs(engine - right) <= step, engine, right)
            yield m.LOGITS_NARROWED, m.LOGITS_NARROWED.of_engine(found=found), made


def _bfloat16(logits: Logits) -> Logits:
    bits = logits.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


def _float16(logits: Logits) -> Logits:
    with np.errstate(over="ignore"):
        return logits.astype(np.float16).astype(np.float64)


def _factor(factor: float) -> str:
    """Write a factor, or its reciprocal if that has fewer digits."""
    text, inverse = f"{factor:.8g}", f"{1 / factor:.8g}" if factor else ""
    if inverse and len(inverse) < len(text):
        return m.LOGITS_SCALED.of_engine(how="divides", factor=inverse)
    return m.LOGITS_SCALED.of_engine(how="multiplies", factor=text)


def _short(value: float) -> list[float]:
    """Return the value with one digit, two digits and so on, and the reciprocals of its reciprocal's."""
    if value == 0 or not np.isfinite(value):
        return []
    both = ((float(f"{value:.{digits}g}"), 1 / float(f"{1 / value:.{digits}g}")) for digits in _DIGITS)
    return list(dict.fromkeys(number for pair in both for number in pair))


def _fitted_cap(right: Logits, engine: Logits) -> float:
    """Return the cap that makes the engine's logit of the largest right one, by bisection."""
    at = int(np.abs(right).argmax())
    largest, found = abs(float(right.flat[at])), abs(float(engine.flat[at]))
    low, high = found, 1e4 * largest
    if not 0 < found < largest:
        return 0.0
    for _ in range(60):
        cap = (low + high) / 2
        low, high = (cap, high) if cap * np.tanh(largest / cap) < found else (low, cap)
    return (low + high) / 2


def _log_probabilities(logits: Logits) -> Logits:
    shifted = logits - logits.max(axis=1, keepdims=True)
    made: Logits = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return made


_NORMALISED: dict[str, Callable[[Logits], Logits]] = {
    "log-probabilities": _log_probabilities,
    "probabilities": lambda logits: np.exp(_log_probabilities(logits)),
}
