"""A plain Llama in PyTorch: the reference that the C engine and the file are judged by.

Plain functions over one layer at a time; all windows of a call go through a layer together, so that memory
is one layer's weights and one batch's activations. RoPE multiplies complex numbers: it shares nothing with
the shape of the C code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from verify.oracle import rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

Load = Callable[[str], torch.Tensor]
# (operation, its result) -> the result to go on with
Watch = Callable[[str, torch.Tensor], torch.Tensor]


def unwatched(_operation: str, y: torch.Tensor) -> torch.Tensor:
    return y


def logits(
    model: Hyperparameters,
    load: Load,
    tokens: torch.Tensor,
    dtype: torch.dtype = torch.float64,
    noise: Noise | None = None,
) -> torch.Tensor:
    """Logits (windows, length, vocab_size) of integer tokens (windows, length), computed in dtype.

    load gives a tensor by name. noise, if given, perturbs every operation as float32 rounding would; tokens are then
    those that it wants: clean windows, and again for each of its draws.
    """
    noise = noise or Noise()
    turns = rope.turns(model, tokens.shape[1], dtype, noise)
    x = embed(load, tokens, dtype)
    for number in range(model.n_layers):
        x = layer(model, load, number, x, turns, noise)
    return head(model, load, x, noise)


def embed(load: Load, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The residual stream (windows, length, dim) before the first layer."""
    return load("tok_embeddings.weight")[tokens].to(dtype)


def layer(
    model: Hyperparameters,
    load: Load,
    number: int,
    x: torch.Tensor,
    turns: torch.Tensor,
    noise: Noise,
    watch: Watch = unwatched,
) -> torch.Tensor:
    """The residual stream after a layer, from that before it; turns are RoPE's. watch sees what each operation gives,
    by the names that the engine records it under, and may change it; scores and shares are (windows, n_kv_heads,
    queries of each, length, length)."""
    prefix = f"layers.{number}."

    def weight(name: str) -> torch.Tensor:
        return load(prefix + name).to(x.dtype)

    def linear(h: torch.Tensor, name: str, *, biased: bool) -> torch.Tensor:
        y = _matmul(h, weight(f"{name}.weight"), noise)
        return noise.rounded(y + weight(f"{name}.bias")) if biased else y

    h = watch("attention_norm", rms_norm(x, weight("attention_norm.weight"), model.norm_eps, noise))
    q, k, v = (watch(name, linear(h, f"attention.w{name}", biased=model.qkv_bias)) for name in "qkv")
    attended = watch("attended", _attention(model, q, k, v, turns, noise, watch))
    projected = watch("wo", linear(attended, "attention.wo", biased=model.wo_bias))
    x = watch("attention_residual", noise.rounded(x + projected))
    h = watch("ffn_norm", rms_norm(x, weight("ffn_norm.weight"), model.norm_eps, noise))
    gate = watch("gate", linear(h, "feed_forward.w1", biased=model.mlp_bias))
    up = watch("up", linear(h, "feed_forward.w3", biased=model.mlp_bias))
    gated = watch("gated", activated(gate, up, model.activation, noise))
    projected = watch("down", linear(gated, "feed_forward.w2", biased=model.mlp_bias))
    return watch("ffn_residual", noise.rounded(x + projected))


def head(model: Hyperparameters, load: Load, x: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Logits from the residual stream after the last layer."""
    return _matmul(final_norm(model, load, x, noise), load(classifier(model)).to(x.dtype), noise)


def classifier(model: Hyperparameters) -> str:
    """Name of the tensor that turns the last stream into logits."""
    return "tok_embeddings.weight" if model.tied else "output.weight"


def final_norm(model: Hyperparameters, load: Load, x: torch.Tensor, noise: Noise) -> torch.Tensor:
    return rms_norm(x, load("norm.weight").to(x.dtype), model.norm_eps, noise)


def activated(gate: torch.Tensor, up: torch.Tensor, activation: str, noise: Noise) -> torch.Tensor:
    """silu, gelu (by erf) or gelu_tanh of each element of gate, times up."""
    if activation == "silu":
        # expf, 1 + e, 1 / (1 + e), and two products
        return noise.rounded(torch.nn.functional.silu(gate) * up, roundings=5)
    approximate = {"gelu": "none", "gelu_tanh": "tanh"}[activation]
    y = torch.nn.functional.gelu(gate, approximate=approximate)
    # x / 2 * (1 + e): e's own rounding, and what its argument's come to in it, are of e's size even where 1 + e is
    # almost nothing; then the sum's and three products'
    return noise.rounded(noise.within(y, gate / 2, roundings=2) * up, roundings=4)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, noise: Noise) -> torch.Tensor:
    """weight * x / sqrt(mean(x^2) + eps), eps as the float32 that the engines have."""
    eps = torch.tensor(eps, dtype=torch.float32).item()
    root = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
    # the sum of n squares carries sqrt(n / 3) roundings, halved by the square root
    return noise.rounded(weight * (x * noise.rounded(root, roundings=x.shape[-1] / 12 + 2)), roundings=2)


def _attention(
    model: Hyperparameters,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    turns: torch.Tensor,
    noise: Noise,
    watch: Watch,
) -> torch.Tensor:
    """q is (windows, length, n_heads * head_dim), as the result is; k and v have n_kv_heads."""
    windows, length, _ = q.shape
    head_dim, kv_heads = model.head_dim, model.n_kv_heads
    q = watch("q_rotated", _turn(q, head_dim, turns, noise))
    k = watch("k_rotated", _turn(k, head_dim, turns, noise))
    q, k, v = (part.view(windows, length, -1, head_dim) for part in (q, k, v))
    # (windows, kv heads, queries of that kv head, positions, head_dim)
    q = q.view(windows, length, kv_heads, -1, head_dim).permute(0, 2, 3, 1, 4)
    k = k.permute(0, 2, 1, 3).unsqueeze(2)
    v = v.permute(0, 2, 1, 3).unsqueeze(2)
    scores = noise.product(q @ k.transpose(-1, -2), q, k.transpose(-1, -2)) / math.sqrt(head_dim)
    scores = noise.by_constant(scores, math.sqrt(head_dim))
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores = watch("scores", noise.rounded(scores)).masked_fill(future, -torch.inf)
    shares = watch("shares", noise.softmax(torch.softmax(scores, dim=-1), scores))
    mixed = noise.product(shares @ v, shares, v)
    return mixed.permute(0, 3, 1, 2, 4).reshape(windows, length, -1)


def _turn(x: torch.Tensor, head_dim: int, turns: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Rotate the pairs (2j, 2j + 1) of each head in x (windows, length, heads * head_dim) as complex numbers."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, head_dim // 2, 2))
    turned = torch.view_as_real(pairs * turns.unsqueeze(-2))
    # two products and a sum, each of whose roundings is within the pair's length
    return noise.within(turned, pairs.abs().unsqueeze(-1), roundings=2).flatten(2)


def _matmul(x: torch.Tensor, w: torch.Tensor, noise: Noise) -> torch.Tensor:
    return noise.product(x @ w.T, x, w.T)
