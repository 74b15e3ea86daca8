"""Mistakes with mixtures of experts: in a file's head, in the tensors of routers and experts, and in an engine."""

from __future__ import annotations

import numpy as np

import exporter
from exporter.switches import LayerKind
from helpers.defects.drafts import Draft, Seed, change, misread, swap
from helpers.defects.engine import Patch
from helpers.defects.kinds import V3, Defect, Where
from helpers.defects.switches import having

EXPERTS = having(
    layers=lambda c: (LayerKind(experts=True),) * c.n_layers,
    n_experts=5,
    n_active_experts=2,
    expert_hidden_dim=24,
    hidden_dim=24,
    experts_normalized=True,
)
_FEED_FORWARD = "layers.0.feed_forward."
_ROUTER = f"{_FEED_FORWARD}router.weight"


def _matrix(expert: int, name: str) -> str:
    return f"{_FEED_FORWARD}experts.{expert}.{name}.weight"


def _at(operation: str) -> Where:
    return {"layer": 0, "operation": operation}


# ---- in a file ----


def _rows_swapped(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w[[1, 0, *range(2, len(w))]]


def _experts_swapped(draft: Draft) -> None:
    """The first two experts of every layer, as of a writer that sorts their names."""
    for first in [name for name in draft.arrays if ".experts.0." in name]:
        swap(first, first.replace(".experts.0.", ".experts.1."))(draft)


def _stale(draft: Draft) -> None:
    """One expert has the numbers of another training run."""
    rng = np.random.default_rng(1)
    for name in ("w1", "w2", "w3"):
        change(_matrix(0, name), lambda w, _: rng.standard_normal(w.shape) * w.std())(draft)


def _in_head(name: str, seed: Seed, field: str, diagnosis: str) -> Defect:
    caught = {"config": {"field": field}, "file": {}, "operations": _at("routed"), "execution": {}}
    return Defect(name, "writer", seed, caught, diagnosis, formats=V3, needs=EXPERTS)


def _in_tensor(name: str, seed: Seed, tensor: str, operation: str, diagnosis: str) -> Defect:
    caught = {"tensors": {"tensor": tensor}, "operations": _at(operation), "execution": {}}
    return Defect(name, "writer", seed, caught, diagnosis, formats=V3, needs=EXPERTS)


EXPERT_WRITER_DEFECTS = (
    _in_head("one expert too few for each token", misread(n_active_experts=1), "n_active_experts", "experts-chosen"),
    _in_head("one expert too many for each token", misread(n_active_experts=3), "n_active_experts", "experts-chosen"),
    _in_head("shares of experts not normalized", misread(experts_normalized=False), "experts_normalized",
             "experts-normalized"),
    _in_tensor("two rows of a router swapped", change(_ROUTER, _rows_swapped), _ROUTER, "router", "rows-reordered"),
    _in_tensor("two experts swapped", _experts_swapped, _matrix(0, "w1"), "expert_gate", "experts-in-another-order"),
    _in_tensor("gate and up of one expert swapped", swap(_matrix(2, "w1"), _matrix(2, "w3")), _matrix(2, "w1"),
               "expert_gate", "tensors-swapped"),
    _in_tensor("one expert of another training run", _stale, _matrix(0, "w1"), "expert_gate", "unrelated-numbers"),
)  # fmt: skip

# ---- in an engine ----

_NORMALIZED = "else if (p->experts_normalized)"
_BETTER = "share[e] > share[best]))"
_GATE = "{RC_EXPERT_W1, RC_KINDS, RC_AT_EXPERT_GATE,"
_UP = "{RC_EXPERT_W3, RC_KINDS, RC_AT_EXPERT_UP,"
_ADDED = "out[i] += share * row[i];"


def _engine(name: str, changes: tuple[tuple[str, str], ...], operation: str, diagnosis: str | None) -> Defect:
    caught = {"operations": _at(operation), "execution": {}}
    return Defect(name, "engine", Patch(changes), caught, diagnosis, formats=("v3", "v3-bf16"), needs=EXPERTS)


EXPERT_ENGINE_DEFECTS = (
    _engine("shares of the chosen experts not normalized", ((_NORMALIZED, "else if (p->n_experts < 0)"),), "routed",
            "experts-normalized"),
    _engine("the experts with the least shares chosen", ((_BETTER, _BETTER.replace(">", "<")),), "routed", None),
    _engine("gate and up of experts swapped",
            ((_GATE, _GATE.replace("W1", "W3")), (_UP, _UP.replace("W3", "W1"))), "expert_gate",
            "gate-up-swapped"),
    _engine("what experts give added without their shares", ((_ADDED, "out[i] += row[i];"),), "down", None),
)  # fmt: skip
