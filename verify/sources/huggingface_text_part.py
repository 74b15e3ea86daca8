"""Finds the language model in a directory of a multimodal model, and leaves out what only images need.

A text without images goes through transformers' language model alone, and Gemma 3's attention in both directions is
one of images alone. So the language model by itself, as the class that its own model_type names, is the reference.
What config.json does not say is asked of transformers' own configuration class.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.sources.huggingface_families import FAMILIES
from verify.sources.huggingface_mrope import FLAT, OF_ONE_POSITION, flat, of_one_position
from verify.sources.refusal import refusal
from verify.sources.shards import Shards
from verify.sources.torch_files import identical
from verify.system.optional_imports import quiet_transformers

# Of stored names, in the order of transformers' versions: of 4, and of 5.
_LANGUAGE_MODEL = r"language_model\.(model|lm_head)|model\.(language_model)|(lm_head)"
_TEXT_MODEL = r"model\.(text_model)|(lm_head)"
_WHOLE_MODEL = r"model\.(language_model)|(model)|(lm_head)"
_TOWER = r"vision_tower|multi_modal_projector"


@dataclass(frozen=True)
class Layout:
    """Says by which names a multimodal model stores its parts: patterns of what a name begins with."""

    vision: str = _TOWER
    language: str = _LANGUAGE_MODEL


_OF_TILES = Layout(rf"{_TOWER}|image_newline")
_OF_IDEFICS = Layout("vision_model|connector", _TEXT_MODEL)
LAYOUTS = {
    **dict.fromkeys(("gemma3", "mistral3", "llava", "vipllava", "internvl"), Layout()),
    **dict.fromkeys(("llava_next", "llava_next_video", "llava_onevision"), _OF_TILES),
    **dict.fromkeys(("idefics3", "smolvlm"), _OF_IDEFICS),
    "video_llava": Layout(r"image_tower|video_tower|multi_modal_projector"),
    "lighton_ocr": Layout("vision_encoder|vision_projection"),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), Layout("visual", _WHOLE_MODEL)),
    "qwen3_vl": Layout("visual"),
}
# Their configuration classes tie where text_config says so, too.
_TIED_BY_TEXT = {"llava", "llava_onevision", "qwen2_vl", "qwen2_5_vl"}
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class TextPart:
    """Holds the whole's model_type, and what config.json says of its language model, as if that were all."""

    whole: str
    said: dict[str, Any]

    def is_vision(self, stored: str) -> bool:
        """Return whether the text needs no tensor of that name."""
        return re.match(rf"(model\.)?({LAYOUTS[self.whole].vision})(\.|$)", stored) is not None

    def names(self, path: Path, stored: list[str]) -> dict[str, str]:
        """Return the names that the language model's own class has for the stored tensors, each with the stored
        one. Raises CannotJudgeError for a tensor of neither part."""
        pattern = re.compile(rf"({LAYOUTS[self.whole].language})\.(.+)")
        found: dict[str, str] = {}
        for name in stored:
            match = pattern.fullmatch(name)
            if match is None:
                expected = f"those of the language model and of the vision part of {self.whole}"
                raise refusal(path, "tensors", expected, name)
            *parts, rest = match.groups()[1:]
            own = f"{'lm_head' if 'lm_head' in parts else 'model'}.{rest}"
            if own in found:
                raise refusal(path, own, "one such tensor", f"{found[own]} and {name}")
            found[own] = name
        return found

    def note(self, vision: int) -> str:
        """Say what was taken. vision: the number of tensors that were left out."""
        many = "1 vision tensor" if vision == 1 else f"{vision} vision tensors"
        return f"text part of {self.whole} ({self.said['model_type']}); {many} left out"


def text_part(where: Path, said: dict[str, Any]) -> TextPart | None:
    """Return the language model of a multimodal config.json; None where the whole is one. Raises CannotJudgeError."""
    whole = said.get("model_type")
    if not isinstance(whole, str) or whole not in LAYOUTS:
        return None
    with quiet_transformers() as transformers:
        made = transformers.CONFIG_MAPPING[whole]
        inner = said.get("text_config")
        if inner is None and whole in FLAT:
            inner = flat(transformers, whole, said)
        if not isinstance(inner, dict):
            raise refusal(where, "text_config", "an object", inner)
        spec = made.sub_configs_defaults["text_config"]
        # a class of its own goes before any model_type
        own = getattr(spec.config_class, "model_type", "")
        model_type = own or inner.get("model_type", spec.model_type)
        says_tied = inner.get("tie_word_embeddings") is True
        if isinstance(model_type, str) and model_type in OF_ONE_POSITION:
            model_type, inner = of_one_position(where, transformers, model_type, inner)
    defaults = {field.name: field.default for field in dataclasses.fields(made)}
    tied = said.get("tie_word_embeddings", defaults["tie_word_embeddings"])
    if not isinstance(tied, bool):
        raise refusal(where, "tie_word_embeddings", "true or false", tied)
    tied = tied or (whole in _TIED_BY_TEXT and says_tied)
    # generation asks the whole first
    tokens = {key: said[key] for key in ("bos_token_id", "eos_token_id") if said.get(key) is not None}
    # of the class that computes a text; what stands there names none, or one that nobody makes
    known = isinstance(model_type, str) and model_type in FAMILIES
    named = [FAMILIES[model_type].architecture] if known else inner.get("architectures")
    settled = {"model_type": model_type, "tie_word_embeddings": tied, "architectures": named}
    return TextPart(whole, {**inner, **tokens, **settled})


def is_tied(names: dict[str, str], shards: Shards) -> bool:
    """Return whether the classifier is the embedding, where config.json says so. transformers ties two stored
    tensors only if they are equal, and version 5 says of many models that they are tied which never were."""
    if not {_HEAD, _EMBEDDING} <= names.keys():
        return True
    return identical(shards.read(names[_HEAD]), shards.read(names[_EMBEDDING]))
