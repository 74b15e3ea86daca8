"""Language models of Qwen 2-VL, 2.5-VL and 3-VL, as the Qwen 2 and Qwen 3 that a text without images goes through.

Their RoPE takes three positions of each token: time, height and width. Those of a text are one number, so every pair
of a head is turned by the same angle as in Qwen 2 and 3, whichever section it is in.
"""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown

_SECTION, _INTERLEAVED, _MROPE = "mrope_section", "mrope_interleaved", "mrope"
_ROPES = ("rope_scaling", "rope_parameters")
# What their classes have where config.json is silent, and Qwen 2 and 3 have otherwise.
QWEN2_VL: Json = {
    **{"rope_theta": 1000000.0, "max_window_layers": 80},
    **{"hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "num_attention_heads": 64},
    **{"num_key_value_heads": 8, "vocab_size": 152064, "rms_norm_eps": 1e-5},
}
QWEN3_VL: Json = {
    **{"hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32},
    **{"vocab_size": 151936, "max_position_embeddings": 128000, "rope_theta": 500000.0},
}
# Of a flat config.json, as the first two are published: what goes to the language model.
_FLAT = """
    vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads hidden_act
    max_position_embeddings rms_norm_eps use_sliding_window sliding_window max_window_layers layer_types
    attention_dropout initializer_range rope_parameters rope_scaling rope_theta pad_token_id dtype torch_dtype
    tie_word_embeddings
"""
# Keys of Qwen 3 that Qwen 3-VL's class does not read.
_OF_WINDOWS = ("sliding_window", "max_window_layers", "layer_types", "use_sliding_window")


def flat_text(raw: Json) -> Json:
    """Return what a flat config.json says of the language model."""
    return {key: raw[key] for key in _FLAT.split() if key in raw}


def as_qwen2(said: Json) -> Json:
    """Return the Qwen 2 that a text_config describes. Raises CheckpointError."""
    return _one_position({"use_sliding_window": False, **said}, whole=True)


def as_qwen3(said: Json) -> Json:
    """Return the Qwen 3 that a text_config describes, which has no windows. Raises CheckpointError."""
    return _one_position({key: value for key, value in said.items() if key not in _OF_WINDOWS}, whole=False)


def _one_position(said: Json, *, whole: bool) -> Json:
    """Return the same with RoPE of one position. whole: whether the sections must make up a half of a head."""
    return {
        key: _without_sections(key, value, said, whole=whole) if key in _ROPES and isinstance(value, dict) else value
        for key, value in said.items()
    }


def _without_sections(key: str, rope: Json, said: Json, *, whole: bool) -> Json:
    sections = rope.get(_SECTION)
    if sections is not None:
        numbers = isinstance(sections, list) and all(type(number) is int and number >= 0 for number in sections)
        if not numbers or len(sections) != 3:
            raise CheckpointError(f"{key}: {_SECTION}: expected three integers, found {shown(sections)}")
        dim, heads = said.get("hidden_size"), said.get("num_attention_heads")
        half = dim // heads // 2 if isinstance(dim, int) and isinstance(heads, int) and heads > 0 else sum(sections)
        if whole and sum(sections) != half:
            raise CheckpointError(f"{key}: {_SECTION}: expected a sum of {half}, a half of a head, found {sections}")
    kept = {name: value for name, value in rope.items() if name not in (_SECTION, _INTERLEAVED)}
    kind = kept.get("rope_type", kept.get("type"))
    if kind == _MROPE:
        kept = {**{name: value for name, value in kept.items() if name != "type"}, "rope_type": "default"}
    return kept
