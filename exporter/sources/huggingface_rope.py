"""The RoPE fields of Hugging Face's config.json, as transformers' modeling_rope_utils.py computes with them."""

from __future__ import annotations

import math

from exporter.config import RopeScaling
from exporter.errors import CheckpointError
from exporter.strict_json import Json, number, shown

_DEFAULT_THETA = 10000.0
# What each type reads, besides rope_theta.
_ROPE_KEYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        "factor",
        "original_max_position_embeddings",
        "beta_fast",
        "beta_slow",
        "attention_factor",
        "mscale",
        "mscale_all_dim",
        "truncate",
    ),
}


def rope(given: Json, max_positions: int) -> tuple[float, RopeScaling]:
    """Theta and scaling, from transformers 5's rope_parameters or from rope_theta and rope_scaling before it."""
    old, new = (_rope_dict(key, given[key]) for key in ("rope_scaling", "rope_parameters"))
    if old and new and old != new:
        raise CheckpointError(f"rope_parameters: expected what rope_scaling says, {shown(old)}, found {shown(new)}")
    where, fields = ("rope_parameters", new) if new else ("rope_scaling", old)
    theta = _DEFAULT_THETA
    if "rope_theta" in fields:
        theta = number(f"{where}: rope_theta", fields.pop("rope_theta"))
        if given["rope_theta"] is not None and given["rope_theta"] != theta:
            raise CheckpointError(
                f"rope_theta: expected what {where} says, {theta:g}, found {shown(given['rope_theta'])}"
            )
    elif given["rope_theta"] is not None:
        theta = number("rope_theta", given["rope_theta"])
    if not theta > 0:
        raise CheckpointError(f"rope_theta: expected a positive number, found {theta:g}")
    kind = fields.pop("rope_type", "default")
    if not isinstance(kind, str) or kind not in _ROPE_KEYS:
        raise CheckpointError(f"{where}: rope_type: expected one of {', '.join(_ROPE_KEYS)}, found {shown(kind)}")
    if (
        fields.get("partial_rotary_factor") is not None
        and number(f"{where}: partial_rotary_factor", fields["partial_rotary_factor"]) != 1
    ):
        raise CheckpointError(
            f"{where}: partial_rotary_factor: expected 1, found {shown(fields['partial_rotary_factor'])}"
        )
    for key in fields:
        if key not in _ROPE_KEYS[kind] and key != "partial_rotary_factor":
            raise CheckpointError(f"{where}: no known meaning for {kind}, and it may change the model: {shown(key)}")
    try:
        return theta, _scaling(kind, fields, _original_positions(given, kind, fields, max_positions), max_positions)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {str(error).removeprefix('rope_scaling: ')}") from error


def _rope_dict(key: str, value: object) -> Json:
    """With "type", as it was called before, under its new name."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CheckpointError(f"{key}: expected an object or null, found {shown(value)}")
    made = dict(value)
    kind = made.pop("type", None)
    if kind is not None and made.setdefault("rope_type", kind) != kind:
        raise CheckpointError(f"{key}: rope_type: expected what type says, {shown(kind)}, found {shown(made)}")
    if made.get("rope_type", "") is None:
        del made["rope_type"]
    return made


def _original_positions(given: Json, kind: str, rope: Json, max_positions: int) -> int:
    """Beside the RoPE parameters, within them, or as many as there are now."""
    key = "original_max_position_embeddings"
    named = [value for value in (given[key], rope.get(key)) if value is not None]
    for value in named:
        if isinstance(value, bool) or not isinstance(value, int):
            raise CheckpointError(f"{key}: expected an integer, found {shown(value)}")
        if value != named[0]:
            raise CheckpointError(f"{key}: expected what config.json says outside, {named[0]}, found {value}")
        if kind == "dynamic" and value != max_positions:
            raise CheckpointError(
                f"{key}: expected max_position_embeddings = {max_positions} for dynamic, found {value}"
            )
    return named[0] if named else max_positions


def _scaling(kind: str, rope: Json, original: int, max_positions: int) -> RopeScaling:
    if kind in ("none", "default"):
        return RopeScaling()
    if "factor" not in rope:
        raise CheckpointError(f"missing factor for {kind}")
    if kind == "linear":
        return RopeScaling("linear", factor=number("factor", rope["factor"]))
    if kind == "dynamic":
        return RopeScaling("dynamic", factor=number("factor", rope["factor"]), original_max_positions=original)
    if kind == "llama3":
        for key in ("low_freq_factor", "high_freq_factor"):
            if key not in rope:
                raise CheckpointError(f"missing {key} for llama3")
        return RopeScaling(
            "llama3",
            factor=number("factor", rope["factor"]),
            original_max_positions=original,
            low_freq_factor=number("low_freq_factor", rope["low_freq_factor"]),
            high_freq_factor=number("high_freq_factor", rope["high_freq_factor"]),
        )
    return _yarn(rope, original, max_positions)


def _yarn(rope: Json, original: int, max_positions: int) -> RopeScaling:
    if original < 1:
        raise CheckpointError(f"original_max_position_embeddings: expected a positive integer, found {original}")
    factor = max_positions / original if rope["factor"] is None else number("factor", rope["factor"])
    attention_factor = _optional(rope, "attention_factor")
    if attention_factor is None:
        m, all_dim = _optional(rope, "mscale"), _optional(rope, "mscale_all_dim")
        both = m and all_dim
        attention_factor = _mscale(factor, m) / _mscale(factor, all_dim) if both else _mscale(factor, 1.0)
    return RopeScaling(
        "yarn",
        factor=factor,
        original_max_positions=original,
        beta_fast=_optional(rope, "beta_fast") or 32.0,
        beta_slow=_optional(rope, "beta_slow") or 1.0,
        attention_factor=attention_factor,
        truncate=_truncate(rope),
    )


def _mscale(factor: float, m: float | None) -> float:
    scale = 1.0 if factor <= 1 else 0.1 * (m or 0.0) * math.log(factor) + 1.0
    if scale == 0:
        raise CheckpointError(f"mscale: expected one that leaves the attention a factor, found {m}")
    return scale


def _truncate(rope: Json) -> bool:
    truncate = rope.get("truncate", True)
    if not isinstance(truncate, bool):
        raise CheckpointError(f"truncate: expected true or false, found {shown(truncate)}")
    return truncate


def _optional(rope: Json, key: str) -> float | None:
    return None if rope.get(key) is None else number(key, rope[key])
