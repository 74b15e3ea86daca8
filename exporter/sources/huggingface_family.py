"""Which family a config.json is of: by model_type, or by its architecture; and why others are not supported."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.families import FAMILIES
from exporter.strict_json import Json, shown

_EXPERTS = "another mixture of experts"
_DELTA = "gated DeltaNet"
_WRAPPER = "a multimodal model of another text part"
# What this project does not compute, by the model_type that needs it.
_REASONS = {
    **dict.fromkeys(("qwen2_moe", "granitemoe", "phimoe", "deepseek_v3"), _EXPERTS),
    "gpt_oss": f"attention sinks and {_EXPERTS}",
    "llama4": f"chunked attention and {_EXPERTS}",
    "llama4_text": f"chunked attention and {_EXPERTS}",
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), _DELTA),
    **dict.fromkeys(("gemma3n", "gemma3n_text", "gemma4", "gemma4_text"), "embeddings for each layer"),
    "mllama": "cross-attention between text and images",
    "paligemma": "attention in both directions over the prompt",
    "olmo": "norms without weights",
    "phi": "LayerNorm",
    "phi4_multimodal": _WRAPPER,
}


def read_family(raw: Json) -> tuple[str, list[str]]:
    """Return model_type, or what a single known architecture says where there is none, and what there is to note."""
    model_type, architectures = raw.get("model_type"), raw.get("architectures")
    supported = f"one of {', '.join(FAMILIES)}"
    if model_type is None:
        named = architectures if isinstance(architectures, list) else [architectures]
        by_name = {family.architecture.lower(): name for name, family in FAMILIES.items()}
        if len(named) == 1 and isinstance(named[0], str) and named[0].lower() in by_name:
            family = by_name[named[0].lower()]
            return family, [f"model_type is not given: architectures says {family}"]
        raise CheckpointError(
            f"model_type: expected {supported}, found none, and architectures: {shown(architectures)}"
        )
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        reason = _REASONS.get(model_type) if isinstance(model_type, str) else None
        why = f": {reason}" if reason else ""
        raise CheckpointError(
            f"model_type: expected {supported}, found {shown(model_type)}, which is not supported{why}"
        )
    notes = []
    if architectures not in (None, [FAMILIES[model_type].architecture]):
        notes.append(f"architectures is {shown(architectures)}: transformers goes by model_type {model_type!r}")
    if raw.get("auto_map") is not None:
        notes.append("auto_map names remote code, which is not used")
    return model_type, notes
