"""Certificates count the positions whose token is certain, and say which is the first that is not."""

from __future__ import annotations

import dataclasses

import numpy as np

from verify.checks.certificates import MarginAt, Tie, all_certificates, certificates_of, greedy_text_of, one_largest
from verify.oracle.logit_margins import WindowMargins

FIRST, SECOND = np.arange(4), np.arange(4) + 10


def of(number: int, *sigmas: float, int8_certain: int | None = None):  # type: ignore[no-untyped-def]
    return certificates_of(number, WindowMargins(FIRST, SECOND, np.array(sigmas)), int8_certain)


def test_a_margin_of_ten_is_certain_and_less_is_not() -> None:
    found = of(3, 11.0, 10.0, 9.999, 2.0)
    assert (found.positions, found.certified, found.limit) == (4, 2, 10.0)
    assert found.first_uncertain == MarginAt(3, 2, (2, 12), 9.999)
    assert found.smallest == MarginAt(3, 3, (3, 13), 2.0)


def test_greedy_text_is_certain_up_to_the_first_tie() -> None:
    found = greedy_text_of("Once", "fp32", 0, of(0, 11.0, 10.0, 9.0, 2.0))
    assert (found.tokens, found.certain, found.tie, found.smallest_margin) == (4, 2, Tie(2, (2, 12), 9.0), 2.0)
    assert found.sentence(lambda token: f"<{token}>") == (
        "greedy text from 'Once' is certain for 2 tokens; then, at position 2, <2> and <12> are a tie within "
        "rounding: 9 standard deviations apart"
    )
    certain = greedy_text_of(None, "fp32", 0, of(0, 11.0, 10.0, 12.0, 20.0))
    assert (certain.certain, certain.tie) == (4, None)
    assert certain.sentence() == "greedy text is certain for all 4 tokens; smallest margin 10 standard deviations"
    exact = greedy_text_of("a\n" * 50, "q8", 0, of(0, *[np.inf] * 4))
    shown = r"a\n" * 30
    assert exact.sentence() == (
        f"greedy text from '{shown}'... with int8 activations is certain for all 4 tokens; to the bit"
    )


def test_tokens_are_counted_from_the_first_that_was_chosen_and_positions_from_the_prompt_s() -> None:
    margins = WindowMargins(FIRST, SECOND, np.array([11.0, 10.0, 9.0, 2.0]))
    found = greedy_text_of("Once", "fp32", 5, certificates_of(0, margins, None, 5))
    assert (found.tokens, found.certain, found.tie) == (4, 2, Tie(7, (2, 12), 9.0))


def test_a_prompt_is_shown_up_to_sixty_characters() -> None:
    for length, shown in ((59, f"'{'x' * 59}'"), (60, f"'{'x' * 60}'"), (61, f"'{'x' * 60}'...")):
        found = greedy_text_of("x" * length, "fp32", 0, of(0, *[np.inf] * 4))
        assert found.sentence() == f"greedy text from {shown} is certain for all 4 tokens; to the bit"


def test_windows_merge_in_their_order() -> None:
    whole, early, late = of(0, 11, 12, 13, np.inf), of(1, 9, 12, 13, 14), of(2, 1, 2, 3, 4)
    assert whole.first_uncertain is None
    found = all_certificates([whole, early, late])
    assert found is not None
    assert (found.positions, found.certified, found.int8_certain) == (12, 7, None)
    assert found.first_uncertain == early.first_uncertain
    assert found.smallest == late.smallest
    assert all_certificates([whole, None, late]) is None
    assert all_certificates([]) is None
    quantized = [dataclasses.replace(one, int8_certain=count) for one, count in ((whole, 4), (early, 3))]
    merged = all_certificates(quantized)
    assert merged is not None
    assert merged.int8_certain == 7


def test_int8_logits_are_certain_unless_two_share_the_largest() -> None:
    assert one_largest(np.zeros((3, 1), np.float32)) == 3
    assert one_largest(np.array([[1, 3, 2], [3, 1, 3], [0, 0, 0], [-1, -2, -3], [0, 1, 0]], np.float32)) == 3
    assert one_largest(np.array([[1, 2], [2, 2]], np.float32)) == 1


def test_the_sentence_counts_and_names_places() -> None:
    assert of(3, 11.0, 10.0, 9.999, 2.0, int8_certain=3).sentence() == (
        "every correct float32 engine chooses the same token at 2 of 4 positions (50.00%, statistical); the "
        "first that is not certain: window 3, position 2; smallest margin 2 standard deviations where 10 certify, "
        "tokens 3 and 13 in window 3, position 3; with int8 activations at 3 (75.00%, exact)"
    )
    assert of(0, 11, 12, 13, 14).sentence() == (
        "every correct float32 engine chooses the same token at 4 of 4 positions (100.00%, statistical); smallest "
        "margin 11 standard deviations where 10 certify, tokens 0 and 10 in window 0, position 0"
    )
