"""List mistakes with the softmax of attention: over positions that are too many or too few."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.oracle.attention import hidden
from verify.sources import Hyperparameters

# Tokens that engines compute at a time.
_CHUNKS = (8, 16, 32, 64, 128, 256, 512)


def of_softmax(hyper: Hyperparameters, load: Load, length: int = 0) -> Iterator[MistakenReference]:
    """Yield the mistakes. length: of the window."""
    sentence = m.FIRST_POSITION.of_engine()
    yield MistakenReference(m.FIRST_POSITION, sentence, hyper, load, run=rewired(_without_first))
    if hyper.window:
        return
    places = m.UNFILLED_PLACES.of_engine(count=hyper.max_seq_len)
    yield MistakenReference(m.UNFILLED_PLACES, places, hyper, load, run=rewired(_over_unfilled))
    later = m.LATER_POSITIONS.of_engine()
    yield MistakenReference(m.LATER_POSITIONS, later, hyper, load, run=rewired(_over_later), whole=True)
    for chunk in _CHUNKS:
        if chunk < length:
            sentence = m.CHUNKS_UNMASKED.of_engine(count=chunk)
            run = rewired(_over_chunks(chunk))
            yield MistakenReference(m.CHUNKS_UNMASKED, sentence, hyper, load, run=run, chunk=chunk)
    for when, change in (
        ("", _off_by_one),
        (", after it subtracted the largest score", _off_by_one_of_largest),
    ):
        sentence = m.SOFTMAX_OFF_BY_ONE.of_engine(when=when)
        yield MistakenReference(m.SOFTMAX_OFF_BY_ONE, sentence, hyper, load, run=rewired(change))


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
    unfilled = seen.hyper.max_seq_len - 1 - torch.arange(y.shape[-1]).unsqueeze(1)
    return y / (1 + unfilled * torch.exp(-_visible(y, seen).logsumexp(dim=-1, keepdim=True)))


def _over_later(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return torch.softmax(seen.made["scores"], dim=-1) if operation == "shares" else y


def _over_chunks(chunk: int) -> Rewire:
    def change(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
        if operation != "shares":
            return y
        of = torch.arange(y.shape[-1]) // chunk
        return torch.softmax(seen.made["scores"].masked_fill(of > of.unsqueeze(1), -torch.inf), dim=-1)

    return change


def _off_by_one(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return y / (1 + torch.exp(-_visible(y, seen).logsumexp(dim=-1, keepdim=True))) if operation == "shares" else y


def _off_by_one_of_largest(operation: str, y: torch.Tensor, _seen: LayerSoFar) -> torch.Tensor:
    # the largest share is 1 over the denominator
    return y / (1 + y.amax(dim=-1, keepdim=True)) if operation == "shares" else y


def _visible(y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return seen.made["scores"].masked_fill(hidden(y.shape[-1], 0), -torch.inf)
