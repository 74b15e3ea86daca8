"""Propose mistakes with experts: the matrices of other experts, of the other product, or of another layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from verify.diagnosis import engine_mistakes as m
from verify.diagnosis.candidate import Candidate
from verify.diagnosis.expert_orders import Rename, of_layer, of_matrix, other_experts
from verify.diagnosis.stage import Stage
from verify.operations.recompute import Recompute

_MATRICES = {"expert_gate": "w1", "expert_up": "w3", "expert_down": "w2"}


def of_experts(recompute: Recompute, stage: Stage, operation: str) -> Iterator[Candidate]:
    """Propose other matrices for the product of chosen experts."""
    if operation not in _MATRICES or stage.layer is None:
        return
    hyper, mine = recompute.hyper, _MATRICES[operation]
    for found, rename in other_experts(hyper):
        sentence = m.EXPERTS_ORDER.of_engine(found=found)
        yield Candidate(m.EXPERTS_ORDER, sentence, stage, _renamed(recompute, rename))
    if operation != "expert_down":
        other = {"w1": "w3", "w3": "w1"}[mine]
        swapped = _renamed(recompute, lambda name: of_matrix(name, **{mine: other}))
        yield Candidate(m.GATE_UP_SWAPPED, m.GATE_UP_SWAPPED.of_engine(), stage, swapped)
    for number in range(hyper.n_layers):
        if number != stage.layer and hyper.layer(number).experts:
            sentence = m.OTHER_LAYER.of_engine(found=f"experts of layer {number}", expected=f"those of {stage.layer}")
            moved = _renamed(recompute, lambda name, to=number: of_layer(name, to))  # type: ignore[misc]
            yield Candidate(m.OTHER_LAYER, sentence, stage, moved)


def _renamed(recompute: Recompute, rename: Rename) -> Recompute:
    """Recompute with other experts' tensors."""
    weights, quantized = recompute.weights, recompute.quantized

    def name_of(name: str) -> str:
        return rename(name) if ".experts." in name else name

    return dataclasses.replace(
        recompute, weights=lambda name: weights(name_of(name)), quantized=lambda name: quantized(name_of(name))
    )
