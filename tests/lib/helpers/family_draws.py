"""Models of every family of the exporter, drawn as keywords of transformers' own config classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import exporter
from verify.system.optional_imports import quiet_transformers

Keywords = dict[str, Any]

# grouped products require sizes that these models do not have
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
_YARN = {"rope_type": "yarn", "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.25}
_ORIGINAL = "original_max_position_embeddings"
_OF_LATE_QUERIES = {"llama_4_scaling_beta": 0.25, "original_max_position_embeddings": 3}


@st.composite
def sizes(draw: st.DrawFn) -> Keywords:
    """Sizes of odd proportions, short enough to run in milliseconds."""
    kv_heads = draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 3))
    return {
        "hidden_size": heads * draw(st.integers(1, 5)),
        "intermediate_size": draw(st.integers(1, 9)),
        "num_hidden_layers": draw(st.integers(1, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 2 * draw(st.integers(2, 5)),
        "vocab_size": draw(st.integers(2, 12)),
        "max_position_embeddings": draw(st.integers(2, 14)),
        "rms_norm_eps": draw(st.sampled_from([2.0**-17, 2.0**-10])),
        "tie_word_embeddings": draw(st.booleans()),
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


@st.composite
def one_rope(draw: st.DrawFn) -> Keywords:
    theta = draw(st.sampled_from([100.0, 1e4, 2.5e5]))
    kinds: list[Keywords] = [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 2.5},
        {**_YARN, "factor": 4.0, "original_max_position_embeddings": 5},
    ]
    return {**draw(st.sampled_from(kinds)), "rope_theta": theta}


def _layer_types(draw: st.DrawFn, layers: int) -> list[str]:
    kinds = st.sampled_from(["full_attention", "sliding_attention"])
    return draw(st.lists(kinds, min_size=layers, max_size=layers))


def _windows(draw: st.DrawFn, drawn: Keywords, *, switch: bool) -> Keywords:
    """Which layers have a window, how long it is, and, of some classes, a switch that turns it off."""
    made: Keywords = {"sliding_window": draw(st.integers(1, 16))}
    if draw(st.booleans()):
        made["layer_types"] = _layer_types(draw, drawn["num_hidden_layers"])
    return {**made, "use_sliding_window": True} if switch else made


_SCALES = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")
_CAPS = st.sampled_from([None, 1.5, 30.0])
_ONE_WINDOW = st.sampled_from([None, 1, 3, 20])


def _bias(draw: st.DrawFn, key: str = "attention_bias") -> Keywords:
    return {key: draw(st.booleans())}


def _biases(draw: st.DrawFn) -> Keywords:
    return {**_bias(draw), **_bias(draw, "mlp_bias")}


def _rope(draw: st.DrawFn) -> Keywords:
    return {"rope_parameters": draw(one_rope())}


def _two_ropes(draw: st.DrawFn) -> Keywords:
    local = {"rope_type": "default", "rope_theta": draw(st.sampled_from([50.0, 5e5]))}
    return {"rope_parameters": {"full_attention": draw(one_rope()), "sliding_attention": local}}


def _maybe_windows(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    return _windows(draw, drawn, switch=True) if draw(st.booleans()) else {}


def _qwen(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    return {**_maybe_windows(draw, drawn), "max_window_layers": draw(st.integers(0, 4)), **_rope(draw)}


def _smollm(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    layers = drawn["num_hidden_layers"]
    rotated = draw(st.none() | st.lists(st.integers(0, 1), min_size=layers, max_size=layers))
    interval = draw(st.integers(1, 3))
    without = {"no_rope_layers": rotated, "no_rope_layer_interval": interval}
    return {**_biases(draw), **without, **_maybe_windows(draw, drawn), **_rope(draw)}


def _granite(draw: st.DrawFn, _drawn: Keywords) -> Keywords:
    scales = {key: draw(st.floats(0.125, 8, width=32)) for key in _SCALES}
    return {**_biases(draw), **scales, **_rope(draw)}


def _gemma(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    return {
        **_bias(draw),
        "hidden_activation": draw(st.sampled_from(["gelu_pytorch_tanh", "silu"])),
        "query_pre_attn_scalar": draw(st.integers(1, 300)),
        "final_logit_softcapping": draw(_CAPS),
        **_windows(draw, drawn, switch=False),
    }


def _phi(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    pairs = draw(st.integers(1, drawn["head_dim"] // 2))
    share = 2 * pairs / drawn["head_dim"]
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": share}
    made = {"sliding_window": draw(_ONE_WINDOW), "rope_parameters": rope}
    if not draw(st.booleans()):
        return made
    factors = st.lists(st.floats(0.5, 40), min_size=pairs, max_size=pairs)
    rope |= {"rope_type": "longrope", "short_factor": draw(factors), "long_factor": draw(factors)}
    rope |= draw(st.sampled_from([{}, {"factor": 4.0}, {"attention_factor": 1.5}]))
    # its class counts the factors by hidden_size / num_attention_heads
    width = drawn["num_attention_heads"] * drawn["head_dim"]
    original = drawn["max_position_embeddings"] + draw(st.integers(0, 3))
    return {**made, "hidden_size": width, "original_max_position_embeddings": original}


def _experts(draw: st.DrawFn, key: str) -> Keywords:
    count = draw(st.integers(2, 5))
    return {key: count, "num_experts_per_tok": draw(st.integers(1, count))}


def _normalized(draw: st.DrawFn) -> Keywords:
    return {"norm_topk_prob": draw(st.booleans())}


def _mixtral(draw: st.DrawFn, _drawn: Keywords) -> Keywords:
    return {"sliding_window": draw(_ONE_WINDOW), **_experts(draw, "num_local_experts"), **_rope(draw)}


def _qwen3_moe(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    layers = drawn["num_hidden_layers"]
    # one layer at least has experts
    plain = draw(st.sets(st.integers(0, layers - 1), max_size=layers - 1)) if layers > 1 else set()
    step = draw(st.integers(1, layers)) if not plain else 1
    return {
        **_bias(draw),
        **_experts(draw, "num_experts"),
        **_normalized(draw),
        **_rope(draw),
        "moe_intermediate_size": draw(st.integers(1, 9)),
        "mlp_only_layers": sorted(plain),
        "decoder_sparse_step": step,
        "use_sliding_window": draw(st.booleans()),
        "sliding_window": draw(st.integers(1, 16)),
    }


def _whole_stream(drawn: Keywords) -> Keywords:
    """Heads that together are as wide as the stream."""
    return {"hidden_size": drawn["num_attention_heads"] * drawn["head_dim"]}


def _olmoe(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    # its norm of queries is as wide as the stream
    return {
        **_whole_stream(drawn),
        **_bias(draw),
        **_experts(draw, "num_experts"),
        **_normalized(draw),
        **_rope(draw),
    }


def _cwm(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    # its class takes no null
    begins = {"bos_token_id": 0}
    return {**begins, **_bias(draw, "mlp_bias"), **_windows(draw, drawn, switch=False), **_rope(draw)}


def _exaone(draw: st.DrawFn, drawn: Keywords) -> Keywords:
    if draw(st.booleans()):
        pattern = {"sliding_window_pattern": draw(st.integers(1, 4))}
        return {**_windows(draw, drawn, switch=False), **pattern, **_rope(draw)}
    full = ["full_attention"] * drawn["num_hidden_layers"]
    return {"sliding_window": None, "layer_types": full, **_rope(draw)}


def _ministral(draw: st.DrawFn, _drawn: Keywords) -> Keywords:
    return {"sliding_window": draw(_ONE_WINDOW), "rope_parameters": {**_OF_LATE_QUERIES, **draw(one_rope())}}


_OWN: dict[str, Callable[[st.DrawFn, Keywords], Keywords]] = {
    "llama": lambda draw, _drawn: {**_biases(draw), **_rope(draw)},
    "mistral": lambda draw, _drawn: {"sliding_window": draw(_ONE_WINDOW), **_rope(draw)},
    "qwen2": _qwen,
    "qwen3": lambda draw, drawn: {**_bias(draw), **_qwen(draw, drawn)},
    "smollm3": _smollm,
    "granite": _granite,
    "gemma2": lambda draw, drawn: {**_gemma(draw, drawn), "attn_logit_softcapping": draw(_CAPS), **_rope(draw)},
    "gemma3_text": lambda draw, drawn: {**_gemma(draw, drawn), **_two_ropes(draw)},
    "olmo2": lambda draw, _drawn: {**_bias(draw), **_rope(draw)},
    "olmo3": lambda draw, drawn: {**_bias(draw), **_windows(draw, drawn, switch=False), **_two_ropes(draw)},
    "phi3": _phi,
    "ministral3": _ministral,
    "gemma": lambda draw, _drawn: {**_bias(draw), **_rope(draw)},
    "ministral": lambda draw, drawn: {**_windows(draw, drawn, switch=False), **_rope(draw)},
    "exaone4": _exaone,
    "cwm": _cwm,
    "helium": lambda draw, drawn: _whole_stream(drawn) | _biases(draw) | _rope(draw),
    "ernie4_5": lambda draw, _drawn: {**_bias(draw, "use_bias"), **_rope(draw)},
    "flex_olmo": lambda draw, _drawn: _bias(draw) | _experts(draw, "num_experts") | _normalized(draw) | _rope(draw),
    "seed_oss": lambda draw, _drawn: {**_biases(draw), **_bias(draw, "attention_out_bias"), **_rope(draw)},
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "olmoe": _olmoe,
}


@st.composite
def family_models(draw: st.DrawFn, family: str) -> Keywords:
    """Keywords of the family's config class."""
    drawn = draw(sizes())
    if family not in _GEMMAS:
        drawn["hidden_act"] = draw(st.sampled_from(["silu", "gelu", "gelu_pytorch_tanh"]))
    return {**drawn, **_OWN[family](draw, drawn)}


