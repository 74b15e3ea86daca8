"""Recompute attention from what an engine recorded: rotations, scores, shares, and the mix of values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import reader_c
from verify.operations import bounds, switch_bounds
from verify.operations.comparison import Comparison, rows_in_cache
from verify.operations.rope_tables import rope_tables
from verify.oracle import rope
from verify.oracle.attention import hidden, query_scale
from verify.sources import Hyperparameters, LayerKind

Recorded = dict[str, torch.Tensor]


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
    names = ("scores_raw", "scores", "shares", "attended")[0 if hyper.score_cap else 1 :]
    exact, bound = ({name: torch.empty(at[name].shape, dtype=torch.float64) for name in names} for _ in range(2))
    for window in range(windows):
        recorded = {name: part[window] for name, part in at.items()}
        should, limit = ({name: part[window] for name, part in side.items()} for side in (exact, bound))
        _Window(hyper, unseen, arithmetic, recorded, should, limit).compute()
    for name in names:
        yield Comparison(name, at[name], exact[name], bound[name])


@dataclass(frozen=True, eq=False)
class _Window:
    """Holds one window's recorded attention, and where to write what it should be and how far it may be off.

    unseen: (length, 1, length), the positions that each query must not see.
    """

    hyper: Hyperparameters
    unseen: torch.Tensor
    arithmetic: reader_c.Arithmetic
    at: Recorded
    exact: Recorded
    bound: Recorded

    def compute(self) -> None:
        """Compute the products of all positions, and everything else in blocks of positions that fit into a cache."""
        q, k = self._heads(query_of_scores(self.at)), self._heads(key_of_scores(self.at))
        products, sizes = ((a @ b.mT).transpose(0, 1) for a, b in ((q, k), (q.abs(), k.abs())))
        shares, v = self.at["shares"].double().transpose(0, 1), self._heads("v")
        mixed, magnitudes = ((shares @ one).transpose(0, 1) for one in (v, v.abs()))
        seen = (~self.unseen).sum(-1, keepdim=True)
        for rows in rows_in_cache(self.at["scores"]):
            self._scores(rows, products[rows], sizes[rows])
            self._shares(rows, seen[rows])
            self.exact["attended"][rows] = mixed[rows].flatten(1)
            self.bound["attended"][rows] = bounds.mixture(magnitudes[rows], seen[rows]).flatten(1)

    def _heads(self, name: str) -> torch.Tensor:
        """Return queries, or keys or values repeated for each query head: float64 (n_heads, length, head_dim)."""
        heads = self.at[name].double().unflatten(-1, (-1, self.hyper.head_dim)).transpose(0, 1)
        repeated: torch.Tensor = heads.repeat_interleave(self.hyper.n_heads // len(heads), dim=0)
        return repeated

    def _scores(self, rows: slice, products: torch.Tensor, sizes: torch.Tensor) -> None:
        """Compute scores (positions, n_heads, length), and what a cap makes of them, from the products of heads."""
        hyper, unseen = self.hyper, self.unseen[rows]
        if hyper.score_scale:
            exact, sizes = products * hyper.score_scale, sizes * hyper.score_scale
            bound = switch_bounds.scaled_score(sizes, hyper.head_dim, hyper.score_scale)
        else:
            root = math.sqrt(hyper.head_dim)
            exact, sizes = products / root, sizes / root
            bound = bounds.score(sizes, hyper.head_dim)
        name = "scores_raw" if hyper.score_cap else "scores"
        self.exact[name][rows] = exact.masked_fill_(unseen, 0)
        self.bound[name][rows] = bound.masked_fill_(unseen, 0)
        if hyper.score_cap:
            raw = self.at["scores_raw"][rows].double()
            exact = hyper.score_cap * torch.tanh(raw / hyper.score_cap)
            bound = switch_bounds.capped(exact, raw, hyper.score_cap, self.arithmetic)
            self.exact["scores"][rows] = exact
            self.bound["scores"][rows] = bound.masked_fill_(unseen, 0)

    def _shares(self, rows: slice, seen: torch.Tensor) -> None:
        """Compute shares (positions, n_heads, length) from the recorded scores."""
        unseen, scores = self.unseen[rows], self.at["scores"][rows].double()
        exact = torch.softmax(scores.masked_fill(unseen, -torch.inf), dim=-1)
        self.exact["shares"][rows] = exact
        self.bound["shares"][rows] = bounds.softmax(exact, scores, seen, ~unseen).masked_fill_(unseen, 0)
