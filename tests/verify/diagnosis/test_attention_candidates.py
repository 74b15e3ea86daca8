"""Mistakes with attention are named from scores or from what was attended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from helpers.mistake_world import LENGTH, Case, World, assert_named, mixed, scored

from verify.diagnosis.attention_candidates import of_heads, of_scores


def attention(w: World) -> Iterator[tuple[str, Case]]:
    plain, at = w.recompute, w.stages[1].at
    kv, queries = w.config.n_kv_heads, w.config.n_heads // w.config.n_kv_heads
    if kv > 1:
        wrong: list[tuple[Callable[[int], int], str]] = [
            (lambda head: head % kv, "head % n_kv_heads"),
            (lambda head: (head // queries + 1) % kv, "one too high"),
            (lambda head: (head // queries - 1) % kv, "one too"),
        ]
        for mapping, text in wrong:
            yield "kv-heads", (plain, w.stage(1, scores=scored(w, mapping)), "scores", text)
            yield "kv-heads", (plain, w.stage(1, attended=mixed(w, mapping)), "attended", text)
    root = math.sqrt(w.config.head_dim)
    undivided, divided = at["scores"].double() * root, at["scores"].double() / root
    yield "score-scale", (plain, w.stage(1, scores=undivided), "scores", "by 1 instead of sqrt(head_dim)")
    yield "score-scale", (plain, w.stage(1, scores=divided), "scores", "by head_dim instead of sqrt(head_dim)")
    unrotated = scored(w, lambda head: head // queries, "q", "k")
    yield "rope-missing", (plain, w.stage(1, scores=unrotated), "scores", "RoPE to the vectors of its scores")
    own = torch.eye(LENGTH, dtype=torch.bool)[:, None, :]
    others = mixed(w, lambda head: head // queries, at["shares"].masked_fill(own, 0))
    yield "own-position", (plain, w.stage(1, attended=others), "attended", "omits each position itself")


def test_every_mistake_is_named(world: World) -> None:
    assert_named(attention(world))


def test_other_operations_have_no_candidates(world: World) -> None:
    for propose in (of_heads, of_scores):
        assert not list(propose(world.recompute, world.stage(1), "gated"))