def made(family: str, keywords: Keywords, seed: int = 0) -> Any:
    """transformers' own model, with random weights, biases and norms that keep activations near 1."""
    with quiet_transformers() as transformers:
        config = transformers.CONFIG_MAPPING[family](**keywords)
        model = transformers.AutoModelForCausalLM.from_config(config, **EAGER).eval()
    generator = torch.Generator().manual_seed(seed)
    one = 0.0 if "gemma" in family else 1.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name
            scaled = values / max(1.0, float(parameter.shape[-1])) ** 0.5
            parameter.copy_(one + 0.1 * values if is_norm else scaled)
    return model


def meant(config: Any, family: str, max_seq_len: int | None = None) -> exporter.ModelConfig:
    """The model that transformers' config object describes, in the words of v3's specification.

    max_seq_len: to which it is cut.
    """
    c = config
    layers, window = _attention(c, family)
    ropes = c.rope_parameters
    first = ropes["full_attention"] if family in _TWO_ROPES else ropes
    second = any(layer.rope == "second" for layer in layers)
    bias = getattr(c, "attention_bias", getattr(c, "use_bias", False))
    act = c.hidden_activation if family in _GEMMAS else c.hidden_act
    return exporter.ModelConfig(
        dim=c.hidden_size,
        hidden_dim=_hidden_dim(c, layers),
        n_layers=c.num_hidden_layers,
        n_heads=c.num_attention_heads,
        n_kv_heads=c.num_key_value_heads,
        vocab_size=c.vocab_size,
        max_seq_len=max_seq_len or c.max_position_embeddings,
        tied=c.tie_word_embeddings,
        norm_eps=c.rms_norm_eps,
        rope_theta=first["rope_theta"],
        head_dim=_head_dim(c),
        rope_scaling=_scaling(first, c.max_position_embeddings),
        qkv_bias=family == "qwen2" or bias,
        wo_bias=getattr(c, "attention_out_bias", bias and family != "helium"),
        mlp_bias=getattr(c, "mlp_bias", getattr(c, "use_bias", False)),
        activation={"gelu_pytorch_tanh": "gelu_tanh"}.get(act, act),
        layers=layers,
        window=window,
        local_theta=ropes["sliding_attention"]["rope_theta"] if second else 0.0,
        **_switches(c, family),
    )


