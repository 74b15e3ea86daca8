"""Small multimodal models of transformers' own making, with a language model of a known family."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from verify.system.optional_imports import quiet_transformers

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])
_TEXT: dict[str, Any] = {
    **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 6, "vocab_size": 19, "max_position_embeddings": 24},
    **{"rms_norm_eps": 2.0**-17, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
}
_TOWER = {
    **{"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 8, "patch_size": 4},
}
_CLIP = {**_TOWER, "model_type": "clip_vision_model", "projection_dim": 8}
_SIGLIP = {**_TOWER, "model_type": "siglip_vision_model"}
_PIXTRAL = {**_TOWER, "model_type": "pixtral", "head_dim": 4}
_INTERN = {**_TOWER, "image_size": [8, 8], "patch_size": [4, 4]}

_BLOCKS = {"depth": 1, "hidden_size": 8, "out_hidden_size": 16, "num_heads": 2, "patch_size": 4}

# model_type -> the family of the text, and the part for images
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma3": ("gemma3_text", _SIGLIP),
    "mistral3": ("ministral3", _PIXTRAL),
    "llava": ("mistral", _PIXTRAL),
    "llava_next": ("llama", _CLIP),
    "llava_next_video": ("mistral", _CLIP),
    "llava_onevision": ("qwen2", _SIGLIP),
    "video_llava": ("llama", _CLIP),
    "vipllava": ("llama", _CLIP),
    "internvl": ("qwen3", _INTERN),
    "idefics3": ("llama", _TOWER),
    "smolvlm": ("llama", _TOWER),
    "lighton_ocr": ("qwen3", _PIXTRAL),
    "qwen2_vl": ("qwen2", {"depth": 1, "embed_dim": 8, "hidden_size": 16, "num_heads": 2, "patch_size": 4}),
    "qwen2_5_vl": ("qwen2", {**_BLOCKS, "intermediate_size": 8}),
    "qwen3_vl": ("qwen3", {**_BLOCKS, "intermediate_size": 8, "deepstack_visual_indexes": [0]}),
}
_SECTIONS: dict[str, Any] = {"rope_type": "default", "rope_theta": 50.0, "mrope_section": [1, 1, 0]}
_OWN: dict[str, dict[str, Any]] = {
    "gemma3": {"sliding_window": 4},
    **{kind: {"head_dim": None, "rope_parameters": _SECTIONS} for kind in ("qwen2_vl", "qwen2_5_vl")},
    "qwen3_vl": {"rope_parameters": {**_SECTIONS, "mrope_section": [1, 1, 1], "mrope_interleaved": True}},
}


def multimodal(kind: str, text: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A model with random weights; text, changes: of text_config and of the whole."""
    family, tower = CASES[kind]
    said = {"model_type": family, **_TEXT, **copy.deepcopy(_OWN.get(kind, {})), **(text or {})}
    if "_vl" in kind:
        said = {key: value for key, value in said.items() if key != "model_type" and value is not None}
    own = {"text_config": said, "vision_config": dict(tower)}
    images = {"mm_tokens_per_image": 4} if kind == "gemma3" else {}
    with quiet_transformers() as transformers:
        config = transformers.CONFIG_MAPPING[kind](**{**own, **images, **changes})
        made = transformers.AutoModelForMultimodalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            size = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
            one = 1.0 if "norm" in name and kind != "gemma3" and parameter.dim() == 1 else 0.0
            parameter.copy_(one + size * values)
    return made


def language_model(made: Any) -> Any:
    """The model of text within."""
    return made.model.text_model if hasattr(made.model, "text_model") else made.model.language_model


def text_names(made: Any) -> dict[str, torch.Tensor]:
    """Its tensors as the class of text alone names them, with the classifier."""
    own = {f"model.{name}": tensor for name, tensor in language_model(made).state_dict().items()}
    return {**own, "lm_head.weight": made.lm_head.weight.detach()}


def save(directory: Path, made: Any, *, old_names: bool = True) -> Path:
    """As save_pretrained writes it, with the names of transformers 4, which are also those on the hub, or of 5."""
    with quiet_transformers():
        made.save_pretrained(directory, save_original_format=old_names)
    return directory
