"""Several sequences in one process: what runs again must have the same bits, at half as much work again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.engine.command import Engine
from verify.engine.sequences import Ran, Sequences, first_difference

Answer = Callable[[int, NDArray[np.int64]], NDArray[np.float32]]


@dataclass
class FakeEngine:
    """answer gives the logits of a sequence from its number in its process."""

    answer: Answer
    runs_sequences: bool = True
    ran: list[list[NDArray[np.int64]]] = field(default_factory=list)

    def logits(self, _file: str, sequences: Sequence[NDArray[np.int64]], _vocab: int) -> list[NDArray[np.float32]]:
        self.ran.append(list(sequences))
        return [self.answer(number, tokens) for number, tokens in enumerate(sequences)]


def healthy(_number: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.cumsum(tokens).astype(np.float32)[:, None] * np.ones(3, np.float32)


def run(engine: FakeEngine, length: int, *, second: bool) -> Ran:
    tokens = np.random.default_rng(length).integers(1, 50, length)
    return Sequences(cast(Engine, engine), "file", 3).run(tokens, second=second)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("length", [2, 3, 4, 24, 255, 512, 2048])
def test_a_window_comes_out_whole_and_costs_at_most_half_as_much_again(length: int, second: bool) -> None:
    engine = FakeEngine(healthy)
    found = run(engine, length, second=second)
    assert (found.logits.shape, found.unrepeated) == ((length, 3), None)
    ((*sequences,),) = engine.ran
    assert len(sequences) == 3
    assert len(sequences[second]) == length
    # one token is the shortest sequence
    assert sum(map(len, sequences)) <= max(1.5 * length, length + 2)
    first, _, last = sequences
    assert first[: len(last)].tolist() == last.tolist()


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("wrong", [1, 2])
def test_a_sequence_that_changes_when_it_runs_again_is_told_from_where_on(second: bool, wrong: int) -> None:
    def answer(number: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        made = healthy(number, tokens)
        made[2:] += np.float32(number >= wrong)
        return made

    found = run(FakeEngine(answer), 24, second=second)
    assert found.unrepeated == 2
    assert (found.logits[5, 0] % 1, len(found.logits)) == (0, 24)


def test_a_zero_of_another_sign_is_another_bit() -> None:
    one = np.zeros((3, 2), np.float32)
    other = one.copy()
    assert first_difference(one, other) is None
    other[1, 1] = -0.0
    assert first_difference(one, other) == 1


def test_a_command_without_lengths_has_a_process_for_each_window() -> None:
    engine = FakeEngine(healthy, runs_sequences=False)
    assert Sequences(cast(Engine, engine), "file", 3).per_process == 1
    assert run(engine, 24, second=True).logits.shape == (24, 3)
    assert [len(tokens) for tokens in engine.ran[0]] == [24]
