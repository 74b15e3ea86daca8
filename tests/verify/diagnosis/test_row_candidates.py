"""Mistakes with norms, gates, residual sums and embeddings are named from the first wrong row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from helpers.mistake_world import Case, World, assert_named


def rows(w: World) -> Iterator[tuple[str, Case]]:
    plain, at = w.recompute, w.stages[1].at
    yield "norm-eps", (w.meaning(norm_eps=1e-6), w.stage(1), "ffn_norm", "epsilon 1e-05 instead of 1e-06")
    # fitted, since no program is known for it
    yield "norm-eps", (w.meaning(norm_eps=3e-4), w.stage(1), "attention_norm", "1e-05 instead of 0.0003")
    x, weight = w.stages[1].at["attention_residual"].double(), w.weights["layers.1.ffn_norm.weight"].double()
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
    yield (
        "norm-plus-one",
        (plain, w.stage(1, ffn_norm=normed * (1 + weight)), "ffn_norm", "1 + the weights of ffn_norm"),
    )
    gelu = torch.nn.functional.gelu(at["gate"].double()) * at["up"].double()
    yield "activation", (plain, w.stage(1, gated=gelu), "gated", "computes gelu instead of silu")
    other_way = torch.nn.functional.silu(at["up"].double()) * at["gate"].double()
    yield "gate-up-swapped", (plain, w.stage(1, gated=other_way), "gated", "swaps gate (w1) and up (w3)")
    alone = w.stage(1, ffn_residual=at["attention_residual"])
    yield "residual", (plain, alone, "ffn_residual", "omits down's result from the residual sum")
    alone = w.stage(1, attention_residual=at["wo"])
    yield "residual", (plain, alone, "attention_residual", "omits the stream before it")
    embedding = w.weights["tok_embeddings.weight"].double()
    for by, side in ((1, "after"), (-1, "before")):
        moved = embedding[(torch.from_numpy(w.tokens) + by) % 29][None]
        text = f"reads tok_embeddings.weight one row off: the row {side}"
        yield "rows-shifted", (plain, w.stage("embedding", embedding=moved), "embedding", text)


def test_every_mistake_is_named(world: World) -> None:
    assert_named(rows(world))


def test_a_fitted_epsilon_is_the_engine_s(world: World) -> None:
    """An engine with an epsilon that no list has: its own outputs say which."""
    at, eps = world.stages[1].at, 4.2e-5
    x = at["attention_residual"].double()
    weight = world.weights["layers.1.ffn_norm.weight"].double()
    out = weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    assert_named(iter([("norm-eps", (world.recompute, world.stage(1, ffn_norm=out), "ffn_norm", "epsilon 4.2e-05"))]))
