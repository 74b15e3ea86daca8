"""Say how certain a router's choice of experts is: how far rounding is from another choice.

An expert is chosen by comparing logits of a router. Where the last chosen and the first rejected expert are nearly
equal, float32 rounding decides between them, and two right engines may choose otherwise. From there on their logits
differ by more than rounding, also at all later positions, which attend to this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.oracle.rounding_noise import Noise, largest

# So many standard deviations of rounding make a choice certain, as they limit a logit in `execution`.
CERTAIN_SIGMAS = 10.0
_LEAST_SIGMA = 2.0**-72


@dataclass(frozen=True)
class Certainty:
    """Says how many of a window's first positions can be judged. margin: the smallest distance of all its choices
    from another one, in standard deviations of rounding; infinite where no expert is chosen."""

    positions: int
    margin: float


class Routing:
    """Holds what a pass without noise chose, by layer, and how far rounding moved the logits of the routers."""

    def __init__(self) -> None:
        self.chosen: dict[int, torch.Tensor] = {}
        self._logits: dict[int, torch.Tensor] = {}
        self._margins: dict[int, torch.Tensor] = {}

    def record(self, layer: int, logits: torch.Tensor, chosen: torch.Tensor) -> None:
        """Keep a choice (windows, length, chosen) and the logits (windows, length, experts) that decided it."""
        self.chosen[layer], self._logits[layer] = chosen, logits

    def measure(self, layer: int, noisy: torch.Tensor, scale: float, rounders: int) -> None:
        """Compare with the logits of a pass whose roundings are `scale` times as large; the first one counts."""
        logits = self._logits[layer]
        if layer in self._margins or noisy.shape != logits.shape:
            return
        variance = spread_of((noisy - logits) / scale).mul_(rounders)
        self._margins[layer] = margins(logits, variance, self.chosen[layer].shape[-1])

    def certainty(self, row: int) -> Certainty:
        """Return that of a window, after a pass was measured."""
        of_layers = torch.stack([margin[row] for margin in self._margins.values()])
        least = of_layers.amin(0)
        # a NaN is not certain
        unsure = ~(least >= CERTAIN_SIGMAS)
        positions = int(unsure.int().argmax()) if unsure.any() else len(least)
        return Certainty(positions, float(torch.where(least.isnan(), 0.0, least).min()))


class RecordingNoise(Noise):
    """No noise; every choice is recorded."""

    def __init__(self, routing: Routing) -> None:
        super().__init__()
        self._routing = routing

    def chosen(self, layer: int, logits: torch.Tensor, count: int) -> torch.Tensor:
        chosen = largest(logits, count)
        self._routing.record(layer, logits, chosen)
        return chosen


class RoutedNoise(Noise):
    """One draw of noise for every window, in which each router chooses as it was recorded."""

    def __init__(self, routing: Routing, scale: float, seed: int, rounders: int) -> None:
        super().__init__(draws=1, scale=scale, seed=seed)
        self._routing, self._rounders = routing, rounders

    def chosen(self, layer: int, logits: torch.Tensor, _count: int) -> torch.Tensor:
        self._routing.measure(layer, logits, self.scale, self._rounders)
        return self._routing.chosen[layer][:, : logits.shape[1]]


def spread_of(moved: torch.Tensor) -> torch.Tensor:
    """Estimate the variance of logits (windows, length, experts) from what one draw moved them by.

    One number shows a variance only roughly, so that of the position and that of the window have their say too, each
    spread over the experts as all positions are on average.
    """
    own = moved.double().square()
    position = own.mean(-1, keepdim=True)
    window = position.mean(1, keepdim=True)
    of_experts = own.mean((0, 1)) / own.mean().clamp(min=torch.finfo(torch.float64).tiny)
    return (own + (position + window) / 2 * of_experts).div_(2)


def margins(logits: torch.Tensor, variance: torch.Tensor, count: int) -> torch.Tensor:
    """Return how far the first rejected expert is from being chosen (windows, length), in standard deviations."""
    if count == logits.shape[-1]:
        return logits.new_full(logits.shape[:-1], torch.inf)
    order = torch.sort(logits, dim=-1, descending=True, stable=True).indices[..., count - 1 : count + 1]
    pair, spread = logits.gather(-1, order), variance.gather(-1, order).sum(-1).sqrt_()
    return (pair[..., 0] - pair[..., 1]) / spread.clamp(min=_LEAST_SIGMA)
