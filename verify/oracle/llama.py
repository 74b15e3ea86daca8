"""Compute a plain Llama in PyTorch: the reference by which the C engine and the file are judged.

The functions compute one layer at a time for all windows of a call, so that memory holds one layer's weights and one
batch's activations. RoPE multiplies complex numbers, which shares nothing with the C code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from verify.oracle import multiplications, rope
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters
from verify.system.pulse import NOISY, WIDE, pulse

Load = Callable[[str], torch.Tensor]
# (operation, its result) -> the result to continue with
Watch = Callable[[str, torch.Tensor], torch.Tensor]
# (the input of a product, the name of its matrix) -> what the product reads, such as rounded activations
Inputs = Callable[[torch.Tensor, str], torch.Tensor]


def unwatched(_operation: str, y: torch.Tensor) -> torch.Tensor:
    """Continue with every result as it is."""
    return y


def unrounded(x: torch.Tensor, _matrix: str) -> torch.Tensor:
    """Let a product read its input as it is."""
    return x


def logits(
    hyper: Hyperparameters,
    load: Load,
    tokens: torch.Tensor,
    dtype: torch.dtype = torch.float64,
    noise: Noise | None = None,
    inputs: Inputs = unrounded,
) -> torch.Tensor:
    """Compute logits (windows, length, vocab_size) of integer tokens (windows, length) in dtype.

    load returns a tensor by name. noise, if given, perturbs every operation as float32 rounding would; tokens must
    then hold its clean windows, and the same windows again for each of its draws. inputs: what each product with a
    matrix reads.
    """
    noise = noise or Noise()
    return head(hyper, load, last_stream(hyper, load, tokens, dtype, noise, inputs), noise, inputs)


def last_stream(
    hyper: Hyperparameters,
    load: Load,
    tokens: torch.Tensor,
    dtype: torch.dtype,
    noise: Noise,
    inputs: Inputs = unrounded,
) -> torch.Tensor:
    """Return the residual stream (windows, length, dim) after the last layer; arguments as in logits()."""
    rotations = rope.rotations(hyper, tokens.shape[1], dtype, noise)
    x = embed(load, tokens, dtype)
    for number in range(hyper.n_layers):
        x = layer(hyper, load, number, x, rotations, noise, inputs=inputs)
    return x


def embed(load: Load, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the residual stream (windows, length, dim) before the first layer."""
    return load("tok_embeddings.weight")[tokens].to(dtype)


def layer(
    hyper: Hyperparameters,
    load: Load,
    number: int,
    x: torch.Tensor,
    rotations: torch.Tensor,
    noise: Noise,
    watch: Watch = unwatched,
    inputs: Inputs = unrounded,
) -> torch.Tensor:
    """Compute the residual stream after a layer from the stream before it.

    rotations: RoPE's. watch sees the result of each operation under the engine's name for it, and may change it;
    scores and shares are (windows, n_kv_heads, queries of each, length, length). inputs: as in logits().
    """
    prefix = f"layers.{number}."

    def weight(name: str) -> torch.Tensor:
        return load(prefix + name).to(x.dtype)

    def linear(h: torch.Tensor, name: str, *, biased: bool) -> torch.Tensor:
        y = _matmul(inputs(h, f"{prefix}{name}.weight"), weight(f"{name}.weight"), noise)
        return noise.rounded(y + weight(f"{name}.bias")) if biased else y

    h = watch("attention_norm", rms_norm(x, weight("attention_norm.weight"), hyper.norm_eps, noise))
    q, k, v = (watch(name, linear(h, f"attention.w{name}", biased=hyper.qkv_bias)) for name in "qkv")
    attended = watch("attended", _attention(hyper, q, k, v, rotations, noise, watch))
    projected = watch("wo", linear(attended, "attention.wo", biased=hyper.wo_bias))
    x = watch("attention_residual", noise.rounded(x + projected))
    h = watch("ffn_norm", rms_norm(x, weight("ffn_norm.weight"), hyper.norm_eps, noise))
    gate = watch("gate", linear(h, "feed_forward.w1", biased=hyper.mlp_bias))
    up = watch("up", linear(h, "feed_forward.w3", biased=hyper.mlp_bias))
    gated = watch("gated", activated(gate, up, hyper.activation, noise))
    projected = watch("down", linear(gated, "feed_forward.w2", biased=hyper.mlp_bias))
    x = watch("ffn_residual", noise.rounded(x + projected))
    pulse(multiplications.of_layer(hyper, *x.shape[:2]) * _factor(x, noise))
    return x


