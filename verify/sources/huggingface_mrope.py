"""Reads the language models of Qwen 2-VL, 2.5-VL and 3-VL as Qwen 2 and Qwen 3.

Multimodal RoPE (mrope) gives each section of a head's pairs a position of its own: in time, height, and width of an
image. A token of a text has the same position three times, so the sections change nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from verify.sources.huggingface_families import FAMILIES
from verify.sources.refusal import refusal

# The language model's own model_type -> the family that computes the same of a text.
OF_ONE_POSITION = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
# Their config.json may have the language model's keys beside the others.
FLAT = ("qwen2_vl", "qwen2_5_vl")
_OF_ROPE = ("rope_parameters", "rope_scaling", "rope_theta")
_SAME_ANYWAY = ("torch_dtype", "tie_word_embeddings")


def flat(transformers: Any, whole: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that transformers hands on to the language model's configuration class."""
    made = transformers.CONFIG_MAPPING[whole].sub_configs_defaults["text_config"].config_class
    taken = {*inspect.signature(made.__init__).parameters, *_OF_ROPE, *_SAME_ANYWAY}
    return {key: value for key, value in said.items() if key in taken and key != "text_config"}


def of_one_position(
    where: Path, transformers: Any, model_type: str, said: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the family and what its config.json would say, where one class's defaults are not the other's. Raises
    CannotJudgeError for sections that transformers cannot cut a head into."""
    made, family = transformers.CONFIG_MAPPING[model_type], OF_ONE_POSITION[model_type]
    theirs, ours = (_defaults(each) for each in (made, getattr(transformers, FAMILIES[family].config)))
    # Qwen 3-VL's layers have no windows, whatever config.json says of them
    known = {key: value for key, value in said.items() if key in theirs or key not in ours}
    filled = {key: value for key, value in theirs.items() if key in ours and ours[key] != value}
    if not any("rope_theta" in found for found in _ropes(said)):
        filled["rope_theta"] = made.default_theta
    found = {**filled, **known}
    for key in ("rope_scaling", "rope_parameters"):
        if isinstance(found.get(key), dict):
            found[key] = _of_text(where, key, found[key], found, whole=family == "qwen2")
    return family, found


def _defaults(made: Any) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(made) if field.name != "rope_parameters"}


def _ropes(said: dict[str, Any]) -> list[dict[str, Any]]:
    inner = (said.get(key) for key in ("rope_scaling", "rope_parameters"))
    return [said, *(rope for rope in inner if isinstance(rope, dict))]


def _of_text(where: Path, key: str, rope: dict[str, Any], said: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return RoPE's parameters without sections. whole: whether they must fill half a head."""
    sections = rope.get("mrope_section")
    if sections is not None:
        what = f"{key}: mrope_section"
        counts = isinstance(sections, list) and all(type(count) is int and count >= 0 for count in sections)
        if not counts or len(sections) != 3:
            raise refusal(where, what, "three counts", sections)
        half = said["hidden_size"] // said["num_attention_heads"] // 2
        if whole and sum(sections) != half:
            raise refusal(where, what, f"a sum of {half}, half a head", sections)
    plain = {name: value for name, value in rope.items() if name not in ("mrope_section", "mrope_interleaved")}
    if plain.get("rope_type", plain.get("type")) == "mrope":
        plain.pop("type", None)
        plain["rope_type"] = "default"
    return plain
