"""Recompute attention from what an engine recorded: rotations, scores, shares, and the mix of values."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

import reader_c
from verify.operations import bounds, switch_bounds
from verify.operations.comparison import Comparison
from verify.operations.rope_tables import rope_tables
from verify.oracle import rope
from verify.oracle.attention import hidden, query_scale
from verify.sources import Hyperparameters, LayerKind

Recorded = dict[str, torch.Tensor]
Parts = dict[str, list[tuple[torch.Tensor, ...]]]


def judge_tables(hyper: Hyperparameters, kind: LayerKind, at: Recorded) -> Iterator[Comparison]:
    """Compare the cosines and sines of a layer's RoPE."""
    tables = rope_tables(rope.of_kind(hyper, kind.rope), at["cosine"].shape[1])
    for name, table in zip(("cosine", "sine"), tables, strict=True):
        out = at[name].double()
        yield Comparison(name, out, table.exact.expand_as(out), table.bound.expand_as(out))


def judge_rotation(hyper: Hyperparameters, name: str, at: Recorded) -> Comparison:
    """Compare the rotation of "q" or "k" by the recorded table; errors of the table itself are judged with it."""
    read = at[f"{name}_normed" if f"{name}_normed" in at else name].double()
    moving, staying = read.unflatten(-1, (-1, hyper.head_dim)).tensor_split([hyper.rotated], dim=-1)
    even, odd = moving.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = (at[table].double().unsqueeze(2) for table in ("cosine", "sine"))
    exact = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1)
    sizes = torch.stack(((even * cosine).abs() + (odd * sine).abs(), (even * sine).abs() + (odd * cosine).abs()), -1)
    operation = f"{name}_rotated"
    whole = torch.cat((exact.flatten(-2), staying), dim=-1).flatten(2)
    # what is not rotated is copied
    bound = torch.cat((bounds.rotation(sizes).flatten(-2), staying * 0), dim=-1).flatten(2)
    return Comparison(operation, at[operation].double(), whole, bound)


def judge_query_scale(hyper: Hyperparameters, at: Recorded) -> Comparison:
    """Compare the queries times the factor of their position."""
    read = at[query_before_scale(at)].double()
    factor = query_scale(hyper, read.shape[1])
    exact = read * factor
    bound = switch_bounds.query_scaled(exact, factor)
    return Comparison("q_scaled", at["q_scaled"].double(), exact, bound)


def query_before_scale(at: Recorded) -> str:
    """Name the recorded queries that the query scale reads, or attention where there is none."""
    return next(name for name in ("q_rotated", "q_normed", "q") if name in at)


def query_of_scores(at: Recorded) -> str:
    """Name the recorded queries that the scores read."""
    return "q_scaled" if "q_scaled" in at else query_before_scale(at)


def key_of_scores(at: Recorded) -> str:
    """Name the recorded keys that the scores read."""
    return next(name for name in ("k_rotated", "k_normed", "k") if name in at)


def judge_attention(
    hyper: Hyperparameters, kind: LayerKind, at: Recorded, arithmetic: reader_c.Arithmetic
) -> Iterator[Comparison]:
    """Compare attention one window at a time, because scores have length^2 elements for each head."""
    windows, length = at["q"].shape[:2]
    unseen = hidden(length, hyper.window if kind.windowed else 0)[:, None, :]
    parts: Parts = {}
    for window in range(windows):
        one = {name: recorded[window] for name, recorded in at.items()}
        _add_scores(hyper, one, unseen, arithmetic, parts)
        _add_mix(hyper, one, unseen, parts)
    for operation, found in parts.items():
        out, exact, bound = (torch.stack(side) for side in zip(*found, strict=True))
        yield Comparison(operation, out, exact, bound)


def _heads(hyper: Hyperparameters, x: torch.Tensor) -> torch.Tensor:
    """Return queries, or keys or values repeated for each query head: float64 (n_heads, length, head_dim)."""
    heads = x.double().unflatten(-1, (-1, hyper.head_dim)).transpose(0, 1)
    repeated: torch.Tensor = heads.repeat_interleave(hyper.n_heads // len(heads), dim=0)
    return repeated


def _add_scores(
    hyper: Hyperparameters, at: Recorded, unseen: torch.Tensor, arithmetic: reader_c.Arithmetic, parts: Parts
) -> None:
    """Compare scores (length, n_heads, length), and what a cap makes of them."""
    q, k = _heads(hyper, at[query_of_scores(at)]), _heads(hyper, at[key_of_scores(at)])
    exact, sizes = ((a @ b.mT).transpose(0, 1) for a, b in ((q, k), (q.abs(), k.abs())))
    if hyper.score_scale:
        exact, sizes = exact * hyper.score_scale, sizes * hyper.score_scale
        bound = switch_bounds.scaled_score(sizes, hyper.head_dim, hyper.score_scale)
    else:
        root = math.sqrt(hyper.head_dim)
        exact, sizes = exact / root, sizes / root
        bound = bounds.score(sizes, hyper.head_dim)
    name = "scores_raw" if hyper.score_cap else "scores"
    parts.setdefault(name, []).append(
        (at[name].double(), exact.masked_fill_(unseen, 0), bound.masked_fill_(unseen, 0))
    )
    if hyper.score_cap:
        raw = at["scores_raw"].double()
        exact = hyper.score_cap * torch.tanh(raw / hyper.score_cap)
        bound = switch_bounds.capped(exact, raw, hyper.score_cap, arithmetic)
        parts.setdefault("scores", []).append((at["scores"].double(), exact, bound.masked_fill_(unseen, 0)))


def _add_mix(hyper: Hyperparameters, at: Recorded, unseen: torch.Tensor, parts: Parts) -> None:
    """Compare shares (length, n_heads, length) and attention's output (length, n_heads * head_dim)."""
    scores, v = at["scores"].double(), _heads(hyper, at["v"])
    seen = (~unseen).sum(-1, keepdim=True)
    exact = torch.softmax(scores.masked_fill(unseen, -torch.inf), dim=-1)
    shares = at["shares"].double()
    bound = bounds.softmax(exact, scores, seen, ~unseen).masked_fill_(unseen, 0)
    parts.setdefault("shares", []).append((shares, exact, bound))
    mixed, sizes = ((shares.transpose(0, 1) @ one).transpose(0, 1) for one in (v, v.abs()))
    parts.setdefault("attended", []).append(
        (at["attended"].double(), mixed.flatten(1), bounds.mixture(sizes, seen).flatten(1))
    )
