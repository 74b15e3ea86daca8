"""Metrics against their definitions, and their refusal to be vacuous."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.checks.metrics import WindowEvidence, compare_window, summarise


def logits(seed: int, length: int = 6, vocab_size: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(length, vocab_size)) * 3


def window(seed: int, change: float = 0.1, origin: str = "text", length: int = 6) -> WindowEvidence:
    source = logits(seed, length)
    file = (source + change * logits(seed + 1000, length)).astype(np.float32)
    tokens = np.random.default_rng(seed).integers(0, 5, length)
    return compare_window(origin, tokens, source, file)


def test_each_number_is_its_definition() -> None:
    source, file = logits(1), (logits(1) + 0.2 * logits(2)).astype(np.float32)
    tokens = np.array([0, 3, 1, 4, 2, 2])
    got = compare_window("text", tokens, source, file)
    for position in range(6):
        p = np.exp(source[position]) / np.exp(source[position]).sum()
        q = np.exp(file[position].astype(float)) / np.exp(file[position].astype(float)).sum()
        assert got.kl[position] == pytest.approx(sum(p * np.log(p / q)), rel=1e-9)
        assert got.agree[position] == (p.argmax() == q.argmax())
        assert got.error[position] == np.abs(source[position] - file[position]).max()
        if position < 5:
            assert got.source_nll[position] == pytest.approx(-math.log(p[tokens[position + 1]]))
            assert got.file_nll[position] == pytest.approx(-math.log(q[tokens[position + 1]]))
    summary = summarise([got])
    assert summary.positions == 6
    assert summary.kl_mean == pytest.approx(got.kl.mean())
    assert summary.kl_max == got.kl.max()
    assert summary.perplexity_source == pytest.approx(math.exp(got.source_nll.mean()))
    assert summary.rms_logit_error == pytest.approx(math.sqrt(np.mean((source - file) ** 2)))
    assert summary.worst_positions[0].position == got.kl.argmax()


def test_equal_logits_cost_nothing() -> None:
    source = np.float32(logits(3))
    got = summarise([compare_window("text", np.zeros(6, int), source.astype(float), source)])
    assert (got.kl_max, got.top1_agreement, got.max_abs_logit_error, got.perplexity_ratio) == (0, 1, 0, 1)


@given(st.permutations(range(6)))
def test_evidence_merges_in_any_order(order: list[int]) -> None:
    windows = [window(seed) for seed in range(6)]
    a, b = summarise(windows), summarise([windows[i] for i in order])
    for field in ("positions", "kl_p99", "kl_max", "top1_agreement", "max_abs_logit_error"):
        assert getattr(a, field) == getattr(b, field)
    assert a.kl_mean == pytest.approx(b.kl_mean, rel=1e-12)


def test_the_interval_covers_the_mean_and_narrows_with_evidence() -> None:
    few, many = summarise([window(s) for s in range(4)]), summarise([window(s) for s in range(64)])
    for summary in (few, many):
        assert summary.kl_mean_ci is not None
        low, high = summary.kl_mean_ci
        assert low <= summary.kl_mean <= high
    assert few.kl_mean_ci is not None
    assert many.kl_mean_ci is not None
    assert many.kl_mean_ci[1] - many.kl_mean_ci[0] < few.kl_mean_ci[1] - few.kl_mean_ci[0]


def test_one_window_has_no_interval_and_random_tokens_no_perplexity() -> None:
    one = summarise([window(1, origin="random")])
    assert one.kl_mean_ci is None
    assert one.perplexity_source is None
    assert one.perplexity_ratio is None
    assert one.perplexity_ratio_ci is None


def test_the_same_evidence_gives_the_same_numbers() -> None:
    windows = [window(s) for s in range(8)]
    assert dataclasses.asdict(summarise(windows)) == dataclasses.asdict(summarise(windows))


def test_nothing_to_compare_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(ValueError, match="no evidence"):
        summarise([])
    with pytest.raises(ValueError, match="logits"):
        compare_window("text", np.zeros(0, int), np.zeros((0, 5)), np.zeros((0, 5), np.float32))
    with pytest.raises(ValueError, match="logits"):
        compare_window("text", np.zeros(6, int), np.zeros((6, 5)), np.zeros((6, 1), np.float32))
    with pytest.raises(ValueError, match="logits"):
        compare_window("text", np.zeros(5, int), np.zeros((6, 5)), np.zeros((6, 5), np.float32))
