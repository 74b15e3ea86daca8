"""Decide whether the logits of an engine with int8 activations differ from the reader's by rounding alone.

Equal bits agree. Eight measures judge all other logits. Each has a limit, and the engine's result is the largest
share of a limit, scaled so that LIMIT_SIGMAS is the limit of them all:

- onset: the difference begins (exceeds float32 rounding) where no activation lies near enough to a half to turn. If
  a window's difference begins at position p, a healthy engine's begins there or earlier with the probability u =
  1 - exp(-turns expected up to p). The sum of -ln u over n windows exceeds s with at most the probability that a
  Gamma(n, 1) variable does.
- probes: short sequences begin to differ at one position more often than draws of float32 rounding do.
- position, logit: from there on, the difference is larger than that of activations that are all rounded at random:
  its root mean square over one position's logits, or a single logit. Where turns are certain, a few positions may
  differ more: large models have positions with two states, between which one turn decides.
- alone: a logit differs by itself. An activation that turns moves all logits of its position.
- size, mean, slope: where turns are certain, the differences are larger than those of healthy draws: their geometric
  mean over positions, their sum over positions, or their component along the logits themselves. A position with two
  states counts for no more than a few others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.checks.digits import counted
from verify.checks.execution import LIMIT_SIGMAS
from verify.checks.result import CheckResult, within
from verify.engine.probes import Begun
from verify.oracle.int8_noise import Int8Spread

Floats = NDArray[np.float64]

# A probability of turns is never taken to be less: noise has longer tails than the normal distribution.
_LEAST_TURNS = 1e-7
# Differences that begin where turns are as improbable as this are named as the first.
_IMPROBABLE = 1e-3
# Turns are certain where so many are expected.
_CERTAIN = 20.0
# A logit that moves by less than this share of random rounding may be alone: float32 rounding moves each by itself.
_LEAST_ALONE = 0.1
# Of the positions with certain turns, this share, and at least so many, may have jumped to another state.
_OTHER_STATE_SHARE = 0.01
_OTHER_STATES = 2
# A position counts for at most so many times the median of its window.
_MOST_WEIGHT = 3.0
# Differences are never taken to be smaller: their logarithm is needed.
_LEAST_SIZE = 1e-30
# Without so many positions with certain turns, their differences say too little.
_LEAST_POSITIONS = 100


@dataclass(frozen=True)
class Measure:
    """Names a measure, and its limit. sentence: what exceeds it."""

    limit: float
    sentence: str


# Healthy engines reach at most 0.8 of each limit (benchmarks/calibrate_int8_engines.py).
MEASURES = {
    "onset": Measure(6.0, "differences begin where no activation is near enough to a half to turn (-log10 p {})"),
    "probes": Measure(6.0, "short sequences differ more often than rounding turns an activation (-log10 p {})"),
    "position": Measure(5.0, "a position's logits differ {} times as much as by activations rounded at random"),
    "logit": Measure(12.0, "a logit differs {} times as much as by activations rounded at random"),
    "alone": Measure(20.0, "a logit differs {} times as much as the others of its position"),
    "size": Measure(1.3, "differences are {} times as large as those of activations that turn by rounding"),
    "mean": Measure(2.5, "differences average to {} times those of activations that turn by rounding"),
    "slope": Measure(10.0, "differences follow the logits themselves, {} standard deviations of what turns explain"),
}


@dataclass
class _Drift:
    """Sums over the positions whose turns are certain, of the engine and as the mean over healthy draws."""

    positions: int = 0
    log_size: float = 0.0
    expected_log_size: float = 0.0
    along: float = 0.0
    expected_along: float = 0.0  # of the square
    total: NDArray[np.float32] | None = None
    expected_total: NDArray[np.float32] | None = None

    def add(self, difference: NDArray[np.float32], live: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Add positions: (positions, vocab_size), and of live draws (draws, positions, vocab_size)."""
        centred = logits - logits.mean(1, keepdims=True)
        size, expected_size = _sizes(difference), _sizes(live)
        most = _MOST_WEIGHT * float(np.median(expected_size))
        self.positions += len(difference)
        self.log_size += float(np.log(size).sum())
        self.expected_log_size += float(np.log(expected_size).sum()) / len(live)
        difference = difference * np.minimum(1, most / size)[..., None].astype(np.float32)
        live = live * np.minimum(1, most / expected_size)[..., None].astype(np.float32)
        self.along += float((difference * centred).sum(dtype=np.float64))
        along = (live * centred).sum(2, dtype=np.float64)
        self.expected_along += float(np.square(along).sum()) / len(live)
        total, expected = difference.sum(0), live.sum(1)
        self.total = total if self.total is None else self.total + total
        self.expected_total = expected if self.expected_total is None else self.expected_total + expected

    def measured(self) -> dict[str, float]:
        """Return the measures, if there are enough positions."""
        if self.positions < _LEAST_POSITIONS or self.total is None or self.expected_total is None:
            return {}
        return {
            "size": math.exp((self.log_size - self.expected_log_size) / self.positions),
            "mean": _root_ratio(float(np.square(self.total).mean()), float(np.square(self.expected_total).mean())),
            "slope": _root_ratio(self.along**2, self.expected_along),
        }