def _mixed(c: Any, family: str) -> list[bool]:
    """Return whether each layer has experts."""
    if family == "qwen3_moe":
        step, plain = c.decoder_sparse_step, c.mlp_only_layers
        return [n not in plain and (n + 1) % step == 0 for n in range(c.num_hidden_layers)]
    return [family in ("mixtral", "olmoe", "flex_olmo")] * c.num_hidden_layers


def _expert_width(c: Any) -> int:
    return getattr(c, "moe_intermediate_size", c.intermediate_size)


def _hidden_dim(c: Any, layers: tuple[exporter.LayerKind, ...]) -> int:
    return _expert_width(c) if all(layer.experts for layer in layers) else c.intermediate_size


def _head_dim(c: Any) -> int:
    return getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads


_GEMMAS = ("gemma2", "gemma3_text")
_TWO_ROPES = ("gemma3_text", "olmo3")
_ALIKE = ("mistral", "ministral3", "phi3", "mixtral", "qwen3_moe")
_BY_LAYER = ("qwen2", "qwen3", "smollm3", "gemma2", "ministral", "exaone4", "cwm", *_TWO_ROPES)


def _attention(c: Any, family: str) -> tuple[tuple[exporter.LayerKind, ...], int]:
    """Return the layers, and the window that some of them have."""
    slides = [family in _ALIKE and c.sliding_window is not None] * c.num_hidden_layers
    if family in _BY_LAYER:
        slides = [kind == "sliding_attention" for kind in c.layer_types]
    seen = any(slides) and c.sliding_window < c.max_position_embeddings
    rotated = c.no_rope_layers if family == "smollm3" else [True] * c.num_hidden_layers
    if family == "exaone4" and c.sliding_window is not None:
        rotated = slides

    def rope(number: int) -> str:
        if not rotated[number]:
            return "none"
        return "second" if slides[number] and family in _TWO_ROPES else "first"

    mixed = _mixed(c, family)
    layers = (exporter.LayerKind(slide and seen, rope(n), mixed[n]) for n, slide in enumerate(slides))
    return tuple(layers), c.sliding_window if seen else 0


