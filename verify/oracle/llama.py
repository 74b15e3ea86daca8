"""A plain Llama in PyTorch: the reference that the C engine and the file are judged by.

Plain functions over one layer at a time; all windows of a call go through a layer together, so that memory
is one layer's weights and one batch's activations. RoPE multiplies complex numbers: it shares nothing with
the shape of the C code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from verify.oracle.noise import Noise
from verify.sources import Hyperparameters

Load = Callable[[str], torch.Tensor]


def logits(
    model: Hyperparameters,
    load: Load,
    tokens: torch.Tensor,
    dtype: torch.dtype = torch.float64,
    noise: Noise | None = None,
) -> torch.Tensor:
    """Logits (windows, length, vocab_size) of integer tokens (windows, length), computed in dtype.

    load gives a tensor by name. noise, if given, perturbs every operation as float32 rounding would.
    """
    noise = noise or Noise(0.0)

    def weight(name: str) -> torch.Tensor:
        return load(name).to(dtype)

    turns = rope_turns(model, tokens.shape[1], dtype, noise)
    x = weight("tok_embeddings.weight")[tokens]
    for number in range(model.n_layers):
        prefix = f"layers.{number}."
        h = rms_norm(x, weight(f"{prefix}attention_norm.weight"), model.norm_eps, noise)
        attended = _attention(model, weight, f"{prefix}attention.", h, turns, noise)
        x = noise.rounded(x + _matmul(attended, weight(f"{prefix}attention.wo.weight"), noise))
        h = rms_norm(x, weight(f"{prefix}ffn_norm.weight"), model.norm_eps, noise)
        gate = _matmul(h, weight(f"{prefix}feed_forward.w1.weight"), noise)
        up = _matmul(h, weight(f"{prefix}feed_forward.w3.weight"), noise)
        # expf, 1 + e, 1 / (1 + e), and two products
        gated = noise.rounded(torch.nn.functional.silu(gate) * up, roundings=5)
        x = noise.rounded(x + _matmul(gated, weight(f"{prefix}feed_forward.w2.weight"), noise))
    x = rms_norm(x, weight("norm.weight"), model.norm_eps, noise)
    return _matmul(x, weight("tok_embeddings.weight" if model.tied else "output.weight"), noise)


def rope_turns(model: Hyperparameters, length: int, dtype: torch.dtype, noise: Noise) -> torch.Tensor:
    """exp(i * position * theta^(-2j / head_dim)): complex (length, head_dim / 2)."""
    half = model.head_dim // 2
    # the exact angle in float64 even where the rest is float32, as the model means it
    frequency = torch.exp(-math.log(model.rope_theta) * torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    turns = torch.polar(torch.ones_like(angle), noise.angle(angle, model.head_dim, model.rope_theta))
    turns = torch.complex(noise.rounded(turns.real), noise.rounded(turns.imag))
    return turns.to(torch.complex128 if dtype == torch.float64 else torch.complex64)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, noise: Noise) -> torch.Tensor:
    """weight * x / sqrt(mean(x^2) + eps), eps as the float32 that the engines have."""
    eps = torch.tensor(eps, dtype=torch.float32).item()
    root = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
    # the sum of n squares carries sqrt(n / 3) roundings, halved by the square root
    return noise.rounded(weight * (x * noise.rounded(root, roundings=x.shape[-1] / 12 + 2)), roundings=2)


def _attention(
    model: Hyperparameters, weight: Load, prefix: str, h: torch.Tensor, turns: torch.Tensor, noise: Noise
) -> torch.Tensor:
    windows, length, dim = h.shape
    head_dim, kv_heads = model.head_dim, model.n_kv_heads

    def heads(name: str) -> torch.Tensor:
        return _matmul(h, weight(f"{prefix}{name}.weight"), noise).view(windows, length, -1, head_dim)

    q, k, v = _turn(heads("wq"), turns, noise), _turn(heads("wk"), turns, noise), heads("wv")
    # (windows, kv heads, queries of that kv head, positions, head_dim)
    q = q.view(windows, length, kv_heads, -1, head_dim).permute(0, 2, 3, 1, 4)
    k = k.permute(0, 2, 1, 3).unsqueeze(2)
    v = v.permute(0, 2, 1, 3).unsqueeze(2)
    scores = noise.product(q @ k.transpose(-1, -2), q, k.transpose(-1, -2)) / math.sqrt(head_dim)
    scores = noise.by_constant(scores, math.sqrt(head_dim))
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    shares = torch.softmax(noise.rounded(scores).masked_fill(future, -torch.inf), dim=-1)
    shares = noise.softmax(shares, scores.masked_fill(future, -torch.inf))
    mixed = noise.product(shares @ v, shares, v)
    return mixed.permute(0, 3, 1, 2, 4).reshape(windows, length, dim)


def _turn(x: torch.Tensor, turns: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Rotate the pairs (2j, 2j + 1) of x (windows, length, heads, head_dim) as complex numbers."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    turned = torch.view_as_real(pairs * turns[:, None, :])
    # two products and a sum, each of whose roundings is within the pair's length
    return noise.within(turned, pairs.abs().unsqueeze(-1), roundings=2).flatten(-2)


def _matmul(x: torch.Tensor, w: torch.Tensor, noise: Noise) -> torch.Tensor:
    return noise.product(x @ w.T, x, w.T)
