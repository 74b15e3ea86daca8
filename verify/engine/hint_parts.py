"""List results of which a part is not computed, or is normalised in another way: heads, and the end of a vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_operands import NAMES
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

Change = Callable[[torch.Tensor], torch.Tensor]
_OF_HEADS = {"attended": "what attention mixed", "q_rotated": "queries", "k_rotated": "keys", "v": "values"}
_KEYS = ("k", "v", "k_rotated")
_STAGES = ("attention_norm", "q", "k", "v", "attended", "wo", "ffn_norm", "gate", "up", "gated", "down")
_SIZES = (1, 2, 3, 4, 8, 16, 32, 64, 128)
_THREADS = (3, 5, 6, 7, 12)


def of_parts(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""

    def made(what: str, found: str, names: tuple[str, ...], change: Change) -> MistakenReference:
        sentence = m.PART_MISSING.of_engine(found=found, what=what)
        return MistakenReference(m.PART_MISSING, sentence, hyper, load, run=rewired(_changed(names, change)))

    for name, what in _OF_HEADS.items():
        heads = hyper.n_kv_heads if name in _KEYS else hyper.n_heads
        for found, missing in _heads_missing(heads).items():
            yield made(what, found, (name,), _without_heads(hyper.head_dim, missing))
    for name in _STAGES:
        for count in _tails(hyper, name):
            yield made(NAMES[name], f"the last {count} elements", (name,), _without_last(count))
            yield made(NAMES[name], f"the first {count} elements", (name,), _without_first(count))
    for names, what in ((("q", "k"), "queries and keys"), (("q",), "queries"), (("k",), "keys"), (("v",), "values")):
        for found, change in _NORMS.items():
            sentence = m.HEAD_NORM.of_engine(found=found.format(what=what))
            of_head = _by_head(hyper.head_dim, change)
            yield MistakenReference(m.HEAD_NORM, sentence, hyper, load, run=rewired(_changed(names, of_head)))


def _heads_missing(count: int) -> dict[str, list[int]]:
    """Return sets of heads by name: one, the first ones, and the last ones."""
    sets = {f"head {head}": [head] for head in range(count)}
    for begin in range(1, count - 1):
        sets[f"heads {begin}-{count - 1}"] = list(range(begin, count))
        sets[f"heads 0-{begin}"] = list(range(begin + 1))
    sets["every second head, from head 1 on,"] = list(range(1, count, 2))
    return sets if count > 1 else {}


def _tails(hyper: Hyperparameters, name: str) -> list[int]:
    """Return how many elements a loop over lanes or threads may leave."""
    queries, keys = hyper.n_heads * hyper.head_dim, hyper.n_kv_heads * hyper.head_dim
    hidden = hyper.hidden_dim if name in ("gate", "up", "gated") else hyper.dim
    width = {"q": queries, "attended": queries, "k": keys, "v": keys}.get(name, hidden)
    left = {*_SIZES, *(width % threads for threads in _THREADS), width // 2, width // 4, width - width // 4}
    return sorted(count for count in left if 0 < count < width)


def _without_heads(size: int, missing: list[int]) -> Change:
    return lambda y: y.unflatten(-1, (-1, size)).index_fill(-2, torch.tensor(missing), 0.0).flatten(-2)


def _without_last(count: int) -> Change:
    return lambda y: torch.cat((y[..., :-count], torch.zeros_like(y[..., -count:])), dim=-1)


def _without_first(count: int) -> Change:
    return lambda y: torch.cat((torch.zeros_like(y[..., :count]), y[..., count:]), dim=-1)


def _by_head(size: int, change: Change) -> Change:
    return lambda y: change(y.unflatten(-1, (-1, size))).flatten(-2)


def _changed(names: tuple[str, ...], change: Change) -> Rewire:
    def rewire(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
        return change(y) if operation in names else y

    return rewire


def _rms(eps: float) -> Change:
    return lambda heads: heads * torch.rsqrt(heads.square().mean(-1, keepdim=True) + eps)


_NORMS: dict[str, Change] = {
    "divides each head of {what} by its root mean square": _rms(1e-6),
    "divides each head of {what} by its root mean square (epsilon 1e-5)": _rms(1e-5),
    "divides each head of {what} by its length": lambda heads: torch.nn.functional.normalize(heads, dim=-1),
    "subtracts the mean of each head of {what}": lambda heads: heads - heads.mean(-1, keepdim=True),
    "applies softmax within each head of {what}": lambda heads: torch.softmax(heads, -1),
}
