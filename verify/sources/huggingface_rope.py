"""Reads RoPE's parameters from a config, in every spelling that transformers knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from verify.sources.checked_numbers import count, positive
from verify.sources.huggingface_families import FAMILIES
from verify.sources.huggingface_settings import Settings
from verify.sources.refusal import refusal
from verify.sources.source import RopeScaling
from verify.system.optional_imports import one_line, quiet_transformers

# What transformers reads of rope_parameters for each rope_type.
_READ: dict[str, set[str]] = {
    "default": set(),
    "linear": {"factor"},
    # this one takes max_position_embeddings for the original length
    "dynamic": {"factor"},
    "llama3": {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
    "yarn": {
        *("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
        *("mscale", "mscale_all_dim", "truncate"),
    },
    "longrope": {
        *("short_factor", "long_factor", "original_max_position_embeddings", "factor", "attention_factor"),
    },
}
# What the attention of some families reads of them besides; the last one is written by transformers and read by none.
_READ_BY = {
    "phi3": {"partial_rotary_factor"},
    "ministral3": {"llama_4_scaling_beta", "original_max_position_embeddings", "max_position_embeddings"},
}
_OF_PHI3 = ("default", "longrope")
_FULL, _SLIDING = "full_attention", "sliding_attention"


def _is_nested(rope: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) or key in (_FULL, _SLIDING) for key, value in rope.items())


def local_theta(where: Path, settings: Settings, config: Any) -> float:
    """Return theta of the RoPE of layers with a window; 0 if all layers have one RoPE. Raises CannotJudgeError."""
    if not FAMILIES[settings.family].two_ropes:
        return 0.0
    sliding = config.rope_parameters[_SLIDING]
    if sliding.get("rope_type") != "default":
        what = "rope_parameters: sliding_attention: rope_type"
        raise refusal(where, what, "default", sliding.get("rope_type"))
    return positive(where, "rope_local_base_freq", sliding.get("rope_theta"))


def query_scale(where: Path, settings: Settings, config: Any) -> tuple[float, int]:
    """Return by how much queries grow, and after how many positions each time; zeros for a model without it."""
    if settings.family != "ministral3":
        return 0.0, 0
    rope = config.rope_parameters
    if (beta := rope.get("llama_4_scaling_beta")) == 0 and not isinstance(beta, bool):
        return 0.0, 0
    what = "rope_parameters: original_max_position_embeddings"
    positions = count(where, what, rope.get("original_max_position_embeddings"))
    return positive(where, "rope_parameters: llama_4_scaling_beta", beta), positions


def rotary_dim(where: Path, settings: Settings, config: Any, head_dim: int) -> int:
    """Return how many elements of a head are rotated."""
    if settings.family != "phi3":
        return head_dim
    share = positive(where, "partial_rotary_factor", config.rope_parameters.get("partial_rotary_factor"))
    rotated = int(head_dim * share)
    if rotated % 2 or not 2 <= rotated <= head_dim:
        raise refusal(where, "partial_rotary_factor", f"an even part of a head of {head_dim}", share)
    return rotated


def read_rope(
    where: Path, settings: Settings, config: Any, longest: int, head_dim: int
) -> tuple[float, RopeScaling, list[str]]:
    """Return theta, the scaling, and notes: of the layers with full attention, where the others have their own.

    longest: max_position_embeddings. Raises CannotJudgeError.
    """
    rope, layer_type = config.rope_parameters, {}
    if FAMILIES[settings.family].two_ropes:
        rope, layer_type = rope[_FULL], {"layer_type": _FULL}
    elif not isinstance(rope, dict) or _is_nested(rope):
        raise refusal(where, "rope_parameters", "one set of parameters", "one for each type of layer")
    kind, theta = rope.get("rope_type"), positive(where, "rope_theta", rope.get("rope_theta"))
    known = _OF_PHI3 if settings.family == "phi3" else [each for each in _READ if each != "longrope"]
    if not isinstance(kind, str) or kind not in known:
        raise refusal(where, "rope_type", f"one of {', '.join(known)}", kind)
    notes = _notes(settings, rope, kind)
    if kind == "default":
        return theta, RopeScaling(), notes
    if kind == "longrope":
        rotated = rotary_dim(where, settings, config, head_dim)
        factor = _attention_factor(where, config, kind, rotated, {})
        return theta, _longrope(where, rope, factor), notes
    if rope.get("partial_rotary_factor", 1) != 1:
        why = f"1 (transformers reads it for rope_type {kind})"
        raise refusal(where, "partial_rotary_factor", why, rope["partial_rotary_factor"])
    if layer_type:
        # transformers asks the object around the sets of parameters for this one
        rope = {**rope, "truncate": config.rope_parameters.get("truncate", True)}
    scaling = _scaling(where, kind, rope, longest, _attention_factor(where, config, kind, head_dim, layer_type))
    return theta, scaling, notes


def _scaling(where: Path, kind: str, rope: dict[str, Any], longest: int, attention_factor: object) -> RopeScaling:
    def number(key: str, default: float | None = None) -> float:
        value = rope.get(key)
        # transformers takes 0 for silence where it has a default
        return positive(where, f"rope_scaling: {key}", default if default is not None and not value else value)

    if kind == "linear":
        return RopeScaling("linear", number("factor"))
    if kind == "dynamic":
        return RopeScaling("dynamic", number("factor"), longest)
    original = count(where, "original_max_position_embeddings", rope.get("original_max_position_embeddings"))
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        if low >= high:
            raise refusal(where, "rope_scaling: high_freq_factor", f"more than low_freq_factor = {low:g}", high)
        return RopeScaling("llama3", number("factor"), original, low_freq_factor=low, high_freq_factor=high)
    # null is false here, and silence is true
    truncate = rope.get("truncate", True) or False
    if not isinstance(truncate, bool):
        raise refusal(where, "rope_scaling: truncate", "true or false", truncate)
    return RopeScaling(
        "yarn",
        # null stands for the ratio of the lengths
        longest / original if rope.get("factor") is None else number("factor"),
        original,
        beta_fast=number("beta_fast", 32),
        beta_slow=number("beta_slow", 1),
        attention_factor=positive(where, "rope_scaling: attention_factor", attention_factor),
        truncate=truncate,
    )


def _longrope(where: Path, rope: dict[str, Any], attention_factor: object) -> RopeScaling:
    """Return the scaling of lists that transformers has made frequencies of, rounded to float32 as it does."""
    short = [positive(where, "rope_scaling: short_factor", value) for value in rope["short_factor"]]
    return RopeScaling(
        "longrope",
        original_max_positions=count(
            where, "original_max_position_embeddings", rope.get("original_max_position_embeddings")
        ),
        attention_factor=positive(where, "rope_scaling: attention_factor", attention_factor),
        short_factors=tuple(torch.tensor(short, dtype=torch.float32).tolist()),
        long_factors=tuple(positive(where, "rope_scaling: long_factor", value) for value in rope["long_factor"]),
    )


def _attention_factor(where: Path, config: Any, kind: str, head_dim: int, layer_type: dict[str, str]) -> object:
    """What transformers multiplies the rotations by: given, or made of factor and YaRN's mscales. Refuses what
    transformers cannot make frequencies of."""
    with quiet_transformers() as transformers:
        try:
            frequencies, factor = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind](config, **layer_type)
        except Exception as error:  # arithmetic on whatever config.json says
            raise refusal(where, "rope_scaling", f"{kind} that transformers can compute", one_line(error)) from error
    if tuple(frequencies.shape) != (head_dim // 2,):
        raise refusal(where, "rope_scaling", f"{head_dim // 2} frequencies", f"{len(frequencies)} in transformers")
    return factor


def _notes(settings: Settings, rope: dict[str, Any], kind: str) -> list[str]:
    """Parameters that transformers passes over, and contradictions that it decides."""
    said, notes = settings.said, []
    known = _READ[kind] | {"type", "rope_type", "rope_theta"} | _READ_BY.get(settings.family, set())
    if kind != "default":
        known.add("partial_rotary_factor")
    if FAMILIES[settings.family].two_ropes:
        known.discard("truncate")
    unread = sorted(key for key, value in rope.items() if value is not None and key not in known)
    if "partial_rotary_factor" in unread and rope["partial_rotary_factor"] == 1:
        unread.remove("partial_rotary_factor")
    if unread:
        listed = ", ".join(" ".join(str(key).split())[:80] for key in unread[:8])
        notes.append(f"config.json: of RoPE's parameters, ignored, as transformers ignores it: {listed}")
    if said.get("rope_scaling") and said.get("rope_parameters") and said["rope_scaling"] != said["rope_parameters"]:
        notes.append("config.json: rope_scaling decides over rope_parameters, as in transformers")
    if rope.get("type") not in (None, kind):
        notes.append(f"config.json: rope_type {kind} decides over type, as in transformers")
    if said.get("rope_theta") not in (None, rope.get("rope_theta")):
        notes.append("config.json: the rope_theta among RoPE's parameters decides, as in transformers")
    return notes
