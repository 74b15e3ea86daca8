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
_LANES = (2, 4, 8, 16)
_TAILS = (1, 2, 3, 4, 8)
_WORDS = {**NAMES, "ffn_residual": "the stream after the layer"}
# What the buffer of a result holds before, in words, if the result is computed in place.
_LEFT: dict[str, tuple[str, Callable[[LayerSoFar], torch.Tensor | None]]] = {
    "gated": ("gate (w1)", lambda seen: seen.made.get("gate")),
    "attention_residual": ("the stream before the layer", lambda seen: seen.x),
    "ffn_residual": ("the stream after attention", lambda seen: seen.middle),
    "q_rotated": ("queries before RoPE", lambda seen: seen.made["q"]),
    "k_rotated": ("keys before RoPE", lambda seen: seen.made["k"]),
    "attention_norm": ("the stream before the norm", lambda seen: seen.x),
    "ffn_norm": ("the stream before the norm", lambda seen: seen.middle),
}
# Parts of threads that are neither among the last elements nor each other: which of how many.
_SHARES = ((0, 2), (0, 3), (1, 3), (0, 4), (1, 4), (2, 4))
# (places of elements, their number) -> which are missing
Missing = Callable[[torch.Tensor, int], torch.Tensor]


def of_parts(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""

    def made(what: str, found: str, names: tuple[str, ...], change: Change) -> MistakenReference:
        sentence = m.PART_MISSING.of_engine(found=found, what=what)
        return MistakenReference(m.PART_MISSING, sentence, hyper, load, run=rewired(_changed(names, change)))

    for name in _STAGES:
        for found, places in _lanes_and_shares().items():
            yield made(NAMES[name], found, (name,), _without(places))
    for name, what in _OF_HEADS.items():
        for found, places in _of_each_head().items():
            within = _by_head(hyper.head_dim, _without(places))
            yield made(what, f"{found} of each head", (name,), within)
        heads = hyper.n_kv_heads if name in _KEYS else hyper.n_heads
        for found, missing in _heads_missing(heads).items():
            yield made(what, found, (name,), _without_heads(hyper.head_dim, missing))
    for name in _STAGES:
        for count in _tails(hyper, name):
            yield made(NAMES[name], f"the last {count} elements", (name,), _without_last(count))
    for names, what in ((("q", "k"), "queries and keys"), (("q",), "queries"), (("k",), "keys"), (("v",), "values")):
        for found, change in _NORMS.items():
            sentence = m.HEAD_NORM.of_engine(found=found.format(what=what))
            of_head = _by_head(hyper.head_dim, change)
            yield MistakenReference(m.HEAD_NORM, sentence, hyper, load, run=rewired(_changed(names, of_head)))


def of_leftovers(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield results of which a part still holds what was in their buffer before."""
    for name, (before, operand) in _LEFT.items():
        widths: dict[str, Missing] = {
            f"the last {count} elements" if count > 1 else "the last element": (
                lambda place, width, count=count: place >= width - count  # type: ignore[misc]
            )
            for count in dict.fromkeys((*_TAILS, *_rests(hyper, name)))
        }
        for found, missing in (widths | _lanes_and_shares()).items():
            sentence = m.PART_LEFT.of_engine(found=found, what=_WORDS[name], before=before)
            run = rewired(_left(name, operand, missing))
            yield MistakenReference(m.PART_LEFT, sentence, hyper, load, run=run)


def _rests(hyper: Hyperparameters, name: str) -> list[int]:
    """Return how many elements a loop over several at a time, or the last of some threads, may leave."""
    width = _width(hyper, name)
    rests = (width % lanes for lanes in (4, 8, 16, 32, 64))
    return [rest for rest in (*rests, width // 2, width // 3, width // 4, width // 8) if rest]


def _left(name: str, operand: Callable[[LayerSoFar], torch.Tensor | None], missing: Missing) -> Rewire:
    def rewire(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        before = operand(seen) if operation == name else None
        if before is None or before.shape != y.shape:
            return y
        return torch.where(missing(torch.arange(y.shape[-1]), y.shape[-1]), before, y)

    return rewire


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
    width = _width(hyper, name)
    left = {*_SIZES, *(width % threads for threads in _THREADS), width // 2, width // 4, width - width // 4}
    return sorted(count for count in left if 0 < count < width)


def _width(hyper: Hyperparameters, name: str) -> int:
    queries, keys = hyper.n_heads * hyper.head_dim, hyper.n_kv_heads * hyper.head_dim
    of = {"q": queries, "q_rotated": queries, "attended": queries, "k": keys, "k_rotated": keys, "v": keys}
    return of.get(name, hyper.hidden_dim if name in ("gate", "up", "gated") else hyper.dim)


def _without_heads(size: int, missing: list[int]) -> Change:
    return lambda y: y.unflatten(-1, (-1, size)).index_fill(-2, torch.tensor(missing), 0.0).flatten(-2)


def _without_last(count: int) -> Change:
    return lambda y: torch.cat((y[..., :-count], torch.zeros_like(y[..., -count:])), dim=-1)


def _without(missing: Missing) -> Change:
    """Set elements to zero."""
    return lambda y: torch.where(missing(torch.arange(y.shape[-1]), y.shape[-1]), 0.0, y)


def _lanes_and_shares() -> dict[str, Missing]:
    """Return the elements of one lane of a vector register, of one thread, and the first one."""
    found: dict[str, Missing] = {"the first element": lambda place, _width: place == 0}
    for lanes in _LANES:
        for lane in dict.fromkeys((lanes - 1, 0)):
            words = f"every {'second' if lanes == 2 else f'{lanes}th'} element, from element {lane} on,"
            found[words] = lambda place, _width, lanes=lanes, lane=lane: place % lanes == lane  # type: ignore[misc]
    for share, threads in _SHARES:
        found[f"the part {share} of {threads} equal ones"] = lambda place, width, threads=threads, share=share: (  # type: ignore[misc]
            place // max(1, width // threads) == share
        )
    return found


def _of_each_head() -> dict[str, Missing]:
    """Return the elements that a loop over the elements of a head may omit."""
    return {
        "the last element": lambda place, width: place == width - 1,
        "the last 2 elements": lambda place, width: place >= width - 2,
        "the last 4 elements": lambda place, width: place >= width - 4,
        "the first element": lambda place, _width: place == 0,
        "the second half": lambda place, width: place >= width // 2,
        "the first half": lambda place, width: place < width // 2,
        "every second element": lambda place, _width: place % 2 == 1,
    }


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
