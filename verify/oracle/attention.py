"""Compute attention in the reference: norms of queries and keys, RoPE, scores, windows, and the mix of values."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters, LayerKind

Load = Callable[[str], torch.Tensor]
# (operation, its result) -> the result to continue with
Watch = Callable[[str, torch.Tensor], torch.Tensor]

# What tanh and its float32 argument add to the roundings of a capped number, in roundings of its own size.
_TANH_ROUNDINGS = 2.0


def attention(
    hyper: Hyperparameters,
    kind: LayerKind,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    weight: Load,
    rotation: torch.Tensor | None,
    noise: Noise,
    watch: Watch,
) -> torch.Tensor:
    """Compute attention. q and the result: (windows, length, n_heads * head_dim); k and v have n_kv_heads.

    weight returns the layer's tensors by name. rotation: of the layer's RoPE, if it has one.
    """
    q, k, v = qkv
    windows, length, _ = q.shape
    if hyper.qk_norm != "none":
        q = watch("q_normed", _normed(hyper, q, weight("attention.q_norm.weight"), noise))
        k = watch("k_normed", _normed(hyper, k, weight("attention.k_norm.weight"), noise))
    if rotation is not None:
        q = watch("q_rotated", rotate(q, hyper, rotation, noise))
        k = watch("k_rotated", rotate(k, hyper, rotation, noise))
    if hyper.query_scale_beta:
        factor = query_scale(hyper, length)
        scaled = noise.by_constant(q * factor.to(q.dtype), factor)
        q = watch("q_scaled", noise.rounded(scaled))
    q, k, v = (part.view(windows, length, -1, hyper.head_dim) for part in (q, k, v))
    # (windows, kv heads, queries of that kv head, positions, head_dim)
    q = q.view(windows, length, hyper.n_kv_heads, -1, hyper.head_dim).permute(0, 2, 3, 1, 4)
    k = k.permute(0, 2, 1, 3).unsqueeze(2)
    v = v.permute(0, 2, 1, 3).unsqueeze(2)
    scores = _scores(hyper, q, k.transpose(-1, -2), noise, watch)
    scores = scores.masked_fill(hidden(length, hyper.window if kind.windowed else 0), -torch.inf)
    shares = watch("shares", noise.softmax(torch.softmax(scores, dim=-1), scores))
    mixed = noise.product(shares @ v, shares, v)
    return mixed.permute(0, 3, 1, 2, 4).reshape(windows, length, -1)


def query_scale(hyper: Hyperparameters, length: int) -> torch.Tensor:
    """Return by what queries of each position are multiplied: float64 (length, 1)."""
    steps = torch.arange(length, dtype=torch.float64).div(hyper.query_scale_positions, rounding_mode="floor")
    return (1 + hyper.query_scale_beta * torch.log1p(steps)).unsqueeze(1)


def hidden(length: int, window: int) -> torch.Tensor:
    """Return which positions a query does not see: bool (length, length). window: how many it sees, 0 for all."""
    every = torch.ones(length, length, dtype=torch.bool)
    return every.triu(1) | every.tril(-window) if window else every.triu(1)


def capped(y: torch.Tensor, cap: float, noise: Noise) -> torch.Tensor:
    """Compute cap * tanh(y / cap)."""
    share = torch.tanh(y / cap)
    # the derivative by log y
    slope = y * (1 - share.square())
    made = noise.within(cap * share, slope, roundings=1)
    made = noise.rounded(made, roundings=1 + _TANH_ROUNDINGS)
    return noise.by_constant(made, cap, cap * share - slope)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, hyper: Hyperparameters, noise: Noise) -> torch.Tensor:
    """Compute weight * x / sqrt(mean(x^2) + eps), with eps as a float32, which engines use; or 1 + weight."""
    eps = torch.tensor(hyper.norm_eps, dtype=torch.float32).item()
    root = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
    factor = 1 + weight if hyper.norm_plus_one else weight
    # the sum of n squares has the error of sqrt(n / 3) roundings, which the square root halves
    scaled = x * noise.rounded(root, roundings=x.shape[-1] / 12 + 2)
    return noise.rounded(factor * scaled, roundings=3 if hyper.norm_plus_one else 2)


def rotate(x: torch.Tensor, hyper: Hyperparameters, rotation: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Rotate the pairs (2j, 2j + 1) of each head in x (windows, length, heads * head_dim) as complex numbers."""
    if hyper.rotated < hyper.head_dim:
        heads = x.unflatten(-1, (-1, hyper.head_dim))
        moving, staying = heads.split((hyper.rotated, hyper.head_dim - hyper.rotated), dim=-1)
        return torch.cat((_turned(moving.contiguous(), rotation, noise), staying), dim=-1).flatten(2)
    return _turned(x.reshape(*x.shape[:-1], -1, hyper.head_dim), rotation, noise).flatten(2)


def _turned(heads: torch.Tensor, rotation: torch.Tensor, noise: Noise) -> torch.Tensor:
    pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2)))
    rotated = torch.view_as_real(pairs * rotation.unsqueeze(-2))
    # two products and a sum; the rounding of each is relative to at most the pair's length
    return noise.within(rotated, pairs.abs().unsqueeze(-1), roundings=2).flatten(-2)


def _normed(hyper: Hyperparameters, x: torch.Tensor, weight: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Normalise each head of queries or keys, or all heads together."""
    if hyper.qk_norm == "whole":
        return rms_norm(x, weight, hyper, noise)
    return rms_norm(x.unflatten(-1, (-1, hyper.head_dim)), weight, hyper, noise).flatten(2)


def _scores(hyper: Hyperparameters, q: torch.Tensor, k: torch.Tensor, noise: Noise, watch: Watch) -> torch.Tensor:
    """Compute the scores of all pairs of positions. k: (..., head_dim, positions)."""
    products = noise.product(q @ k, q, k)
    scale = hyper.score_scale or math.sqrt(hyper.head_dim)
    scaled = products * scale if hyper.score_scale else products / scale
    scores = noise.rounded(noise.by_constant(scaled, scale))
    if hyper.score_cap:
        scores = capped(watch("scores_raw", scores), hyper.score_cap, noise)
    return watch("scores", scores)
