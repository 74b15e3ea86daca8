"""List mistakes with the two halves of a layer: what they read, what is added to them, and one that is missing."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.mistakes import Mistake
from verify.engine.hint_reference import Load, MistakenReference
from verify.engine.hint_rewired import LayerSoFar, Rewire, rewired
from verify.sources import Hyperparameters

_WHAT = {"attention": "attention", "ffn": "the feed forward"}


def of_blocks(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes."""

    def made(mistake: Mistake, change: Rewire, layer: int | None = None, **fields: object) -> MistakenReference:
        sentence = mistake.of_engine(**fields)
        return MistakenReference(mistake, sentence, hyper, load, run=rewired(change, layer))

    for block, what in _WHAT.items():
        of_block = m.RESIDUAL.of_engine(what=f"the stream before {what} of every layer")
        yield MistakenReference(m.RESIDUAL, of_block, hyper, load, run=rewired(_alone(block)))
        for layer in _layers(hyper):
            where = "every layer" if layer is None else f"layer {layer}"
            yield made(m.HALF_MISSING, _without(block), layer, what=what, where=where)
    if hyper.n_heads * hyper.head_dim == hyper.dim and not hyper.wo_bias:
        yield made(m.WO_MISSING, _without_wo)
    if hyper.head_dim > 1 and hyper.n_heads > 1:
        yield made(m.HEADS_LAYOUT, _elements_first)
    if hyper.norm_place != "before":
        return
    for change, norm in ((_parallel, "its own norm"), (_from_one_norm, "attention's norm")):
        yield made(m.PARALLEL, change, norm=norm)
    for block, what in _WHAT.items():
        yield made(m.NORM_BEFORE_MISSING, _not_normed(block), what=what)
    yield made(m.NORMED_RESIDUAL, _normed_residual)
    for change, what in ((_sums_normed, "the sums with the residual stream"), (_outputs_normed, "their results")):
        yield made(m.NORM_PLACE, change, what=f"to {what} instead of before attention and feed forward")


def _layers(hyper: Hyperparameters) -> tuple[int | None, ...]:
    """Return every layer together, the first and the last."""
    return (None, 0, hyper.n_layers - 1) if hyper.n_layers > 1 else (None,)


def _before(block: str, seen: LayerSoFar) -> torch.Tensor:
    """Return the stream before a half."""
    return seen.x if block == "attention" else seen.middle


def _block(operation: str, ending: str) -> str:
    """Return the half whose operation with this ending it is, or nothing."""
    block = operation.removesuffix(ending)
    return block if operation.endswith(ending) and block in _WHAT else ""


def _alone(block: str) -> Rewire:
    return lambda operation, y, seen: y - _before(block, seen) if operation == f"{block}_residual" else y


def _without(block: str) -> Rewire:
    return lambda operation, y, seen: _before(block, seen) if operation == f"{block}_residual" else y


def _not_normed(block: str) -> Rewire:
    return lambda operation, y, seen: _before(block, seen) if operation == f"{block}_norm" else y


def _without_wo(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return seen.made["attended"] if operation == "wo" else y


def _elements_first(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    """Put the first element of every head before the second of any."""
    if operation != "attended":
        return y
    heads: torch.Tensor = y.unflatten(-1, (-1, seen.hyper.head_dim))
    return heads.mT.flatten(-2)


def _parallel(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return seen.normed(seen.x, "ffn") if operation == "ffn_norm" else y


def _from_one_norm(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    return seen.made["attention_norm"] if operation == "ffn_norm" else y


def _normed_residual(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    block = _block(operation, "_residual")
    return seen.made[f"{block}_norm"] + (y - _before(block, seen)) if block else y


def _sums_normed(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    if block := _block(operation, "_norm"):
        return _before(block, seen)
    block = _block(operation, "_residual")
    return seen.normed(y, block) if block else y


def _outputs_normed(operation: str, y: torch.Tensor, seen: LayerSoFar) -> torch.Tensor:
    if block := _block(operation, "_norm"):
        return _before(block, seen)
    block = _block(operation, "_residual")
    return _before(block, seen) + seen.normed(y - _before(block, seen), block) if block else y
