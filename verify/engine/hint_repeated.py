"""List steps of attention that an engine applies to some heads only, or several times to a head.

Loops over heads go wrong in few ways: they run over the number of other heads, or rotate what is shared once for
each head that shares it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.engine.hint_rope import Rotate, rotating
from verify.oracle.attention import rms_norm
from verify.oracle.rounding_noise import Noise
from verify.sources import Hyperparameters

# how often each head gets a step, by words for it
Times = dict[str, list[int]]
_WORDS = {"q": "queries", "k": "keys"}


def of_repeated(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in this model."""
    heads = {"q": hyper.n_heads, "k": hyper.n_kv_heads}
    if any(hyper.layer(number).rope != "none" for number in range(hyper.n_layers)):
        for found, times in _of_both(hyper).items():
            sentence = m.ROPE_OF_HEADS.of_engine(what="queries and keys", found=found)
            yield MistakenReference(m.ROPE_OF_HEADS, sentence, hyper, load, rotating(_turned(times), "q", "k"))
        for name, count in heads.items():
            for found, of_heads in _times(hyper, count).items():
                sentence = m.ROPE_OF_HEADS.of_engine(what=_WORDS[name], found=found)
                rotate = rotating(_turned({count: of_heads}), name)
                yield MistakenReference(m.ROPE_OF_HEADS, sentence, hyper, load, rotate)
    if hyper.qk_norm == "head":
        for name, count in heads.items():
            for found, of_heads in _times(hyper, count).items():
                sentence = m.QK_NORM_OF_HEADS.of_engine(what=_WORDS[name], found=found)
                run = rewired(_normed(name, of_heads))
                yield MistakenReference(m.QK_NORM_OF_HEADS, sentence, hyper, load, run=run)
    if not hyper.score_cap:
        for found, of_heads in _times(hyper, hyper.n_heads).items():
            sentence = m.SCORES_OF_HEADS.of_engine(found=found)
            yield MistakenReference(m.SCORES_OF_HEADS, sentence, hyper, load, run=rewired(_scaled(of_heads)))


def _times(hyper: Hyperparameters, count: int) -> Times:
    """Return how often each of `count` heads may get a step, the likely ones first."""
    kv, group = hyper.n_kv_heads, hyper.n_heads // hyper.n_kv_heads
    often = {
        f"{group} times, once for each query head of a group": group,
        f"{kv} times, once for each kv head": kv,
        f"{hyper.n_heads} times, once for each query head": hyper.n_heads,
        "twice": 2,
    }
    found = {words: [times] * count for words, times in often.items()}
    places = range(count)
    some: dict[str, Callable[[int], int]] = {
        f"in the first {kv} heads only": lambda head: head < kv,
        "in the first head only": lambda head: head == 0,
        "in the last head only": lambda head: head == count - 1,
        "in all heads but the last": lambda head: head < count - 1,
        "in all heads but the first": lambda head: head > 0,
        "in the first half of the heads only": lambda head: head < count // 2,
        "in every second head only": lambda head: head % 2 == 0,
        "in the first head of each group only": lambda head: head % group == 0,
        "once more in each head than in the one before": lambda head: head + 1,
        "once less in each head than in the one before": lambda head: count - head,
        "twice in the first head": lambda head: 1 + (head == 0),
        f"twice in the first {kv} heads": lambda head: 1 + (head < kv),
    }
    found |= {words: [int(of(head)) for head in places] for words, of in some.items()}
    # no times at all has names of its own
    return _unlike({words: times for words, times in found.items() if any(times)})


def _unlike(found: Times) -> Times:
    """Leave out what is right, and all but the first of those that are the same."""
    kept: Times = {}
    for words, times in found.items():
        if set(times) != {1} and times not in kept.values():
            kept[words] = times
    return kept


def _of_both(hyper: Hyperparameters) -> dict[str, dict[int, list[int]]]:
    """Return the times of as many heads as queries have, and keys, where both go wrong alike."""
    queries, keys = (_times(hyper, count) for count in (hyper.n_heads, hyper.n_kv_heads))
    both = {
        words: {hyper.n_heads: queries[words], hyper.n_kv_heads: keys[words]} for words in queries if words in keys
    }
    # twice both is a rotation by twice the angles, which has a name of its own
    return {words: times for words, times in both.items() if any(set(of) != {2} for of in times.values())}


def _turned(times: dict[int, list[int]]) -> Rotate:
    """Rotate each head so many times. times: of each head, by the number of heads."""

    def rotate(heads: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        often = torch.tensor(times[heads.shape[2]]).view(1, -1, 1)
        right = rotations[:-1].unsqueeze(1)
        turn = torch.polar(right.abs() ** often, right.angle() * often)
        pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    return rotate


def _normed(name: str, times: list[int]) -> Rewire:
    """Normalise each head of queries or keys so many times."""
    often = torch.tensor(times).view(-1, 1)

    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation != f"{name}_normed":
            return y
        weight = seen.load(f"layers.{seen.number}.attention.{name}_norm.weight").to(y.dtype)
        heads = seen.made[name].unflatten(-1, (-1, seen.hyper.head_dim))
        for number in range(max(times)):
            heads = torch.where(often > number, rms_norm(heads, weight, seen.hyper, Noise()), heads)
        normed: torch.Tensor = heads.flatten(-2)
        return normed

    return change


def _scaled(times: list[int]) -> Rewire:
    """Scale the scores of each query head so many times."""

    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation != "scores":
            return y
        scale = seen.hyper.score_scale or 1 / math.sqrt(seen.hyper.head_dim)
        factors = torch.tensor([scale ** (often - 1) for often in times], dtype=y.dtype)
        return y * factors.view(1, *y.shape[1:3], 1, 1)

    return change
