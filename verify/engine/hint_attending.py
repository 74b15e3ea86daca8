"""List other ways to attend: which positions a query sees, what takes softmax's place, and which head it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

# (query positions (length, 1), key positions (length,)) -> which keys a query sees
See = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# (scores (..., queries, keys), which of them a query sees) -> the shares
Share = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# What softmax in blocks may forget to rescale when the largest score grows, and whether that is the mix and the sum.
_BLOCKWISE = (("sums", True, True), ("mixes", True, False), ("denominators", False, True))
_BLOCKS = (2, 4, 8, 16, 32, 64)


def of_attending(hyper: Hyperparameters, load: Load, first: int) -> Iterator[MistakenReference]:
    """Yield the mistakes. first: the first position with wrong logits."""
    if hyper.window or hyper.query_scale_beta:
        return
    for found, (see, share) in (_sets(first) | _formulas()).items():
        sentence = m.ATTENDING.of_engine(found=found)
        run = rewired(_attending(see, share))
        yield MistakenReference(m.ATTENDING, sentence, hyper, load, run=run, whole=_ahead(see, share))
    for found, order in _kv_heads(hyper).items():
        for names, words in ((("k_rotated", "v"), ""), (("k_rotated",), " for keys"), (("v",), " for values")):
            sentence = m.KV_HEADS.of_engine(found=found + words)
            yield MistakenReference(m.KV_HEADS, sentence, hyper, load, run=rewired(_of_heads(order, names)))


def _causal(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return key <= query


def _softmax(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-1).nan_to_num(0.0)


def _ahead(see: See, share: Share) -> bool:
    """Return whether what the first positions attend to depends on later ones."""
    scores = torch.linspace(-1, 3, 2 * 24 * 24, dtype=torch.float64).sin().view(1, 1, 2, 24, 24)
    of = []
    for length in (24, 12):
        places = torch.arange(length)
        of.append(share(scores[..., :length, :length], see(places.unsqueeze(1), places)))
    early, alone = of[0][..., :12, :], of[1]
    return bool(early[..., 12:].any()) or not torch.allclose(early[..., :12], alone)


def _sets(first: int) -> dict[str, tuple[See, Share]]:
    """Return other sets of positions that a query sees, by name."""
    sees: dict[str, See] = {
        "only to each position itself": lambda query, key: key == query,
        "to no position before the last one": lambda query, key: (key <= query) & (key >= query - 1),
        "to the next position, too": lambda query, key: key <= query + 1,
        "to every position but the one before": lambda query, key: (key <= query) & (key != query - 1),
        "to every second position, from itself back": lambda query, key: (key <= query) & ((query - key) % 2 == 0),
        "only to position 0": lambda query, key: (key == 0) & (query >= 0),
        "only to the position before": lambda query, key: key == (query - 1).clamp(min=0),
        "to positions before itself, with zeros at position 0": lambda query, key: key < query,
        "to itself and later positions: its mask is turned": lambda query, key: key >= query,
    }
    for size in _BLOCKS:
        sees[f"only within each block of {size} positions"] = lambda query, key, size=size: (  # type: ignore[misc]
            (key <= query) & (key // size == query // size)
        )
        sees[f"only to the last {size} positions"] = lambda query, key, size=size: (  # type: ignore[misc]
            (key <= query) & (key > query - size)
        )
        sees[f"in both directions within the first {size} positions"] = lambda query, key, size=size: (  # type: ignore[misc]
            (key <= query) | ((key < size) & (query < size))
        )
    if first > 0:
        sees[f"to all positions but {first}"] = lambda query, key: (key <= query) & ((key != first) | (query < first))
    return {found: (see, _softmax) for found, see in sees.items()}


def _formulas() -> dict[str, tuple[See, Share]]:
    """Return what may stand in softmax's place, by name."""
    shares: dict[str, Share] = {
        "with base 2 instead of e": lambda scores, seen: _softmax(scores * math.log(2), seen),
        "by the largest score alone": lambda scores, seen: _one_hot(scores.masked_fill(~seen, -torch.inf)),
        "to all positions equally": lambda scores, seen: _softmax(torch.zeros_like(scores), seen),
        "by the sigmoid of scores": lambda scores, seen: torch.sigmoid(scores) * seen,
        "by the sigmoid of scores over its sum": lambda scores, seen: _over_sum(torch.sigmoid(scores) * seen),
        "by relu of scores": lambda scores, seen: torch.relu(scores) * seen,
        "by relu of scores over its sum": lambda scores, seen: _over_sum(torch.relu(scores) * seen),
        "by scores without softmax": lambda scores, seen: scores * seen,
        "by scores over their sum": lambda scores, seen: _over_sum(scores * seen),
        "by exp of scores without their sum": lambda scores, seen: torch.exp(scores) * seen,
        "by exp of scores less the largest one, without their sum": _unnormalised,
        "by squared shares": lambda scores, seen: _softmax(scores, seen).square(),
        "by softmax applied twice": lambda scores, seen: _softmax(_softmax(scores, seen), seen),
        "by softmax with the mask applied after it": lambda scores, seen: torch.softmax(scores, -1) * seen,
        "with the mask as zeros in the scores": lambda scores, seen: torch.softmax(scores * seen, -1),
        "by softmax over queries instead of keys": _over_queries,
        "by softmax over heads instead of positions": _over_heads,
        "with the share of each position on the next one": lambda scores, seen: _softmax(scores, seen).roll(1, -1),
        "with shares in reverse": _reversed,
        "by softmax of minus the scores": lambda scores, seen: _softmax(-scores, seen),
        "by 1 less each share": lambda scores, seen: (1 - _softmax(scores, seen)) * seen,
        "by shares divided by the number of positions": lambda scores, seen: (
            _softmax(scores, seen) / seen.sum(-1, keepdim=True)
        ),
        "with position biases as ALiBi has them": _alibi,
    }
    for count in (1, 2, 4, 8, 16, 32):
        shares[f"to the {count} largest scores"] = lambda scores, seen, count=count: _largest(scores, seen, count)  # type: ignore[misc]
    for size in (1, 8, 16, 32, 64, 128):
        for what, values, sums in _BLOCKWISE:
            found = f"by softmax computed in blocks of {size} keys, without rescaling earlier {what}"
            shares[found] = partial(_unscaled, size=size, values=values, sums=sums)
    return {found: (_causal, share) for found, share in shares.items()}


