"""Check `storage`: the file costs what honest rounding to its storage costs this very model, no more and no less.

`random_rounding` draws what honest storage costs. The file's cost, by float and by int8 activations, must lie among
these draws. There is no fixed tolerance: its distance from their mean is measured in their own standard deviations.

The cost of a window is its mean log KL(source || file). The logarithm keeps the few positions apart where attention
is undecided: they cost a thousand times as much as others, in an honest file and in a draw alike. What float32 alone
may cause is added before the logarithm, so that the check does not compare roundings of engines where storage costs
nothing. A cost far below the draws fails too: such a file does not compute with the storage that it claims.

The most likely tokens and the perplexity would add nothing: in benchmarks/calibrate_storage.py, they reveal no
mistake that escapes the KL, which is more sensitive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from verify.checks.result import CheckResult, exact, skipped, within
from verify.evidence import Window
from verify.oracle import llama
from verify.oracle.random_rounding import StorageOf, drawn_logits
from verify.sources import Hyperparameters

Floats = NDArray[np.float64]

# Of 300 random honest files (benchmarks/calibrate_storage.py) the worst reached 4.4; the median was 0.7.
LIMIT_SIGMAS = 6.0
# Added to the standard deviation: with four draws, that of a large model is sometimes estimated far too small.
_LEAST_SPREAD = 0.03

# The draws of a model with this many weights cost as much as one draw of any larger number.
_MOST_WEIGHTS = 1 << 24
_DRAWS = (4, 16)
# Of larger models, so many windows are judged, at so many of their first positions.
_WINDOWS, _POSITIONS = 8, 64

# How far a float32 engine may be from a logit, as a share of the largest logit: far more than it ever is.
_FLOAT32 = 2.0**-16


@dataclass(frozen=True)
class WindowCost:
    """Holds the cost of one window by one kind of activations: its mean log KL, the file's and that of each draw."""

    positions: int
    file: float
    draws: tuple[float, ...]


@dataclass(frozen=True)
class HonestCost:
    """Holds the costs of some windows, by float and by int8 activations. Evidence of later windows merges into it.

    finite: whether all logits were; costs of other logits are not computed.
    """

    fp32: tuple[WindowCost, ...] = ()
    q8: tuple[WindowCost, ...] = ()
    finite: bool = True

    def merged(self, later: HonestCost) -> HonestCost:
        """Return the evidence of both."""
        return HonestCost((*self.fp32, *later.fp32), (*self.q8, *later.q8), self.finite and later.finite)


