"""By what a directory's model differs from a Llama, as transformers' config object says it.

verify/sources derives the same from a source by code of its own. Both are here again on purpose, as with the names.
"""

from __future__ import annotations

import math
from typing import Any

from verify.sources import LayerKind

MODEL_TYPES = (
    *("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3_text", "granite", "olmo2", "olmo3", "phi3"),
    *("ministral3", "mixtral", "qwen3_moe", "olmoe", "gemma", "ministral", "exaone4", "seed_oss", "flex_olmo", "cwm"),
    *("helium", "ernie4_5"),
)
_GEMMAS = ("gemma2", "gemma3_text")
_NORMS_AFTER = ("olmo2", "olmo3", "exaone4", "flex_olmo")
# Of the others, a key of config.json decides.
_NO_BIAS = ("mistral", "qwen2", "phi3", "ministral3", "mixtral", "ministral", "exaone4", "cwm")
# All layers of which have a window, if any has.
_ALIKE = ("mistral", "phi3", "ministral3", "mixtral", "qwen3_moe")
# Of families with experts, the key of their width.
_EXPERT_WIDTHS = {
    **dict.fromkeys(("mixtral", "olmoe", "flex_olmo"), "intermediate_size"),
    "qwen3_moe": "moe_intermediate_size",
}

# In which RoPE's pairs stand as in llama2.c.
NEIGHBOURS = ("helium", "ernie4_5")


def rope_of(config: Any) -> dict[str, Any]:
    """Return RoPE's parameters: of the layers with full attention, where the others have their own."""
    found = getattr(config, "rope_parameters", None)
    if not isinstance(found, dict):
        return {}
    full = found.get("full_attention")
    if not isinstance(full, dict):
        return dict(found)
    # transformers reads this one parameter beside the two sets
    own = {key: value for key, value in full.items() if key != "truncate"}
    return own | ({"truncate": found["truncate"]} if "truncate" in found else {})


def biases(config: Any) -> dict[str, Any]:
    """Return which matrices have biases, by Hyperparameters' names."""
    kind = config.model_type
    if kind == "ernie4_5":
        return dict.fromkeys(("qkv_bias", "wo_bias", "mlp_bias"), bool(config.use_bias))
    attention = kind not in _NO_BIAS and bool(config.attention_bias)
    mlp = kind in ("llama", "smollm3", "granite", "seed_oss", "cwm", "helium") and bool(config.mlp_bias)
    output = bool(config.attention_out_bias) if kind == "seed_oss" else attention and kind != "helium"
    return {"qkv_bias": attention or kind == "qwen2", "wo_bias": output, "mlp_bias": mlp}


def activation_of(config: Any) -> str:
    """Return the key's value that names the gate's activation."""
    return str(config.hidden_activation if config.model_type in _GEMMAS else config.hidden_act)


def switches(config: Any, head_dim: int) -> dict[str, Any]:
    """Return every switch by Hyperparameters' names. Raises TypeError or ValueError for values of other types."""
    kind, rope = config.model_type, rope_of(config)
    made: dict[str, Any] = _attention(config, head_dim)
    if kind in _GEMMAS:
        made |= {"norm_place": "both", "norm_plus_one": True, "embedding_scale": math.sqrt(config.hidden_size)}
        made["score_scale"] = 1 / math.sqrt(config.query_pre_attn_scalar)
        made["logit_cap"] = float(config.final_logit_softcapping or 0)
    if kind == "gemma2":
        made["score_cap"] = float(config.attn_logit_softcapping or 0)
    if kind == "gemma":
        made |= {"norm_plus_one": True, "embedding_scale": math.sqrt(config.hidden_size)}
    if kind in _NORMS_AFTER:
        made["norm_place"] = "after"
    if kind == "granite":
        made |= {
            "embedding_scale": float(config.embedding_multiplier),
            "score_scale": float(config.attention_multiplier),
            "residual_scale": float(config.residual_multiplier),
            "logit_divisor": float(config.logits_scaling),
        }
    beta = rope.get("llama_4_scaling_beta") if kind == "ministral3" else None
    if beta:
        made |= {
            "query_scale_beta": float(beta),
            "query_scale_positions": rope.get("original_max_position_embeddings"),
        }
    return made


def experts(config: Any) -> dict[str, Any]:
    """Return what experts decide by Hyperparameters' names, but for layers; empty if no layer has any."""
    if not any(_sparse(config)):
        return {}
    width = getattr(config, _EXPERT_WIDTHS[config.model_type])
    return {
        "n_experts": config.num_experts if config.model_type == "olmoe" else config.num_local_experts,
        "n_active_experts": config.num_experts_per_tok,
        "expert_hidden_dim": width,
        "experts_normalized": config.model_type == "mixtral" or bool(config.norm_topk_prob),
        **({"hidden_dim": width} if all(_sparse(config)) else {}),
    }


def _sparse(config: Any) -> list[bool]:
    """Return which layers have experts."""
    layers = config.num_hidden_layers
    if config.model_type != "qwen3_moe":
        return [config.model_type in _EXPERT_WIDTHS] * layers
    dense = set(config.mlp_only_layers)
    return [(number + 1) % config.decoder_sparse_step == 0 and number not in dense for number in range(layers)]


def _attention(config: Any, head_dim: int) -> dict[str, Any]:
    """Return norms of queries and keys, how much of a head is rotated, and what each layer does."""
    kind = config.model_type
    made: dict[str, Any] = {}
    if kind in ("qwen3", "gemma3_text", "qwen3_moe", "exaone4"):
        made["qk_norm"] = "head"
    elif kind in ("olmo2", "olmo3", "olmoe", "flex_olmo"):
        made["qk_norm"] = "whole"
    if kind == "phi3":
        made["rotary_dim"] = int(head_dim * rope_of(config).get("partial_rotary_factor", 1.0))
    sliding = _sliding(config)
    width = getattr(config, "sliding_window", None)
    hides = width is not None and any(sliding) and width < config.max_position_embeddings
    local = _local_theta(config) if any(sliding) else 0.0
    ropes = ["second" if local and slides else "first" for slides in sliding]
    if kind == "smollm3":
        ropes = ["first" if turns else "none" for turns in config.no_rope_layers]
    if kind == "exaone4" and width is not None:
        ropes = ["first" if slides else "none" for slides in sliding]
    return made | {
        "window": width if hides else 0,
        "local_theta": local,
        "layers": tuple(
            LayerKind(hides and slides, rope, has_experts)
            for slides, rope, has_experts in zip(sliding, ropes, _sparse(config), strict=False)
        ),
    }


def _sliding(config: Any) -> list[bool]:
    """Return which layers transformers calls sliding."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None or config.model_type in _ALIKE:
        return [getattr(config, "sliding_window", None) is not None] * config.num_hidden_layers
    return [kind == "sliding_attention" for kind in kinds]


def _local_theta(config: Any) -> float:
    """Return theta of the sliding layers, 0 if all layers have one RoPE."""
    own = config.rope_parameters.get("sliding_attention") if isinstance(config.rope_parameters, dict) else None
    return float(own["rope_theta"]) if isinstance(own, dict) else 0.0
