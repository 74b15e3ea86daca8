"""List engines whose logits are right for some tokens only: the others are constant, another token's, or scaled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake

Logits = NDArray[np.float64]
# Wrong tokens for which the right logits are searched, and the share of a logit that may remain.
_MOST_SEARCHED = 4096
_NEAR = 1e-4
_LISTED = 4


def of_some_tokens(right: Logits, engine: Logits) -> Iterator[tuple[Mistake, str, Logits]]:
    """Yield (mistake, sentence, logits). right, engine: (length, vocab_size)."""
    size = np.sqrt(np.square(right).mean())
    wrong = (np.abs(engine - right) > _NEAR * size).any(axis=0)
    if not wrong.any():
        return
    which = _ids(np.flatnonzero(wrong))
    values = engine[:, wrong]
    if wrong.sum() > 1 and values.size and values.min() == values.max():
        made = right.copy()
        made[:, wrong] = values.flat[0]
        sentence = m.LOGITS_CONSTANT.of_engine(value=f"{values.flat[0]:g}", which=which)
        yield m.LOGITS_CONSTANT, sentence, made
    if not wrong.all() and (found := _fitted(right[:, wrong], values)) is not None:
        made = right.copy()
        made[:, wrong] = right[:, wrong] * found
        yield m.LOGITS_PARTLY_SCALED, m.LOGITS_PARTLY_SCALED.of_engine(which=which, factor=found), made
    if len(right) > 1:
        yield from _others(right, engine, wrong, which)
        yield from _some_positions(right, engine, size)


def _fitted(right: Logits, engine: Logits) -> float | None:
    total = np.square(right).sum()
    return float(f"{(right * engine).sum() / total:.6g}") if total else None


def _others(
    right: Logits, engine: Logits, wrong: NDArray[np.bool_], which: str
) -> Iterator[tuple[Mistake, str, Logits]]:
    """Yield the logits of other tokens, if every wrong token has those of one."""
    tokens = np.flatnonzero(wrong)
    if len(tokens) < 2 or len(tokens) > _MOST_SEARCHED:
        return
    taken = np.array([int(np.square(right - engine[:, [token]]).sum(axis=0).argmin()) for token in tokens])
    made = right.copy()
    made[:, wrong] = right[:, taken]
    yield m.LOGITS_OF_OTHERS, m.LOGITS_OF_OTHERS.of_engine(which=which, others=_rule(tokens, taken, len(wrong))), made


def _rule(tokens: NDArray[np.int64], taken: NDArray[np.int64], count: int) -> str:
    """Say which other tokens those are."""
    if len({*(taken - tokens).tolist()}) == 1:
        by = int(taken[0] - tokens[0])
        return f"the tokens {abs(by)} {'further on' if by > 0 else 'further back'}"
    if len({*taken.tolist()}) == 1:
        return f"token {taken[0]}"
    if (taken == count - 1 - tokens).all():
        return "vocab_size - 1 - token"
    pairs = [f"{found} for {token}" for token, found in zip(tokens[:_LISTED], taken[:_LISTED], strict=True)]
    return f"other tokens ({', '.join(pairs)}{', ...' if len(tokens) > _LISTED else ''})"


def _some_positions(right: Logits, engine: Logits, size: float) -> Iterator[tuple[Mistake, str, Logits]]:
    """Yield the logits of other positions, or constant ones, if some positions are right."""
    wrong = (np.abs(engine - right) > _NEAR * size).any(axis=1)
    if not wrong.any():
        return
    positions, made = np.flatnonzero(wrong), right.copy()
    taken = np.array([int(np.square(right - engine[position]).sum(axis=1).argmin()) for position in positions])
    made[wrong] = right[taken]
    if len(positions) > 1:
        others = f"position {taken[0]}" if len({*taken.tolist()}) == 1 else _shift(positions, taken)
        yield (
            m.LOGITS_OF_POSITIONS,
            m.LOGITS_OF_POSITIONS.of_engine(which=_ids(positions), others=others),
            made,
        )


def _shift(positions: NDArray[np.int64], taken: NDArray[np.int64]) -> str:
    if len({*(taken - positions).tolist()}) == 1:
        by = int(taken[0] - positions[0])
        return f"the positions {abs(by)} {'later' if by > 0 else 'earlier'}"
    pairs = [f"{found} for {position}" for position, found in zip(positions[:_LISTED], taken[:_LISTED], strict=True)]
    return f"other positions ({', '.join(pairs)}{', ...' if len(positions) > _LISTED else ''})"


def _ids(numbers: NDArray[np.int64]) -> str:
    """Write numbers as ranges."""
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 2) != 1)
    ranges = []
    for begin, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        first, last = numbers[begin], numbers[end - 1]
        ranges.append(str(first) if first == last else f"{first}-{last}")
    listed = ", ".join(ranges[:_LISTED])
    return f"{listed} and others" if len(ranges) > _LISTED else listed
