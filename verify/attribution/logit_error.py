"""Attribute a logit's error to the operations that caused it.

An operation that computes y + r, where y is the exact result of what it read, has the residual r. If the reference
adds the residual of every operation, it computes the engine's logits. Between no residuals and all of them, the part
of each operation is the integral of (gradient times residual). The parts add up to the difference, except for the
errors of quadrature and float64. For rounding errors one point of the integral is enough; a mistake needs more,
because the model is not linear in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from verify.operations.comparison import Comparison
from verify.oracle import llama, rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

# (layer, operation) -> float32 (1, length, ...): the engine's result minus the exact result
Residuals = dict[tuple[int | None, str], torch.Tensor]

# Numbers of points of Gauss-Legendre quadrature, tried until at most this share of the difference is unexplained.
_POINTS = (1, 4, 16)
_ENOUGH = 1e-3


class Gathered:
    """Gathers the residuals of one window while its operations are judged."""

    def __init__(self, hyper: Hyperparameters) -> None:
        self._hyper = hyper
        self._found: dict[tuple[int | None, str], list[torch.Tensor]] = {}

    def add(self, layer: int | None, judged: Comparison) -> None:
        """Add the residual of one operation."""
        if judged.operation in ("cosine", "sine"):
            assert layer is not None
            layer = table_layer(self._hyper, self._hyper.layer(layer).rope)
            self._found.pop((layer, judged.operation), None)
        if not judged.replay:
            self._found.setdefault((layer, judged.operation), []).append((judged.out - judged.exact).float())

    def add_sums(self, layer: int, at: dict[str, torch.Tensor], x: torch.Tensor) -> None:
        """Add the residuals of the layer's two residual sums.

        Those are judged by their one right float32 answer, which itself differs from the exact sum. x: the stream
        before the layer.
        """
        for block, before, product in (("attention", x, "wo"), ("ffn", at["attention_residual"], "down")):
            operation, added = f"{block}_residual", at.get(f"{block}_post_norm", at[product])
            exact = before.double() + added.double() * self._hyper.residual_scale
            self._found[layer, operation] = [(at[operation].double() - exact).float()]

    def residuals(self) -> Residuals:
        """Return what was gathered."""
        return {key: torch.cat(parts, dim=-1) for key, parts in self._found.items()}


def table_layer(hyper: Hyperparameters, kind: str) -> int | None:
    """Return under which layer the errors of a RoPE's table are gathered: of the first RoPE under None, of the
    second under the first layer that uses it."""
    if kind == "first":
        return None
    return next(number for number in range(hyper.n_layers) if hyper.layer(number).rope == kind)


@dataclass(frozen=True)
class Part:
    """Says which part of the difference one operation caused, in logits."""

    layer: int | None
    operation: str
    part: float


@dataclass(frozen=True)
class Closure:
    """Splits one logit's error into parts.

    difference: the engine's logit minus the reference's. parts: the largest first. explained: the sum of all parts
    divided by the difference.
    """

    window: int
    position: int
    index: int
    difference: float
    explained: float
    parts: tuple[Part, ...]


def close(
    hyper: Hyperparameters,
    load: llama.Load,
    tokens: torch.Tensor,
    residuals: Residuals,
    *,
    window: int,
    position: int,
    index: int,
    difference: float,
) -> Closure:
    """Split the difference of one logit. tokens: (length,) of the window; those after `position` have no effect."""
    tried: list[Closure] = []
    for points in _POINTS:
        nodes, weights = np.polynomial.legendre.leggauss(points)
        parts: dict[tuple[int | None, str], float] = dict.fromkeys(residuals, 0.0)
        for node, weight in zip(nodes, weights, strict=True):
            shares = _gradients(hyper, load, tokens[: position + 1], residuals, float(node + 1) / 2, index)
            for key, part in shares.items():
                parts[key] += part * float(weight) / 2
        explained = sum(parts.values()) / difference if difference else 1.0
        ranked = sorted((Part(*key, part) for key, part in parts.items()), key=lambda p: -abs(p.part))
        tried.append(Closure(window, position, index, difference, explained, tuple(ranked)))
        if abs(1 - explained) <= _ENOUGH:
            break
    return min(tried, key=lambda closure: abs(1 - closure.explained))


def _gradients(
    hyper: Hyperparameters,
    load: llama.Load,
    tokens: torch.Tensor,
    residuals: Residuals,
    share: float,
    index: int,
) -> dict[tuple[int | None, str], float]:
    """Return the derivative of the last position's logit by each residual's share, with every residual at `share`."""
    length = len(tokens)
    shares: dict[tuple[int | None, str], torch.Tensor] = {}

    def disturbed(key: tuple[int | None, str], y: torch.Tensor) -> torch.Tensor:
        if key not in residuals:
            return y
        shares[key] = torch.tensor(share, dtype=torch.float64, requires_grad=True)
        residual = residuals[key][:, :length]
        if key[1] in ("scores_raw", "scores", "shares"):
            # from (1, length, heads, positions)
            residual = residual[..., :length].transpose(1, 2).reshape(y.shape)
        return y + shares[key] * residual.double().view(y.shape)

    def watch(layer: int | None) -> Callable[[str, torch.Tensor], torch.Tensor]:
        return lambda operation, y: disturbed((layer, operation), y)

    with torch.enable_grad():
        no_noise = Noise()
        rotations = {}
        for kind, exact in rope.rotations(hyper, length, torch.float64, no_noise).items():
            layer = table_layer(hyper, kind)
            cosine = disturbed((layer, "cosine"), exact.real.unsqueeze(0))
            rotations[kind] = torch.complex(cosine, disturbed((layer, "sine"), exact.imag.unsqueeze(0)))
        x = disturbed((None, "embedding"), llama.embed(hyper, load, tokens.unsqueeze(0), torch.float64, no_noise))
        for number in range(hyper.n_layers):
            x = llama.layer(hyper, load, number, x, rotations, no_noise, watch(number))
        h = disturbed((None, "final_norm"), llama.final_norm(hyper, load, x, no_noise))
        product = h[0, -1] @ load(llama.classifier(hyper)).double()[index]
        if (None, "classified") in residuals:
            shares[None, "classified"] = torch.tensor(share, dtype=torch.float64, requires_grad=True)
            product = product + shares[None, "classified"] * float(
                residuals[None, "classified"][0, length - 1, index]
            )
        logits = llama.finished(hyper, product, no_noise)
        names = list(shares)
        gradients = torch.autograd.grad(logits, [shares[name] for name in names])
    found = {name: float(gradient) for name, gradient in zip(names, gradients, strict=True)}
    # the logit's own residual is added to it unchanged
    if (None, "logits") in residuals:
        found[None, "logits"] = float(residuals[None, "logits"][0, length - 1, index])
    return found
