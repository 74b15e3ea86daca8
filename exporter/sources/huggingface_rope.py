"""The RoPE fields of Hugging Face's config.json, as transformers' modeling_rope_utils.py computes with them.

transformers takes rope_scaling where it holds anything, else rope_parameters; what stands within counts before
rope_theta and partial_rotary_factor outside, but original_max_position_embeddings outside before the one within.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from exporter.errors import CheckpointError
from exporter.families.family import Family
from exporter.families.llama import LLAMA
from exporter.rope_scaling import RopeScaling
from exporter.sources.huggingface_longrope import KEYS as LONGROPE_KEYS
from exporter.sources.huggingface_longrope import read_longrope
from exporter.sources.huggingface_meanings import shown_key
from exporter.strict_json import Json, number, shown

_ORIGINAL = "original_max_position_embeddings"
_PARTIAL = "partial_rotary_factor"
# Of Ministral 3: what scales queries at late positions, and a key of its defaults that nothing reads.
_BETA, _POSITIONS = "llama_4_scaling_beta", "max_position_embeddings"
# What Phi 3's class takes for longrope. transformers makes "su" one only after it has put the original length among
# the parameters, which it does for the others.
_LONGROPE = ("longrope", "su", "yarn")
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
    "longrope": (*LONGROPE_KEYS, _PARTIAL),
}
_REQUIRED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
}


@dataclass(frozen=True)
class Rope:
    """RoPE as config.json means it. rotary_dim: 0 for whole heads. beta, positions: of the scale of late queries."""

    theta: float
    scaling: RopeScaling
    rotary_dim: int
    beta: float
    positions: int
    notes: tuple[str, ...]


def read_rope(raw: Json, positions: int, family: Family = LLAMA, head_dim: int = 0) -> Rope:
    """Read the one RoPE of a model. positions: max_position_embeddings. head_dim: where a part of it may be rotated.

    Raises CheckpointError.
    """
    where, fields, notes = _fields(raw, family)
    theta = _theta(raw, where, fields, notes, family.theta)
    said = _kind(where, fields, notes, family)
    kind = "longrope" if family.longrope and said in _LONGROPE else said
    # transformers puts the one outside among the others
    _refuse_nested(where, {_PARTIAL: raw.get(_PARTIAL), **fields})
    reads = _ROPE_KEYS[kind]
    notes += _ignored(raw, where, fields, kind, family)
    for key in (*_REQUIRED.get(kind, ()), *((_ORIGINAL,) if said == "su" else ())):
        if key not in fields:
            raise CheckpointError(f"{where}: missing {key} for {said}, which transformers requires")
    rotary_dim = 0
    if family.partial_rope:
        rotary_dim = _rotary_dim(raw, where, fields, head_dim)
    elif _PARTIAL in reads:
        _check_whole_heads(raw, where, fields)
    try:
        original = _original(raw, fields, positions, family) if _ORIGINAL in reads else positions
        if kind == "longrope":
            scaling = read_longrope(fields, original, positions, rotary_dim // 2)
        else:
            scaling = _scaling(kind, fields, original, positions)
        beta, late = 0.0, 0
        if family.query_scale:
            beta, late = _late_queries(fields, original if _ORIGINAL in reads else None)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {str(error).removeprefix('rope_scaling: ')}") from error
    return Rope(theta, scaling, rotary_dim, beta, late, tuple(notes))


def _kind(where: str, fields: Json, notes: list[str], family: Family) -> str:
    """Return the type of scaling. Raises CheckpointError for one that this project or the family does not compute."""
    kind = fields.get("rope_type", fields.get("type", "default"))
    known = family.rope_kinds
    if not isinstance(kind, str) or kind not in (*known, *(_LONGROPE if family.longrope else ())):
        raise CheckpointError(f"{where}: rope_type: expected {_one_of(known)}, found {shown(kind)}")
    if fields.get("type", kind) != kind:
        notes.append(f"{where}: type {shown(fields['type'])} is ignored: transformers goes by rope_type {kind!r}")
    return kind


def _one_of(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _ignored(raw: Json, where: str, fields: Json, kind: str, family: Family) -> list[str]:
    """Return notes of what transformers ignores."""
    own = (_PARTIAL,) if family.partial_rope else (_BETA, _ORIGINAL, _POSITIONS) if family.query_scale else ()
    read = (*_ROPE_KEYS[kind], *own, "rope_type", "type", "rope_theta")
    notes = []
    if (
        kind == "default"
        and not family.partial_rope
        and _PARTIAL not in fields
        and raw.get(_PARTIAL) not in (None, 1)
    ):
        notes.append(f"{_PARTIAL} is ignored, as transformers ignores it")
    ignored = [key for key in fields if key not in read and fields[key] is not None]
    if ignored:
        notes.append(f"{where}: ignored, as transformers ignores it: {', '.join(map(shown_key, ignored))}")
    if _ORIGINAL not in _ROPE_KEYS[kind] and raw.get(_ORIGINAL) is not None and not family.partial_rope:
        notes.append(f"{_ORIGINAL} is ignored, as transformers ignores it for {kind}")
    return notes


def _rotary_dim(raw: Json, where: str, fields: Json, head_dim: int) -> int:
    """Return how many elements of a head are rotated. Within, null is no default; outside it is no number, too."""
    if _PARTIAL in fields:
        where, share = f"{where}: {_PARTIAL}", fields[_PARTIAL]
    else:
        where, share = _PARTIAL, raw.get(_PARTIAL, 1.0)
    rotated = number(where, share) * head_dim
    if not 2 <= rotated < head_dim + 1 or int(rotated) % 2:
        raise CheckpointError(
            f"{where}: expected a share of {head_dim} that leaves an even number of rotated elements, at least 2, "
            f"found {shown(share)}"
        )
    return int(rotated)


def _late_queries(fields: Json, original: int | None) -> tuple[float, int]:
    """Return beta and positions of the scale of late queries. original: what the scaling reads, if it does."""
    if fields.get(_BETA) is None:
        raise CheckpointError(f"missing {_BETA}, which transformers computes with")
    beta = number(_BETA, fields[_BETA])
    positions = fields.get(_ORIGINAL) if original is None else original
    if isinstance(positions, bool) or not isinstance(positions, int) or positions < 1:
        raise CheckpointError(f"{_ORIGINAL}: expected a positive integer, found {shown(positions)}")
    if beta < 0:
        raise CheckpointError(f"{_BETA}: expected 0 or more, found {beta:g}")
    return (beta, positions) if beta else (0.0, 0)


def _fields(raw: Json, family: Family) -> tuple[str, Json, list[str]]:
    """Which of the two is read, its fields, and a note where the other says something else."""
    old, new = raw.get("rope_scaling"), raw.get("rope_parameters")
    if not old:
        return "rope_parameters", dict(family.rope_defaults if new is None else new), []
    if not isinstance(old, dict):
        raise CheckpointError(f"rope_scaling: expected an object or null, found {shown(old)}")
    notes = []
    if new and new != old:
        notes.append("rope_parameters is ignored: transformers goes by rope_scaling where both are given")
    return "rope_scaling", dict(old), notes


def _theta(raw: Json, where: str, fields: Json, notes: list[str], default: float) -> float:
    if "rope_theta" in fields:
        theta = number(f"{where}: rope_theta", fields["rope_theta"])
        if raw.get("rope_theta") not in (None, theta):
            notes.append(f"rope_theta is ignored: transformers goes by the {theta:g} of {where}")
    else:
        theta = number("rope_theta", raw.get("rope_theta", default))
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


def _original(raw: Json, fields: Json, positions: int, family: Family) -> int:
    """Outside, within, or as many positions as there are now. Where none is read it does not matter."""
    within = family.original_positions or fields.get(_ORIGINAL, positions)
    value = {_ORIGINAL: within, **raw}[_ORIGINAL]
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
        attention_factor = _mscale(factor, m) / _mscale(factor, all_dim) if m and all_dim else _mscale(factor, 1.0)
    return RopeScaling(
        "yarn",
        factor=factor,
        original_max_positions=original,
        beta_fast=_optional(rope, "beta_fast") or 32.0,
        beta_slow=_optional(rope, "beta_slow") or 1.0,
        attention_factor=attention_factor,
        truncate=_truncate(rope),
    )


def _mscale(factor: float, m: float) -> float:
    scale = 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1.0
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
