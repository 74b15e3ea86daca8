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
from torch.utils.checkpoint import checkpoint

from verify.expected import blocks
from verify.oracle import llama, rope
from verify.oracle.noise import Noise
from verify.sources import Hyperparameters

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
    source: llama.Load,
    file: llama.Load,
    tokens: torch.Tensor,
    of_source: NDArray[np.float64],
    of_file: NDArray[np.float64],
    window: int = 0,
) -> Attribution | None:
    """Shares of every tensor, the largest of KL first; None where nothing changed or is not finite.

    tokens (length,); of_source, of_file: logits (length, vocab_size) by the weights that source and file load.
    Memory: one layer's weights, and the stream between the layers.
    """
    before, after = torch.from_numpy(of_source), torch.from_numpy(of_file)
    at = int((after - before).abs().argmax())
    position, index = divmod(at, before.shape[1])
    logit_error = float(after[position, index] - before[position, index])
    likely = before.log_softmax(-1)
    kl = float(_divergence(likely, after))
    if logit_error == 0 or not 0 < kl < math.inf:
        return None
    names = list(model.shapes())
    # float32 gives the same shares to four digits, unless there is next to nothing to share out
    dtype = torch.float32 if kl > _TINY else torch.float64
    steps = {name: torch.zeros((), dtype=dtype, requires_grad=True) for name in names}

    def between(name: str) -> torch.Tensor:
        middle: torch.Tensor = _Between.apply(steps[name], name, source, file)  # type: ignore[no-untyped-call]
        return middle

    def slopes(measure: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """A pass of its own: a graph that is kept for a second use keeps every layer that was run again."""
        with torch.enable_grad():
            measured = measure(_logits(model, between, tokens, dtype).double())
            return torch.autograd.grad(measured, list(steps.values()))

    of_kl = slopes(lambda logits: _divergence(likely, logits))
    of_logit = slopes(lambda logits: logits[position, index])
    shares = [
        TensorShare(name, float(by_kl) / kl, float(by_logit) / logit_error)
        for name, by_kl, by_logit in zip(names, of_kl, of_logit, strict=True)
    ]
    residual = Residual(1 - sum(s.kl_share for s in shares), 1 - sum(s.logit_error_share for s in shares))
    shares.sort(key=lambda share: -abs(share.kl_share))
    return Attribution(window, kl, position, index, logit_error, tuple(shares), residual)


class _Between(torch.autograd.Function):
    """The middle of source's and file's weights, as a function of a step from one to the other. Nothing is kept for
    the derivative: both are loaded again, and multiplied in blocks of rows."""

    @staticmethod
    def forward(ctx: Any, step: torch.Tensor, name: str, source: llama.Load, file: llama.Load) -> torch.Tensor:
        ctx.weights = name, source, file
        middle = source(name).to(step.dtype, copy=True)
        return middle.add_(file(name)).div_(2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        name, source, file = ctx.weights
        (gradient,), left, right = gradients, source(name), file(name)
        total = gradient.new_zeros(())
        for rows in blocks(left):
            total += (gradient[rows] * (right[rows].to(gradient.dtype) - left[rows])).sum()
        return total, None, None, None


def _logits(model: Hyperparameters, load: llama.Load, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(length, vocab_size). Layers are run again for their gradients instead of kept."""
    silent = Noise()
    turns = rope.turns(model, len(tokens), dtype, silent)

    def run(function: Any, *inputs: Any) -> torch.Tensor:
        result: torch.Tensor = checkpoint(function, *inputs, use_reentrant=False)
        return result

    x = run(llama.embed, load, tokens.unsqueeze(0), dtype)
    for number in range(model.n_layers):
        x = run(llama.layer, model, load, number, x, turns, silent)
    return run(llama.head, model, load, x, silent)[0]


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