@dataclass
class Int8Agreement:
    """Gathers windows; verdict() judges them all."""

    first: dict[str, int] | None = None
    _logits: int = 0
    _differing: int = 0
    _largest: float = 0.0
    _begun: dict[bytes, float] = field(default_factory=dict)
    _windows: int = 0
    _worst: dict[str, float] = field(default_factory=dict)
    _where: dict[str, dict[str, Any]] = field(default_factory=dict)
    _drift: _Drift = field(default_factory=_Drift)
    _jumps: dict[str, list[Floats]] = field(default_factory=dict)

    def add_equal(self, logits: int) -> None:
        """Add a window whose logits all have the reader's bits."""
        self._logits += logits
        self._windows += 1

    def add(
        self,
        window: int,
        tokens: NDArray[np.int64],
        spread: Int8Spread,
        ours: NDArray[np.float32],
        engine: NDArray[np.float32],
    ) -> None:
        """Add a window: arrays (length, vocab_size), finite. spread may cover its first positions only."""
        difference = engine - ours
        self._logits += engine.size
        self._differing += int(np.count_nonzero(difference))
        self._largest = max(self._largest, float(np.abs(difference).max()))
        self._windows += 1
        covered = len(spread.apart)
        onset, certain = 0, np.ones(covered, np.bool_)
        if spread.sigma is not None and spread.turns is not None:
            turns = spread.turns.cumsum(0).numpy()
            beyond = (np.abs(difference[:covered]) > LIMIT_SIGMAS * spread.sigma.numpy()).any(1)
            onset, certain = int(beyond.argmax()) if beyond.any() else covered, turns > _CERTAIN
            if beyond.any():
                self._begin(window, onset, tokens, turns[onset])
        sure = np.full(len(difference), certain[-1])
        sure[:covered] = certain
        self._add_jumps(window, onset, difference, spread.apart.numpy(), sure)
        if certain.any():
            live = spread.live.numpy()[:, certain]
            self._drift.add(difference[:covered][certain], live, ours[:covered][certain])

    def add_probes(self, begun: tuple[Begun, ...]) -> None:
        """Add what try_probes() found at each position."""
        position = max(range(len(begun)), key=lambda place: begun[place].unlikely)
        worst = begun[position]
        self._worst["probes"] = worst.unlikely
        self._where["probes"] = {"position": position, "differ": worst.engine, "probes": worst.probes}

    def _begin(self, window: int, onset: int, tokens: NDArray[np.int64], turns: float) -> None:
        probability = 1 - math.exp(-max(turns, _LEAST_TURNS))
        # windows with the same first tokens are one experiment
        self._begun[tokens[: onset + 1].tobytes()] = probability
        if probability < _IMPROBABLE:
            self._point(window, onset)
        where = self._where.get("onset")
        if where is None or probability < where["probability"]:
            self._where["onset"] = {"window": window, "position": onset, "probability": probability}

    def _add_jumps(
        self,
        window: int,
        onset: int,
        difference: NDArray[np.float32],
        apart: NDArray[np.float32],
        sure: NDArray[np.bool_],
    ) -> None:
        """Compare positions from `onset` on with the scale of random rounding. sure: where turns are certain."""
        if onset >= len(difference):
            return
        mean = float(np.square(apart, dtype=np.float64).mean())
        # a position's few draws, and all of them; and all of them where there were no draws
        scale = np.full(len(difference), math.sqrt(mean))
        scale[: len(apart)] = np.sqrt((np.square(apart, dtype=np.float64) + mean) / 2)
        of_positions = np.sqrt(np.square(difference).mean(1, dtype=np.float64))
        of_logits = np.abs(difference).max(1).astype(np.float64)
        alone = np.where(of_logits > _LEAST_ALONE * scale, _ratio(of_logits, of_positions), 0.0)
        found = {"position": _ratio(of_positions, scale), "logit": _ratio(of_logits, scale), "alone": alone}
        for name, ratios in found.items():
            ratio = ratios[onset:]
            if name != "alone":
                self._jumps.setdefault(name, []).append(ratio[sure[onset:]])
                ratio = np.where(sure[onset:], 0.0, ratio)
            at = int(ratio.argmax())
            if ratio[at] > self._worst.get(name, -1.0):
                self._worst[name] = float(ratio[at])
                self._where[name] = {"window": window, "position": onset + at}
            if (beyond := ratio > MEASURES[name].limit).any():
                self._point(window, onset + int(beyond.argmax()))

    def _point(self, window: int, position: int) -> None:
        found = {"window": window, "position": position}
        if self.first is None or (window, position) < (self.first["window"], self.first["position"]):
            self.first = found

    def measured(self) -> dict[str, float]:
        """Return every measure that the windows allow."""
        onset = _unlikely(-sum(map(math.log, self._begun.values())), self._windows)
        jumps = {name: max(self._worst[name], _without_other_states(found)) for name, found in self._jumps.items()}
        return {"onset": onset, **self._worst, **jumps, **self._drift.measured()}

    def verdict(self, limit: float = LIMIT_SIGMAS) -> CheckResult:
        """Judge the measure that is nearest to its limit. limit: of the result; the default is calibrated."""
        said = f"{counted(self._logits, 'logit')} of the engine against the C reader's with int8 activations"
        if not self._differing:
            return within("engine", "statistical", 0.0, limit, f"{said}: equal bits")
        measured = self.measured()
        worst = max(measured, key=lambda name: measured[name] / MEASURES[name].limit)
        share = measured[worst] / MEASURES[worst].limit
        detail = f"{said}: {self._differing} differ, by at most {self._largest:.3g}"
        sentence = MEASURES[worst].sentence.format(f"{measured[worst]:.3g}")
        verb = "nearest to a limit: " if share * LIMIT_SIGMAS <= limit else ""
        detail += f"; {verb}{sentence}, limit {MEASURES[worst].limit * limit / LIMIT_SIGMAS:g}"
        return within("engine", "statistical", LIMIT_SIGMAS * share, limit, detail, self._where.get(worst, {}))


