"""Which tensors cost what: the change that storage made in the logits, shared out among the weights that it changed.

For weights W_s of the source and W_f of the file, a quantity changes by the integral of its gradient along the way
from one to the other. The gradient in the middle times (W_f - W_s) is that integral for anything quadratic: so it is
right for KL divergence, whose gradient at the source is zero, and right to third order for a logit. The product is
taken tensor by tensor and keeps its sign, because errors of tensors do cancel. What the shares miss of the change
that was measured is the linearity residual: shares are worth as much as it is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.oracle import llama, rope
from verify.oracle.expected import blocks
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

# (name) -> (the source's tensor, the file's), float32
Pair = Callable[[str], tuple[torch.Tensor, torch.Tensor]]
# Two numbers that are shared out among the tensors.
Measures = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

_EMBEDDING = "tok_embeddings.weight"
# nats
_TINY = 1e-6


@dataclass(frozen=True)
class TensorShare:
    """Parts of what was measured, which add up to 1 less the linearity residual; negative where a tensor's error made
    up for others'."""

    tensor: str
    kl_share: float
    logit_error_share: float


@dataclass(frozen=True)
class Residual:
    """What the shares leave of each measured change, as a part of it."""

    kl: float
    logit_error: float


@dataclass(frozen=True)
class Attribution:
    """Of one window: its mean KL(source || file), and the logit at `position` and `index` that is furthest off."""

    window: int
    kl: float
    position: int
    index: int
    logit_error: float
    shares: tuple[TensorShare, ...]
    residual: Residual


def attribute(
    model: Hyperparameters,
    pair: Pair,
    tokens: torch.Tensor,
    of_source: NDArray[np.float64],
    of_file: NDArray[np.float64],
    window: int = 0,
) -> Attribution | None:
    """Shares of every tensor, the largest of KL first; None where nothing changed or is not finite.

    tokens (length,); of_source, of_file: logits (length, vocab_size) by the weights on either side of pair.
    Memory: two of one layer's weights, and the stream between the layers. Every weight is loaded twice.
    """
    before, after = torch.from_numpy(of_source), torch.from_numpy(of_file)
    at = int((after - before).abs().argmax())
    position, index = divmod(at, before.shape[1])
    logit_error = float(after[position, index] - before[position, index])
    likely = before.log_softmax(-1)
    kl = float(_divergence(likely, after))
    if logit_error == 0 or not 0 < kl < math.inf:
        return None
    # float32 gives the same shares to four digits, unless there is next to nothing to share out
    slopes = _Slopes(model, pair, tokens, torch.float32 if kl > _TINY else torch.float64)
    found = slopes.of(lambda logits: (_divergence(likely, logits), logits[position, index]))
    shares = [TensorShare(name, by_kl / kl, by_logit / logit_error) for name, (by_kl, by_logit) in found.items()]
    residual = Residual(1 - sum(s.kl_share for s in shares), 1 - sum(s.logit_error_share for s in shares))
    shares.sort(key=lambda share: -abs(share.kl_share))
    return Attribution(window, kl, position, index, logit_error, tuple(shares), residual)


class _Between(torch.autograd.Function):
    """The middle of source's and file's weights, as a function of a step from one to the other: a gradient by the
    weights is multiplied with their change at once, and never kept."""

    @staticmethod
    def forward(ctx: Any, step: torch.Tensor, pair: Pair, name: str) -> torch.Tensor:
        source, file = pair(name)
        source = source.to(step.dtype)
        ctx.change = file.to(step.dtype) - source
        return torch.add(source, ctx.change, alpha=0.5)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = gradients
        total = gradient.new_zeros(())
        for rows in blocks(gradient):
            total += (gradient[rows] * ctx.change[rows]).sum()
        return total, None, None


class _Slopes:
    """Derivatives of two measures by the step of each tensor, with the graph of one layer at a time."""

    def __init__(self, model: Hyperparameters, pair: Pair, tokens: torch.Tensor, dtype: torch.dtype) -> None:
        self._model, self._pair, self._tokens, self._dtype = model, pair, tokens, dtype
        self._silent = Noise()
        self._turns = rope.turns(model, len(tokens), dtype, self._silent)
        self._found = {name: [0.0, 0.0] for name in model.shapes()}

    def of(self, measures: Measures) -> dict[str, list[float]]:
        """By name, in the model's order; measures: both, from logits (length, vocab_size) in float64."""
        streams = [self._embed()]
        with torch.no_grad():
            for number in range(self._model.n_layers):
                streams.append(self._layer(number, self._load({}), streams[-1]))
        gradients = self._back(
            lambda load, x: measures(llama.head(self._model, load, x, self._silent)[0].double()), streams.pop()
        )
        for number in reversed(range(self._model.n_layers)):
            gradients = self._back(
                lambda load, x, number=number: (self._layer(number, load, x),) * 2,  # type: ignore[misc]
                streams.pop(),
                gradients,
            )
        source, file = self._pair(_EMBEDDING)
        change = (file[self._tokens] - source[self._tokens]).to(self._dtype)
        for measure, gradient in enumerate(gradients):
            self._found[_EMBEDDING][measure] += float((gradient[0] * change).sum())
        return self._found

    def _embed(self) -> torch.Tensor:
        source, file = self._pair(_EMBEDDING)
        return ((source[self._tokens].to(self._dtype) + file[self._tokens]) / 2).unsqueeze(0)

    def _layer(self, number: int, load: llama.Load, x: torch.Tensor) -> torch.Tensor:
        return llama.layer(self._model, load, number, x, self._turns, self._silent)

    def _load(self, steps: dict[str, torch.Tensor]) -> llama.Load:
        """Weights in the middle; steps: filled with the step of each."""

        def load(name: str) -> torch.Tensor:
            steps[name] = torch.zeros((), dtype=self._dtype, requires_grad=True)
            middle: torch.Tensor = _Between.apply(steps[name], self._pair, name)  # type: ignore[no-untyped-call]
            return middle

        return load

    def _back(
        self,
        run: Callable[[llama.Load, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
        x: torch.Tensor,
        gradients: tuple[torch.Tensor | None, ...] = (None, None),
    ) -> tuple[torch.Tensor, ...]:
        """Gradients of both measures by x, from those by what run makes of it; adds those by the steps."""
        steps: dict[str, torch.Tensor] = {}
        with torch.enable_grad():
            x = x.requires_grad_()
            outputs = run(self._load(steps), x)
        by_x = []
        for measure, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
            first, *others = torch.autograd.grad(output, [x, *steps.values()], gradient, retain_graph=measure == 0)
            by_x.append(first)
            for name, slope in zip(steps, others, strict=True):
                self._found[name][measure] += float(slope)
        return tuple(by_x)


def _divergence(likely: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean KL of the distributions with log-probabilities `likely` from those of logits, in nats.

    With d = log q - log p it is the sum of p (e^d - 1 - d), because the sum of p e^d is 1; and no term of that is
    negative, so that a small divergence does not drown in the rounding of large terms that cancel.
    """
    p, log_q = likely.exp(), logits.log_softmax(-1)
    d = log_q - likely
    # e^d may be infinite where p is nothing
    gained = torch.where(d < 1, p * d.clamp(max=1).expm1(), log_q.exp() - p)
    return (gained - p * d).sum(-1).mean()