def _switches(c: Any, family: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "gemma" in family:
        made |= {"norm_plus_one": True, "embedding_scale": c.hidden_size**0.5}
    if family in _GEMMAS:
        made["norm_place"] = "both"
        made |= {"score_scale": c.query_pre_attn_scalar**-0.5, "logit_cap": c.final_logit_softcapping or 0.0}
    if family == "gemma2":
        made["score_cap"] = c.attn_logit_softcapping or 0.0
    if any(_mixed(c, family)):
        made |= {"n_experts": c.num_experts, "n_active_experts": c.num_experts_per_tok}
        made |= {"expert_hidden_dim": _expert_width(c), "experts_normalized": getattr(c, "norm_topk_prob", True)}
    if family == "olmoe":
        made["qk_norm"] = "whole"
    if family in ("qwen3", "qwen3_moe", "gemma3_text", "exaone4"):
        made["qk_norm"] = "head"
    if family in ("olmo2", "olmo3", "flex_olmo"):
        made["qk_norm"] = "whole"
    if family in ("olmo2", "olmo3", "exaone4", "flex_olmo"):
        made["norm_place"] = "after"
    if family == "granite":
        fields = ("embedding_scale", "score_scale", "residual_scale", "logit_divisor")
        made |= {field: getattr(c, key) for field, key in zip(fields, _SCALES, strict=True)}
    if family == "phi3":
        made["rotary_dim"] = int(_head_dim(c) * c.rope_parameters["partial_rotary_factor"])
    if family == "ministral3":
        made["query_scale_beta"] = c.rope_parameters["llama_4_scaling_beta"]
        made["query_scale_positions"] = c.rope_parameters["original_max_position_embeddings"]
    return made


def _scaling(rope: Keywords, positions: int) -> exporter.RopeScaling:
    kind = rope["rope_type"]
    if kind == "default":
        return exporter.RopeScaling()
    if kind == "linear":
        return exporter.RopeScaling("linear", rope["factor"])
    if kind == "llama3":
        low, high, original = (rope[key] for key in ("low_freq_factor", "high_freq_factor", _ORIGINAL))
        return exporter.RopeScaling("llama3", rope["factor"], original, low_freq_factor=low, high_freq_factor=high)
    if kind == "longrope":
        original = rope["original_max_position_embeddings"]
        factor = rope.get("factor") or positions / original
        return exporter.RopeScaling(
            "longrope",
            original_max_positions=original,
            attention_factor=rope.get("attention_factor")
            or math.sqrt(1 + max(0.0, math.log(factor)) / math.log(original)),
            short_factors=tuple(np.float32(rope["short_factor"]).tolist()),
        )
    scales = rope.get("mscale") and rope.get("mscale_all_dim")
    return exporter.RopeScaling(
        "yarn",
        rope["factor"],
        rope["original_max_position_embeddings"],
        beta_fast=rope.get("beta_fast") or 32.0,
        beta_slow=rope.get("beta_slow") or 1.0,
        # both scales are 1 wherever they are published
        attention_factor=rope.get("attention_factor") or (1.0 if scales else 0.1 * math.log(rope["factor"]) + 1),
        truncate=True,
    )
