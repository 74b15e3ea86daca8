"""The fields that most config classes share: their defaults, their types, and numbers within them."""

from __future__ import annotations

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.number_checks import LARGEST, SMALLEST
from exporter.strict_json import Json, number, shown

# transformers has defaults for these too, but a model whose size is guessed is another model.
REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

COMMON: Json = {
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "is_encoder_decoder": False,
    "return_dict": True,
    "is_causal": True,
}
COMMON_TYPES: dict[str, str] = {
    **dict.fromkeys((*REQUIRED, "max_position_embeddings"), "int"),
    **dict.fromkeys(("pad_token_id", "bos_token_id"), "int null"),
    **dict.fromkeys(("rms_norm_eps", "initializer_range"), "float"),
    **dict.fromkeys(("use_cache", "tie_word_embeddings"), "bool"),
    "eos_token_id": "int ints null",
    "hidden_act": "str",
    "rope_parameters": "object null",
    "attention_dropout": "int float",
}
# Classes without a field for it, whose models compute with what is there, null too.
HEAD_DIM = {"head_dim": "int"}
WINDOW_TYPES = {"sliding_window": "int null", "layer_types": "strings null"}


def positive(key: str, value: object) -> float:
    """Return a positive number that is normal as float32. Raises CheckpointError."""
    found = number(key, value)
    if not SMALLEST <= found <= LARGEST:
        raise CheckpointError(f"{key}: expected a positive finite number, normal as float32, found {shown(value)}")
    return found


def positive_or_null(key: str, value: object) -> float:
    """Return 0 for null, else a positive number. Raises CheckpointError."""
    return 0.0 if value is None else positive(key, value)


def attention_biases(given: Json, _base: ModelConfig) -> Json:
    """Read attention_bias, which is one of q, k, v and o together."""
    return {"qkv_bias": given["attention_bias"], "wo_bias": given["attention_bias"]}


def same_biases(config: ModelConfig) -> Json:
    """Say what a class with one attention_bias needs: o has a bias where q, k and v have one."""
    return {"wo_bias": config.qkv_bias}
