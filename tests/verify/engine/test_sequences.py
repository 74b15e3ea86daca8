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
    # the same tokens in the same number: a batch of another length may add up differently
    assert sequences[1 - second].tolist() == sequences[2].tolist()


@pytest.mark.parametrize("second", [False, True])
def test_a_sequence_that_changes_when_it_runs_again_is_told_from_where_on(second: bool) -> None:
    def answer(number: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        made = healthy(number, tokens)
        made[2:] += np.float32(number == 2)
        return made

    found = run(FakeEngine(answer), 24, second=second)
    assert found.unrepeated is not None
    assert found.unrepeated.position == 2
    assert (found.logits[5, 0] % 1, len(found.logits)) == (0, 24)


@pytest.mark.parametrize("second", [False, True])
def test_an_engine_whose_sums_depend_on_the_length_repeats(second: bool) -> None:
    def batched(_number: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        return healthy(0, tokens) + np.float32(1e-3) * len(tokens)

    assert run(FakeEngine(batched), 24, second=second).unrepeated is None


class Remembering:
    """Adds the tokens that its process has had before."""

    def __init__(self) -> None:
        self.sum = 0

    def __call__(self, number: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self.sum = 0 if number == 0 else self.sum
        made = healthy(number, tokens) + np.float32(self.sum)
        self.sum += int(tokens.sum())
        return made


class Random:
    """Gives other logits each time, by 1 more."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, number: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self.runs += 1
        return healthy(number, tokens) + np.float32(self.runs)


def wrong_at(wrong: int) -> Answer:
    return lambda number, tokens: healthy(number, tokens) + np.float32(0.25 * (number == wrong))


RANDOM = "the same tokens get other logits each time, even as the only sequence of a process, by up to 1 ("
AGAIN = "runs again after the second sequence in one process gets other logits, by up to"
SECOND = "the second sequence in one process gets other logits than in a process of its own, by up to 0.25 ("


@pytest.mark.parametrize(
    ("answer", "second", "words"),
    [
        (Remembering, False, f"{AGAIN} 167, but"),
        (Remembering, True, AGAIN),
        (Random, False, RANDOM),
        (Random, True, RANDOM),
        (lambda: wrong_at(1), False, SECOND),
        (lambda: wrong_at(2), True, f"{AGAIN} 0.25, but"),
    ],
)
def test_what_does_not_repeat_is_random_or_keeps_state(
    answer: Callable[[], Answer], second: bool, words: str
) -> None:
    engine = FakeEngine(answer())
    found = run(engine, 24, second=second)
    assert found.unrepeated is not None
    assert words in Sequences(cast(Engine, engine), "file", 3).reason(found.unrepeated)
    assert [len(sequences) for sequences in engine.ran] == [3, 1, 1]


@pytest.mark.parametrize(("by", "random"), [(5.0, True), (20.0, False)])
def test_a_wrong_window_of_a_random_program_is_random_unless_only_its_last_bits_are(by: float, random: bool) -> None:
    engine = FakeEngine(Random(), runs_sequences=False)
    tokens = np.arange(4)
    sequences = Sequences(cast(Engine, engine), "file", 3)
    reason = sequences.reason_of_wrong(tokens, sequences.alone(tokens), by)
    assert (reason is not None) == random
    if reason is not None:
        assert reason[1] == 0
        assert "the same tokens get other logits each time" in reason[0]


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