def _ratio(found: Floats, expected: Floats) -> Floats:
    """Divide, where nothing in nothing is 0."""
    return np.divide(found, expected, out=np.where(found == 0, 0.0, np.inf), where=expected > 0)


def _sizes(differences: NDArray[np.float32]) -> Floats:
    """Return the root mean square over the vocabulary, above 0."""
    sizes: Floats = np.sqrt(np.square(differences).mean(-1, dtype=np.float64)) + _LEAST_SIZE
    return sizes


def _without_other_states(found: list[Floats]) -> float:
    """Return the largest ratio but for the positions that may have jumped to another state."""
    ratios = np.sort(np.concatenate(found))
    excused = max(_OTHER_STATES, math.ceil(_OTHER_STATE_SHARE * len(ratios)))
    return float(ratios[-1 - excused]) if len(ratios) > excused else 0.0


def _root_ratio(found: float, expected: float) -> float:
    if expected == 0:
        return math.inf if found else 0.0
    return math.sqrt(found / expected)


def _unlikely(total: float, windows: int) -> float:
    """Return -log10 of the probability that a Gamma(windows, 1) variable exceeds total."""
    if total <= 0:
        return 0.0
    terms = [number * math.log(total) - math.lgamma(number + 1) for number in range(windows)]
    largest = max(terms)
    tail = largest - total + math.log(sum(math.exp(term - largest) for term in terms))
    return max(0.0, -tail / math.log(10))
