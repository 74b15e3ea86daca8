"""What no tensor's shape says, from a config object of the test's own: biases, layers, scales and caps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_hyperparameters import hyperparameters
from verify.sources.huggingface_settings import Settings
from verify.sources.source import Hyperparameters, LayerKind

WHERE = Path("config.json")
SIZES: dict[str, Any] = {
    **{"dim": 16, "hidden_dim": 5, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "vocab_size": 7},
}
CONFIG: dict[str, Any] = {
    **{"hidden_act": "silu", "max_position_embeddings": 33, "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
    **{
        "num_hidden_layers": 2,
        "sliding_window": None,
        "layer_types": ["full_attention"] * 2,
        "attention_bias": False,
        "mlp_bias": False,
    },
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}
GEMMA: dict[str, Any] = {
    **{"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64, "attn_logit_softcapping": 50.0},
    "final_logit_softcapping": 30.0,
}
NONE, WINDOW = "full_attention", "sliding_attention"


def made(family: str, asked: int | None = None, **said: Any) -> Hyperparameters:
    config = SimpleNamespace(**{**CONFIG, **said})
    return hyperparameters(WHERE, Settings(family, {}, {}), config, SIZES, asked)[0]


def refused(family: str, asked: int | None = None, **said: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        made(family, asked, **said)
    return str(caught.value)


def biases(family: str, **said: Any) -> str:
    """Return the matrices that have biases."""
    found = made(family, **said)
    return "".join(
        name for name, has in (("qkv", found.qkv_bias), ("o", found.wo_bias), ("m", found.mlp_bias)) if has
    )


def test_biases_are_decided_by_the_keys_of_the_family() -> None:
    both = {"attention_bias": True, "mlp_bias": True}
    for family, said, expected in (
        *(("llama", {}, ""), ("llama", {"attention_bias": True}, "qkvo"), ("llama", {"mlp_bias": True}, "m")),
        *(("qwen2", {}, "qkv"), ("qwen2", both, "qkv"), ("mistral", both, ""), ("qwen3", both, "qkvo")),
        *(
            ("seed_oss", {**both, "attention_out_bias": False}, "qkvm"),
            ("seed_oss", {"attention_out_bias": True}, "o"),
        ),
        *(("seed_oss", both, "qkvm"), ("helium", {**both, "none": False}, "qkvm"), ("cwm", both, "m")),
        *(("ernie4_5", {"use_bias": True}, "qkvom"), ("ernie4_5", {**both, "use_bias": False}, "")),
    ):
        assert biases(family, **said) == expected, (family, said)


def test_scales_are_those_of_the_family() -> None:
    def scales(family: str, **said: Any) -> tuple[float, ...]:
        found = made(family, **said)
        caps = found.score_cap, found.logit_cap
        return found.embedding_scale, found.score_scale, found.residual_scale, found.logit_divisor, *caps

    multipliers = {"embedding_multiplier": 12, "attention_multiplier": 0.5, "residual_multiplier": 0.25}
    assert scales("granite", **multipliers, logits_scaling=8) == (12.0, 0.5, 0.25, 8.0, 0.0, 0.0)
    assert scales("llama", **multipliers, logits_scaling=8) == (1.0, 0.0, 1.0, 1.0, 0.0, 0.0)
    assert scales("gemma") == (4.0, 0.0, 1.0, 1.0, 0.0, 0.0)
    assert scales("gemma2", **GEMMA) == (4.0, 0.125, 1.0, 1.0, 50.0, 30.0)
    uncapped = {**GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None}
    assert scales("gemma2", **uncapped) == (4.0, 0.125, 1.0, 1.0, 0.0, 0.0)
    rope = {"rope_type": "default", "rope_theta": 1e4}
    ropes = {"full_attention": rope, "sliding_attention": {**rope, "rope_theta": 1e3}}
    # Gemma 3 has no cap of scores
    assert scales("gemma3_text", **GEMMA, rope_parameters=ropes) == (4.0, 0.125, 1.0, 1.0, 0.0, 30.0)
    for key in ("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"):
        message = f"config.json: {key}: expected a positive finite number, found 0"
        assert refused("gemma2", **{**GEMMA, key: 0}) == message
    message = "config.json: residual_multiplier: expected a positive finite number, found 0"
    assert refused("granite", **{**multipliers, "residual_multiplier": 0}, logits_scaling=8) == message


def test_layers_without_rope() -> None:
    def ropes(family: str, **said: Any) -> list[str]:
        found = made(family, **said)
        return [found.layer(number).rope for number in (0, 1)]

    for said, expected in (([1, 0], ["first", "none"]), ([0, 1, 0], ["none", "first"]), ([0, 0], ["none"] * 2)):
        assert ropes("smollm3", no_rope_layers=said, use_sliding_window=False) == expected
    assert ropes("llama", no_rope_layers=[0, 0]) == ["first"] * 2
    for said in ([1], None, (1, 1)):
        assert refused("smollm3", no_rope_layers=said, use_sliding_window=False) == (
            f"config.json: no_rope_layers: expected a list of at least 2 numbers, found {said}"
        )
    for number in (2, -1):
        assert refused("smollm3", no_rope_layers=[1, 1, number], use_sliding_window=False) == (
            f"config.json: no_rope_layers: expected 0 and 1 alone, found {number}"
        )
    kinds = [WINDOW, NONE]
    assert ropes("exaone4", layer_types=kinds, sliding_window=4) == ["first", "none"]
    assert ropes("exaone4", layer_types=[NONE, NONE], sliding_window=None) == ["first", "first"]


def test_layers_with_a_window_have_the_second_rope() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4}
    ropes = {"full_attention": rope, "sliding_attention": {**rope, "rope_theta": 1e3}}
    said = {**GEMMA, "rope_parameters": ropes, "sliding_window": 4}
    found = made("gemma3_text", **said, layer_types=[WINDOW, NONE])
    assert (found.layers, found.local_theta, found.rope_theta, found.window) == (
        *((LayerKind(True, "second"), LayerKind()), 1e3, 1e4, 4),
    )
    # nobody reads the second RoPE where no layer has a window
    whole = made("gemma3_text", **said, layer_types=[NONE, NONE])
    assert (whole.layers, whole.local_theta, whole.window) == ((), 0.0, 0)


def test_what_is_taken_as_it_is_said() -> None:
    found = made("llama", 9, tie_word_embeddings=True, hidden_act="gelu_new", rms_norm_eps=0.5)
    assert (found.max_seq_len, found.tied, found.activation, found.norm_eps) == (9, True, "gelu_tanh", 0.5)
    assert refused("gemma2", **{**GEMMA, "hidden_activation": "relu"}) == (
        "config.json: hidden_activation: expected one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh, found relu"
    )
    assert refused("llama", rms_norm_eps=0) == "config.json: rms_norm_eps: expected a positive finite number, found 0"


def test_a_longrope_reaches_to_its_original_length() -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    rope |= {"partial_rotary_factor": 1, "original_max_position_embeddings": 16, "attention_factor": 1.5}
    said = {"rope_parameters": rope, "hidden_size": 16, "num_attention_heads": 2, "head_dim": 8}
    said |= {"standardize_rope_params": lambda: None}
    assert made("phi3", 16, **said).rope_scaling.type == "longrope"
    advice = "longrope has other factors beyond it; --max-seq-len 16 cuts the model to it"
    for asked, found, what in ((17, 17, "max_seq_len"), (None, 33, "max_position_embeddings")):
        message = refused("phi3", asked, **said)
        assert message.startswith(f"config.json: {what}: expected at most original_max_position_embeddings = 16, ")
        assert f"found {found}" in message
        assert advice in message
    linear = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    assert made("llama", **{**said, "rope_parameters": linear}).max_seq_len == 33
