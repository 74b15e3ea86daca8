"""Attribute the cost of storage: the change of the logits, to the weights that storage changed.

For weights W_s of the source and W_f of the file, a quantity changes by the integral of its gradient on the way from
one to the other. For a quadratic quantity that integral is the gradient in the middle times (W_f - W_s): it is right
for KL divergence, whose gradient at the source is zero, and right to third order for a logit. The product is computed
for each tensor and keeps its sign, because errors of tensors cancel. The linearity residual is the part of the
measured change that the shares do not explain; the smaller it is, the more the shares can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verify.oracle import llama, multiplications, rope
from verify.oracle.expected import blocks
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters
from verify.system.pulse import pulse

# (name) -> (the source's tensor, the file's), float32
Pair = Callable[[str], tuple[torch.Tensor, torch.Tensor]]
# Logits -> the two numbers that are attributed to the tensors.
Measures = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

_EMBEDDING = "tok_embeddings.weight"
# A divergence, in nats, below which the shares are computed in float64.
_TINY = 1e-6


@dataclass(frozen=True)
class TensorShare:
    """Gives one tensor's shares of what was measured.

    The shares of all tensors add up to 1 minus the linearity residual. A negative share means that the tensor's error
    cancelled errors of others.
    """

    tensor: str
    kl_share: float
    logit_error_share: float


@dataclass(frozen=True)
class Residual:
    """Gives the share of each measured change that no tensor explains."""

    kl: float
    logit_error: float


@dataclass(frozen=True)
class Attribution:
    """Gives the shares of one window: of its mean KL(source || file), and of its worst logit, at `position` and
    `index`."""

    window: int
    kl: float
    position: int
    index: int
    logit_error: float
    shares: tuple[TensorShare, ...]
    residual: Residual


def attribute(
    hyper: Hyperparameters,
    pair: Pair,
    tokens: torch.Tensor,
    of_source: NDArray[np.float64],
    of_file: NDArray[np.float64],
    window: int = 0,
) -> Attribution | None:
    """Compute the shares of every tensor, the largest of KL first; None if nothing changed or is not finite.

    tokens: (length,). of_source, of_file: logits (length, vocab_size) with the weights on either side of pair.
    Memory holds two copies of one layer's weights, and the stream between the layers. Every weight is loaded twice.
    """
    before, after = torch.from_numpy(of_source), torch.from_numpy(of_file)
    at = int((after - before).abs().argmax())
    position, index = divmod(at, before.shape[1])
    logit_error = float(after[position, index] - before[position, index])
    likely = before.log_softmax(-1)
    kl = float(_divergence(likely, after))
    if logit_error == 0 or not 0 < kl < math.inf:
        return None
    # float32 gives the same shares to four digits, unless the divergence is tiny
    slopes = _Slopes(hyper, pair, tokens, torch.float32 if kl > _TINY else torch.float64)
    found = slopes.of(lambda logits: (_divergence(likely, logits), logits[position, index]))
    shares = [TensorShare(name, by_kl / kl, by_logit / logit_error) for name, (by_kl, by_logit) in found.items()]
    residual = Residual(1 - sum(s.kl_share for s in shares), 1 - sum(s.logit_error_share for s in shares))
    shares.sort(key=lambda share: -abs(share.kl_share))
    return Attribution(window, kl, position, index, logit_error, tuple(shares), residual)


class _Between(torch.autograd.Function):
    """Computes the mean of the source's and the file's weights, as a function of the step between them.

    A gradient by the weights is multiplied with their change at once and never kept.
    """

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
    """Computes the derivatives of two measures by the step of each tensor, with the graph of one layer at a time."""

    def __init__(self, hyper: Hyperparameters, pair: Pair, tokens: torch.Tensor, dtype: torch.dtype) -> None:
        self._hyper, self._pair, self._tokens, self._dtype = hyper, pair, tokens, dtype
        self._no_noise = Noise()
        self._rotations = rope.rotations(hyper, len(tokens), dtype, self._no_noise)
        self._found = {name: [0.0, 0.0] for name in hyper.shapes()}

    def of(self, measures: Measures) -> dict[str, list[float]]:
        """Return both derivatives by tensor name, in the model's order. measures: of logits (length, vocab_size),
        float64."""
        streams = [self._embed()]
        with torch.no_grad():
            for number in range(self._hyper.n_layers):
                streams.append(self._layer(number, self._load({}), streams[-1]))
        gradients = self._back(
            lambda load, x: measures(llama.head(self._hyper, load, x, self._no_noise)[0].double()), streams.pop()
        )
        for number in reversed(range(self._hyper.n_layers)):
            gradients = self._back(
                lambda load, x, number=number: (self._layer(number, load, x),) * 2,  # type: ignore[misc]
                streams.pop(),
                gradients,
            )
        source, file = self._pair(_EMBEDDING)
        change = (file[self._tokens] - source[self._tokens]).to(self._dtype) * self._hyper.embedding_scale
        for measure, gradient in enumerate(gradients):
            self._found[_EMBEDDING][measure] += float((gradient[0] * change).sum())
        return self._found

    def _embed(self) -> torch.Tensor:
        source, file = self._pair(_EMBEDDING)
        middle = (source[self._tokens].to(self._dtype) + file[self._tokens]) / 2
        return middle.unsqueeze(0) * self._hyper.embedding_scale

    def _layer(self, number: int, load: llama.Load, x: torch.Tensor) -> torch.Tensor:
        return llama.layer(self._hyper, load, number, x, self._rotations, self._no_noise)

    def _load(self, steps: dict[str, torch.Tensor]) -> llama.Load:
        """Load the mean weights, and add the step of each to steps."""

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
        """Return the gradients of both measures by x, from those by run's result; adds those by the steps."""
        steps: dict[str, torch.Tensor] = {}
        with torch.enable_grad():
            x = x.requires_grad_()
            outputs = run(self._load(steps), x)
        by_x = []
        for measure, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
            first, *others = torch.autograd.grad(output, [x, *steps.values()], gradient, retain_graph=measure == 0)
            by_x.append(first)
            # a gradient by the weights and one by the stream
            pulse(2 * multiplications.of_layer(self._hyper, 1, len(self._tokens)))
            for name, slope in zip(steps, others, strict=True):
                self._found[name][measure] += float(slope)
        return tuple(by_x)


def _divergence(likely: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Compute the mean KL divergence, in nats, of logits from the distributions with log-probabilities `likely`.

    With d = log q - log p it is the sum of p (e^d - 1 - d), because the sum of p e^d is 1. No term of that sum is
    negative, so large terms that cancel cannot hide a small divergence by their rounding.
    """
    p, log_q = likely.exp(), logits.log_softmax(-1)
    d = log_q - likely
    # e^d may be infinite where p is 0
    gained = torch.where(d < 1, p * d.clamp(max=1).expm1(), log_q.exp() - p)
    return (gained - p * d).sum(-1).mean()
