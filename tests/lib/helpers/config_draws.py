"""Draws config.json files: every spelling that published ones have, with small sizes, and some wrong values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

PUBLISHED: dict[str, Json] = json.loads(
    (Path(__file__).parents[2] / "laws" / "published_configs.json").read_text(encoding="utf-8")
)
CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
_ABSENT = object()
_WRONG = (None, True, 0, -1, 1.5, "x", [], {}, [None], 2)
# Their values are not made wrong: transformers may fail on one, but the model would be the same.
_NO_PART_OF_THE_MODEL = {"output_hidden_states", "num_labels", "problem_type", "auto_map", "gradient_checkpointing"}


def _one_of(*values: object) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


# Keys that decide no size; the first values are what most configs have.
_VALUES: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu", _ABSENT, "gelu", "gelu_new", "gelu_pytorch_tanh", "swish", "relu"),
    "rms_norm_eps": (1e-5, _ABSENT, 1e-6, 0.5, 1, 0.0),
    "tie_word_embeddings": (False, _ABSENT, True),
    "attention_bias": (_ABSENT, False, True),
    "mlp_bias": (_ABSENT, False, True),
    "rope_theta": (_ABSENT, 10000.0, 10000, 500000.0, None, 1.5),
    "original_max_position_embeddings": (_ABSENT, _ABSENT, _ABSENT, 5, 5.0, None),
    "partial_rotary_factor": (_ABSENT, _ABSENT, _ABSENT, 1, 1.0, 0.5, None),
    "torch_dtype": (_ABSENT, "float16", "bfloat16", "float32", "torch.float16", None, "float"),
    "dtype": (_ABSENT, _ABSENT, "float32", "bfloat16", None, "torch.bfloat16", "auto"),
    "pad_token_id": (_ABSENT, None, 0, -1, 2, 99),
    "bos_token_id": (_ABSENT, 1, -1, None),
    "eos_token_id": (_ABSENT, 2, [2, 3], -2, None),
    "use_cache": (_ABSENT, True, False),
    "quantization_config": (_ABSENT, _ABSENT, _ABSENT, None, {"quant_method": "fp8"}, {"load_in_4bit": True}),
    "auto_map": (_ABSENT, _ABSENT, {"AutoModelForCausalLM": "modeling_x.X"}, None),
    "attention_dropout": (_ABSENT, 0.0, 0.1, 0),
    "is_causal": (_ABSENT, _ABSENT, _ABSENT, True, False, None),
    "is_encoder_decoder": (_ABSENT, False, None),
    "output_attentions": (_ABSENT, False, True),
    "output_hidden_states": (_ABSENT, False, True),
    "return_dict": (_ABSENT, True, False),
    "pretraining_tp": (_ABSENT, 1, 2),
    "max_window_layers": (_ABSENT, 0, 1, 28),
    "use_sliding_window": (_ABSENT, False, True),
    "layer_types": (_ABSENT, _ABSENT, None, "full", "sliding", "mixed"),
}
# What published configs and older versions of transformers have besides, and what nobody reads.
_BESIDES: tuple[tuple[str, object], ...] = (
    ("unk_token_id", 0),
    ("_model_name_or_path", "x"),
    ("gradient_checkpointing", False),
    ("gradient_checkpointing", True),
    ("keys_to_ignore_at_inference", ["past_key_values"]),
    ("internal_version", "1"),
    ("max_sequence_length", 9),
    ("pruned_heads", {"0": [0]}),
    ("num_labels", 2),
    ("num_labels", 5),
    ("id2label", {"0": "a", "1": "b"}),
    ("label2id", {"a": 0, "b": 1}),
    ("problem_type", "regression"),
    ("attn_implementation", "eager"),
    ("_attn_implementation", "flash_attention_2"),
    ("_attn_implementation_autoset", True),
    ("text_config", None),
    ("text_config", {"hidden_size": 8}),
    ("rotary_dim", 4),
    ("alibi", True),
    ("parallel_residual", True),
    ("logits_scaling", 8.0),
    ("embedding_multiplier", 12.0),
    ("residual_multiplier", 0.22),
    ("attention_multiplier", 0.015625),
    ("final_logit_softcapping", 30.0),
    ("attn_logit_softcapping", 50.0),
    ("query_pre_attn_scalar", 16),
    ("qk_norm", True),
    ("use_qk_norm", True),
    ("no_rope_layers", [1, 1]),
    ("num_local_experts", 8),
    ("num_experts_per_tok", 2),
    ("attention_chunk_size", 4),
    ("attention_chunk_size", None),
    ("num_heads", 4),
    ("embed_dim", 8),
    ("clip_qkv", 8.0),
    ("attention_out_bias", True),
    ("qkv_bias", True),
    ("unknown", None),
    ("unknown", {"a": [1]}),
    ("head_dim_typo", 3),
    ("default_theta", 5.0),
    ("use_return_dict", True),
    ("per_layer_config", None),
    ("kv_sharing_modes", None),
    ("_commit_hash", "0123"),
    ("_name_or_path", "x"),
    ("name_or_path", "y"),
    ("temperature", 0.6),
)


def _published() -> list[tuple[str, object]]:
    """Every key with every value, except sizes, kinds and RoPE, which are drawn apart."""
    apart = {
        *_VALUES,
        *("model_type", "architectures", "rope_scaling", "rope_parameters", "sliding_window", "head_dim"),
    }
    seen = {
        (key, json.dumps(value))
        for config in PUBLISHED.values()
        for key, value in config.items()
        if key not in apart
        and not (isinstance(value, int) and key.endswith(("_size", "_heads", "_layers", "_embeddings")))
    }
    return [(key, json.loads(value)) for key, value in sorted(seen)]


@st.composite
def rope(draw: st.DrawFn) -> Any:
    """What stands under rope_scaling or rope_parameters."""
    kind = draw(_one_of(*("default", "linear", "dynamic", "llama3", "yarn") * 3, "longrope", "none"))
    said: Json = {}
    spelling = draw(_one_of(*("rope_type", "type") * 3, "both", "contradiction", "none"))
    if spelling in ("rope_type", "both", "contradiction"):
        said["rope_type"] = kind
    if spelling in ("type", "both"):
        said["type"] = kind
    if spelling == "contradiction":
        said["type"] = draw(_one_of("default", "linear", "yarn", "mrope", None))
    values: dict[str, tuple[object, ...]] = {
        "factor": (2.0, 4.0, 8, 1.0, 0.5, None, 0, "2"),
        "original_max_position_embeddings": (8, 4, 64, 8.0, None),
        "low_freq_factor": (1.0, 1, 4.0, None),
        "high_freq_factor": (4.0, 4, 8.0, 1.0, None),
        "beta_fast": (32.0, 32, 3.0, None, 0),
        "beta_slow": (1.0, 1, 2.0, None, 0),
        "attention_factor": (1.5, None, 0.0, 1),
        "mscale": (1.0, 0.707, None, 0),
        "mscale_all_dim": (1.0, 0.5, None, 0),
        "truncate": (True, False, None, 1),
        "rope_theta": (10000.0, 5e5, 100, None),
        "partial_rotary_factor": (1.0, 1, 0.5, None),
        "finetuned": (True, False),
        "mrope_section": ([1, 1],),
        "full_attention": ({"rope_type": "default", "rope_theta": 1e4}, None),
        "sliding_attention": (None,),
    }
    own = {
        "linear": ("factor",),
        "dynamic": ("factor",),
        "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
        "yarn": ("factor", "original_max_position_embeddings"),
    }.get(kind, ())
    for key in own:
        if draw(st.integers(0, 19)) > 0:
            said[key] = draw(_favouring_first(values[key]))
    for key in draw(st.lists(_one_of(*values), max_size=2, unique=True)):
        said.setdefault(key, draw(_favouring_first(values[key])))
    return said


def _favouring_first(values: tuple[object, ...]) -> st.SearchStrategy[Any]:
    return _one_of(*values[:1] * 8, *values)


@st.composite
def configs(draw: st.DrawFn) -> Json:
    """The content of a config.json."""
    family = draw(_one_of(*CLASSES))
    said = _sizes(draw)
    kind = draw(_favouring_first((family, _ABSENT, None, "gpt2")))
    if kind is not _ABSENT:
        said["model_type"] = kind
    said |= {
        key: value
        for key, value in {
            "architectures": draw(_architectures(family)),
            "sliding_window": draw(_one_of(_ABSENT, *(None,) * 5, 4, 1000, 1 << 20)),
        }.items()
        if value is not _ABSENT
    }
    for key in draw(st.lists(_one_of(*_VALUES), max_size=8, unique=True)):
        value = draw(_favouring_first(_VALUES[key]))
        if key == "layer_types" and isinstance(value, str):
            value = _layer_types(value, said.get("num_hidden_layers", 2))
        if value is not _ABSENT:
            said[key] = value
    for key in ("rope_scaling", "rope_parameters"):
        value = draw(st.one_of(_one_of(_ABSENT, _ABSENT, _ABSENT, None, {}), rope()))
        if value is not _ABSENT:
            said[key] = value
    for key, value in draw(st.lists(_one_of(*_BESIDES, *_published()), max_size=3)):
        said[key] = value
    return said


@st.composite
def spoilt_configs(draw: st.DrawFn) -> Json:
    """One with another value for some key, of a wrong type or beyond its range."""
    said = draw(configs())
    return {**said, draw(_one_of(*sorted(said.keys() - _NO_PART_OF_THE_MODEL))): draw(_one_of(*_WRONG))}


def _sizes(draw: st.DrawFn) -> Json:
    kv_heads, per_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    heads, head_dim = kv_heads * per_group, 2 * draw(st.integers(1, 4))
    said: Json = {
        "vocab_size": draw(st.integers(3, 12)),
        "hidden_size": heads * draw(_one_of(head_dim, 2, 4, 6, 3)) + draw(_one_of(*(0,) * 12, 1)),
        "intermediate_size": draw(st.integers(1, 9)),
        "num_hidden_layers": draw(st.integers(1, 2)),
        "num_attention_heads": heads,
    }
    optional = {
        "num_key_value_heads": (kv_heads, kv_heads, kv_heads, _ABSENT, None),
        "head_dim": (head_dim, _ABSENT, None),
        "max_position_embeddings": (draw(st.integers(2, 16)), 12, _ABSENT),
    }
    for key, values in optional.items():
        value = draw(_one_of(*values))
        if value is not _ABSENT:
            said[key] = value
    return said


def _architectures(family: str) -> st.SearchStrategy[Any]:
    own = [CLASSES[family]]
    others = (_ABSENT, None, [], ["LLaMAForCausalLM"], ["LlamaForSequenceClassification"], [*own, "LlamaModel"])
    return _one_of(own, own, own, *others)


def _layer_types(kind: str, layers: int) -> list[str]:
    words = {
        "full": ["full_attention"],
        "sliding": ["sliding_attention"],
        "mixed": ["full_attention", "sliding_attention"],
    }
    return [words[kind][number % len(words[kind])] for number in range(layers)]
