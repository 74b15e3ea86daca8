"""The RoPE fields of Hugging Face's config.json, as transformers' modeling_rope_utils.py computes with them.

transformers takes rope_scaling where it holds anything, else rope_parameters; what stands within counts before
rope_theta and partial_rotary_factor outside, but original_max_position_embeddings outside before the one within.
"""

from __future__ import annotations

import math

from exporter.config import RopeScaling
from exporter.errors import CheckpointError
from exporter.sources.huggingface_meanings import shown_key
from exporter.strict_json import Json, number, shown

_DEFAULT_THETA = 10000.0
_ORIGINAL = "original_max_position_embeddings"
_PARTIAL = "partial_rotary_factor"
_KINDS_OF_LAYERS = ("full_attention", "sliding_attention")
# What each type reads, besides rope_theta.
_ROPE_KEYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor", _PARTIAL),
    "dynamic": ("factor", _PARTIAL),
    "llama3": ("factor", _ORIGINAL, "low_freq_factor", "high_freq_factor", _PARTIAL),
    "yarn": (
        *("factor", _ORIGINAL, "beta_fast", "beta_slow", "attention_factor"),
        *("mscale", "mscale_all_dim", "truncate", _PARTIAL),
    ),
}
_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
}


def rope(raw: Json, positions: int) -> tuple[float, RopeScaling, list[str]]:
    """Theta, scaling, and what transformers ignores. positions: max_position_embeddings. Raises CheckpointError."""
    where, fields, notes = _fields(raw)
    theta = _theta(raw, where, fields, notes)
    kind = fields.get("rope_type", fields.get("type", "default"))
    if not isinstance(kind, str) or kind not in _ROPE_KEYS:
        raise CheckpointError(f"{where}: rope_type: expected one of {', '.join(_ROPE_KEYS)}, found {shown(kind)}")
    if fields.get("type", kind) != kind:
        notes.append(f"{where}: type {shown(fields['type'])} is ignored: transformers goes by rope_type {kind!r}")
    read = (*_ROPE_KEYS[kind], "rope_type", "type", "rope_theta")
    # transformers puts the one outside among the others
    _refuse_nested(where, {_PARTIAL: raw.get(_PARTIAL), **fields})
    ignored = [key for key in fields if key not in read and fields[key] is not None]
    if kind == "default" and _PARTIAL not in fields and raw.get(_PARTIAL) not in (None, 1):
        notes.append(f"{_PARTIAL} is ignored, as transformers ignores it")
    if ignored:
        notes.append(f"{where}: ignored, as transformers ignores it: {', '.join(map(shown_key, ignored))}")
    for key in _REQUIRED.get(kind, ()):
        if key not in fields:
            raise CheckpointError(f"{where}: missing {key} for {kind}")
    if _PARTIAL in _ROPE_KEYS[kind]:
        _check_whole_heads(raw, where, fields)
    reads_original = _ORIGINAL in _ROPE_KEYS[kind]
    if not reads_original and raw.get(_ORIGINAL) is not None:
        notes.append(f"{_ORIGINAL} is ignored, as transformers ignores it for {kind}")
    try:
        original = _original(raw, fields, positions) if reads_original else positions
        return theta, _scaling(kind, fields, original, positions), notes
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {str(error).removeprefix('rope_scaling: ')}") from error


def _fields(raw: Json) -> tuple[str, Json, list[str]]:
    """Which of the two is read, its fields, and a note where the other says something else."""
    old, new = raw.get("rope_scaling"), raw.get("rope_parameters")
    if not old:
        return "rope_parameters", dict(new or {}), []
    if not isinstance(old, dict):
        raise CheckpointError(f"rope_scaling: expected an object or null, found {shown(old)}")
    notes = []
    if new and new != old:
        notes.append("rope_parameters is ignored: transformers goes by rope_scaling where both are given")
    return "rope_scaling", dict(old), notes


def _theta(raw: Json, where: str, fields: Json, notes: list[str]) -> float:
    if "rope_theta" in fields:
        theta = number(f"{where}: rope_theta", fields["rope_theta"])
        if raw.get("rope_theta") not in (None, theta):
            notes.append(f"rope_theta is ignored: transformers goes by the {theta:g} of {where}")
    else:
        theta = number("rope_theta", raw.get("rope_theta", _DEFAULT_THETA))
    if not theta > 0:
        raise CheckpointError(f"rope_theta: expected a positive number, found {theta:g}")
    return theta


def _refuse_nested(where: str, fields: Json) -> None:
    """RoPE of its own for each kind of layer, which these families' models do not read or fail on, even on null."""
    for key, value in fields.items():
        if isinstance(value, dict) or key in _KINDS_OF_LAYERS:
            raise CheckpointError(
                f"{where}: {shown_key(key)}: expected one RoPE for all layers, found another within it"
            )


def _check_whole_heads(raw: Json, where: str, fields: Json) -> None:
    """Within, null is no default; outside it is."""
    if _PARTIAL in fields:
        where, share = f"{where}: {_PARTIAL}", fields[_PARTIAL]
    else:
        where, share = _PARTIAL, 1 if raw.get(_PARTIAL) is None else raw[_PARTIAL]
    if number(where, share) != 1:
        raise CheckpointError(f"{where}: expected 1, found {shown(share)}")


def _original(raw: Json, fields: Json, positions: int) -> int:
    """Outside, within, or as many positions as there are now. Where none is read it does not matter."""
    value = raw[_ORIGINAL] if _ORIGINAL in raw else fields.get(_ORIGINAL, positions)
    for each in (value, fields.get(_ORIGINAL, positions)):
        if isinstance(each, bool) or not isinstance(each, int):
            raise CheckpointError(f"{_ORIGINAL}: expected an integer, found {shown(each)}")
    return int(value)


def _scaling(kind: str, rope: Json, original: int, positions: int) -> RopeScaling:
    if kind == "default":
        return RopeScaling()
    if kind == "linear":
        return RopeScaling("linear", factor=number("factor", rope["factor"]))
    if kind == "dynamic":
        return RopeScaling("dynamic", factor=number("factor", rope["factor"]), original_max_positions=positions)
    if kind == "llama3":
        return RopeScaling(
            "llama3",
            factor=number("factor", rope["factor"]),
            original_max_positions=original,
            low_freq_factor=number("low_freq_factor", rope["low_freq_factor"]),
            high_freq_factor=number("high_freq_factor", rope["high_freq_factor"]),
        )
    return _yarn(rope, original, positions)


def _yarn(rope: Json, original: int, positions: int) -> RopeScaling:
    if original < 1:
        raise CheckpointError(f"{_ORIGINAL}: expected a positive integer, found {original}")
    factor = positions / original if rope["factor"] is None else number("factor", rope["factor"])
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
    """null is there and no true, unlike an absent one."""
    truncate = rope.get("truncate", True)
    if truncate is not None and not isinstance(truncate, bool):
        raise CheckpointError(f"truncate: expected true, false or null, found {shown(truncate)}")
    return bool(truncate)


def _optional(rope: Json, key: str) -> float | None:
    return None if rope.get(key) is None else number(key, rope[key])
