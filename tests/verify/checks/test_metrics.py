"""Metrics against their definitions, and their refusal to be vacuous."""

from __future__ import annotations

import dataclasses
import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.checks import logit_blocks, metrics
from verify.checks.metrics import WindowEvidence, compare_window, of_window, summarise
from verify.system.pulse import COMPARED, heard_by


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
    assert a.kl_mean == pytest.approx(b.kl_mean, rel=1e-12, abs=0)


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


def test_windows_of_unequal_length_count_by_their_positions() -> None:
    """Every figure is that of all positions together, however they are split into windows."""
    windows = [window(1, 0.1, length=2), window(2, 2.0, length=40), window(3, 0.5, "random", length=9)]
    windows.append(window(4, 1.0, "tokens", length=5))
    summary = summarise(windows)
    kl, agree, error, squared = (
        np.concatenate([getattr(w, name) for w in windows]) for name in ("kl", "agree", "error", "squared")
    )
    assert (summary.positions, summary.kl_max) == (56, kl.max())
    assert summary.kl_mean == pytest.approx(kl.mean(), rel=1e-12, abs=0)
    assert summary.kl_p99 == pytest.approx(np.quantile(kl, 0.99), rel=1e-12, abs=0)
    assert summary.top1_agreement == agree.mean()
    assert summary.max_abs_logit_error == error.max()
    assert summary.rms_logit_error == pytest.approx(np.sqrt(squared.mean()), rel=1e-12, abs=0)
    text = [w for w in windows if w.origin != "random"]
    source, file = (np.concatenate([getattr(w, name) for w in text]) for name in ("source_nll", "file_nll"))
    assert summary.perplexity_source == pytest.approx(math.exp(source.mean()), rel=1e-12, abs=0)
    assert summary.perplexity_file == pytest.approx(math.exp(file.mean()), rel=1e-12, abs=0)
    assert summary.perplexity_ratio == pytest.approx(math.exp(file.mean() - source.mean()), rel=1e-12, abs=0)


def test_intervals_weigh_windows_by_their_positions() -> None:
    """A long window among short ones: by positions, the mean is nearly always its own."""
    windows = [window(seed, 0.01, length=2) for seed in range(3)] + [window(9, 3.0, length=400)]
    low, high = summarise(windows).kl_mean_ci or (0.0, 0.0)
    assert 0.99 * windows[-1].kl.mean() < high <= windows[-1].kl.mean()
    assert low < 0.01 * high
    ratios = summarise(windows).perplexity_ratio_ci or (0.0, 0.0)
    long = math.exp(windows[-1].file_nll.mean() - windows[-1].source_nll.mean())
    assert min(abs(math.log(ratio / long)) for ratio in ratios) < 0.01 * abs(math.log(long))


def test_the_worst_positions_are_those_of_all_windows_in_order() -> None:
    windows = [window(1, 0.1, length=4), window(2, 2.0, length=9), window(3, 1.0, length=9)]
    every = sorted(
        ((float(kl), number, position) for number, w in enumerate(windows) for position, kl in enumerate(w.kl)),
        reverse=True,
    )
    worst = summarise(windows).worst_positions
    assert [(one.kl, one.window, one.position) for one in worst] == every[:5]
    assert [one.max_abs_logit_error for one in worst] == [windows[n].error[p] for _, n, p in every[:5]]


def test_a_window_in_a_report_has_its_own_means() -> None:
    evidence, tokens = window(5, 0.7), np.arange(6)
    found = of_window(3, "q8", tokens, evidence)
    assert (found.window, found.activations, found.origin) == (3, "q8", "text")
    assert found.tokens_sha256 == hashlib.sha256(b"".join(int(t).to_bytes(8, "little") for t in tokens)).hexdigest()
    assert (found.kl_mean, found.top1_agreement) == (evidence.kl.mean(), evidence.agree.mean())
    assert (found.max_abs_logit_error, found.rms_logit_error) == (
        evidence.error.max(),
        np.sqrt(evidence.squared.mean()),
    )
    assert (found.nll_source, found.nll_file) == (evidence.source_nll.mean(), evidence.file_nll.mean())
    assert found.kl == pytest.approx(tuple(evidence.kl), rel=5e-4)
    assert found.logit_error == pytest.approx(tuple(evidence.error), rel=5e-4)
    assert all(len(f"{value:.17g}".strip("0").lstrip(".0")) >= 4 for value in evidence.kl)
    assert all(value == float(f"{value:.4g}") for value in (*found.kl, *found.logit_error))


