"""What a source must hold: the tensors of a model by name, and which kind takes which option."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import config, hyperparameters

from verify.errors import CannotJudgeError
from verify.sources.in_memory import MemorySource
from verify.sources.options import SourceOptions
from verify.sources.source import Hyperparameters, LayerKind, Merge, RopeScaling, Source

MODEL = hyperparameters(config(head_dim=10))
LAYER = {
    "attention_norm.weight": (48,),
    "attention.wq.weight": (60, 48),
    "attention.wk.weight": (30, 48),
    "attention.wv.weight": (30, 48),
    "attention.wo.weight": (48, 60),
    "ffn_norm.weight": (48,),
    "feed_forward.w1.weight": (40, 48),
    "feed_forward.w2.weight": (48, 40),
    "feed_forward.w3.weight": (40, 48),
}
OUTER = {"tok_embeddings.weight": (29, 48), "norm.weight": (48,), "output.weight": (29, 48)}


def of_both_layers(layer: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"layers.{number}.{name}": shape for number in (0, 1) for name, shape in layer.items()}


def test_the_tensors_of_a_model_follow_from_its_hyperparameters() -> None:
    assert MODEL.shapes() == of_both_layers(LAYER) | OUTER
    tied = {name: shape for name, shape in OUTER.items() if name != "output.weight"}
    assert dataclasses.replace(MODEL, tied=True).shapes() == of_both_layers(LAYER) | tied


@pytest.mark.parametrize(
    ("switch", "biases"),
    [
        ("qkv_bias", {"attention.wq.bias": (60,), "attention.wk.bias": (30,), "attention.wv.bias": (30,)}),
        ("wo_bias", {"attention.wo.bias": (48,)}),
        (
            "mlp_bias",
            {"feed_forward.w1.bias": (40,), "feed_forward.w2.bias": (48,), "feed_forward.w3.bias": (40,)},
        ),
    ],
)
def test_each_kind_of_bias_has_a_number_for_each_output(switch: str, biases: dict[str, tuple[int, ...]]) -> None:
    model = dataclasses.replace(MODEL, **{switch: True})
    assert model.shapes() == of_both_layers(LAYER | biases) | OUTER


def test_what_is_silent_is_the_plain_llama() -> None:
    assert (MODEL.qkv_bias, MODEL.wo_bias, MODEL.mlp_bias, MODEL.activation) == (False, False, False, "silu")
    assert MODEL.rope_scaling == RopeScaling("none", 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    for made in (MODEL, MODEL.rope_scaling):
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.type = "x"  # type: ignore[misc,union-attr]


def memory(tied: bool, dtype: Any = None) -> tuple[MemorySource, dict[str, np.ndarray]]:
    model = dataclasses.replace(MODEL, tied=tied)
    held = {name: np.full(shape, number, np.float32) for number, (name, shape) in enumerate(model.shapes().items())}
    return MemorySource(model, held.__getitem__, *([dtype] if dtype else [])), held


def test_a_tied_classifier_in_memory_is_the_embedding() -> None:
    for tied, name in ((True, "tok_embeddings.weight"), (False, "output.weight")):
        source, held = memory(tied, lambda name: "bf16" if name.startswith("tok") else "fp32")
        assert torch.equal(source.tensor("output.weight"), torch.from_numpy(held[name]))
        assert source.dtype("output.weight") == ("bf16" if tied else "fp32")
        assert torch.equal(source.tensor("norm.weight"), torch.from_numpy(held["norm.weight"]))
        source.tensor("norm.weight")[0] = 7.0  # the caller's own
        assert held["norm.weight"][0] != 7.0
        assert source.files.keys() == {*held, "hyperparameters and dtypes"}
    assert memory(True)[0].dtype("norm.weight") == "fp32"
    assert source.tokenizer_path == Path("memory/tokenizer.model")


def test_what_a_model_is_shows_in_its_digests() -> None:
    digests = [
        memory(tied, dtype)[0].files["hyperparameters and dtypes"]
        for tied, dtype in ((True, None), (False, None), (True, lambda _name: "bf16"))
    ]
    assert len(set(digests)) == 3


OF_META, OF_BOTH = "meta", "llama2c or meta"


@pytest.mark.parametrize(
    ("option", "flag", "kinds", "wanted"),
    [
        ({"rope_theta": 1.0}, "--rope-theta", {"meta"}, OF_META),
        ({"rope_scaling_factor": 0.0}, "--rope-scaling-factor", {"meta"}, OF_META),
        ({"adapter": ""}, "--adapter", {"huggingface"}, "huggingface"),
        ({"tied": True}, "--tied", {"llama2c", "meta"}, OF_BOTH),
        ({"tied": False}, "--untied", {"llama2c", "meta"}, OF_BOTH),
        ({"max_seq_len": 3, "follow_links": True}, "", {"llama2c", "meta", "huggingface", "v3", "bin"}, ""),
    ],
)
def test_an_option_is_refused_by_the_kinds_that_do_not_take_it(
    option: dict[str, Any], flag: str, kinds: set[str], wanted: str
) -> None:
    for kind in ("llama2c", "meta", "huggingface", "v3", "bin"):
        if kind in kinds:
            SourceOptions(**option).expect_only_for(kind)
            continue
        with pytest.raises(CannotJudgeError) as caught:
            SourceOptions(**option).expect_only_for(kind)
        assert str(caught.value) == f"{flag}: expected a source of kind {wanted}, found one of kind {kind}"


def test_options_are_silent_unless_they_are_given() -> None:
    silent = SourceOptions()
    assert dataclasses.astuple(silent) == (None, False, None, None, None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        silent.tied = True  # type: ignore[misc]


@pytest.mark.parametrize("absent", ["expect_unchanged", "tokenizer_path", "tensor", "dtype"])
def test_a_source_without_an_answer_cannot_be_made(absent: str) -> None:
    answers = {"expect_unchanged": None, "tokenizer_path": None, "tensor": None, "dtype": None}
    type("Whole", (Source,), answers)()
    with pytest.raises(TypeError, match=rf"abstract method '?{absent}'?"):
        type("Partial", (Source,), {name: None for name in answers if name != absent})()


def test_every_switch_stands_where_llama_has_it() -> None:
    assert repr(Hyperparameters(48, 40, 2, 6, 3, 10, 29, 33, False, 1e-5, 1e4)) == (
        "Hyperparameters(dim=48, hidden_dim=40, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=10, vocab_size=29, "
        "max_seq_len=33, tied=False, norm_eps=1e-05, rope_theta=10000.0, rope_scaling=RopeScaling(type='none', "
        "factor=0.0, original_max_positions=0, low_freq_factor=0.0, high_freq_factor=0.0, beta_fast=0.0, "
        "beta_slow=0.0, attention_factor=0.0, truncate=False, short_factors=(), long_factors=()), qkv_bias=False, "
        "wo_bias=False, mlp_bias=False, activation='silu', norm_place='before', norm_plus_one=False, qk_norm='none', "
        "rotary_dim=0, window=0, query_scale_positions=0, embedding_scale=1.0, score_scale=0.0, residual_scale=1.0, "
        "logit_divisor=1.0, score_cap=0.0, logit_cap=0.0, query_scale_beta=0.0, local_theta=0.0, n_experts=0, "
        "n_active_experts=0, expert_hidden_dim=0, experts_normalized=False, layers=())"
    )
    assert repr(LayerKind()) == "LayerKind(windowed=False, rope='first', experts=False)"


def test_what_says_no_more_than_the_default_is_the_default() -> None:
    """Two ways to say the same of a model are equal."""
    assert dataclasses.replace(MODEL, rotary_dim=10, layers=(LayerKind(), LayerKind())) == MODEL
    partial = dataclasses.replace(MODEL, rotary_dim=8)
    assert (MODEL.rotary_dim, MODEL.rotated, partial.rotary_dim, partial.rotated) == (0, 10, 8, 8)
    kinds = (LayerKind(), LayerKind(windowed=True))
    mixed = dataclasses.replace(MODEL, layers=kinds)
    assert (mixed.layers, mixed.layer(0), mixed.layer(1), MODEL.layer(1)) == (kinds, *kinds, LayerKind())
    longest = RopeScaling("longrope", short_factors=(1.0,), long_factors=(2.0,))
    assert longest == RopeScaling("longrope", short_factors=(1.0,))
    assert longest != RopeScaling("longrope", short_factors=(3.0,))


def test_the_widest_gate_is_that_of_all_chosen_experts_or_of_a_plain_layer() -> None:
    for active, width, widest in ((0, 0, 40), (3, 13, 40), (3, 14, 42), (1, 41, 41), (40, 1, 40)):
        model = dataclasses.replace(MODEL, n_active_experts=active, expert_hidden_dim=width)
        assert model.widest_gate == widest


def test_norms_of_queries_and_keys_are_of_a_head_or_of_all_of_them() -> None:
    for place, q, k in (("head", 10, 10), ("whole", 60, 30)):
        norms = {"attention.q_norm.weight": (q,), "attention.k_norm.weight": (k,)}
        assert dataclasses.replace(MODEL, qk_norm=place).shapes() == of_both_layers(LAYER | norms) | OUTER


def test_norms_stand_before_or_after_a_block_or_on_both_sides() -> None:
    after = {"attention_post_norm.weight": (48,), "ffn_post_norm.weight": (48,)}
    plain = {name: shape for name, shape in LAYER.items() if not name.endswith("_norm.weight")}
    for place, layer in (("before", LAYER), ("after", plain | after), ("both", LAYER | after)):
        assert dataclasses.replace(MODEL, norm_place=place).shapes() == of_both_layers(layer) | OUTER


def test_a_layer_with_experts_has_a_router_and_three_matrices_for_each() -> None:
    kinds = (LayerKind(experts=True), LayerKind())
    sizes = {"n_experts": 2, "n_active_experts": 1, "expert_hidden_dim": 7}
    dense = {name for name in LAYER if name.startswith("feed_forward.")}
    router = {"feed_forward.router.weight": (2, 48)}
    matrices = {"w1": (7, 48), "w2": (48, 7), "w3": (7, 48)}
    experts = {f"feed_forward.experts.{n}.{name}.weight": shape for n in (0, 1) for name, shape in matrices.items()}
    expected = of_both_layers(LAYER)
    for name in dense:
        del expected[f"layers.0.{name}"]
    expected |= {f"layers.0.{name}": shape for name, shape in (router | experts).items()}
    assert dataclasses.replace(MODEL, layers=kinds, **sizes).shapes() == expected | OUTER


def test_a_source_has_no_adapter_unless_it_says_so() -> None:
    source = MemorySource(MODEL, lambda name: np.zeros(MODEL.shapes()[name], np.float32))
    assert not source.has_adapter
    assert source.merge("norm.weight") is None


def test_a_merge_stays_as_it_is_and_compares_no_tensors() -> None:
    a, b, base = torch.ones(2, 3), torch.ones(4, 2), torch.ones(4, 3)
    merge = Merge(base, a, b, b, 8.0, 4.0)
    assert (merge.base is base, merge.a is a, merge.raw_b is b, merge.alpha, merge.scale) == (*(True,) * 3, 8.0, 4.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        merge.scale = 2.0  # type: ignore[misc]
    assert merge != Merge(base, a, b, b, 8.0, 4.0)