def head(
    hyper: Hyperparameters, load: Load, x: torch.Tensor, noise: Noise, inputs: Inputs = unrounded
) -> torch.Tensor:
    """Compute logits from the residual stream after the last layer."""
    h = inputs(final_norm(hyper, load, x, noise), classifier(hyper))
    y = _matmul(h, load(classifier(hyper)).to(x.dtype), noise)
    pulse(multiplications.of_head(hyper, *x.shape[:2]) * _factor(x, noise))
    return y


def _factor(x: torch.Tensor, noise: Noise) -> float:
    """Return how long a multiplication takes, beside one of float32."""
    return (NOISY if noise.draws else 1.0) * (WIDE if x.dtype == torch.float64 else 1.0)


def classifier(hyper: Hyperparameters) -> str:
    """Name the tensor whose product with the last stream gives the logits."""
    return "tok_embeddings.weight" if hyper.tied else "output.weight"


def final_norm(hyper: Hyperparameters, load: Load, x: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Compute the last norm, whose result the classifier reads."""
    return rms_norm(x, load("norm.weight").to(x.dtype), hyper.norm_eps, noise)


def activated(gate: torch.Tensor, up: torch.Tensor, activation: str, noise: Noise) -> torch.Tensor:
    """Compute silu, gelu (by erf) or gelu_tanh of each element of gate, times up."""
    if activation == "silu":
        # expf, 1 + e, 1 / (1 + e), and two products
        return noise.rounded(torch.nn.functional.silu(gate) * up, roundings=5)
    approximate = {"gelu": "none", "gelu_tanh": "tanh"}[activation]
    y = torch.nn.functional.gelu(gate, approximate=approximate)
    # x / 2 * (1 + e): the rounding of e and the effect of its argument's rounding have e's size even if 1 + e is
    # nearly zero; then come the roundings of the sum and of three products
    return noise.rounded(noise.within(y, gate / 2, roundings=2) * up, roundings=4)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, noise: Noise) -> torch.Tensor:
    """Compute weight * x / sqrt(mean(x^2) + eps), with eps as a float32, which engines use."""
    eps = torch.tensor(eps, dtype=torch.float32).item()
    root = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
    # the sum of n squares has the error of sqrt(n / 3) roundings, which the square root halves
    return noise.rounded(weight * (x * noise.rounded(root, roundings=x.shape[-1] / 12 + 2)), roundings=2)


def _attention(
    hyper: Hyperparameters,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rotations: torch.Tensor,
    noise: Noise,
    watch: Watch,
) -> torch.Tensor:
    """Compute attention. q and the result: (windows, length, n_heads * head_dim); k and v have n_kv_heads."""
    windows, length, _ = q.shape
    head_dim, kv_heads = hyper.head_dim, hyper.n_kv_heads
    q = watch("q_rotated", _rotate(q, head_dim, rotations, noise))
    k = watch("k_rotated", _rotate(k, head_dim, rotations, noise))
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


def _rotate(x: torch.Tensor, head_dim: int, rotations: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Rotate the pairs (2j, 2j + 1) of each head in x (windows, length, heads * head_dim) as complex numbers."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, head_dim // 2, 2))
    rotated = torch.view_as_real(pairs * rotations.unsqueeze(-2))
    # two products and a sum; the rounding of each is relative to at most the pair's length
    return noise.within(rotated, pairs.abs().unsqueeze(-1), roundings=2).flatten(2)


def _matmul(x: torch.Tensor, w: torch.Tensor, noise: Noise) -> torch.Tensor:
    return noise.product(x @ w.T, x, w.T)
