"""Propose mistakes with attention: with kv heads, the scale of scores, missing rotations, the position itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.candidate import Candidate, with_hyper
from verify.diagnosis.stage import Stage
from verify.operations.attention import key_of_scores, query_of_scores
from verify.operations.recompute import Recompute


def of_heads(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other kv heads for each query head."""
    if operation not in ("scores", "scores_raw", "attended"):
        return
    hyper = recompute.hyper
    kv, queries = hyper.n_kv_heads, hyper.n_heads // hyper.n_kv_heads
    heads = torch.arange(hyper.n_heads)
    maps = (heads % kv, (heads // queries + 1) % kv, (heads // queries - 1) % kv, heads * 0)
    # judged as if each query head had its own key and value head
    every = with_hyper(recompute, n_kv_heads=hyper.n_heads)
    key = key_of_scores(stage.at)
    wrong, right = ("v", key) if operation == "attended" else (key, "v")
    by_head: dict[str, torch.Tensor] = {name: stage.at[name].unflatten(-1, (kv, -1)) for name in (wrong, right)}
    for found, mapping in zip(m.KV_HEADS.words, maps, strict=True):
        at = {
            wrong: by_head[wrong][:, :, mapping].flatten(2),
            right: by_head[right][:, :, heads // queries].flatten(2),
        }
        yield Candidate(m.KV_HEADS, m.KV_HEADS.of_engine(found=found), stage.with_recorded(**at), every)


def of_scores(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other divisors of the scores, vectors without RoPE, and attention without the position itself."""
    if operation == "scores" and not recompute.hyper.score_cap and not recompute.hyper.score_scale:
        root = math.sqrt(recompute.hyper.head_dim)
        for found, factor in zip(m.SCORE_SCALE.words, (1 / root, root), strict=True):
            scaled = stage.with_recorded(scores=(stage.at["scores"].double() * factor).float())
            yield Candidate(m.SCORE_SCALE, m.SCORE_SCALE.of_engine(found=found), scaled, recompute)
        plain = {query_of_scores(stage.at): stage.at["q"], key_of_scores(stage.at): stage.at["k"]}
        unrotated = stage.with_recorded(**plain)
        sentence = m.ROPE_MISSING.of_engine(what="the vectors of its scores")
        yield Candidate(m.ROPE_MISSING, sentence, unrotated, recompute)
    if operation == "attended":
        own = torch.eye(stage.at["shares"].shape[1], dtype=torch.bool)[:, None, :]
        without = stage.with_recorded(shares=stage.at["shares"].masked_fill(own, 0.0))
        yield Candidate(m.OWN_POSITION, m.OWN_POSITION.of_engine(), without, recompute)
