"""Random small models of the families that differ from Llama by switches, made by transformers itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st

from helpers.huggingface import rope_parameters
from verify.system.optional_imports import quiet_transformers

# model_type -> transformers' classes of its config and of its model
CLASSES = {
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "gemma3_text": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "granite": ("GraniteConfig", "GraniteForCausalLM"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM"),
    "olmo3": ("Olmo3Config", "Olmo3ForCausalLM"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM"),
    "ministral3": ("Ministral3Config", "Ministral3ForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
    "ministral": ("MinistralConfig", "MinistralForCausalLM"),
    "gemma": ("GemmaConfig", "GemmaForCausalLM"),
    "exaone4": ("Exaone4Config", "Exaone4ForCausalLM"),
    "helium": ("HeliumConfig", "HeliumForCausalLM"),
    "ernie4_5": ("Ernie4_5Config", "Ernie4_5ForCausalLM"),
    "cwm": ("CwmConfig", "CwmForCausalLM"),
    "flex_olmo": ("FlexOlmoConfig", "FlexOlmoForCausalLM"),
    "seed_oss": ("SeedOssConfig", "SeedOssForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM"),
    "qwen3_moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM"),
    "olmoe": ("OlmoeConfig", "OlmoeForCausalLM"),
}
# The classes that divide for the size of a head.
_WHOLE_HEADS = ("phi3", "olmoe")
_FLOAT32 = torch.float32  # whatever that name stands for later on


def family_model(family: str, settings: dict[str, Any], seed: int) -> Any:
    """A model with random float32 weights that keep activations near 1; biases and norms are random too."""
    config_name, model_name = CLASSES[family]
    with quiet_transformers() as transformers:
        config = getattr(transformers, config_name)(**settings)
        config._experts_implementation = "eager"  # the others take no float64
        made = getattr(transformers, model_name)._from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    plus_one = family.startswith("gemma")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=_FLOAT32)
            if parameter.dim() > 1:
                scaled = values / math.sqrt(parameter.shape[-1])
            else:
                scaled = 0.1 * values + (0 if plus_one else 1)
            parameter.copy_((values / 2 if name.endswith(".bias") else scaled).to(_FLOAT32))
    return made


@st.composite
def family_settings(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """Keywords for the config of a family: sizes, biases, windows shorter than the sequence, scales, caps."""
    kv_heads, head_dim = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 6))
    heads, longest, layers = kv_heads * draw(st.integers(1, 3)), draw(st.integers(2, 40)), draw(st.integers(1, 3))
    settings: dict[str, Any] = {
        "hidden_size": heads * (head_dim if family in (*_WHOLE_HEADS, "helium") else draw(st.integers(1, 8))),
        "intermediate_size": draw(st.integers(1, 24)),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": draw(st.integers(2, 30)),
        "max_position_embeddings": longest,
        "tie_word_embeddings": draw(st.booleans()),
        # exact in float32, which is what the reference makes of them
        "rms_norm_eps": draw(st.sampled_from([2.0**-17, 2.0**-20, 2.0**-10])),
        "pad_token_id": None,
    }
    if family not in _WHOLE_HEADS:
        settings["head_dim"] = head_dim
    activation = "hidden_activation" if family in ("gemma2", "gemma3_text") else "hidden_act"
    settings[activation] = draw(st.sampled_from(["silu", "gelu", "gelu_pytorch_tanh"]))
    settings |= draw(_OWN[family](family, layers, head_dim, longest))
    return settings


@st.composite
def _windows(draw: st.DrawFn, layers: int, longest: int) -> dict[str, Any]:
    kinds = st.sampled_from(["full_attention", "sliding_attention"])
    return {
        "layer_types": draw(st.lists(kinds, min_size=layers, max_size=layers)),
        "sliding_window": draw(st.integers(1, longest + 2)),
    }


@st.composite
def _ropes(draw: st.DrawFn, head_dim: int, longest: int) -> dict[str, Any]:
    """Return a RoPE for each type of layer, of which only the first is scaled."""
    full = draw(rope_parameters(head_dim, longest))
    local = {"rope_type": "default", "rope_theta": draw(st.sampled_from([100.0, 10000.0, 500000.0]))}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": local}}


@st.composite
def _qwen(draw: st.DrawFn, family: str, layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    made = {"rope_parameters": draw(rope_parameters(head_dim, longest))}
    if family == "qwen3":
        made["attention_bias"] = draw(st.booleans())
    if draw(st.booleans()):
        made |= {"use_sliding_window": True, **draw(_windows(layers, longest))}
    elif draw(st.booleans()):
        most = draw(st.integers(0, layers))
        window = draw(st.integers(1, longest))
        made |= {"use_sliding_window": True, "max_window_layers": most, "sliding_window": window}
    return made


@st.composite
def _smollm3(draw: st.DrawFn, _family: str, layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    made = {
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
    }
    if draw(st.booleans()):
        made["no_rope_layers"] = draw(st.lists(st.integers(0, 1), min_size=layers, max_size=layers))
    else:
        made["no_rope_layer_interval"] = draw(st.integers(1, 4))
    if draw(st.booleans()):
        made |= {"use_sliding_window": True, "sliding_window": draw(st.integers(1, longest))}
    return made


@st.composite
def _gemma(draw: st.DrawFn, family: str, layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    caps = st.none() | st.floats(0.5, 60.0)
    made: dict[str, Any] = {
        **draw(_windows(layers, longest)),
        "attention_bias": draw(st.booleans()),
        "query_pre_attn_scalar": draw(st.sampled_from([head_dim, 1, 7, 256])),
        "final_logit_softcapping": draw(caps),
    }
    if family == "gemma2":
        rope = {"rope_parameters": draw(rope_parameters(head_dim, longest))}
        return {**made, **rope, "attn_logit_softcapping": draw(caps)}
    return made | draw(_ropes(head_dim, longest))


@st.composite
def _granite(draw: st.DrawFn, _family: str, _layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    scales = st.just(1.0) | st.floats(0.05, 20.0)
    return {
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "embedding_multiplier": draw(scales),
        "attention_multiplier": draw(st.floats(0.01, 1.0)),
        "residual_multiplier": draw(scales),
        "logits_scaling": draw(scales),
    }


@st.composite
def _olmo(draw: st.DrawFn, family: str, layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    made = {"attention_bias": draw(st.booleans())}
    if family == "olmo2":
        return made | {"rope_parameters": draw(rope_parameters(head_dim, longest))}
    return made | draw(_windows(layers, longest)) | draw(_ropes(head_dim, longest))


@st.composite
def _phi3(draw: st.DrawFn, _family: str, _layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    rotated = 2 * draw(st.integers(1, head_dim // 2))
    theta = draw(st.sampled_from([100.0, 10000.0]))
    # a hair more, so that the product is not rounded to less
    share = rotated / head_dim * (1 + 2**-50) if rotated < head_dim else 1.0
    rope = {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": share}
    made = {"rope_parameters": rope, "sliding_window": draw(st.none() | st.integers(1, longest))}
    if draw(st.booleans()):
        rope |= draw(_longropes(rotated // 2))
        made["original_max_position_embeddings"] = draw(st.integers(longest, longest + 3))
    return made


@st.composite
def _longropes(draw: st.DrawFn, pairs: int) -> dict[str, Any]:
    """Return the parameters of longrope: numbers of float32, which transformers would make of any."""
    factors = st.lists(st.floats(1, 64, width=32), min_size=pairs, max_size=pairs)
    said = {"rope_type": "longrope", "short_factor": draw(factors), "long_factor": draw(factors)}
    attention = {"attention_factor": draw(st.floats(0.5, 2, width=32))}
    return said | draw(st.sampled_from([{}, {"factor": 32.0}, attention]))


@st.composite
def _mistral(draw: st.DrawFn, family: str, _layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    rope = draw(rope_parameters(head_dim, longest))
    if family == "ministral3":
        rope["llama_4_scaling_beta"] = draw(st.sampled_from([0.0, 0.1, 1.5]))
        rope.setdefault("original_max_position_embeddings", draw(st.integers(1, longest)))
    return {"rope_parameters": rope, "sliding_window": draw(st.none() | st.integers(1, longest))}


@st.composite
def _some_windows(draw: st.DrawFn, family: str, layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    rope = {"rope_parameters": draw(rope_parameters(head_dim, longest))}
    if family in ("ministral", "cwm") or draw(st.booleans()):
        return rope | draw(_windows(layers, longest))
    return rope | {"sliding_window": None, "layer_types": ["full_attention"] * layers}


@st.composite
def _biased(draw: st.DrawFn, family: str, _layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    own = {
        "seed_oss": ("attention_bias", "attention_out_bias", "mlp_bias"),
        "helium": ("attention_bias", "mlp_bias"),
        "ernie4_5": ("use_bias",),
    }
    keys = own.get(family, ("attention_bias",))
    return {
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        **{key: draw(st.booleans()) for key in keys},
    }


@st.composite
def _experts(draw: st.DrawFn, count: str) -> dict[str, Any]:
    many = draw(st.integers(2, 7))
    return {count: many, "num_experts_per_tok": draw(st.integers(1, many))}


@st.composite
def _mixtral(draw: st.DrawFn, _family: str, _layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    return {
        **draw(_experts("num_local_experts")),
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        "sliding_window": draw(st.none() | st.integers(1, longest)),
    }


@st.composite
def _qwen3_moe(draw: st.DrawFn, _family: str, layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    return {
        **draw(_experts("num_experts")),
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        "attention_bias": draw(st.booleans()),
        "moe_intermediate_size": draw(st.integers(1, 12)),
        "norm_topk_prob": draw(st.booleans()),
        "decoder_sparse_step": draw(st.integers(1, 2)),
        "mlp_only_layers": draw(st.lists(st.integers(0, layers - 1), max_size=1)),
        "use_sliding_window": draw(st.booleans()),
        "sliding_window": draw(st.integers(1, longest)),
    }


@st.composite
def _olmoe(draw: st.DrawFn, _family: str, _layers: int, head_dim: int, longest: int) -> dict[str, Any]:
    return {
        **draw(_experts("num_experts")),
        "rope_parameters": draw(rope_parameters(head_dim, longest)),
        "attention_bias": draw(st.booleans()),
        "norm_topk_prob": draw(st.booleans()),
    }


_OWN: dict[str, Any] = {
    "qwen3": _qwen,
    "qwen2": _qwen,
    "smollm3": _smollm3,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "granite": _granite,
    "olmo2": _olmo,
    "olmo3": _olmo,
    "phi3": _phi3,
    "ministral3": _mistral,
    "mistral": _mistral,
    "ministral": _some_windows,
    "exaone4": _some_windows,
    "cwm": _some_windows,
    "flex_olmo": _olmoe,
    "gemma": _biased,
    "helium": _biased,
    "ernie4_5": _biased,
    "seed_oss": _biased,
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "olmoe": _olmoe,
}
