"""The fields of transformers' config classes: what each family has where config.json is silent, and of which type a
value must be. transformers 5 validates the types of these fields alone, strictly: 1 is no float there, and true no
integer."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown

# transformers has defaults for these too, but a model whose size is guessed is another model.
REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

_COMMON: Json = {
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "is_encoder_decoder": False,
    "return_dict": True,
    "is_causal": True,
}
# num_key_value_heads null: as many as heads.
DEFAULTS: dict[str, Json] = {
    "llama": {
        **_COMMON,
        "max_position_embeddings": 2048,
        "num_key_value_heads": None,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "mistral": {
        **_COMMON,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
    "qwen2": {
        **_COMMON,
        "max_position_embeddings": 32768,
        "num_key_value_heads": 32,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
}

_WORDS = {
    "int": "an integer",
    "float": "a float",
    "bool": "true or false",
    "str": "a string",
    "null": "null",
    "object": "an object",
    "ints": "a list of integers",
    "strings": "a list of strings",
}
_LISTS = {"ints": "int", "strings": "str"}
_COMMON_TYPES = {
    **dict.fromkeys((*REQUIRED, "max_position_embeddings"), "int"),
    **dict.fromkeys(("pad_token_id", "bos_token_id"), "int null"),
    **dict.fromkeys(("rms_norm_eps", "initializer_range"), "float"),
    **dict.fromkeys(("use_cache", "tie_word_embeddings"), "bool"),
    "eos_token_id": "int ints null",
    "hidden_act": "str",
    "rope_parameters": "object null",
    "attention_dropout": "int float",
}
_TYPES: dict[str, dict[str, str]] = {
    "llama": {
        **_COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "head_dim", "pretraining_tp"), "int null"),
        **dict.fromkeys(("attention_bias", "mlp_bias"), "bool"),
        "attention_dropout": "int float null",
    },
    "mistral": {**_COMMON_TYPES, "num_key_value_heads": "int", "head_dim": "int null", "sliding_window": "int null"},
    "qwen2": {
        **_COMMON_TYPES,
        **dict.fromkeys(("num_key_value_heads", "sliding_window"), "int null"),
        "use_sliding_window": "bool",
        "max_window_layers": "int",
        "layer_types": "strings null",
        # no field of the class, but its model computes with what is there, null too
        "head_dim": "int",
    },
}


def check_types(raw: Json, family: str) -> None:
    """Raise CheckpointError for the first value that the family's config class refuses."""
    for key, value in raw.items():
        types = _TYPES[family].get(key, "").split()
        if types and not any(_is(value, name) for name in types):
            expected = " or ".join(_WORDS[name] for name in types)
            raise CheckpointError(f"{key}: expected {expected}, found {shown(value)}")
    if family == "llama" and not 0 <= raw.get("initializer_range", 0) <= 1:
        raise CheckpointError(f"initializer_range: expected 0 to 1, found {shown(raw['initializer_range'])}")


def _is(value: object, name: str) -> bool:
    if name in _LISTS:
        return isinstance(value, list) and all(_is(each, _LISTS[name]) for each in value)
    if name == "null":
        return value is None
    if isinstance(value, bool):
        return name == "bool"
    return isinstance(value, {"int": int, "float": float, "str": str, "object": dict, "bool": bool}[name])
