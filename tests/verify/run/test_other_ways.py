"""The reader is called in every way that is named, and a wrong bit in any of them is found. Quick: the reader is made
by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from helpers.models import config

from verify.oracle import multiplications
from verify.run import other_ways as module
from verify.run.other_ways import CALLS, THREADS, other_ways, passes_of
from verify.system.pulse import heard_by

Calls = list[tuple[object, ...]]
Change = Callable[[Calls, np.ndarray], np.ndarray]


class Reader:
    """A reader whose logits are a token's number and its position. change: what it does to them, by all its calls so
    far."""

    def __init__(self, change: Change = lambda _calls, logits: logits) -> None:
        self.calls: Calls = []
        self.config = config()
        self._change = change

    def _logits(self, tokens: np.ndarray, first: int) -> np.ndarray:
        logits = np.stack((tokens, np.arange(first, first + len(tokens))), axis=1).astype(np.float32)
        return self._change(self.calls, logits)

    def forward(self, tokens: np.ndarray, *, path: str = "best", threads: int = 0, **how: str) -> np.ndarray:
        self.calls.append(("forward", len(tokens), path, threads, *how.values()))
        return self._logits(tokens, 0)

    @contextmanager
    def session(self, length: int, threads: int) -> Any:
        self.calls.append(("session", length, threads))
        reader, at = self, 0

        class Session:
            def forward(self, tokens: np.ndarray, **how: str) -> np.ndarray:
                nonlocal at
                reader.calls.append(("piece", len(tokens), *how.values()))
                at += len(tokens)
                return reader._logits(tokens, at - len(tokens))

        yield Session()


def ran(
    reader: Reader, length: int = 300, recorded: int = 20, arithmetic: str = "fast", *, every_path: bool = False
) -> Any:
    tokens = np.arange(1000, 1000 + length)
    logits = np.stack((tokens, np.arange(length)), axis=1)[:recorded].astype(np.float32)
    given: Any = (reader, 5, tokens, logits, arithmetic, "q8")
    return other_ways(*given, every_path=every_path)


def pieces(length: int) -> list[int]:
    reader = Reader()
    ran(reader, length, 1)
    return [int(str(call[1])) for call in reader.calls if call[0] == "piece"]


def test_a_right_reader_is_called_in_every_way_and_found_alike() -> None:
    reader = Reader()
    found = ran(reader)
    assert found.difference == ""
    assert found.ways == ("recorded", "token by token and in uneven pieces", "3 threads")
    assert THREADS == (1, 3)
    assert CALLS == ("whole", "token by token", "uneven pieces")
    assert reader.calls[0] == ("session", 300, 1)
    assert {call[2:] for call in reader.calls if call[0] == "piece"} == {("fast", "q8")}
    assert reader.calls[-2:] == [("forward", 300, "best", 0, "fast", "q8"), ("forward", 300, "best", 3, "fast", "q8")]


def test_a_pass_that_was_recorded_whole_is_not_repeated() -> None:
    reader = Reader()
    found = ran(reader, recorded=300)
    assert found.difference == ""
    assert found.ways == ("recorded", "token by token and in uneven pieces", "3 threads")
    assert [call for call in reader.calls if call[0] == "forward"] == [("forward", 300, "best", 3, "fast", "q8")]


@pytest.mark.parametrize("way", ["pieces", "threads"])
def test_what_differs_from_a_pass_that_was_recorded_whole_differs_from_an_unrecorded_one(way: str) -> None:
    assert ran(Reader(wrong_in(way)), recorded=300) == ran(Reader(wrong_in(way)))


def test_recording_itself_is_named_where_it_changes_a_bit() -> None:
    def unlike_the_recorded(_calls: Calls, logits: np.ndarray) -> np.ndarray:
        return logits + np.float32(0.25)

    assert ran(Reader(unlike_the_recorded), recorded=300).difference.startswith(
        "fast, int8 activations, recorded: expected the bits of the whole window, found others from window 5, "
    )


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [1]),
        (16, [1] * 16),
        (17, [1] * 17),
        (20, [1] * 16 + [4]),
        (21, [1] * 16 + [5]),
        (22, [1] * 16 + [5, 1]),
        (240, [1] * 16 + [5, 1, 17, 64, 2, 127, 5, 1, 2]),
    ],
)
def test_a_window_comes_token_by_token_and_then_in_uneven_pieces(length: int, expected: list[int]) -> None:
    assert pieces(length) == expected
    assert passes_of(length) == 2 + len(expected)


@pytest.mark.parametrize(
    ("arithmetic", "every_path", "paths"),
    [("fast", True, ["scalar", "avx2"]), ("fast", False, ["best"]), ("mirror", True, ["best"])],
)
def test_every_path_of_fast_is_tried_if_all_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, arithmetic: str, every_path: bool, paths: list[str]
) -> None:
    monkeypatch.setattr(module.reader_c, "paths", lambda: ("scalar", "avx2"))
    reader = Reader()
    found = ran(reader, arithmetic=arithmetic, every_path=every_path)
    assert [call[2:4] for call in reader.calls if call[0] == "forward"] == [
        ("best", 0),
        *((path, 3) for path in paths),
    ]
    names = ["3 threads" if path == "best" else f"3 threads, {path}" for path in paths]
    assert found.ways == ("recorded", "token by token and in uneven pieces", *names)


@pytest.mark.parametrize(("every_path", "passes"), [(False, 5), (True, 6)])
def test_the_pulses_count_every_pass_and_pieces_as_three(
    monkeypatch: pytest.MonkeyPatch, every_path: bool, passes: int
) -> None:
    monkeypatch.setattr(module.reader_c, "paths", lambda: ("scalar", "avx2"))
    heard: list[float] = []
    with heard_by(heard.append):
        ran(Reader(), every_path=every_path)
    assert len(heard) == 1 + len(pieces(300)) + passes - 4
    assert sum(heard) == pytest.approx(passes * multiplications.of_reader(config(), 300, "q8"), rel=1e-12)


def wrong_in(way: str) -> Change:
    """Let one way have another bit in its last position, or the whole pass in the last that is recorded."""

    def change(calls: Calls, logits: np.ndarray) -> np.ndarray:
        last = calls[-1]
        here = {
            "pieces": last[0] == "piece",
            "threads": last[0] == "forward" and last[3] == 3,
            "whole": last[0] == "forward" and last[3] == 0,
        }[way]
        if here:
            logits[19 if way == "whole" else -1, 1] += 0.25
        return logits

    return change


@pytest.mark.parametrize(
    ("way", "length", "name", "place"),
    [
        ("pieces", 300, "token by token and in uneven pieces", "position 0, index 1 on: 0.25 instead of 0"),
        ("threads", 300, "3 threads", "position 299, index 1 on: 299.25 instead of 299"),
        ("whole", 300, "recorded", "position 19, index 1 on: 19 instead of 19.25"),
    ],
)
def test_another_bit_in_one_way_is_named_with_its_place(way: str, length: int, name: str, place: str) -> None:
    assert ran(Reader(wrong_in(way)), length, 20).difference == (
        f"fast, int8 activations, {name}: expected the bits of the whole window, found others from window 5, {place}"
    )


def test_activations_are_named() -> None:
    given: Any = (Reader(wrong_in("threads")), 0, np.arange(3), np.zeros((0, 2), np.float32), "mirror", "fp32")
    assert other_ways(*given, every_path=True).difference.startswith("mirror, float activations, 3 threads: ")
