"""Compute a Llama, or a model that differs from it by switches, in PyTorch: the reference for engines and files.

The functions compute one layer at a time for all windows of a call, so that memory holds one layer's weights and one
batch's activations. RoPE multiplies complex numbers, which shares nothing with the C code.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from verify.oracle import attention as attending
from verify.oracle import multiplications, rope
from verify.oracle.attention import attention, capped, rms_norm
from verify.oracle.experts import mixture
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters
from verify.system.pulse import NOISY, WIDE, pulse

Load = attending.Load
Watch = attending.Watch
# (the input of a product, the name of its matrix) -> what the product reads, such as rounded activations
Inputs = Callable[[torch.Tensor, str], torch.Tensor]

# Between these arguments of GELU, PyTorch's error is this many times that of one rounding of erf.
_ERF_FLATTENS, _ERF_FLAT, _ERF_ERRS = 2.0, 5.0, 4.5


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
    x = embed(hyper, load, tokens, dtype, noise)
    for number in range(hyper.n_layers):
        x = layer(hyper, load, number, x, rotations, noise, inputs=inputs)
    return x


def embed(hyper: Hyperparameters, load: Load, tokens: torch.Tensor, dtype: torch.dtype, noise: Noise) -> torch.Tensor:
    """Return the residual stream (windows, length, dim) before the first layer."""
    return _scaled(load("tok_embeddings.weight")[tokens].to(dtype), hyper.embedding_scale, noise)


def layer(
    hyper: Hyperparameters,
    load: Load,
    number: int,
    x: torch.Tensor,
    rotations: dict[str, torch.Tensor],
    noise: Noise,
    watch: Watch = unwatched,
    inputs: Inputs = unrounded,
) -> torch.Tensor:
    """Compute the residual stream after a layer from the stream before it.

    rotations: by RoPE, as rope.rotations() returns them. watch sees the result of each operation under the engine's
    name for it, and may change it; scores and shares are (windows, n_kv_heads, queries of each, length, length).
    inputs: as in logits().
    """
    prefix = f"layers.{number}."

    def weight(name: str) -> torch.Tensor:
        return load(prefix + name).to(x.dtype)

    def linear(h: torch.Tensor, name: str, *, biased: bool) -> torch.Tensor:
        y = _matmul(inputs(h, f"{prefix}{name}.weight"), weight(f"{name}.weight"), noise)
        return noise.rounded(y + weight(f"{name}.bias")) if biased else y

    def before(block: str, x: torch.Tensor) -> torch.Tensor:
        if hyper.norm_place == "after":
            return x
        return watch(f"{block}_norm", rms_norm(x, weight(f"{block}_norm.weight"), hyper, noise))

    def added(block: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Add what a block computed to the stream."""
        if hyper.norm_place != "before":
            normed = rms_norm(y, weight(f"{block}_post_norm.weight"), hyper, noise)
            y = watch(f"{block}_post_norm", normed)
        return watch(f"{block}_residual", noise.rounded(x + _scaled(y, hyper.residual_scale, noise)))

    h = before("attention", x)
    q, k, v = (watch(name, linear(h, f"attention.w{name}", biased=hyper.qkv_bias)) for name in "qkv")
    kind = hyper.layer(number)
    mixed = attention(hyper, kind, (q, k, v), weight, rotations.get(kind.rope), noise, watch)
    attended = watch("attended", mixed)
    x = added("attention", x, watch("wo", linear(attended, "attention.wo", biased=hyper.wo_bias)))
    h = before("ffn", x)

    def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return activated(gate, up, hyper.activation, noise)

    if kind.experts:
        x = added("ffn", x, mixture(hyper, number, h, load, inputs, gated, noise, watch))
    else:
        gate = watch("gate", linear(h, "feed_forward.w1", biased=hyper.mlp_bias))
        up = watch("up", linear(h, "feed_forward.w3", biased=hyper.mlp_bias))
        made = watch("gated", gated(gate, up))
        x = added("ffn", x, watch("down", linear(made, "feed_forward.w2", biased=hyper.mlp_bias)))
    pulse(multiplications.of_layer(hyper, *x.shape[:2], experts=kind.experts) * _factor(x, noise))
    return x


def head(
    hyper: Hyperparameters, load: Load, x: torch.Tensor, noise: Noise, inputs: Inputs = unrounded
) -> torch.Tensor:
    """Compute logits from the residual stream after the last layer."""
    h = inputs(final_norm(hyper, load, x, noise), classifier(hyper))
    y = finished(hyper, _matmul(h, load(classifier(hyper)).to(x.dtype), noise), noise)
    pulse(multiplications.of_head(hyper, *x.shape[:2]) * _factor(x, noise))
    return y


def finished(hyper: Hyperparameters, y: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Return the logits from the product with the classifier, divided and capped if the model does so."""
    if hyper.logit_divisor != 1:
        y = noise.rounded(noise.by_constant(y / hyper.logit_divisor, hyper.logit_divisor))
    return capped(y, hyper.logit_cap, noise) if hyper.logit_cap else y


def _scaled(y: torch.Tensor, scale: float, noise: Noise) -> torch.Tensor:
    """Multiply by a scale, unless it is 1."""
    return y if scale == 1 else noise.rounded(noise.by_constant(y * scale, scale))


def _factor(x: torch.Tensor, noise: Noise) -> float:
    """Return how long a multiplication takes, beside one of float32."""
    return (NOISY if noise.draws else 1.0) * (WIDE if x.dtype == torch.float64 else 1.0)


def classifier(hyper: Hyperparameters) -> str:
    """Name the tensor whose product with the last stream gives the logits."""
    return "tok_embeddings.weight" if hyper.tied else "output.weight"


def final_norm(hyper: Hyperparameters, load: Load, x: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Compute the last norm, whose result the classifier reads."""
    return rms_norm(x, load("norm.weight").to(x.dtype), hyper, noise)


def activated(gate: torch.Tensor, up: torch.Tensor, activation: str, noise: Noise) -> torch.Tensor:
    """Compute silu, gelu (by erf) or gelu_tanh of each element of gate, times up."""
    if activation == "silu":
        # expf, 1 + e, 1 / (1 + e), and two products
        return noise.rounded(torch.nn.functional.silu(gate) * up, roundings=5)
    approximate = {"gelu": "none", "gelu_tanh": "tanh"}[activation]
    y, size = torch.nn.functional.gelu(gate, approximate=approximate), gate / 2
    if activation == "gelu":
        # PyTorch's float32 errs more where erf is nearly 1, and a norm of what follows may enlarge that
        size = size * torch.where((gate.abs() > _ERF_FLATTENS) & (gate.abs() < _ERF_FLAT), _ERF_ERRS, 1.0)
    # x / 2 * (1 + e): the rounding of e and the effect of its argument's rounding have e's size even if 1 + e is
    # nearly zero; then come the roundings of the sum and of three products
    return noise.rounded(noise.within(y, size, roundings=2) * up, roundings=4)


def _matmul(x: torch.Tensor, w: torch.Tensor, noise: Noise) -> torch.Tensor:
    return noise.product(x @ w.T, x, w.T)
