"""Coverage counts what the windows feed, says it in one line, and comes back from a report as it was."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verify.evidence import Window
from verify.evidence.coverage import Coverage

TOKENS = st.lists(st.lists(st.integers(0, 99), min_size=2, max_size=30), max_size=6)


def windows(tokens: list[list[int]]) -> list[Window]:
    return [Window(np.array(row, np.int64), "random") for row in tokens]


@given(tokens=TOKENS)
def test_the_counts_are_those_of_counting_one_by_one(tokens: list[list[int]]) -> None:
    fed = [(position, token) for row in tokens for position, token in enumerate(row)]
    found = Coverage.of(windows(tokens), 100, 40)
    assert found.windows == len(tokens)
    assert found.tokens == len(fed)
    assert found.positions == len({position for position, _ in fed})
    assert found.token_ids == len({token for _, token in fed})
    assert (found.max_seq_len, found.vocab_size) == (40, 100)
    assert found.position_share == found.positions / 40
    assert found.token_id_share == found.token_ids / 100


@given(tokens=TOKENS, arithmetics=st.lists(st.sampled_from(["mirror", "fast"])), threads=st.lists(st.integers(1)))
def test_a_report_gives_the_coverage_back(
    tokens: list[list[int]], arithmetics: list[str], threads: list[int]
) -> None:
    found = Coverage.of(windows(tokens), 100, 40)
    found = found.replaced(arithmetics=tuple(arithmetics), threads=tuple(threads), calls=("whole",))
    assert Coverage.of_report({"coverage": json.loads(json.dumps(found.to_dict()))}) == found


def test_a_report_from_before_it_was_recorded_has_none() -> None:
    assert Coverage.of_report({"depth": "quick"}) is None


def test_the_sentence_says_what_was_run_and_how() -> None:
    found = Coverage(10, 6656, 2048, 8192, 4912, 49152).replaced(
        arithmetics=("mirror", "fast"), paths=("avx512",), traced_windows=2
    )
    assert found.sentence() == (
        "covered: 10 windows, positions 0-2047 of 8192, 4,912 of 49,152 token ids (9.9 %), "
        "mirror and fast (avx512), operations in 2 windows"
    )


def test_positions_whose_experts_rounding_decides_are_said_and_kept() -> None:
    plain = Coverage(1, 9, 9, 9, 5, 5)
    assert not {"undecided_positions", "router_margin"} & plain.to_dict().keys()
    certain = plain.replaced(router_margin=31.5)
    assert certain.sentence() == plain.sentence()
    unsure = plain.replaced(undecided_positions=1, router_margin=0.25)
    assert unsure.sentence() == f"{plain.sentence()}, without 1 position whose experts rounding decides"
    several = plain.replaced(undecided_positions=4, router_margin=0.25)
    assert several.sentence().endswith(", without 4 positions whose experts rounding decides")
    for found in (certain, unsure, several):
        assert Coverage.of_report({"coverage": json.loads(json.dumps(found.to_dict()))}) == found


def test_the_sentence_leaves_out_what_nobody_ran() -> None:
    one = Coverage(1, 9, 9, 9, 5, 5)
    assert one.sentence() == "covered: 1 window, positions 0-8 of 9, 5 of 5 token ids (100.0 %)"
    assert one.replaced(arithmetics=("transformers",), paths=("avx2",)).sentence().endswith(", transformers")
    assert one.replaced(traced_windows=1).sentence().endswith(", operations in 1 window")
    assert Coverage.of([], 100, 40).sentence() == "covered: no window, because the model was not run"


@given(vocab_size=st.integers(2, 10**6), missing=st.integers(1, 10**6))
def test_only_all_ids_are_a_hundred_percent(vocab_size: int, missing: int) -> None:
    some = Coverage(1, 9, 9, 9, max(0, vocab_size - missing), vocab_size)
    assert "(100.0 %)" not in some.sentence()
    assert "(100.0 %)" in Coverage(1, 9, 9, 9, vocab_size, vocab_size).sentence()


def test_windows_say_nothing_of_how_they_ran() -> None:
    found = Coverage.of(windows([[1, 2]]), 100, 40)
    assert (found.arithmetics, found.paths, found.threads, found.calls) == ((), (), (), ())
    assert (found.engine_sequences, found.traced_windows, found.traced_positions) == (0, 0, 0)
    assert Coverage.of([], 100, 40) == Coverage(0, 0, 0, 40, 0, 100)
