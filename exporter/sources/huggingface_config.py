"""Hugging Face's config.json, as transformers reads it: what is known, and everything else refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

from exporter.config import ModelConfig
from exporter.errors import CheckpointError
from exporter.sources.huggingface_rope import rope
from exporter.strict_json import Json, number, read_object, shown

_REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_MODEL_TYPES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2"}

# What transformers' config classes say where the file is silent; num_key_value_heads null: as many as heads.
_DEFAULTS: dict[str, Json] = {
    "llama": {
        "max_position_embeddings": 2048,
        "num_key_value_heads": None,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "mistral": {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"max_position_embeddings": 32768, "num_key_value_heads": 32, "use_sliding_window": False},
}
_COMMON_DEFAULTS: Json = {
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "head_dim": None,
    "rope_theta": None,
    "rope_scaling": None,
    "rope_parameters": None,
    "original_max_position_embeddings": None,
    "layer_types": None,
}
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}

# Without a meaning for the logits, whatever they say.
_HARMLESS = """
    architectures model_type transformers_version transformers.js_config _name_or_path name_or_path _commit_hash
    torch_dtype dtype use_cache initializer_range attention_dropout id2label label2id problem_type num_labels
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id tokenizer_class unsloth_fixed
    unsloth_version output_hidden_states output_attentions return_dict return_dict_in_generate output_scores
    attn_implementation _attn_implementation _attn_implementation_autoset is_llama_config torchscript is_decoder
    task_specific_params finetuning_task prefix
    max_length min_length max_new_tokens do_sample early_stopping num_beams num_beam_groups diversity_penalty
    temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size bad_words_ids
    num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values begin_suppress_tokens
    suppress_tokens exponential_decay_length_penalty encoder_no_repeat_ngram_size
