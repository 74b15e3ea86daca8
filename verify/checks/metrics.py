"""Compute what a file costs from pairs of logits: arrays in, frozen results out.

The evidence of windows merges, so that any number of processes can gather it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.checks.logit_blocks import Floats, Logits, blocks
from verify.system.pulse import COMPARED, pulse

CONFIDENCE = 0.95
WORST_POSITIONS = 5


@dataclass(frozen=True)
class WindowEvidence:
    """Holds the evidence of one window: arrays (length,) in the order of positions.

    kl: KL(source || file) in nats. agree: whether the most likely token is the same. source_nll, file_nll: nats of
    the next token, (length - 1,). error, squared: largest and mean square logit difference.
    """

    origin: str
    kl: Floats
    agree: NDArray[np.bool_]
    source_nll: Floats
    file_nll: Floats
    error: Floats
    squared: Floats


def compare_window(
    origin: str, tokens: NDArray[np.int64], source_logits: Logits, file_logits: Logits
) -> WindowEvidence:
    """Compare finite logits (length, vocab_size) of both sides, which may be one array.

    Raises ValueError if shapes differ or nothing can be compared.
    """
    if source_logits.shape != file_logits.shape or source_logits.shape[0] != len(tokens) or not source_logits.size:
        raise ValueError(f"logits: {source_logits.shape} against {file_logits.shape} for {len(tokens)} tokens")
    following, found = tokens[1:], []
    for rows in blocks(*source_logits.shape):
        if source_logits is file_logits:
            found.append(_equal(source_logits[rows], following[rows]))
        else:
            found.append(_compare(source_logits[rows], file_logits[rows], following[rows]))
        pulse(COMPARED * source_logits[rows].size)
    kl, agree, source_nll, file_nll, error, squared = (np.concatenate(column) for column in zip(*found, strict=True))
    return WindowEvidence(origin, kl, agree, source_nll, file_nll, error, squared)


def _compare(source_logits: Logits, file_logits: Logits, following: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Compare some positions; following: the tokens after them, one fewer at the end of a window."""
    wide, wide_file = source_logits.astype(np.float64), file_logits.astype(np.float64)
    source, file = _log_softmax(wide), _log_softmax(wide_file)
    difference = wide_file - wide
    count, columns = len(following), following[:, None]
    return (
        # rounding can make the KL of two nearly equal distributions slightly negative
        np.maximum((np.exp(source) * (source - file)).sum(axis=1), 0.0),
        wide.argmax(axis=1) == wide_file.argmax(axis=1),
        -np.take_along_axis(source[:count], columns, axis=1)[:, 0],
        -np.take_along_axis(file[:count], columns, axis=1)[:, 0],
        np.abs(difference).max(axis=1),
        np.square(difference).mean(axis=1),
    )


