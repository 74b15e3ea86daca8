"""Mistakes with products are named from the first wrong product, roundings of int8 activations from their steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from helpers.mistake_world import LENGTH, Case, World, assert_named, product

from verify.diagnosis.product_candidates import of_int8, of_products
from verify.operations.int8 import half_away


def without_the_last(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def cut(weights: torch.Tensor) -> torch.Tensor:
        weights = weights.clone()
        weights[:, -count:] = 0
        return weights

    return cut


def products(w: World) -> Iterator[tuple[str, Case]]:
    plain = w.recompute
    swapped = product(w, "feed_forward.w3", "ffn_norm", torch.clone)
    yield "other-tensor", (plain, w.stage(1, gate=swapped), "gate", "w3.weight instead of layers.1.feed_forward.w1")
    first = product(w, "feed_forward.w2", "gated", lambda _: w.weights["layers.0.feed_forward.w2.weight"].double())
    text = "layers.0.feed_forward.w2.weight instead of layers.1"
    yield "other-layer", (plain, w.stage(1, down=first), "down", text)
    for count, text in ((1, "omits the last input of each row"), (8, "omits the last 8 inputs of each row")):
        short = product(w, "feed_forward.w3", "ffn_norm", without_the_last(count))
        yield "last-inputs-dropped", (plain, w.stage(1, up=short), "up", text)
    shifted = product(w, "feed_forward.w1", "ffn_norm", lambda weights: weights.roll(1, 0))
    yield "rows-shifted", (plain, w.stage(1, gate=shifted), "gate", "one row off: the row before")
    half = product(w, "feed_forward.w2", "gated", lambda weights: weights.bfloat16().double())
    yield "narrowed", (plain, w.stage(1, down=half), "down", "to bfloat16 before the product")
    if w.config.n_heads * w.config.head_dim == w.config.dim:
        transposed = product(w, "attention.wo", "attended", lambda weights: weights.T)
        yield "transposed", (plain, w.stage(1, wo=transposed), "wo", "layers.1.attention.wo.weight transposed")
    if w.config.qkv_bias:
        bare = product(w, "attention.wq", "attention_norm", torch.clone)
        yield "bias-dropped", (plain, w.stage(1, q=bare), "q", "does not add layers.1.attention.wq.bias")
    embedding = w.weights["tok_embeddings.weight"].double()
    logits = w.stages["classifier"].at["final_norm"].double() @ embedding.T
    yield "tied-classifier", (plain, w.stage("classifier", logits=logits), "logits", "tok_embeddings.weight instead")


def test_every_mistake_is_named(world: World) -> None:
    assert_named(products(world))


@pytest.mark.parametrize(
    ("rounding", "text"),
    [
        (torch.trunc, "towards zero"),
        (torch.round, "to nearest with halves to even"),
        (torch.floor, "down"),
    ],
)
def test_another_rounding_of_int8_activations_is_named(
    world: World, rounding: Callable[[torch.Tensor], torch.Tensor], text: str
) -> None:
    """Halves to even differ from halves away from zero only in halves, so there must be some."""
    x = torch.tensor([127.0, 0.5, 1.5, -2.5, 3.25, -7.75, 100.9, 0.0] * 6).expand(1, LENGTH, 48)
    steps = rounding(x).clamp(-127, 127).to(torch.int8)
    weights = (torch.ones(40, 48, dtype=torch.int8), torch.ones(40, 6))
    recompute = dataclasses.replace(world.recompute, activations="q8", quantized=lambda _name: weights)
    recorded = {"ffn_norm": x, "gate int8": steps, "gate scale": torch.ones(1, LENGTH, 6)}
    stage = dataclasses.replace(world.stages[1], at={**world.stages[1].at, **recorded})
    right = half_away(x.double()).clamp(-127, 127)
    found = list(of_int8(recompute, stage, "gate int8"))
    assert [one.sentence for one in found if torch.equal(one.stage.at["gate int8"].double(), right)] == [
        f"rounds int8 activations {text}"
    ]
    assert list(of_int8(recompute, stage, "gate")) == []


def test_products_of_int8_activations_have_no_candidates(world: World) -> None:
    recompute = dataclasses.replace(world.recompute, activations="q8")
    assert list(of_products(recompute, world.stage(1), "gate")) == []