"""
# Without a meaning as long as they are one of these.
_HARMLESS_AT: dict[str, tuple[object, ...]] = {
    "pretraining_tp": (1, None),
    "partial_rotary_factor": (1, None),
    "rope_interleaved": (False, None),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "quantization_config": (None,),
}
_HARMLESS_AT_FOR: dict[str, dict[str, tuple[object, ...]]] = {
    "llama": {"sliding_window": (None,), "use_sliding_window": (False,)},
    "mistral": {"attention_bias": (False,), "mlp_bias": (False,), "use_sliding_window": (False,)},
    "qwen2": {"mlp_bias": (False,), "use_mrope": (False,)},
}
_HARMLESS_FOR: dict[str, frozenset[str]] = {
    # read only where use_sliding_window is set, which is refused
    "qwen2": frozenset({"sliding_window", "max_window_layers"}),
}

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


def read_config(path: Path) -> ModelConfig:
    """The config that this config.json means to transformers. Raises CheckpointError."""
    raw = read_object(path)
    try:
        return _config(raw)
    except RecursionError as error:
        raise CheckpointError(f"{path}: expected a flat JSON object, found one nested too deeply") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error)[:400]}") from error


def _config(raw: Json) -> ModelConfig:
    model_type = _model_type(raw)
    for key in _REQUIRED:
        if key not in raw:
            raise CheckpointError(f"missing {key}")
    defaults = {**_COMMON_DEFAULTS, **_DEFAULTS[model_type]}
    _refuse_unknown(raw, model_type, defaults)
    given = {**defaults, **raw}
    heads = given["num_attention_heads"]
    kv_heads = given["num_key_value_heads"]
    head_dim = given["head_dim"]
    if head_dim is not None and not head_dim:
        raise CheckpointError(f"head_dim: expected a positive integer or null, found {shown(head_dim)}")
    if not isinstance(given["hidden_act"], str) or given["hidden_act"] not in _ACTIVATIONS:
        raise CheckpointError(
            f"hidden_act: expected one of {', '.join(_ACTIVATIONS)}, found {shown(given['hidden_act'])}"
        )
    bias = given.get("attention_bias", False)
    try:
        config = ModelConfig(
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
            qkv_bias=True if model_type == "qwen2" else bias,
            wo_bias=False if model_type == "qwen2" else bias,
            mlp_bias=given["mlp_bias"] if model_type == "llama" else False,
            activation=_ACTIVATIONS[given["hidden_act"]],
        )
    except CheckpointError as error:
        raise CheckpointError(_in_their_names(str(error))) from error
    _refuse_windows(given, model_type, config)
    theta, scaling = rope(given, config.max_seq_len)
    return ModelConfig(**{**config.__dict__, "rope_theta": theta, "rope_scaling": scaling})


def _in_their_names(message: str) -> str:
    wanted, comma, found = message.partition(", found ")
    return re.sub(r"\w+", lambda word: _THEIR_NAMES.get(word[0], word[0]), wanted) + comma + found


def _model_type(raw: Json) -> str:
    architectures, model_type = raw.get("architectures"), raw.get("model_type")
    known = ", ".join(_MODEL_TYPES)
    if architectures is None:
        if isinstance(model_type, str) and model_type in _MODEL_TYPES.values():
            return model_type
        raise CheckpointError(
            f"architectures: expected one of {known}, found none, and model_type: {shown(model_type)}"
        )
    if (
        not isinstance(architectures, list)
        or len(architectures) != 1
        or not isinstance(architectures[0], str)
        or architectures[0] not in _MODEL_TYPES
    ):
        raise CheckpointError(f"architectures: expected one of {known}, found {shown(architectures)}")
    expected = _MODEL_TYPES[architectures[0]]
    if model_type is not None and model_type != expected:
        raise CheckpointError(f"model_type: expected {expected!r} for {architectures[0]}, found {shown(model_type)}")
    return expected


def _refuse_unknown(raw: Json, model_type: str, defaults: Json) -> None:
    harmless = _HARMLESS.split()
    harmless_at = {**_HARMLESS_AT, **_HARMLESS_AT_FOR[model_type]}
    for key, value in raw.items():
        if key in defaults or key in _REQUIRED or key in harmless or key in _HARMLESS_FOR.get(model_type, ()):
            continue
        if key not in harmless_at:
            raise CheckpointError(f"no known meaning for {model_type}, and it may change the model: {shown(key)}")
        if not any(value == allowed and _same_kind(value, allowed) for allowed in harmless_at[key]):
            expected = " or ".join(json.dumps(allowed) for allowed in harmless_at[key])
            raise CheckpointError(f"{key}: expected {expected}, found {shown(value)}")


def _same_kind(a: object, b: object) -> bool:
    """False is no 0 here, and 1 no true."""
    return isinstance(a, bool) == isinstance(b, bool)


def _refuse_windows(given: Json, model_type: str, config: ModelConfig) -> None:
    """Attention to the last positions alone, which no format can express."""
    if model_type == "mistral" and given["sliding_window"] is not None:
        window = given["sliding_window"]
        if isinstance(window, bool) or not isinstance(window, int):
            raise CheckpointError(f"sliding_window: expected an integer or null, found {shown(window)}")
        if window < config.max_seq_len:
            raise CheckpointError(
                f"sliding_window (4096 where it is not given): expected null or at least "
                f"max_position_embeddings = {config.max_seq_len}, found {window}"
            )
    if model_type == "qwen2" and given["use_sliding_window"] is not False:
        raise CheckpointError(f"use_sliding_window: expected false, found {shown(given['use_sliding_window'])}")
    types = given["layer_types"]
    # their number first: what n_layers says is not yet held against any tensor
    if types is not None and not (
        isinstance(types, list) and len(types) == config.n_layers and all(kind == "full_attention" for kind in types)
    ):
        raise CheckpointError(
            f"layer_types: expected full_attention for each of {config.n_layers} layers, found {shown(types)}"
        )
