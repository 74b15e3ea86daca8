"""List mistakes that any operation of a layer can have, and each mistake again in one layer alone.

hints.py lists what programs are known to do. These lists combine: every operation with every kind of mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_angles import of_angles
from verify.engine.hint_attending import of_attending
from verify.engine.hint_in_place import of_in_place
from verify.engine.hint_layers import of_orders
from verify.engine.hint_operands import of_operands
from verify.engine.hint_parts import of_leftovers, of_parts
from verify.engine.hint_precision import of_precision
from verify.engine.hint_reference import Load, MistakenReference, embedded, head_of, layer_of
from verify.engine.hint_repeated import of_repeated
from verify.engine.hint_scales import of_scales, of_scales_of_kinds
from verify.engine.hint_stages import of_stages
from verify.engine.hint_steps import of_steps
from verify.engine.hint_tokens import of_positions, of_tokens
from verify.engine.hint_weights import of_omitted_rows
from verify.engine.hints import NO_TOKENS
from verify.oracle import llama
from verify.sources import Hyperparameters

# Layers that are tried together in one pass over the weights that follow.
_TOGETHER = 32
# Multiplications of all passes together, so that a large model is not searched for hours.
_MOST_WORK = 2e12


# what stands around a mistake
_NONE = Mistake("")


def general_references(
    hyper: Hyperparameters, load: Load, tokens: torch.Tensor = NO_TOKENS, first: int = 0, group_size: int = 0
) -> Iterator[MistakenReference]:
    """Yield the mistakes, each in every layer.

    tokens: of the window; first: the first position with wrong logits. group_size: of Q8_0 tensors, 0 if there are
    none.
    """
    # the likely ones first, because the search may end before the others
    if group_size:
        yield from of_scales(hyper, load, group_size)
    yield from of_repeated(hyper, load)
    yield from of_steps(hyper, load)
    yield from of_angles(hyper, load)
    yield from of_in_place(hyper, load)
    yield from of_omitted_rows(hyper, load)
    yield from of_orders(hyper, load)
    yield from of_tokens(hyper, load, tokens, first)
    yield from of_positions(hyper, load, first)
    yield from of_attending(hyper, load, first)
    yield from of_operands(hyper, load)
    yield from of_precision(hyper, load)
    yield from of_leftovers(hyper, load)
    yield from of_parts(hyper, load)
    yield from of_stages(hyper, load)
    if group_size:
        yield from of_scales_of_kinds(hyper, load, group_size)


class Start(NamedTuple):
    """Holds what a search starts from: the model, the first tokens of a window, and what products should read."""

    hyper: Hyperparameters
    load: Load
    tokens: torch.Tensor
    inputs: llama.Inputs

    def passes(self, work: float | None = None) -> int:
        """Return how many passes fit into so many multiplications."""
        weights = sum(rows * columns[0] for rows, *columns in self.hyper.shapes().values() if columns)
        return int((work or _MOST_WORK) / max(1, weights * len(self.tokens)))


@torch.no_grad()
def in_one_layer(
    start: Start, known: Callable[[], Iterable[MistakenReference]], near: Callable[[torch.Tensor], bool]
) -> Iterator[MistakenReference]:
    """Yield the mistakes in one layer whose logits are near the engine's. near: of logits (length, vocab_size)."""
    hyper, load = start.hyper, start.load
    streams = _streams(start)
    room = float(start.passes())
    for number in range(hyper.n_layers):
        left = 1 - number / hyper.n_layers
        waiting: list[tuple[MistakenReference, torch.Tensor]] = []
        for reference in known():
            if not _is_of_layers(reference):
                continue
            one = reference.in_layer(number, hyper, load)
            y = layer_of(one, number, streams[number], one.inputs or start.inputs)
            if torch.equal(y, streams[number + 1]):
                continue
            waiting.append((one, y))
            room -= left
            if len(waiting) == _TOGETHER:
                yield from _finished(start, number + 1, waiting, near)
                waiting = []
            if room < 0:
                return
        yield from _finished(start, number + 1, waiting, near)


def _is_of_layers(reference: MistakenReference) -> bool:
    """Return whether a mistake can be in one layer alone."""
    elsewhere = (
        reference.shared
        or reference.order
        or reference.one_by_one
        or reference.tokens
        or reference.before is not None
    )
    return not elsewhere and not reference.whole and reference.chunk == 1


def _streams(start: Start) -> list[torch.Tensor]:
    """Return the right streams before each layer, and after the last one."""
    right = _right(start)
    streams = [embedded(right, start.tokens, torch.float32)]
    for number in range(start.hyper.n_layers):
        streams.append(layer_of(right, number, streams[-1], start.inputs))
    return streams


def _finished(
    start: Start,
    number: int,
    waiting: list[tuple[MistakenReference, torch.Tensor]],
    near: Callable[[torch.Tensor], bool],
) -> Iterator[MistakenReference]:
    """Run the layers from `number` on, which are right, on several streams together."""
    if not waiting:
        return
    right, x = _right(start), torch.cat([stream for _, stream in waiting])
    for later in range(number, start.hyper.n_layers):
        x = layer_of(right, later, x, start.inputs)
    for (one, _), logits in zip(waiting, head_of(right, x, start.inputs), strict=True):
        if near(logits):
            yield one


def _right(start: Start) -> MistakenReference:
    return MistakenReference(_NONE, "", start.hyper, start.load)
