"""List mistakes with the softmax of attention: over positions that are too many or too few."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, rewired
from verify.oracle.attention import hidden
from verify.sources import Hyperparameters


def of_softmax(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""
    sentence = m.FIRST_POSITION.of_engine()
    yield MistakenReference(m.FIRST_POSITION, sentence, hyper, load, run=rewired(_without_first))
    if hyper.window:
        return
    places = m.UNFILLED_PLACES.of_engine(count=hyper.max_seq_len)
    yield MistakenReference(m.UNFILLED_PLACES, places, hyper, load, run=rewired(_over_unfilled))
    later = m.LATER_POSITIONS.of_engine()
    yield MistakenReference(m.LATER_POSITIONS, later, hyper, load, run=rewired(_over_later), whole=True)


def _without_first(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
    if operation != "scores":
        return y
    first = torch.zeros(y.shape[-1], y.shape[-1], dtype=torch.bool)
    # the first position can attend to nothing else
    first[1:, 0] = True
    return y.masked_fill(first, -torch.inf)


def _over_unfilled(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    """Let every place of the cache that is not filled yet have a score of 0, and a value of 0."""
    if operation != "shares":
        return y
    length = y.shape[-1]
    scores = seen.made["scores"].masked_fill(hidden(length, 0), -torch.inf)
    unfilled = seen.hyper.max_seq_len - 1 - torch.arange(length).unsqueeze(1)
    return y / (1 + unfilled * torch.exp(-scores.logsumexp(dim=-1, keepdim=True)))


def _over_later(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return torch.softmax(seen.made["scores"], dim=-1) if operation == "shares" else y