def _equal(logits: Logits, following: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Return what _compare() does for logits beside themselves."""
    wide, count, none = logits.astype(np.float64), len(following), np.zeros(len(logits))
    nll = -np.take_along_axis(_log_softmax(wide[:count]), following[:, None], axis=1)[:, 0]
    return none, np.ones(len(logits), np.bool_), nll, nll, none, none


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class WorstPosition:
    """Names one of the positions with the largest KL. text: the end of the text before it."""

    window: int
    position: int
    kl: float
    max_abs_logit_error: float
    text: str = ""


@dataclass(frozen=True)
class Metrics:
    """Summarises the cost over all windows.

    Perplexities cover only windows of text, and are None without any. Confidence intervals are 95 % percentile
    bootstraps over windows, and are None with fewer than two windows.
    """

    positions: int
    kl_mean: float
    kl_mean_ci: tuple[float, float] | None
    kl_p99: float
    kl_max: float
    top1_agreement: float
    max_abs_logit_error: float
    rms_logit_error: float
    perplexity_source: float | None
    perplexity_file: float | None
    perplexity_ratio_ci: tuple[float, float] | None
    worst_positions: tuple[WorstPosition, ...] = field(default_factory=tuple)

    @property
    def perplexity_ratio(self) -> float | None:
        """Return the file's perplexity divided by the source's; None without text."""
        if self.perplexity_source is None or self.perplexity_file is None:
            return None
        return self.perplexity_file / self.perplexity_source


@dataclass(frozen=True)
class WindowMetrics:
    """Describes one window in a report.

    The means over its positions are paired with those of a later release. kl, logit_error: each position's KL and
    largest logit error with four digits, for plots. nll_source, nll_file: mean nats of the next token.
    """

    window: int
    activations: str
    origin: str
    tokens_sha256: str
    kl_mean: float
    top1_agreement: float
    max_abs_logit_error: float
    rms_logit_error: float
    nll_source: float
    nll_file: float
    kl: tuple[float, ...]
    logit_error: tuple[float, ...]


def digest_of(tokens: NDArray[np.int64]) -> str:
    """Return the sha256 of the ids as little-endian int64, by which two reports recognise the same window."""
    return hashlib.sha256(tokens.astype("<i8").tobytes()).hexdigest()


def of_window(window: int, activations: str, tokens: NDArray[np.int64], evidence: WindowEvidence) -> WindowMetrics:
    """Summarise a window's evidence for the report."""
    return WindowMetrics(
        window=window,
        activations=activations,
        origin=evidence.origin,
        tokens_sha256=digest_of(tokens),
        kl_mean=float(evidence.kl.mean()),
        top1_agreement=float(evidence.agree.mean()),
        max_abs_logit_error=float(evidence.error.max()),
        rms_logit_error=float(np.sqrt(evidence.squared.mean())),
        nll_source=float(evidence.source_nll.mean()),
        nll_file=float(evidence.file_nll.mean()),
        kl=_four_digits(evidence.kl),
        logit_error=_four_digits(evidence.error),
    )


def _four_digits(values: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)


def summarise(windows: list[WindowEvidence], seed: int = 0) -> Metrics:
    """Merge the evidence. Raises ValueError without any."""
    if not windows:
        raise ValueError("no evidence to summarise")
    kl = np.concatenate([w.kl for w in windows])
    error = np.concatenate([w.error for w in windows])
    agree = np.concatenate([w.agree for w in windows])
    squared = np.concatenate([w.squared for w in windows])
    text = [w for w in windows if w.origin in ("text", "tokens")]
    source_nll = [float(w.source_nll.mean()) for w in text]
    file_nll = [float(w.file_nll.mean()) for w in text]
    sizes = [len(w.source_nll) for w in text]
    return Metrics(
        positions=len(kl),
        kl_mean=float(kl.mean()),
        kl_mean_ci=_bootstrap([float(w.kl.mean()) for w in windows], [len(w.kl) for w in windows], seed),
        kl_p99=float(np.quantile(kl, 0.99)),
        kl_max=float(kl.max()),
        top1_agreement=float(agree.mean()),
        max_abs_logit_error=float(error.max()),
        rms_logit_error=float(np.sqrt(squared.mean())),
        perplexity_source=float(np.exp(np.average(source_nll, weights=sizes))) if text else None,
        perplexity_file=float(np.exp(np.average(file_nll, weights=sizes))) if text else None,
        perplexity_ratio_ci=_exp(_bootstrap([f - s for f, s in zip(file_nll, source_nll, strict=True)], sizes, seed)),
        worst_positions=_worst(windows),
    )


def _bootstrap(means: list[float], sizes: list[int], seed: int) -> tuple[float, float] | None:
    """Return the interval of the mean over positions. It resamples whole windows, because positions within a window
    depend on each other."""
    if len(means) < 2:
        return None
    from scipy.stats import bootstrap  # noqa: PLC0415  # heavy, and only needed here

    def weighted(values: Floats, weights: Floats, axis: int) -> Floats:
        return np.asarray((values * weights).sum(axis=axis) / weights.sum(axis=axis))

    interval = bootstrap(
        (np.array(means), np.array(sizes, np.float64)),
        weighted,
        paired=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=2000,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _exp(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (float(np.exp(interval[0])), float(np.exp(interval[1])))


def _worst(windows: list[WindowEvidence]) -> tuple[WorstPosition, ...]:
    every = [
        WorstPosition(number, position, float(w.kl[position]), float(w.error[position]))
        for number, w in enumerate(windows)
        for position in np.argsort(w.kl)[-WORST_POSITIONS:]
    ]
    every.sort(key=lambda p: p.kl, reverse=True)
    return tuple(
        WorstPosition(p.window, int(p.position), p.kl, p.max_abs_logit_error) for p in every[:WORST_POSITIONS]
    )