def draws_of(hyper: Hyperparameters) -> int:
    """Return how many draws a model of this size needs: tiny models vary most from draw to draw, and cost least."""
    least, most = _DRAWS
    return min(max(_MOST_WEIGHTS // _weights(hyper), least), most)


def positions_of(hyper: Hyperparameters, length: int) -> int:
    """Return how many of a window's first positions to judge."""
    return length if _weights(hyper) <= _MOST_WEIGHTS else min(length, _POSITIONS)


def windows_of(hyper: Hyperparameters, windows: Sequence[Window]) -> list[int]:
    """Return the numbers of the windows to judge, in their order: the first of each origin, then the second, ..."""
    if _weights(hyper) <= _MOST_WEIGHTS:
        return list(range(len(windows)))
    seen: dict[str, int] = {}
    turns = []
    for number, window in enumerate(windows):
        turns.append((seen.setdefault(window.origin, 0), number))
        seen[window.origin] += 1
    return sorted(number for _turn, number in sorted(turns)[:_WINDOWS])


def judged_windows(hyper: Hyperparameters, windows: Sequence[Window]) -> list[Window]:
    """Return the windows to judge, cut to the positions to judge."""
    chosen = [windows[number] for number in windows_of(hyper, windows)]
    return [Window(one.tokens[: positions_of(hyper, len(one.tokens))], one.origin) for one in chosen]


def _weights(hyper: Hyperparameters) -> int:
    return sum(map(prod, hyper.shapes().values()))


@torch.no_grad()
def honest_cost(
    hyper: Hyperparameters,
    load_source: llama.Load,
    storage_of: StorageOf,
    tokens: torch.Tensor,
    of_source: Floats,
    of_file: Floats,
    of_q8: Floats | None,
    *,
    seed: int,
    draws: int | None = None,
) -> HonestCost:
    """Compare the cost of windows of one length, tokens (windows, length), with that of draws of the same storage.

    load_source: the source's tensors by name, float32; each is loaded once a call (an embedding twice), so a call
    should get all windows that fit into memory. storage_of: how the file stores each tensor. of_source, of_file: the
    reference's logits (windows, length, vocab_size) on the source's and on the file's weights. of_q8: those of the
    engine with int8 activations; None for a file without them. seed, draws: the same in every call of a verdict;
    draws: draws_of(hyper) unless given. Logits must be finite.
    """
    windows = [_Window(torch.from_numpy(logits)) for logits in of_source]
    found: dict[tuple[bool, int], list[float]] = {}
    for drawn in drawn_logits(
        hyper,
        load_source,
        storage_of,
        tokens,
        int8=of_q8 is not None,
        draws=draws or draws_of(hyper),
        seed=seed,
    ):
        found.setdefault((drawn.int8, drawn.window), []).append(windows[drawn.window].cost(drawn.logits))

    def costs(logits: Floats, *, int8: bool) -> tuple[WindowCost, ...]:
        return tuple(
            WindowCost(len(logits[row]), window.cost(torch.from_numpy(logits[row])), tuple(found[int8, row]))
            for row, window in enumerate(windows)
        )

    return HonestCost(costs(of_file, int8=False), () if of_q8 is None else costs(of_q8, int8=True))


class _Window:
    """Holds the source's logits (length, vocab_size) of one window, float64."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits, self._shares, self._sum = logits, logits.softmax(-1), logits.logsumexp(-1)
        self._of_float32 = (logits.abs().amax(-1) * _FLOAT32).square().clamp_(min=torch.finfo(logits.dtype).tiny)

    def cost(self, logits: torch.Tensor) -> float:
        """Return the mean log KL of other logits."""
        return float((self._divergence(logits) + self._of_float32).log().mean())

    def _divergence(self, logits: torch.Tensor) -> torch.Tensor:
        """Compute KL(source || logits) at each position.

        With d, the change of the logits less its mean under the source, it is log(1 + sum p (e^d - 1 - d)), a sum
        without cancelling terms. For large d, where e^d may be infinite, the plain form is exact enough.
        """
        moved = logits.double() - self._logits
        moved -= (self._shares * moved).sum(-1, keepdim=True)
        large = ~(moved.amax(-1) < 1)
        plain = (self._logits[large] + moved[large]).logsumexp(-1) - self._sum[large]
        kl = moved.clamp(max=1).expm1_().sub_(moved).mul_(self._shares).sum(-1).log1p_()
        kl[large] = plain
        return kl.clamp_(min=0)


@dataclass(frozen=True)
class _Judged:
    """Holds what one kind of activations costs. file, honest: mean log KL. sigmas: their distance."""

    activations: str
    file: float
    honest: float
    sigmas: float

    def describe(self) -> str:
        return (
            f"{_NAMES[self.activations]}: a typical position costs KL {np.exp(self.file):.3g}, honest rounding "
            f"{np.exp(self.honest):.3g}: {self.sigmas:.2f} standard deviations"
        )


_NAMES = {"fp32": "float32 activations", "q8": "int8 activations"}


def verdict(cost: HonestCost, limit: float = LIMIT_SIGMAS) -> CheckResult:
    """Judge the cost of all windows by each kind of activations. limit: in standard deviations of the draws."""
    if not cost.finite:
        return skipped("storage", "statistical", "logits are not finite")
    judged = [_judge(name, costs) for name, costs in (("fp32", cost.fp32), ("q8", cost.q8)) if costs]
    if not judged:
        return skipped("storage", "statistical", "no logits were compared")
    worst = max(judged, key=lambda one: math.inf if math.isnan(one.sigmas) else one.sigmas)
    failed = [one for one in judged if not one.sigmas <= limit]
    detail = "; ".join(one.describe() for one in failed or judged)
    if failed:
        side = "more" if worst.file > worst.honest else "less"
        detail = f"the file costs {side} than an honest file of its storage: {detail}"
    return within("storage", "statistical", worst.sigmas, limit, detail, {"activations": worst.activations})


def lossless() -> CheckResult:
    """Return the result for a file that stores every tensor of the source losslessly."""
    return exact("storage", 0, "the file stores the source's types, which round nothing")


def _judge(activations: str, costs: Sequence[WindowCost]) -> _Judged:
    """Return the distance of the file from the mean of the draws.

    The variance of a draw is that over draws of the mean over all windows. A few draws may underestimate it; if
    windows vary independently, it is also the sum of each window's own variance, which many numbers estimate. The
    larger of the two counts.
    """
    shares = np.array([cost.positions for cost in costs], np.float64)
    shares /= shares.sum()
    draws = np.array([cost.draws for cost in costs])
    of_draws = shares @ draws
    # logits that are not finite make numbers that are none, and those fail
    with np.errstate(invalid="ignore"):
        variance = max(of_draws.var(ddof=1), shares**2 @ draws.var(axis=1, ddof=1))
    spread = math.sqrt(variance * (1 + 1 / len(of_draws)) + _LEAST_SPREAD**2)
    file, honest = float(shares @ np.array([cost.file for cost in costs])), float(of_draws.mean())
    return _Judged(activations, file, honest, abs(file - honest) / spread)
