"""List mistakes with attention: the kv head of each query head, the scale of scores, and the KV cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MakeWatch, MistakenReference
from verify.oracle import llama
from verify.sources import Hyperparameters

_HALVES = (("fp16", torch.float16), ("bf16", torch.bfloat16))


def of_heads(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield other kv heads for the query heads."""
    sharing = hyper.n_heads // hyper.n_kv_heads
    modulo, higher, lower, always_first = m.KV_HEADS.words
    if 1 < hyper.n_kv_heads < hyper.n_heads:
        order = [slot % sharing * hyper.n_kv_heads + slot // sharing for slot in range(hyper.n_heads)]
        yield MistakenReference(m.KV_HEADS, m.KV_HEADS.of_engine(found=modulo), hyper, load, _queries_of(order))
    if hyper.n_kv_heads > 1:
        for step, found in ((-1, higher), (1, lower)):
            order = [(slot + step * sharing) % hyper.n_heads for slot in range(hyper.n_heads)]
            yield MistakenReference(m.KV_HEADS, m.KV_HEADS.of_engine(found=found), hyper, load, _queries_of(order))
        first = m.KV_HEADS.of_engine(found=always_first)
        yield MistakenReference(m.KV_HEADS, first, hyper, load, _first_kv_head)


def of_scores(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield other scores."""
    root = math.sqrt(hyper.head_dim)
    for found, factor in zip(m.SCORE_SCALE.words, (root, 1 / root), strict=True):
        sentence = m.SCORE_SCALE.of_engine(found=found)
        yield MistakenReference(m.SCORE_SCALE, sentence, hyper, load, _scores(_times(factor)))
    sentence = m.SCORE_SCALE.of_engine(found="sqrt(dim)")
    of_dim = _times(root / math.sqrt(hyper.dim))
    yield MistakenReference(m.SCORE_SCALE, sentence, hyper, load, _scores(of_dim))
    for cap in m.SCORES_CAPPED.numbers:
        sentence = m.SCORES_CAPPED.of_engine(cap=cap)
        yield MistakenReference(m.SCORES_CAPPED, sentence, hyper, load, _scores(_capped(cap)))
    yield MistakenReference(m.OWN_POSITION, m.OWN_POSITION.of_engine(), hyper, load, _scores(_without_itself))


def of_cache(hyper: Hyperparameters, load: Load, first: int) -> Iterator[MistakenReference]:
    """Yield mistakes with the KV cache. first: the first position with wrong logits, at which it may be full."""
    for names, what in ((("v",), "values"), (("k_rotated",), "keys"), (("v", "k_rotated"), "keys and values")):
        sentence = m.STALE_CACHE.of_engine(what=f"reads {what} from its cache one place late")
        yield MistakenReference(m.STALE_CACHE, sentence, hyper, load, _changed(_late, *names))
        if first > 0:
            sentence = m.STALE_CACHE.of_engine(what=f"has zeros for {what} from position {first} on")
            yield MistakenReference(m.STALE_CACHE, sentence, hyper, load, _changed(_zero_from(first), *names))
    if first > 0:
        sentence = m.ATTENTION_WINDOW.of_engine(count=first)
        yield MistakenReference(m.ATTENTION_WINDOW, sentence, hyper, load, _scores(_last(first)))
        kept = (
            f"keeps in its cache the first {first - 1} positions and the newest, which shows from position {first} on"
        )
        sentence = m.STALE_CACHE.of_engine(what=kept)
        yield MistakenReference(m.STALE_CACHE, sentence, hyper, load, _scores(_first_ones(first - 1)))
        sentence = m.STALE_CACHE.of_engine(what=f"forgets at position {first} all positions before it")
        yield MistakenReference(m.STALE_CACHE, sentence, hyper, load, _scores(_forgetting(first)))
    for found, dtype in _HALVES:
        for names, what in ((("v", "k_rotated"), "keys and values"), (("k_rotated",), "keys"), (("v",), "values")):
            sentence = m.CACHE_NARROWED.of_engine(what=what, found=found)
            narrow = _changed(_narrowed(dtype), *names)
            yield MistakenReference(m.CACHE_NARROWED, sentence, hyper, load, narrow, coarse=True)
    for found, rounded in (
        ("int8 with a scale for each head", _to_int8(hyper.head_dim)),
        ("int8 with a scale for each position", _to_int8(0)),
        ("fp8 (e4m3)", _narrowed(torch.float8_e4m3fn)),
    ):
        sentence = m.CACHE_NARROWED.of_engine(what="keys and values", found=found)
        narrow = _changed(rounded, "v", "k_rotated")
        yield MistakenReference(m.CACHE_NARROWED, sentence, hyper, load, narrow, coarse=True)


# ---- changes of operations ----

Change = Callable[[torch.Tensor], torch.Tensor]


def _changed(change: Change, *operations: str) -> MakeWatch:
    """Change the results of some operations."""

    def make(_hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
        return lambda operation, y: change(y) if operation in operations else y

    return make


def _scores(change: Change) -> MakeWatch:
    return _changed(change, "scores")


def _times(factor: float) -> Change:
    return lambda scores: scores * factor


def _capped(cap: float) -> Change:
    return lambda scores: cap * torch.tanh(scores / cap)


def _without_itself(scores: torch.Tensor) -> torch.Tensor:
    own = torch.eye(scores.shape[-1], dtype=torch.bool)
    # the first position can attend to nothing else
    own[0, 0] = False
    return scores.masked_fill(own, -torch.inf)


def _last(count: int) -> Change:
    """Hide positions that are `count` or more before the query."""
    return lambda scores: scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).tril(-count), -torch.inf)


def _first_ones(count: int) -> Change:
    """Hide every position from `count` on but the query's own."""

    def hide(scores: torch.Tensor) -> torch.Tensor:
        hidden = ~torch.eye(scores.shape[-1], dtype=torch.bool)
        hidden[:, :count] = False
        return scores.masked_fill(hidden, -torch.inf)

    return hide


def _forgetting(first: int) -> Change:
    """Hide every position before `first` from it and all later ones."""

    def hide(scores: torch.Tensor) -> torch.Tensor:
        hidden = torch.zeros_like(scores, dtype=torch.bool)
        hidden[..., first:, :first] = True
        return scores.masked_fill(hidden, -torch.inf)

    return hide


def _late(cached: torch.Tensor) -> torch.Tensor:
    """Read each place of (windows, length, width) one late, but the first at its place."""
    return torch.cat((cached[:, :1], cached[:, :-1]), dim=1)


def _zero_from(first: int) -> Change:
    def zeroed(cached: torch.Tensor) -> torch.Tensor:
        return torch.cat((cached[:, :first], torch.zeros_like(cached[:, first:])), dim=1)

    return zeroed


def _narrowed(dtype: torch.dtype) -> Change:
    # float32 first, as an engine has it
    return lambda cached: cached.float().to(dtype).to(cached.dtype)


def _to_int8(size: int) -> Change:
    """Round to int8 with a scale for so many elements; 0: for all of a position."""

    def rounded(cached: torch.Tensor) -> torch.Tensor:
        groups = cached.float().unflatten(-1, (-1, size or cached.shape[-1]))
        scale = groups.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
        held: torch.Tensor = (groups / scale).round() * scale
        return held.flatten(-2).to(cached.dtype)

    return rounded


def _first_kv_head(hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
    def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
        if operation not in ("k_rotated", "v"):
            return y
        heads: torch.Tensor = y.unflatten(-1, (-1, hyper.head_dim))
        return heads[:, :, :1].expand_as(heads).flatten(2)

    return watch


def _queries_of(order: list[int]) -> MakeWatch:
    """Let head order[s] take slot s of the queries, which are in the order of the kv heads."""
    there = torch.tensor(order)
    back = there.argsort()

    def make(hyper: Hyperparameters, _rotation: torch.Tensor | None) -> llama.Watch:
        def watch(operation: str, y: torch.Tensor) -> torch.Tensor:
            if operation not in ("q_rotated", "attended"):
                return y
            heads: torch.Tensor = y.unflatten(-1, (-1, hyper.head_dim))
            return heads[:, :, there if operation == "q_rotated" else back].flatten(2)

        return watch

    return make
