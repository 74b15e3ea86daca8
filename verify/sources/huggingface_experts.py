"""Reads mixtures of experts of a Hugging Face directory: which layers have them, their names, and fused tensors.

Published files hold three matrices for each expert. transformers also reads all experts of a layer from two tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from verify.sources.checked_numbers import count
from verify.sources.huggingface_families import FAMILIES, Experts
from verify.sources.refusal import refusal

# All experts of a layer in one tensor: (experts, rows, columns), its rows those of these matrices of an expert.
FUSED_EXPERTS = {"gate_up_proj": ("w1", "w3"), "down_proj": ("w2",)}
_FUSED_PLACE = "mlp.experts"
_MATRICES = ("w1", "w2", "w3")
_LAYER = re.compile(r"layers\.(0|[1-9]\d{0,8})\.(.+)")
_ONE = re.compile(r"(0|[1-9]\d{0,5})\.(\w+)\.weight")

# Which expert of a fused tensor, and which of its rows.
Part = tuple[int, slice]
Shape = Callable[[str], tuple[int, int]]


def canonical_expert(family: str, bare: str) -> str | None:
    """Return llama2.c's name of an expert's matrix; of a fused tensor, one that expert_parts() replaces; None for
    every other tensor."""
    experts, layer = FAMILIES[family].experts, _LAYER.fullmatch(bare)
    if experts is None or layer is None:
        return None
    place = next((place for place in experts.places if layer[2].startswith(f"{place}.")), None)
    if place is None:
        return None
    rest = layer[2].removeprefix(f"{place}.")
    if rest in FUSED_EXPERTS:
        return f"layers.{layer[1]}.feed_forward.experts.{rest}"
    one = _ONE.fullmatch(rest)
    if one is None or one[2] not in experts.names:
        return None
    return f"layers.{layer[1]}.feed_forward.experts.{one[1]}.{_MATRICES[experts.names.index(one[2])]}.weight"


def transformers_expert(name: str) -> str | None:
    """Return what transformers' model calls the tensor that holds an expert's matrix; None for other tensors."""
    prefix, found, rest = name.partition(".feed_forward.experts.")
    if not found:
        return None
    matrix = rest.split(".")[1]
    fused = next(fused for fused, parts in FUSED_EXPERTS.items() if matrix in parts)
    return f"model.{prefix}.{_FUSED_PLACE}.{fused}"


def expert_parts(
    path: Path, own: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, str], dict[str, Part]]:
    """Return llama2.c's names -> stored ones with a name for each matrix of each expert, and which part of its stored
    tensor each of those from a fused tensor is. own: as Names.own. shapes: of the stored tensors."""
    names: dict[str, str] = {}
    parts: dict[str, Part] = {}
    for name, stored in own.items():
        prefix, _, fused = name.rpartition(".")
        matrices = FUSED_EXPERTS.get(fused) if prefix.endswith(".experts") else None
        found = [(name, None)] if matrices is None else list(_parts(path, prefix, matrices, stored, shapes[stored]))
        for each, part in found:
            if each in names:
                raise refusal(path, each, "one such tensor", f"{names[each]} and {stored}")
            names[each] = stored
            if part is not None:
                parts[each] = part
    return names, parts


def _parts(
    path: Path, prefix: str, matrices: tuple[str, ...], stored: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, Part | None]]:
    if len(shape) != 3 or 0 in shape or shape[1] % len(matrices):
        raise refusal(path, stored, "(experts, rows, columns), with rows for each matrix", shape)
    rows = shape[1] // len(matrices)
    for expert in range(shape[0]):
        for at, matrix in enumerate(matrices):
            yield f"{prefix}.{expert}.{matrix}.weight", (expert, slice(at * rows, (at + 1) * rows))


def layers_with_experts(where: Path, family: str, config: Any, layers: int) -> tuple[bool, ...]:
    """Return which layers have experts, as transformers builds them."""
    experts = FAMILIES[family].experts
    if experts is None:
        return (False,) * layers
    if not experts.sparse:
        return (True,) * layers
    step, dense = count(where, "decoder_sparse_step", config.decoder_sparse_step), config.mlp_only_layers
    return tuple(number not in dense and (number + 1) % step == 0 for number in range(layers))


def widths(where: Path, family: str, config: Any, layers: int, shape: Shape) -> dict[str, Any]:
    """Return the hidden widths and what else is said of experts, by their names in Hyperparameters.

    shape: of a matrix, by llama2.c's name. config.json must agree with the tensors. Raises CannotJudgeError.
    """
    sparse, experts = layers_with_experts(where, family, config, layers), FAMILIES[family].experts
    made: dict[str, Any] = {}
    if experts is not None and any(sparse):
        made = _of_experts(where, experts, config, sparse.index(True), shape)
    if all(sparse):
        return {**made, "hidden_dim": made["expert_hidden_dim"]}
    hidden_dim = shape(f"layers.{sparse.index(False)}.feed_forward.w1.weight")[0]
    _expect(where, "intermediate_size", config.intermediate_size, hidden_dim)
    return {**made, "hidden_dim": hidden_dim}


def _of_experts(where: Path, experts: Experts, config: Any, layer: int, shape: Shape) -> dict[str, Any]:
    """Return what is said of experts. layer: the number of one that has them."""
    prefix = f"layers.{layer}.feed_forward"
    many, width = shape(f"{prefix}.router.weight")[0], shape(f"{prefix}.experts.0.w1.weight")[0]
    _expect(where, experts.count, getattr(config, experts.count), many)
    _expect(where, experts.width, getattr(config, experts.width), width)
    if many < 2:
        raise refusal(where, experts.count, "at least 2 experts", many)
    active = count(where, "num_experts_per_tok", config.num_experts_per_tok)
    if active > many:
        raise refusal(where, "num_experts_per_tok", f"at most {many}, the experts that there are", active)
    normalized = not experts.normalized or bool(getattr(config, experts.normalized))
    return {
        **{"n_experts": many, "n_active_experts": active, "expert_hidden_dim": width},
        "experts_normalized": normalized,
    }


def _expect(where: Path, key: str, said: object, expected: int) -> None:
    if isinstance(said, bool) or said != expected:
        raise refusal(where, key, f"{expected}, as the tensors say", said)
