"""Reads the hyper-parameters of v3's head: its fixed fields, the architecture block and the layer table."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from exporter.config import ACTIVATIONS, ModelConfig
from exporter.experts import MOST_EXPERTS
from exporter.formats import v3
from exporter.formats.v3_fields import Fields
from exporter.rope_scaling import MOST_FACTORS, ROPE_SCALING_FIELDS, RopeScaling
from exporter.switches import LAYER_ROPES, NORM_PLACES, QK_NORMS, LayerKind

_COUNTS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len")
_SCALING_REALS = {
    "factor": 72,
    "low_freq_factor": 80,
    "high_freq_factor": 88,
    "beta_fast": 96,
    "beta_slow": 104,
    "attention_factor": 112,
}
# Factors that are 1 where the model has none, and numbers that are 0 there.
_FACTORS = {"embedding_scale": 280, "residual_scale": 296, "logit_divisor": 304}
_OPTIONAL = {"score_scale": 288, "score_cap": 312, "logit_cap": 320, "query_scale_beta": 328, "local_theta": 336}
_SCALING_AT, _ROTARY_DIM_AT = 64, 268
_WINDOW_AT, _QUERY_SCALE_POSITIONS_AT, _LOCAL_THETA_AT, _EXPERTS_AT = 272, 276, 336, 344
_HEAD_SIZE_AT, _HIDDEN_DIM_AT, _FLAGS_AT = 136, 12, 40
# Bits of a layer's word: the kinds of RoPE take two, from the second on.
_ROPE_BIT, _EXPERTS_BIT = 1, 3


def tensor_count(fields: Fields) -> tuple[int, int]:
    """Return the number of layers and the number of tensors that the fields imply. Raises V3Error."""
    said = _said(fields)
    a_layer = 6 + 3 * said["qkv_bias"] + said["wo_bias"]
    a_layer += 2 * (said["norm_place"] == "both") + 2 * (said["qk_norm"] != "none")
    mixed = _layers_with_experts(fields, said["n_layers"]) if said["n_experts"] else 0
    plain = said["n_layers"] - mixed
    feed_forward = plain * (3 + 3 * said["mlp_bias"]) + mixed * (1 + 3 * said["n_experts"])
    return said["n_layers"], said["n_layers"] * a_layer + feed_forward + 2 + (not said["tied"])


def read_config(fields: Fields) -> ModelConfig:
    """Return the whole config. Raises V3Error for the first field that breaks a rule."""
    said = _said(fields)
    scaling = RopeScaling(**said.pop("rope_scaling"), short_factors=_factors(fields, said["n_layers"]))
    most = (len(LAYER_ROPES) << _ROPE_BIT) - 1 + (bool(said["n_experts"]) << _EXPERTS_BIT)
    layers = tuple(_layer(fields, v3.LAYERS_AT + v3.LAYER_BYTES * number, most) for number in range(said["n_layers"]))
    windowed, local = any(layer.windowed for layer in layers), any(layer.rope == "second" for layer in layers)
    for field, at, used, what in (
        ("window", _WINDOW_AT, windowed, "windowed layer"),
        ("local_theta", _LOCAL_THETA_AT, local, "layer with the second RoPE"),
        ("n_experts", _EXPERTS_AT, any(layer.experts for layer in layers), "layer with experts"),
    ):
        if bool(said[field]) != used:
            expected = f"more than 0, for there is a {what}" if used else f"0, for there is no {what}"
            raise fields.wrong(field, at, expected, said[field])
    width = said["expert_hidden_dim"]
    if said["hidden_dim"] != width and all(layer.experts for layer in layers):
        expected = f"expert_hidden_dim = {width}, for every layer has experts"
        raise fields.wrong("hidden_dim", _HIDDEN_DIM_AT, expected, said["hidden_dim"])
    return ModelConfig(**said, rope_scaling=scaling, layers=layers)


def factor_count(fields: Fields) -> int:
    """Return how many factors of RoPE stand behind the layer table, from fields that are checked."""
    (scaling,), (rotary_dim,) = (struct.unpack_from("<I", fields.head, at) for at in (_SCALING_AT, _ROTARY_DIM_AT))
    return rotary_dim // 2 if v3.ROPE_TYPES[scaling] == "longrope" else 0


def _factors(fields: Fields, n_layers: int) -> tuple[float, ...]:
    """Read the factors of RoPE behind the layer table."""
    first = v3.factors_at(n_layers)
    places = range(first, first + v3.FACTOR_BYTES * factor_count(fields), v3.FACTOR_BYTES)
    return tuple(fields.positive_single("RoPE factor", at) for at in places)


def _said(fields: Fields) -> dict[str, Any]:
    """Read everything but the layer table."""
    said = _fixed(fields)
    said |= _switches(fields, said["head_dim"], said["rope_scaling"]["type"]) | _experts(fields)
    flags = said.pop("flags")
    if said["n_experts"] and said["mlp_bias"]:
        raise fields.wrong("flags", _FLAGS_AT, "no bit 3, for experts have no biases", flags)
    return said


def _layers_with_experts(fields: Fields, n_layers: int) -> int:
    """Count them, in a file that may claim more layers than it has bytes."""
    end = v3.factors_at(n_layers)
    if end > fields.size:
        raise fields.wrong("file size", None, f"at least {end}", fields.size)
    if end > len(fields.head):
        claimed = int.from_bytes(fields.head[_HEAD_SIZE_AT : _HEAD_SIZE_AT + 8], "little")
        raise fields.wrong("head size", _HEAD_SIZE_AT, f"at least {end}", claimed)
    words = np.frombuffer(fields.head, "<u4", n_layers, v3.LAYERS_AT)
    return int((words >> _EXPERTS_BIT & 1).sum())


def _fixed(fields: Fields) -> dict[str, Any]:
    """Read the fields of the fixed header."""
    counts = dict(zip(_COUNTS, struct.unpack_from("<7i", fields.head, 8), strict=True))
    for number, (field, value) in enumerate(counts.items()):
        if value < 1:
            raise fields.wrong(field, 8 + 4 * number, "at least 1", value)
    if counts["n_heads"] % counts["n_kv_heads"]:
        raise fields.wrong("n_kv_heads", 24, f"a divisor of {counts['n_heads']}", counts["n_kv_heads"])
    head_dim = fields.u32("head_dim", 36, 1, (2**31 - 1) // counts["n_heads"])
    if head_dim % 2:
        raise fields.wrong("head_dim", 36, "a multiple of 2", head_dim)
    flags = fields.u32("flags", _FLAGS_AT, 0, 15)
    theta, scaling = fields.positive("rope_theta", 56), _scaling(fields, counts["max_seq_len"])
    if scaling["type"] == "yarn" and theta == 1:
        raise fields.wrong("rope_theta", 56, "other than 1, whose logarithm yarn divides by", theta)
    return {
        **counts,
        "flags": flags,
        "tied": bool(flags & 1),
        "qkv_bias": bool(flags & 2),
        "wo_bias": bool(flags & 4),
        "mlp_bias": bool(flags & 8),
        "head_dim": head_dim,
        "activation": ACTIVATIONS[fields.u32("activation", 44, 0, len(ACTIVATIONS) - 1)],
        "norm_eps": fields.positive("norm_eps", 48),
        "rope_theta": theta,
        "rope_scaling": scaling,
    }


def _scaling(fields: Fields, max_seq_len: int) -> dict[str, Any]:
    """Read the fields of RopeScaling that stand in the fixed header."""
    kind = v3.ROPE_TYPES[fields.u32("rope_scaling type", _SCALING_AT, 0, len(v3.ROPE_TYPES) - 1)]
    used = ROPE_SCALING_FIELDS[kind]
    bounded = "original_max_positions" in used
    original = fields.u32("rope_scaling original_max_positions", 68, int(bounded), 2**31 - 1 if bounded else 0)
    reals = {}
    for field, at in _SCALING_REALS.items():
        if field in used:
            reals[field] = fields.positive(f"rope_scaling {field}", at)
        else:
            fields.exactly(f"rope_scaling {field}", at, "<Q", 0)
    truncate = fields.u32("rope_scaling truncate", 120, 0, int("truncate" in used))
    if kind == "llama3" and not reals["low_freq_factor"] < reals["high_freq_factor"]:
        raise fields.wrong(
            "rope_scaling high_freq_factor", 88, "more than low_freq_factor", reals["high_freq_factor"]
        )
    if kind in ("dynamic", "longrope") and max_seq_len > original:
        raise fields.wrong("max_seq_len", 32, f"at most original_max_positions = {original}", max_seq_len)
    return {"type": kind, "original_max_positions": original, "truncate": bool(truncate), **reals}


def _switches(fields: Fields, head_dim: int, scaling: str) -> dict[str, Any]:
    """Read the architecture block. scaling: RoPE's, by its name."""
    place = fields.u32("norm_place", 256, 0, len(NORM_PLACES) - 1)
    plus_one = fields.u32("norm_plus_one", 260, 0, 1)
    qk_norm = fields.u32("qk_norm", 264, 0, len(QK_NORMS) - 1)
    most = min(head_dim, 2 * MOST_FACTORS) if scaling == "longrope" else head_dim
    rotary_dim = fields.u32("rotary_dim", _ROTARY_DIM_AT, 2, most)
    if rotary_dim % 2:
        raise fields.wrong("rotary_dim", _ROTARY_DIM_AT, "a multiple of 2", rotary_dim)
    window = fields.u32("window", _WINDOW_AT, 0, 2**31 - 1)
    factors = {field: fields.positive(field, at) for field, at in _FACTORS.items()}
    optional = {field: fields.positive_or_zero(field, at) for field, at in _OPTIONAL.items()}
    scaled = bool(optional["query_scale_beta"])
    positions = fields.u32(
        "query_scale_positions", _QUERY_SCALE_POSITIONS_AT, int(scaled), 2**31 - 1 if scaled else 0
    )
    return {
        "norm_place": NORM_PLACES[place],
        "norm_plus_one": bool(plus_one),
        "qk_norm": QK_NORMS[qk_norm],
        "rotary_dim": rotary_dim,
        "window": window,
        "query_scale_positions": positions,
        **factors,
        **optional,
    }


def _experts(fields: Fields) -> dict[str, Any]:
    """Read the fields of a mixture of experts, which are zero without one."""
    count = fields.u32("n_experts", _EXPERTS_AT, 0, MOST_EXPERTS)
    if count == 1:
        raise fields.wrong("n_experts", _EXPERTS_AT, "0 or at least 2", count)
    some = int(bool(count))
    return {
        "n_experts": count,
        "n_active_experts": fields.u32("n_active_experts", _EXPERTS_AT + 4, some, count),
        "expert_hidden_dim": fields.u32("expert_hidden_dim", _EXPERTS_AT + 8, some, some * (2**31 - 1)),
        "experts_normalized": bool(fields.u32("experts_normalized", _EXPERTS_AT + 12, 0, some)),
    }


def _layer(fields: Fields, at: int, most: int) -> LayerKind:
    word = fields.u32("layer", at, 0, most)
    rope = word >> _ROPE_BIT & 3
    if rope >= len(LAYER_ROPES):
        raise fields.wrong("RoPE of a layer", at, f"0 to {len(LAYER_ROPES) - 1}", rope)
    return LayerKind(windowed=bool(word & 1), rope=LAYER_ROPES[rope], experts=bool(word >> _EXPERTS_BIT))
