"""Which operation made which part of a logit's error.

An engine that computes y + r where the exact result of what it read is y ends up with other logits than the
reference; if every operation's residual r is put into the reference, it ends up with the engine's. Along the way from
none of the residuals to all of them, each operation's part is the integral of (gradient times residual): the parts
add up to the difference, exactly but for the quadrature and float64. For rounding errors one point on the way is
enough; for a mistake it takes more, because the model is not linear in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from verify.operations.judged import Judged
from verify.oracle import llama, rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

# (layer, operation) -> float32 (1, length, ...): what the engine's result had more than the exact one
Residuals = dict[tuple[int | None, str], torch.Tensor]

# Points of Gauss-Legendre quadrature; more are taken until this much of the difference is explained.
_POINTS = (1, 4, 16)
_ENOUGH = 1e-3


class Gathered:
    """Residuals of one window, as the operations are judged."""

    def __init__(self) -> None:
        self._found: dict[tuple[int | None, str], list[torch.Tensor]] = {}

    def add(self, layer: int | None, judged: Judged) -> None:
        if judged.operation in ("cosine", "sine"):
            layer = None  # every layer has the same table
            self._found.pop((layer, judged.operation), None)
        if not judged.replay:
            self._found.setdefault((layer, judged.operation), []).append((judged.out - judged.exact).float())

    def add_sums(self, layer: int, at: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        """Residual additions are judged by their one right float32 answer, which itself is off the exact sum. x: the
        stream before the layer."""
        for operation, before, added in (
            ("attention_residual", x, "wo"),
            ("ffn_residual", at["attention_residual"], "down"),
        ):
            exact = before.double() + at[added].double()
            self._found[layer, operation] = [(at[operation].double() - exact).float()]

    def residuals(self) -> Residuals:
        return {key: torch.cat(parts, dim=-1) for key, parts in self._found.items()}


@dataclass(frozen=True)
class Part:
    """One operation's part of the difference, in logits."""

    layer: int | None
    operation: str
    part: float


@dataclass(frozen=True)
class Closure:
    """difference: the engine's logit less the reference's. parts: the largest first. explained: the sum of all parts
    over the difference."""

    window: int
    position: int
    index: int
    difference: float
    explained: float
    parts: tuple[Part, ...]


def close(
    model: Hyperparameters,
    load: llama.Load,
    tokens: torch.Tensor,
    residuals: Residuals,
    *,
    window: int,
    position: int,
    index: int,
    difference: float,
) -> Closure:
    """The parts of the difference in one logit. tokens: (length,) of the window, of which what comes after `position`
    does not count."""
    tried: list[Closure] = []
    for points in _POINTS:
        nodes, weights = np.polynomial.legendre.leggauss(points)
        parts: dict[tuple[int | None, str], float] = dict.fromkeys(residuals, 0.0)
        for node, weight in zip(nodes, weights, strict=True):
            shares = _gradients(model, load, tokens[: position + 1], residuals, float(node + 1) / 2, index)
            for key, part in shares.items():
                parts[key] += part * float(weight) / 2
        explained = sum(parts.values()) / difference if difference else 1.0
        ranked = sorted((Part(*key, part) for key, part in parts.items()), key=lambda p: -abs(p.part))
        tried.append(Closure(window, position, index, difference, explained, tuple(ranked)))
        if abs(1 - explained) <= _ENOUGH:
            break
    return min(tried, key=lambda closure: abs(1 - closure.explained))


def _gradients(
    model: Hyperparameters,
    load: llama.Load,
    tokens: torch.Tensor,
    residuals: Residuals,
    share: float,
    index: int,
) -> dict[tuple[int | None, str], float]:
    """Derivative of the last position's logit by the share of each residual, where each has this share."""
    length = len(tokens)
    shares: dict[tuple[int | None, str], torch.Tensor] = {}

    def disturbed(key: tuple[int | None, str], y: torch.Tensor) -> torch.Tensor:
        if key not in residuals:
            return y
        shares[key] = torch.tensor(share, dtype=torch.float64, requires_grad=True)
        residual = residuals[key][:, :length]
        if key[1] in ("scores", "shares"):
            # from (1, length, heads, positions)
            residual = residual[..., :length].transpose(1, 2).reshape(y.shape)
        return y + shares[key] * residual.double().view(y.shape)

    def watch(layer: int | None) -> Callable[[str, torch.Tensor], torch.Tensor]:
        return lambda operation, y: disturbed((layer, operation), y)

    with torch.enable_grad():
        exact, silent = rope.turns(model, length, torch.float64, Noise()), Noise()
        turns = torch.complex(
            disturbed((None, "cosine"), exact.real.unsqueeze(0)), disturbed((None, "sine"), exact.imag.unsqueeze(0))
        )
        x = disturbed((None, "embedding"), llama.embed(load, tokens.unsqueeze(0), torch.float64))
        for number in range(model.n_layers):
            x = llama.layer(model, load, number, x, turns, silent, watch(number))
        h = disturbed((None, "final_norm"), llama.final_norm(model, load, x, silent))
        logits = h[0, -1] @ load(llama.classifier(model)).double()[index]
        names = list(shares)
        gradients = torch.autograd.grad(logits, [shares[name] for name in names])
    found = {name: float(gradient) for name, gradient in zip(names, gradients, strict=True)}
    # the logit's own residual goes into it as it is
    if (None, "logits") in residuals:
        found[None, "logits"] = float(residuals[None, "logits"][0, length - 1, index])
    return found
