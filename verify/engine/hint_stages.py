"""List wrong results of any operation of a layer: negated, in another order, clipped, activated, or late."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_operands import NAMES
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

Change = Callable[[torch.Tensor], torch.Tensor]
_HEADS = ("q", "k", "v", "q_rotated", "k_rotated", "attended")
_STAGES = (*(name for name in NAMES if name != "x"), "ffn_residual")
_WORDS = {**NAMES, "ffn_residual": "the stream after the layer"}
# Results that a mistake changes together, because their order alone is not seen, or because they share a cache.
_TOGETHER = {
    ("q", "k"): "queries and keys before RoPE",
    ("q", "k", "v"): "queries, keys and values",
    ("k_rotated", "v"): "keys and values",
    ("q_rotated", "k_rotated"): "queries and keys",
    ("gate", "up"): "gate (w1) and up (w3)",
    ("attention_norm", "ffn_norm"): "the normed inputs of attention and feed forward",
    ("wo", "down"): "the results of attention and feed forward",
    ("attention_residual", "ffn_residual"): "the residual stream",
}


def of_stages(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""
    groups = {(name,): _WORDS[name] for name in _STAGES} | _TOGETHER
    for names, words in groups.items():
        for mistake, found, change in _changes(hyper, names):
            sentence = mistake.of_engine(what=words, found=found)
            run = rewired(_changed(names, change))
            yield MistakenReference(mistake, sentence, hyper, load, run=run)


def _changes(hyper: Hyperparameters, names: tuple[str, ...]) -> Iterator[tuple[Mistake, str, Change]]:
    yield m.NEGATED, "", torch.neg
    yield m.STAGE_MISSING, "zeros", torch.zeros_like
    if all(name in _HEADS for name in names):
        for found, of_heads in _orders_of_heads().items():
            yield m.ELEMENTS_ORDER, found, _by_head(hyper.head_dim, of_heads)
    for found, order in _orders().items():
        yield m.ELEMENTS_ORDER, found, order
    for found, change in _FUNCTIONS.items():
        yield m.STAGE_FUNCTION, found, change
    for limit in m.STAGE_CLIPPED.numbers:
        yield m.STAGE_CLIPPED, f"{limit:g}", lambda y, limit=limit: y.clamp(-limit, limit)  # type: ignore[misc]
    yield m.STAGE_LATE, "the position before", _late
    yield m.STAGE_LATE, "position 0", lambda y: y[:, :1].expand_as(y)


def _orders() -> dict[str, Change]:
    """Return orders of a whole vector."""
    return {
        "backwards": lambda y: y.flip(-1),
        "one place too far back": lambda y: y.roll(-1, -1),
        "one place too far on": lambda y: y.roll(1, -1),
        "both halves exchanged": lambda y: y.roll(y.shape[-1] // 2, -1),
        "each pair exchanged": _pairs_exchanged,
        "even places first": lambda y: _parts(y, 2),
        "both halves interleaved": _interleaved,
    }


def _orders_of_heads() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return orders of (..., heads, head_dim)."""
    within = {f"{found}, within each head": change for found, change in _orders().items()}
    return {
        **within,
        "the heads backwards": lambda y: y.flip(-2),
        "each head in the place of the one before": lambda y: y.roll(-1, -2),
        "each head in the place of the next one": lambda y: y.roll(1, -2),
        "the first element of all heads first, then the second ones": lambda y: y.mT.reshape(y.shape),
        "as if its heads lay side by side element by element": lambda y: (
            y.reshape(*y.shape[:-2], *y.shape[:-3:-1]).mT
        ),
        "the even heads first": lambda y: _parts(y.mT, 2).mT,
        "the first head in the place of every one": lambda y: y[..., :1, :].expand_as(y),
    }


def _from_elements(y: torch.Tensor) -> torch.Tensor:
    return y.reshape(*y.shape[:-2], *y.shape[:-3:-1]).mT


def _parts(y: torch.Tensor, count: int) -> torch.Tensor:
    return torch.cat([y[..., start::count] for start in range(count)], dim=-1)


def _pairs_exchanged(y: torch.Tensor) -> torch.Tensor:
    return y.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) if y.shape[-1] % 2 == 0 else y


def _interleaved(y: torch.Tensor) -> torch.Tensor:
    return y.unflatten(-1, (2, -1)).mT.flatten(-2) if y.shape[-1] % 2 == 0 else y


_FUNCTIONS: dict[str, Change] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "the sigmoid": torch.sigmoid,
    "the absolute value": torch.abs,
    "softmax": lambda y: torch.softmax(y, -1),
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "the square": torch.square,
    "an L2 norm of its own": lambda y: torch.nn.functional.normalize(y, dim=-1),
    "an RMSNorm without weights": lambda y: y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5),
    "the subtraction of its mean": lambda y: y - y.mean(-1, keepdim=True),
    "truncation to whole numbers": torch.trunc,
    "rounding to whole numbers": torch.round,
}


def _by_head(size: int, change: Change) -> Change:
    return lambda y: change(y.unflatten(-1, (-1, size))).flatten(-2)


def _late(y: torch.Tensor) -> torch.Tensor:
    return torch.cat((y[:, :1], y[:, :-1]), dim=1)


def _changed(names: tuple[str, ...], change: Change) -> Rewire:
    def rewire(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
        return change(y) if operation in names else y

    return rewire
