"""What sets each family apart from Llama: every switch, and the modules of a layer."""

from __future__ import annotations

import pytest

from verify.sources.huggingface_families import FAMILIES, Experts, Family

_MLP = {"feed_forward.w1", "feed_forward.w2", "feed_forward.w3"}
_LLAMA = {
    *("attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo", "ffn_norm"),
    *_MLP,
}
_QK = {"attention.q_norm", "attention.k_norm"}
_AFTER = {"attention_post_norm", "ffn_post_norm"}
_ROUTED = _LLAMA - _MLP | {"feed_forward.router"}


@pytest.mark.parametrize(
    ("switch", "families"),
    [
        (
            "attention_bias",
            "llama qwen3 smollm3 gemma2 gemma3_text gemma granite olmo2 olmo3 seed_oss qwen3_moe olmoe flex_olmo "
            "helium",
        ),
        ("mlp_bias", "llama smollm3 granite seed_oss cwm helium"),
        ("qkv_bias", "qwen2"),
        ("norm_plus_one", "gemma gemma2 gemma3_text"),
        ("two_ropes", "gemma3_text olmo3"),
        ("fused", "phi3"),
        ("interleaved", "helium ernie4_5"),
    ],
)
def test_a_switch_is_on_in_these_families_alone(switch: str, families: str) -> None:
    assert {name for name, family in FAMILIES.items() if getattr(family, switch)} == set(families.split())


@pytest.mark.parametrize(
    ("family", "modules"),
    [
        *((family, _LLAMA) for family in ("llama", "mistral", "qwen2", "gemma", "granite", "cwm", "helium")),
        ("qwen3", _LLAMA | _QK),
        ("gemma2", _LLAMA | _AFTER),
        ("gemma3_text", _LLAMA | _AFTER | _QK),
        *(
            (family, _LLAMA - {"attention_norm", "ffn_norm"} | _AFTER | _QK)
            for family in ("olmo2", "olmo3", "exaone4")
        ),
        (
            "phi3",
            {"attention_norm", "attention.wq", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w2"},
        ),
        ("mixtral", _ROUTED),
        ("qwen3_moe", _LLAMA | _QK | {"feed_forward.router"}),
        ("olmoe", _ROUTED | _QK),
        ("flex_olmo", _ROUTED - {"attention_norm", "ffn_norm"} | _AFTER | _QK),
    ],
)
def test_the_modules_of_a_layer(family: str, modules: set[str]) -> None:
    assert set(FAMILIES[family].names.values()) == modules


def test_the_same_norm_has_another_place_where_others_stand_around_it() -> None:
    name = "post_attention_layernorm"
    assert FAMILIES["llama"].names[name] == "ffn_norm"
    for family in ("gemma2", "gemma3_text", "olmo2", "olmo3", "exaone4", "flex_olmo"):
        assert FAMILIES[family].names[name] == "attention_post_norm", family
    phi = FAMILIES["phi3"].names
    assert (phi["self_attn.qkv_proj"], phi["mlp.gate_up_proj"]) == ("attention.wq", "feed_forward.w1")
    mixtral = FAMILIES["mixtral"].names
    assert mixtral["block_sparse_moe.gate"] == mixtral["mlp.gate"] == "feed_forward.router"


def test_only_qwen3s_mixtures_have_keys_for_which_layers_are_sparse() -> None:
    mixtures = {name: family.experts for name, family in FAMILIES.items() if family.experts is not None}
    assert {name: experts.sparse for name, experts in mixtures.items()} == {
        **{"mixtral": False, "qwen3_moe": True, "olmoe": False, "flex_olmo": False},
    }


def test_families_are_compared_by_what_they_hold() -> None:
    assert Experts("a", "b", "c") == Experts("a", "b", "c", False)
    assert Family("A", "B") == Family("A", "B", frozenset(), FAMILIES["llama"].names)
