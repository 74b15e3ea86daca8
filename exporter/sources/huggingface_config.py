"""Hugging Face's config.json, as transformers reads it.

model_type decides the family, as it does there. A key that the family's code reads is understood here, or has no
effect on logits, or must have the default; a key that it does not read means nothing, and is noted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.families import FAMILIES, Family
from exporter.sources.huggingface_family import read_family
from exporter.sources.huggingface_fields import DEFAULTS, REQUIRED, check_types
from exporter.sources.huggingface_layers import layers_and_ropes
from exporter.sources.huggingface_meanings import check_keys
from exporter.sources.huggingface_text_part import TextPart, text_part
from exporter.sources.huggingface_windows import read_windows
from exporter.strict_json import Json, number, read_object, shown

_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}

# transformers looks these up in torch, by name.
_DTYPES = ("float32", "float16", "bfloat16", "float64", "float", "half", "double")

# ModelConfig speaks of its own fields; the reader of the message has config.json before them.
_THEIR_NAMES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "tied": "tie_word_embeddings",
    "qkv_bias": "attention_bias",
    "wo_bias": "attention_bias",
}


def read_config(path: Path, max_seq_len: int | None = None) -> tuple[ModelConfig, tuple[str, ...]]:
    """The config that this config.json means to transformers, and what the user should know about it.

    max_seq_len: the user's, which may shorten max_position_embeddings. Raises CheckpointError.
    """
    described = read_description(path, max_seq_len)
    return described.config, described.notes


@dataclass(frozen=True)
class Description:
    """What a config.json describes. text: the part that is taken of a multimodal model, None for other models."""

    config: ModelConfig
    family: Family
    notes: tuple[str, ...]
    text: TextPart | None


def read_description(path: Path, max_seq_len: int | None) -> Description:
    """The same, with the family that config.json says."""
    raw, where = read_object(path), ""
    try:
        text = text_part(raw)
        if text:
            _refuse_quantized(raw)
            where = "text_config: " if "text_config" in raw else ""
        config, family, notes = _config(text.config if text else raw, max_seq_len)
    except RecursionError as error:
        raise CheckpointError(f"{path}: expected a flat JSON object, found one nested too deeply") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {where}{str(error)[:400]}") from error
    noted = (*(text.notes if text else ()), *(f"{where}{note}" for note in notes))
    return Description(config, family, tuple(f"{path.name}: {note}" for note in noted), text)


def _config(raw: Json, asked: int | None) -> tuple[ModelConfig, Family, list[str]]:
    name, notes = read_family(raw)
    family = FAMILIES[name]
    _refuse_quantized(raw)
    for key in REQUIRED:
        if key not in raw:
            raise CheckpointError(f"missing {key}")
    check_types(raw, name)
    notes += check_keys(raw, name)
    given = {**DEFAULTS[name], **raw}
    config = _sizes(given, family)
    _check_what_transformers_fails_on(raw, given, config, family)
    positions = config.max_seq_len
    length = _length(positions, asked)
    windows, of_windows = read_windows(raw, given, family, positions=positions, asked=asked)
    attention, of_rope = layers_and_ropes(raw, given, config, family, windows)
    config = ModelConfig(**{**vars(config), **attention, "max_seq_len": length})
    return config, family, notes + of_windows + of_rope


def _refuse_quantized(raw: Json) -> None:
    said = raw.get("quantization_config")
    if said is None:
        return
    method = said.get("quant_method") if isinstance(said, dict) else None
    if isinstance(said, dict) and method in (None, "bitsandbytes"):
        bits = [bits for bits in (4, 8) if said.get(f"load_in_{bits}bit")]
        method = f"bitsandbytes, {bits[0]} bits" if bits else method
    found = method if isinstance(method, str) and method.isprintable() else shown(said)
    raise CheckpointError(
        f"quantization_config: expected unquantized weights, found {found[:80]}: give the unquantized model"
    )


def _sizes(given: Json, family: Family) -> ModelConfig:
    """The model without its RoPE and its windows."""
    heads, kv_heads = given["num_attention_heads"], given["num_key_value_heads"]
    head_dim = given.get("head_dim")
    if head_dim is not None and not head_dim:
        raise CheckpointError(f"head_dim: expected a positive integer or null, found {shown(head_dim)}")
    activation = given[family.activation]
    if activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{family.activation}: expected one of {', '.join(_ACTIVATIONS)}, found {shown(activation)}"
        )
    if head_dim is None and not family.divides and heads > 0:
        head_dim = given["hidden_size"] // heads  # rounded down, as their classes do; Llama's refuses it
    try:
        base = ModelConfig(
            dim=given["hidden_size"],
            hidden_dim=given["intermediate_size"],
            n_layers=given["num_hidden_layers"],
            n_heads=heads,
            n_kv_heads=heads if kv_heads is None else kv_heads,
            vocab_size=given["vocab_size"],
            max_seq_len=given["max_position_embeddings"],
            tied=given["tie_word_embeddings"],
            norm_eps=number("rms_norm_eps", given["rms_norm_eps"]),
            head_dim=0 if head_dim is None else head_dim,
            activation=_ACTIVATIONS[activation],
        )
        return ModelConfig(**{**vars(base), **family.switches(given, base)})
    except CheckpointError as error:
        raise CheckpointError(_in_their_names(str(error))) from error


def _in_their_names(message: str) -> str:
    wanted, comma, found = message.partition(", found ")
    return re.sub(r"\w+", lambda word: _THEIR_NAMES.get(word[0], word[0]), wanted) + comma + found


def _check_what_transformers_fails_on(raw: Json, given: Json, config: ModelConfig, family: Family) -> None:
    """Raise CheckpointError for values that change no logit and that no transformers model can be made with."""
    if family.divides and config.dim % config.n_heads:
        raise CheckpointError(
            f"num_attention_heads: expected a divisor of hidden_size = {config.dim}, as transformers requires for "
            f"{family.model_type}, found {config.n_heads}"
        )
    padding = given.get("pad_token_id")
    if padding is not None and not -config.vocab_size <= padding < config.vocab_size:
        raise CheckpointError(
            f"pad_token_id: expected null or a token of the {config.vocab_size} that vocab_size says, as "
            f"transformers requires, found {shown(padding)}"
        )
    key = "dtype" if raw.get("dtype") is not None else "torch_dtype"
    if raw.get(key) is not None and raw[key] not in _DTYPES:
        raise CheckpointError(
            f"{key}: expected one of {', '.join(_DTYPES)}, by which transformers finds torch's types, "
            f"found {shown(raw[key])}"
        )
    labels = raw.get("id2label")
    if labels is not None and not (isinstance(labels, dict) and all(map(_is_whole, labels))):
        raise CheckpointError(f"id2label: expected null or an object of numbered labels, found {shown(labels)}")
    attention = raw.get("_attn_implementation", raw.get("attn_implementation"))
    if raw.get("output_attentions") and attention not in (None, "eager"):
        raise CheckpointError(
            f"output_attentions: expected false with attn_implementation {shown(attention)}, as transformers "
            f"requires, found {shown(raw['output_attentions'])}"
        )


def _is_whole(key: str) -> bool:
    try:
        int(key)
    except ValueError:
        return False
    return True


def _length(positions: int, asked: int | None) -> int:
    if asked is None:
        return positions
    if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= positions:
        raise CheckpointError(
            f"max_seq_len: expected 1 to max_position_embeddings = {positions}, found {shown(asked)}"
        )
    return asked
