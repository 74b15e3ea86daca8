"""Mixtures of experts, as config.json says them and as they are written there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.experts import MOST_EXPERTS
from exporter.strict_json import Json, shown

# Fields of config classes that have experts, and their types.
EXPERT_DEFAULTS: Json = {"output_router_logits": False}
EXPERT_TYPES = {
    "num_experts_per_tok": "int",
    "output_router_logits": "bool",
    "router_aux_loss_coef": "float",
}
# What is returned beside the logits, and losses of training.
WITHOUT_EFFECT = "output_router_logits router_aux_loss_coef"
_KEYS = ("num_experts", "num_local_experts")


@dataclass(frozen=True)
class Mixture:
    """layers: those that have experts. experts, active: how many there are, and how many a token goes through.
    hidden: the width of each. normalized: whether the shares of a token's experts are divided by their sum."""

    layers: tuple[int, ...]
    experts: int
    active: int
    hidden: int
    normalized: bool


def no_mixture(_given: Json) -> Mixture | None:
    """Return None: the family has no experts."""
    return None


def counted_experts(given: Json, key: str) -> int:
    """Return the number of experts, which config.json may have under the other of two keys. Raises CheckpointError.

    key: under which the family's class has it.
    """
    for name in _KEYS:
        value = given.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_EXPERTS:
            raise CheckpointError(f"{name}: expected 2 to {MOST_EXPERTS}, found {shown(value)}")
    other = _KEYS[1 - _KEYS.index(key)]
    count: int = given[other] if other in given else given[key]
    return count


def mixture(given: Json, layers: tuple[int, ...], key: str, width: str, *, normalized: bool) -> Mixture:
    """Return a model's mixture. key, width: of the number of experts and of their width. Raises CheckpointError."""
    experts = counted_experts(given, key)
    if experts < 2:
        raise CheckpointError(f"{key}: expected 2 to {MOST_EXPERTS}, found {experts}")
    active, hidden = given["num_experts_per_tok"], given[width]
    if not 1 <= active <= experts:
        raise CheckpointError(f"num_experts_per_tok: expected 1 to {key} = {experts}, found {active}")
    if hidden < 1:
        raise CheckpointError(f"{width}: expected at least 1, found {hidden}")
    return Mixture(layers, experts, active, hidden, normalized)


def experts_everywhere(config: ModelConfig) -> Iterator[tuple[str, str, str]]:
    """Yield a misfit for a model without experts, or for the first layer without them."""
    if not config.n_experts:
        yield "n_experts", "at least 2", "0"
        return
    for number in range(config.n_layers):
        if not config.layer(number).experts:
            yield "layers", "experts in every layer", f"none in layer {number}"
            return


def written_experts(config: ModelConfig, key: str) -> Json:
    """Return the keys of a mixture. key: of the number of experts."""
    return {key: config.n_experts, "num_experts_per_tok": config.n_active_experts, **EXPERT_DEFAULTS}
