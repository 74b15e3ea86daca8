"""List mistakes with experts: the matrices of other experts, and the router of another layer."""

from __future__ import annotations

from collections.abc import Iterator

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.expert_orders import of_layer, other_experts
from verify.engine.hint_reference import Load, MistakenReference
from verify.sources import Hyperparameters


def of_experts(hyper: Hyperparameters, load: Load) -> Iterator[MistakenReference]:
    """Yield the mistakes that show in a model with experts."""
    sparse = [number for number in range(hyper.n_layers) if hyper.layer(number).experts]
    if not sparse:
        return
    for found, rename in other_experts(hyper):
        sentence = m.EXPERTS_ORDER.of_engine(found=found)
        yield MistakenReference(m.EXPERTS_ORDER, sentence, hyper, lambda name, to=rename: load(to(name)))  # type: ignore[misc]
    for number in sparse if len(sparse) > 1 else ():
        other = f"layers.{number}.feed_forward.router.weight"
        sentence = m.OTHER_LAYER.of_engine(found=other, expected="each layer's own router")
        yield MistakenReference(m.OTHER_LAYER, sentence, hyper, _with_router(load, number))


def _with_router(load: Load, layer: int) -> Load:
    return lambda name: load(of_layer(name, layer) if name.endswith(".feed_forward.router.weight") else name)
