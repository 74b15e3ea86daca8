"""Propose mistakes with products: other weights, missing inputs or biases, other roundings of int8 activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.candidate import Candidate
from verify.diagnosis.mistakes import TRANSPOSED, Mistake
from verify.diagnosis.stage import Stage
from verify.operations.int8 import half_away, quotients
from verify.operations.recompute import Recompute
from verify.oracle import llama

# Product of a layer -> its tensor. The classifier's tensor depends on tying.
_PRODUCTS = {
    "q": "attention.wq",
    "k": "attention.wk",
    "v": "attention.wv",
    "wo": "attention.wo",
    "gate": "feed_forward.w1",
    "up": "feed_forward.w3",
    "down": "feed_forward.w2",
    "router": "feed_forward.router",
}

# Product -> what it reads.
_INPUTS = {
    "q": "attention_norm",
    "k": "attention_norm",
    "v": "attention_norm",
    "wo": "attended",
    "gate": "ffn_norm",
    "up": "ffn_norm",
    "down": "gated",
    "router": "ffn_norm",
    **{"expert_gate": "ffn_norm", "expert_up": "ffn_norm", "expert_down": "expert_gated"},
    "logits": "final_norm",
    "classified": "final_norm",
}

_ROUNDINGS: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("towards zero", torch.trunc),
    ("to nearest with halves to even", torch.round),
    ("down", torch.floor),
)


def of_products(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other weights for a product."""
    tensor = _tensors(recompute, stage).get(operation)
    if tensor is None or recompute.activations == "q8":
        return
    for mistake, sentence, weights in _wrong_weights(recompute, stage, tensor):
        yield Candidate(mistake, sentence, stage, _with_weights(recompute, tensor, weights))
    bias = tensor.replace(".weight", ".bias")
    if bias in recompute.hyper.shapes():
        without = _with_weights(recompute, bias, torch.zeros_like(recompute.weights(bias)))
        yield Candidate(m.BIAS_DROPPED, m.BIAS_DROPPED.of_engine(what=bias), stage, without)


def _with_weights(recompute: Recompute, changed: str, weights: torch.Tensor) -> Recompute:
    plain = recompute.weights
    return dataclasses.replace(recompute, weights=lambda name: weights if name == changed else plain(name))


def _wrong_weights(recompute: Recompute, stage: Stage, tensor: str) -> Iterator[tuple[Mistake, str, torch.Tensor]]:
    """Yield (mistake, sentence, the weights that it puts in the tensor's place)."""
    weights = recompute.weights(tensor)
    for mistake, other in _other_tensors(recompute, stage, tensor):
        if recompute.weights(other).shape == weights.shape:
            yield mistake, mistake.of_engine(found=other, expected=tensor), recompute.weights(other)
    if weights.shape[0] == weights.shape[1]:
        yield TRANSPOSED, TRANSPOSED.of_engine(tensor=tensor), weights.T.contiguous()
    for count in sorted({*map(int, m.LAST_INPUTS_DROPPED.numbers), recompute.hyper.head_dim}):
        if count < weights.shape[1]:
            cut = weights.clone()
            cut[:, -count:] = 0
            yield m.LAST_INPUTS_DROPPED, m.LAST_INPUTS_DROPPED.of_engine(which=m.last_inputs(count)), cut
    for by, side in ((1, "before"), (-1, "after")):
        yield m.ROWS_SHIFTED, m.ROWS_SHIFTED.of_engine(tensor=tensor, side=side), weights.roll(by, 0)
    for dtype, found in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16")):
        yield m.NARROWED, m.NARROWED.of_engine(tensor=tensor, found=found), weights.to(dtype).float()


def _other_tensors(recompute: Recompute, stage: Stage, tensor: str) -> Iterator[tuple[Mistake, str]]:
    """Yield (mistake, name) of tensors that an engine may take instead: of the same layer, or of another layer."""
    if stage.layer is None:
        if not recompute.hyper.tied:
            yield m.TIED_CLASSIFIER, "tok_embeddings.weight"
        return
    yield from ((m.OTHER_TENSOR, name) for name in _tensors(recompute, stage).values() if name != tensor)
    prefix = f"layers.{stage.layer}."
    shapes = recompute.hyper.shapes()
    for number in range(recompute.hyper.n_layers):
        other = tensor.replace(prefix, f"layers.{number}.", 1)
        if number != stage.layer and other in shapes:
            yield m.OTHER_LAYER, other


def _tensors(recompute: Recompute, stage: Stage) -> dict[str, str]:
    """Return product -> tensor's name for the products of the stage."""
    if stage.layer is None:
        return dict.fromkeys(("logits", "classified"), llama.classifier(recompute.hyper))
    names = {key: f"layers.{stage.layer}.{name}.weight" for key, name in _PRODUCTS.items()}
    shapes = recompute.hyper.shapes()
    return {key: name for key, name in names.items() if name in shapes}


def of_int8(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other roundings of int8 activations."""
    product, _, part = operation.partition(" ")
    if part != "int8":
        return
    read = _INPUTS[product]
    # without a norm before it, a block reads the stream
    stream = stage.x if read == "attention_norm" else stage.at.get("attention_residual", stage.x)
    x, groups = stage.at.get(read, stream), stage.at[f"{product} scale"].shape[-1]
    # every chosen expert has a copy of what all read
    x = x.repeat(1, 1, stage.at[operation].shape[-1] // x.shape[-1])
    quotient = quotients(x, groups)
    for found, rounding in _ROUNDINGS:
        # equal to half_away's result if the recorded integers are what this rounding gives
        steps = stage.at[operation].double() - rounding(quotient) + half_away(quotient)
        at = {operation: steps.clamp(-128, 127).to(torch.int8)}
        yield Candidate(m.INT8_ROUNDING, m.INT8_ROUNDING.of_engine(found=found), stage.with_recorded(**at), recompute)