def test_one_array_on_both_sides_costs_nothing_and_has_the_perplexity_of_two() -> None:
    rng = np.random.default_rng(4)
    logits, tokens = rng.normal(size=(6, 9)).astype(np.float32), rng.integers(0, 9, 6)
    same = compare_window("text", tokens, logits, logits)
    two = compare_window("text", tokens, logits, logits.copy())
    for name in ("kl", "agree", "source_nll", "file_nll", "error", "squared"):
        assert np.array_equal(getattr(same, name), getattr(two, name)), name


@pytest.mark.parametrize("block", [1, 4, 5, 9, 10, 11, 29, 30, 1000])
def test_blocks_of_any_size_give_the_same_evidence_and_none_is_larger(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """A position has five logits; a block of fewer has one position all the same."""
    whole = dataclasses.asdict(window(7))
    sizes: list[int] = []
    compare = metrics._compare

    def recorded(source: np.ndarray, file: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes.append(source.size)
        return compare(source, file, following)

    monkeypatch.setattr(logit_blocks, "_BLOCK", block)
    monkeypatch.setattr(metrics, "_compare", recorded)
    for name, value in dataclasses.asdict(window(7)).items():
        assert np.array_equal(value, whole[name]), name
    full = 5 * max(1, block // 5)
    assert sizes == [full] * (30 // full) + [30 % full] * (30 % full > 0)


def test_intervals_are_percentiles_of_2000_draws_of_whole_windows() -> None:
    """Each draw takes as many windows as there are, with replacement, and joins their positions."""
    from scipy.stats import bootstrap

    windows = [window(seed, 0.1 * (seed + 1), length=2 + 3 * seed) for seed in range(12)]

    def mean_kl(drawn: np.ndarray) -> float:
        return float(np.concatenate([windows[int(i)].kl for i in drawn]).mean())

    def log_ratio(drawn: np.ndarray) -> float:
        each = (windows[int(i)].file_nll - windows[int(i)].source_nll for i in drawn)
        return float(np.concatenate(list(each)).mean())

    found = summarise(windows)
    assert found.perplexity_ratio_ci is not None
    of_ratio = tuple(map(math.log, found.perplexity_ratio_ci))
    for statistic, interval in ((mean_kl, found.kl_mean_ci), (log_ratio, of_ratio)):
        expected = bootstrap(
            (np.arange(12),),
            statistic,
            vectorized=False,
            method="percentile",
            n_resamples=2000,
            confidence_level=0.95,
            rng=np.random.default_rng(0),
        ).confidence_interval
        assert interval == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert summarise(windows, seed=1).kl_mean_ci != found.kl_mean_ci == summarise(windows, seed=0).kl_mean_ci


def test_two_windows_have_an_interval() -> None:
    assert summarise([window(1), window(2)]).kl_mean_ci is not None


@pytest.mark.parametrize("side", ["perplexity_source", "perplexity_file"])
def test_without_the_perplexity_of_one_side_there_is_no_ratio(side: str) -> None:
    assert dataclasses.replace(summarise([window(1)]), **{side: None}).perplexity_ratio is None  # type: ignore[arg-type]


@pytest.mark.parametrize("constant", [0.0, 2.0**13, -(2.0**13)])
def test_a_constant_on_all_logits_changes_no_probability(constant: float) -> None:
    """Even one whose exponential no float64 holds."""
    source, tokens = np.round(logits(1), 3), np.array([0, 3, 1, 4, 2, 2])
    expected = compare_window("text", tokens, source, source * 1.1)
    found = compare_window("text", tokens, source + constant, source * 1.1 + constant)
    for name in ("kl", "source_nll", "file_nll"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6)


def test_no_divergence_is_below_0() -> None:
    """Rounding makes the sum of nearly equal distributions slightly negative."""
    source = logits(1, 200)
    file = source * (1 + 1e-16)
    got = compare_window("text", np.zeros(200, int), source, file + 1e-12)
    assert (got.kl >= 0).all()
    assert (got.kl == 0).any()


@pytest.mark.parametrize("equal", [True, False])
def test_progress_counts_every_logit_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch, equal: bool) -> None:
    source = logits(1)
    for block, sizes in ((1000, [30]), (10, [10, 10, 10]), (20, [20, 10])):
        monkeypatch.setattr(logit_blocks, "_BLOCK", block)
        heard: list[float] = []
        with heard_by(heard.append):
            compare_window("text", np.zeros(6, int), source, source if equal else source.copy())
        assert heard == [COMPARED * size for size in sizes]
