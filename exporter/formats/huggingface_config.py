"""Build the config.json that transformers reads, from a ModelConfig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from exporter.checkpoint import Dtype
from exporter.config import ModelConfig
from exporter.errors import FormatError
from exporter.families import Family, family_that_computes
from exporter.rope_scaling import ROPE_SCALING_FIELDS, RopeScaling

_ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}
_TORCH_DTYPES: dict[Dtype, str] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_SCALING_NAMES = {"original_max_positions": "original_max_position_embeddings", "short_factors": "short_factor"}
_SCALING_FLOATS = {field.name for field in fields(RopeScaling) if field.type == "float"}


def config_json(
    config: ModelConfig, dtype: Dtype, token_ids: Mapping[str, object], family: Family | None = None
) -> dict[str, Any]:
    """Return the content of config.json. dtype: the type that most weights have. token_ids: fields that name tokens.

    rope_theta, rope_scaling and torch_dtype are the names of transformers 4. Version 5 accepts them as its own,
    without a warning; version 4 does not know the names of version 5. The token ids are those of a Hugging Face
    source, and null for others: the weights do not say them, and Llama's defaults, which null replaces, would name
    two tokens of any vocabulary. family: the one whose class computes the model, by default the first that does.

    Raises FormatError naming the first field that transformers cannot express.
    """
    c = config
    family = family or family_that_computes(c)
    _check_rope(c)
    described: dict[str, Any] = {
        "hidden_size": c.dim,
        "intermediate_size": c.hidden_dim,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.max_seq_len,
        family.activation: _ACTIVATIONS[c.activation],
        # transformers requires a number that is no integer
        "rms_norm_eps": float(c.norm_eps),
        **family.writes_rope(c, _rope_scaling(c)),
        "tie_word_embeddings": c.tied,
        "torch_dtype": _TORCH_DTYPES[dtype],
    }
    named = {"architectures": [family.architecture], "model_type": family.model_type}
    return {**described, **token_ids, **named, **family.writes(c)}


def _check_rope(config: ModelConfig) -> None:
    """Raise FormatError where transformers computes another RoPE than ModelConfig means, or divides by zero."""
    scaling = config.rope_scaling
    if scaling.type == "dynamic":
        if config.max_seq_len != scaling.original_max_positions:
            raise FormatError(
                f"max_seq_len: expected {scaling.original_max_positions} (original_max_positions), beyond which "
                f"transformers scales dynamic RoPE, found {config.max_seq_len}; use v3"
            )
        if config.head_dim == 2:
            raise FormatError(
                "head_dim: expected at least 4, which transformers' dynamic RoPE scaling requires, found 2; use v3"
            )


def _rope_scaling(config: ModelConfig) -> dict[str, Any] | None:
    scaling = config.rope_scaling
    if scaling.type == "none":
        return None
    described: dict[str, Any] = {"rope_type": scaling.type}
    for field in ROPE_SCALING_FIELDS[scaling.type]:
        # dynamic scaling takes it from max_position_embeddings; transformers warns about a second one
        if (scaling.type, field) == ("dynamic", "original_max_positions"):
            continue
        value = getattr(scaling, field)
        # transformers warns about an attention_factor that is an integer
        described[_SCALING_NAMES.get(field, field)] = float(value) if field in _SCALING_FLOATS else value
    if scaling.type == "longrope":
        # the short ones serve where the source has no long ones: no sequence that the model takes needs them. factor
        # has no effect beside attention_factor; transformers warns without it
        factors = scaling.short_factors
        described |= {"short_factor": list(factors), "long_factor": list(scaling.long_factors or factors)}
        described["factor"] = 1.0
    return described