def _one_hot(scores: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


def _over_sum(parts: torch.Tensor) -> torch.Tensor:
    total = parts.sum(-1, keepdim=True)
    return torch.where(total != 0, parts / total, 0.0)


def _unnormalised(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    visible = scores.masked_fill(~seen, -torch.inf)
    return torch.exp(visible - visible.amax(-1, keepdim=True))


def _over_queries(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=-2)


def _over_heads(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    heads = scores.flatten(1, 2)
    return torch.softmax(heads, dim=1).view_as(scores) * seen


def _reversed(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    shares, places = _softmax(scores, seen), torch.arange(scores.shape[-1])
    turned = (places.unsqueeze(1) - places).clamp(min=0)
    return shares.gather(-1, turned.expand_as(shares)) * seen


def _alibi(scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    heads = scores.shape[1] * scores.shape[2]
    slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
    places = torch.arange(scores.shape[-1])
    bias = slopes.view(1, *scores.shape[1:3], 1, 1) * (places - places.unsqueeze(1))
    return _softmax(scores + bias.to(scores.dtype), seen)


def _largest(scores: torch.Tensor, seen: torch.Tensor, count: int) -> torch.Tensor:
    visible = scores.masked_fill(~seen, -torch.inf)
    smallest = visible.topk(min(count, visible.shape[-1]), dim=-1).values[..., -1:]
    return _softmax(scores, seen & (visible >= smallest))


def _unscaled(scores: torch.Tensor, seen: torch.Tensor, size: int, *, values: bool, sums: bool) -> torch.Tensor:
    """Return exp(score - the largest one up to the block), over sums that are rescaled or not."""
    length = scores.shape[-1]
    visible = scores.masked_fill(~seen, -torch.inf)
    end = ((torch.arange(length) // size + 1) * size - 1).clamp(max=length - 1)
    largest = visible.cummax(-1).values
    running = largest[..., end]
    old, new = torch.exp(visible - running), torch.exp(visible - largest[..., -1:])
    total = (old if sums else new).sum(-1, keepdim=True)
    return (old if values else new).nan_to_num(0.0) / total


def _attending(see: See, share: Share) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation != "shares":
            return y
        places = torch.arange(y.shape[-1])
        return share(seen.made["scores"], see(places.unsqueeze(1), places))

    return change


def _kv_heads(hyper: Hyperparameters) -> dict[str, list[int]]:
    """Return the kv head that each query head reads, by a wrong rule."""
    heads, kv = hyper.n_heads, hyper.n_kv_heads
    sharing = heads // kv
    right = [head // sharing for head in range(heads)]
    rules = {
        "head % n_kv_heads": [head % kv for head in range(heads)],
        "head / n_kv_heads": [min(head // kv, kv - 1) for head in range(heads)],
        "n_kv_heads - 1 - head / group": [kv - 1 - of for of in right],
        "always the last": [kv - 1] * heads,
        "always the first": [0] * heads,
        "one too high, up to the last": [min(of + 1, kv - 1) for of in right],
        "one too low, down to the first": [max(of - 1, 0) for of in right],
        "min(head, n_kv_heads - 1)": [min(head, kv - 1) for head in range(heads)],
        "one too high": [(of + 1) % kv for of in right],
        "one too low": [(of - 1) % kv for of in right],
        "as if groups began one head later": [max(head - 1, 0) // sharing for head in range(heads)],
        "as if groups began one head earlier": [min(head + 1, heads - 1) // sharing for head in range(heads)],
        "each second one": [of - of % 2 for of in right],
    }
    return {found: order for found, order in rules.items() if order != right}


def _of_heads(order: list[int], names: tuple[str, ...]) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation != "attended":
            return y
        size, kv = seen.hyper.head_dim, seen.hyper.n_kv_heads
        right = [head // (seen.hyper.n_heads // kv) for head in range(seen.hyper.n_heads)]
        q = _heads(seen.made.get("q_rotated", seen.made["q"]), size)
        keys, values = (
            _heads(seen.made.get(name, seen.made[name[0]]), size)[:, order if name in names else right]
            for name in ("k_rotated", "v")
        )
        scale = seen.hyper.score_scale or size**-0.5
        scores = q @ keys.mT * scale
        places = torch.arange(q.shape[-2])
        shares = _softmax(scores, _causal(places.unsqueeze(1), places))
        mixed: torch.Tensor = shares @ values
        return mixed.transpose(1, 2).flatten(2)

    return change


def _heads(y: torch.Tensor, size: int) -> torch.Tensor:
    """Return (windows, heads, length, size)."""
    heads: torch.Tensor = y.unflatten(-1, (-1, size))
    return heads.transpose(1, 2)
