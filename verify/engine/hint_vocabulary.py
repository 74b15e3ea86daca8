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
    yield from _constant(right, engine)
    which = _ids(np.flatnonzero(wrong))
    values = engine[:, wrong]
    if not wrong.all() and (found := _fitted(right[:, wrong], values)) is not None:
        made = right.copy()
        made[:, wrong] = right[:, wrong] * found
        yield m.LOGITS_PARTLY_SCALED, m.LOGITS_PARTLY_SCALED.of_engine(which=which, factor=found), made
    if len(right) > 1 and not wrong.all():
        for start, words in ((right[:1], ""), (0 * right[:1], ", and 0 at position 0")):
            made = right.copy()
            made[:, wrong] = np.concatenate((start, right[:-1]))[:, wrong]
            sentence = m.LOGITS_OF_OTHERS.of_engine(which=which, others=f"the position before{words}")
            yield m.LOGITS_OF_OTHERS, sentence, made
    if len(right) > 1:
        yield from _others(right, engine, wrong, which)
        yield from _some_positions(right, engine, size)


def _constant(right: Logits, engine: Logits) -> Iterator[tuple[Mistake, str, Logits]]:
    """Yield the constant that the engine's worst logit has, wherever it has it, or what is added there."""
    off = engine - right
    worst = np.unravel_index(np.abs(off).argmax(), off.shape)
    for mistake, number, cells in (
        (m.LOGITS_CONSTANT, engine[worst], engine == engine[worst]),
        (m.LOGITS_PARTLY_OFFSET, *_offset(off, worst)),
    ):
        # one logit has some value, whatever is wrong with it, so there the value must be one that somebody wrote
        if not cells.any() or (cells.sum() == 1 and not _written(number)):
            continue
        made = np.where(cells, number, right) if mistake is m.LOGITS_CONSTANT else right + number * cells
        where = _where(cells)
        if where:
            yield mistake, mistake.of_engine(value=f"{number:g}", which=where), made


def _offset(off: Logits, worst: tuple[np.intp, ...]) -> tuple[np.float64, NDArray[np.bool_]]:
    """Return the number that is added to some tokens, with few digits, and where it is added."""
    number = np.float64(f"{np.median(off[:, worst[1]]):.3g}")
    tokens = np.abs(off - number).max(axis=0) < _NEAR * max(1.0, float(np.abs(off).max()))
    if tokens.all() or not number:
        return number, np.zeros(off.shape, np.bool_)
    return number, np.broadcast_to(tokens, off.shape)


def _written(number: np.float64) -> bool:
    """Return whether it is zero, a power of ten with a digit, or the end of a type."""
    ends = (np.finfo(np.float32).max, np.finfo(np.float16).max)
    return bool(np.abs(number) in ends or float(f"{number:.7g}") == float(f"{number:.1g}"))


def _where(cells: NDArray[np.bool_]) -> str:
    """Say where they are, if they are some tokens at some positions; else nothing."""
    positions, tokens = cells.any(axis=1), cells.any(axis=0)
    if not (cells == np.outer(positions, tokens)).all():
        return ""
    which = _counted("token", np.flatnonzero(tokens))
    return which if positions.all() else f"{which} at {_counted('position', np.flatnonzero(positions))}"


def _counted(word: str, numbers: NDArray[np.int64]) -> str:
    return f"{word}{'s' if len(numbers) > 1 else ''} {_ids(numbers)}"


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
