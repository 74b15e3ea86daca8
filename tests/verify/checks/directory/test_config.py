"""What a config.json means is compared field by field. Quick: transformers' object is made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.models import config, hyperparameters

from verify.checks.directory import config as module
from verify.checks.directory.config import check_directory_config, implied, report_config
from verify.checks.result import CheckResult
from verify.errors import CannotJudgeError
from verify.sources import Hyperparameters, RopeScaling
from verify.sources.huggingface import HuggingFaceSource

HYPER = dataclasses.replace(hyperparameters(config()), norm_eps=1e-6, rope_theta=5e5)
SAID: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "vocab_size": 29,
    "max_position_embeddings": 33,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}
KEYS = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "vocab_size": "vocab_size",
    "max_seq_len": "max_position_embeddings",
}


def tensor(storage: str, *shape: int) -> Any:
    return SimpleNamespace(storage=storage, shape=shape)


def directory(settings: dict[str, Any] | None = None, tensors: tuple[Any, ...] = (), **changes: Any) -> Any:
    """A directory whose config transformers reads as SAID, with changes; a change to None is no such field."""
    said = {key: value for key, value in {**SAID, **changes}.items() if value is not None}
    return SimpleNamespace(
        path=Path("d"),
        config=SimpleNamespace(**said),
        settings=settings or {},
        weights=SimpleNamespace(tensors=dict(enumerate(tensors))),
    )


def checked(
    made: Any, hyper: Hyperparameters = HYPER, *, most: int = 33, read: Any = None, unlike: Any = None
) -> CheckResult:
    source: Any = SimpleNamespace(hyperparameters=hyper, kind="llama2c")
    return check_directory_config(made, source, most, read, unlike or {})


def test_a_config_means_the_model_that_it_says() -> None:
    assert implied(directory()) == HYPER
    found = checked(directory())
    assert (found.status, found.detail) == ("pass", "config.json means the source's model to transformers")
    both = checked(directory(), read=HYPER)
    assert both.detail == "config.json means the source's model to transformers and the verifier's own reader"


@pytest.mark.parametrize(
    ("model_type", "attention", "mlp", "expected"),
    [
        ("llama", True, False, (True, True, False)),
        ("llama", False, True, (False, False, True)),
        ("llama", True, True, (True, True, True)),
        ("mistral", True, True, (False, False, False)),
        ("qwen2", True, True, (True, False, False)),
        ("qwen2", False, False, (True, False, False)),
    ],
)
def test_biases_are_those_of_the_kind_of_model(
    model_type: str, attention: bool, mlp: bool, expected: tuple[bool, ...]
) -> None:
    found = implied(directory(model_type=model_type, attention_bias=attention, mlp_bias=mlp))
    assert (found.qkv_bias, found.wo_bias, found.mlp_bias) == expected


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(CannotJudgeError) as caught:
        implied(directory(model_type="gpt2"))
    known = "llama, mistral, qwen2, qwen3, smollm3, gemma2, gemma3_text, granite, olmo2, olmo3, phi3, ministral3, "
    known += "mixtral, qwen3_moe, olmoe, gemma, ministral, exaone4, seed_oss, flex_olmo, cwm, helium, ernie4_5"
    assert str(caught.value) == f"d/config.json: model_type: expected one of {known}, found 'gpt2'"


@pytest.mark.parametrize("key", KEYS.values())
@pytest.mark.parametrize("value", [0, -1, 2**31, True, 3.0, "3", None])
def test_a_size_is_a_positive_int32(key: str, value: object) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        implied(directory(**{key: value}))
    assert str(caught.value) == f"d/config.json: {key}: expected a positive integer, found {value!r}"


@pytest.mark.parametrize(("name", "key"), KEYS.items())
def test_each_size_is_compared_and_may_be_all_of_an_int32(name: str, key: str) -> None:
    expected = getattr(HYPER, name)
    # a Directory refuses more layers: each has a kind of its own in a list
    most = 100_000 if name == "n_layers" else 2**31 - 1
    for value in (1, most):
        assert getattr(implied(directory(**{key: value})), name) == value
        found = checked(directory(**{key: value}))
        assert found.detail == f"{key}: expected {expected}, found {value}"
        assert found.where == {"field": key, "expected": str(expected), "found": str(value)}
        assert found.observed == 1.0


def test_without_head_dim_heads_share_the_width() -> None:
    assert implied(directory(head_dim=None)).head_dim == 8
    assert implied(directory(head_dim=None, hidden_size=51)).head_dim == 8
    assert implied(directory(head_dim=12)).head_dim == 12


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        *(("silu", "silu"), ("swish", "silu"), ("gelu", "gelu"), ("gelu_new", "gelu_tanh")),
        *(("gelu_pytorch_tanh", "gelu_tanh"), ("relu", "relu")),
    ],
)
def test_activations_have_several_names(said: str, meant: str) -> None:
    assert implied(directory(hidden_act=said)).activation == meant
    detail = checked(directory(hidden_act=said)).detail
    assert detail == f"hidden_act: expected silu, found {meant}" or meant == "silu"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"tie_word_embeddings": True}, "tie_word_embeddings: expected False, found True"),
        ({"attention_bias": True}, "qkv_bias: expected False, found True; wo_bias: expected False, found True"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps: expected 1e-06, found 1e-05"),
        ({"rope_parameters": {"rope_theta": 1e4}}, "rope_theta: expected 500000.0, found 10000.0"),
        ({"rope_parameters": None}, "rope_theta: expected 500000.0, found 0.0"),
        ({"rope_parameters": [5]}, "rope_theta: expected 500000.0, found 0.0"),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}},
            "rope_type: expected none, found linear",
        ),
    ],
)
def test_each_other_field_is_compared(changes: dict[str, Any], detail: str) -> None:
    assert checked(directory(**changes)).detail == detail


def test_real_numbers_are_compared_as_float32() -> None:
    theta = dataclasses.replace(HYPER, rope_theta=1.0)
    for value, status in ((1, "pass"), (1.0, "pass"), (1 + 1e-9, "pass"), (1 + 2e-7, "fail"), (None, "fail")):
        made = directory(rope_parameters={"rope_theta": value})
        assert checked(made, theta).status == status, value
    assert checked(directory(rms_norm_eps=float(np.float32(1e-6)))).status == "pass"


LONGROPE = RopeScaling(
    "longrope", 0.0, 40, attention_factor=1.25, short_factors=(1.0, 1.5, 2.0, 2.5), long_factors=(3.0, 4.0, 5.0, 6.0)
)
OF_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 5e5,
    "factor": 1.0,
    "original_max_position_embeddings": 40,
    "attention_factor": 1.25,
    "short_factor": [1.0, 1.5, 2.0, 2.5],
    "long_factor": [3.0, 4.0, 5.0, 6.0],
}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("short_factor", [1.0, 1.5, 2.25, 2.5], "expected 1, 1.5, 2, 2.5, found 1, 1.5, 2.25, 2.5"),
        ("long_factor", [3.0, 4.0, 5.0, 7.0], "expected 3, 4, 5, 6, found 3, 4, 5, 7"),
        ("attention_factor", 1.0, "expected 1.25, found 1.0"),
        ("original_max_position_embeddings", 41, "expected 40, found 41"),
    ],
)
def test_every_part_of_longrope_is_compared(key: str, value: object, said: str) -> None:
    hyper = dataclasses.replace(HYPER, rope_scaling=LONGROPE, rope_theta=5e5)
    assert checked(directory(rope_parameters=OF_LONGROPE), hyper).status == "pass"
    assert checked(directory(rope_parameters={**OF_LONGROPE, key: value}), hyper).detail == f"{key}: {said}"
    from_a_file = dataclasses.replace(hyper, rope_scaling=dataclasses.replace(LONGROPE, long_factors=()))
    other = {**OF_LONGROPE, "long_factor": [9.0] * 4}
    assert checked(directory(rope_parameters=other), from_a_file).status == "pass"


YARN = RopeScaling("yarn", 4.0, 17, beta_fast=31.0, beta_slow=1.5, attention_factor=1.25, truncate=True)
OF_YARN = {
    "rope_type": "yarn",
    "rope_theta": 5e5,
    "factor": 4.0,
    "original_max_position_embeddings": 17,
    "beta_fast": 31.0,
    "beta_slow": 1.5,
    "attention_factor": 1.25,
    "truncate": True,
}


@pytest.mark.parametrize("key", [key for key in OF_YARN if key != "rope_theta"])
def test_each_parameter_of_a_scaling_is_compared_if_it_is_said(key: str) -> None:
    hyper = dataclasses.replace(HYPER, rope_scaling=YARN)
    assert checked(directory(rope_parameters=OF_YARN), hyper).status == "pass"
    other = {"rope_type": "linear", "truncate": False}.get(key, 9.0)
    changed = checked(directory(rope_parameters={**OF_YARN, key: other}), hyper)
    assert changed.detail.startswith(f"{key}: expected {OF_YARN[key]}, found {other}")
    silent = checked(directory(rope_parameters={**OF_YARN, key: None}), hyper)
    assert silent.status == ("pass" if key != "rope_type" else "fail")


def test_parameters_that_a_scaling_does_not_have_are_none() -> None:
    linear = dataclasses.replace(HYPER, rope_scaling=RopeScaling("linear", 2.0))
    said = {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0, "beta_fast": 7.0}
    assert checked(directory(rope_parameters=said), linear).status == "pass"
    dynamic = dataclasses.replace(HYPER, rope_scaling=RopeScaling("dynamic", 2.0, 40))
    said = {"rope_type": "dynamic", "rope_theta": 5e5, "factor": 2.0, "original_max_position_embeddings": 9}
    assert checked(directory(rope_parameters=said), dynamic).status == "pass"


def test_what_the_own_reader_makes_of_it_is_compared_too() -> None:
    other = dataclasses.replace(HYPER, rope_scaling=RopeScaling("linear", 2.0), head_dim=16)
    found = checked(directory(), read=other)
    assert found.detail == (
        "head_dim: expected 8, found 16; rope_type: expected none, found linear; factor: expected 0.0, found 2.0"
    )
    # the model may be shorter than the source on purpose
    assert checked(directory(max_position_embeddings=20), most=20).status == "pass"
    # transformers' word comes before the own reader's
    both = checked(directory(head_dim=4), read=other)
    assert both.detail.startswith("head_dim: expected 8, found 4; ")


def test_a_refusal_of_the_own_reader_is_a_finding_beside_the_others() -> None:
    refused = CannotJudgeError("config.json: x: expected y, found z")
    found = checked(directory(), read=refused)
    assert (found.status, found.observed, found.detail) == ("fail", 1.0, "config.json: x: expected y, found z")
    found = checked(directory(vocab_size=30), read=refused, unlike={"storage": ("a", "b")})
    assert (found.observed, found.where) == (3.0, {})
    assert found.detail == (
        "vocab_size: expected 29, found 30; storage: expected a, found b; config.json: x: expected y, found z"
    )


@pytest.mark.parametrize(
    ("settings", "tensors", "unlike"),
    [
        ({}, (tensor("fp16", 2),), None),
        ({"dtype": None}, (tensor("fp16", 2),), None),
        ({"dtype": "float32"}, (), None),
        ({"dtype": "float16"}, (tensor("fp16", 2),), None),
        ({"dtype": "torch.float16"}, (tensor("fp16", 2),), None),
        ({"torch_dtype": "bfloat16"}, (tensor("bf16", 2),), None),
        ({"dtype": "float32"}, (tensor("fp16", 2),), "dtype: expected float16, found float32"),
        ({"torch_dtype": "float32"}, (tensor("bf16", 2),), "torch_dtype: expected bfloat16, found float32"),
        ({"dtype": "bfloat16", "torch_dtype": "x"}, (tensor("fp32", 2),), "dtype: expected float32, found bfloat16"),
        ({"dtype": "float16"}, (tensor("fp16", 2, 3), tensor("fp32", 5)), None),
        ({"dtype": "float32"}, (tensor("fp16", 2, 3), tensor("bf16", 5)), None),
        ({"dtype": "bfloat16"}, (tensor("fp16", 2, 3), tensor("bf16", 5)), "dtype: expected float16, found bfloat16"),
        ({"dtype": "bfloat16"}, (tensor("fp16", 6), tensor("bf16", 5), tensor("bf16", 2)), None),
        ({"dtype": "bfloat16"}, (tensor("fp16", 6), tensor("bf16", 6)), None),
        ({"dtype": "float16"}, (tensor("fp16", 6), tensor("bf16", 6)), None),
    ],
)
def test_the_type_that_is_said_is_that_of_most_numbers(
    settings: dict[str, Any], tensors: tuple[Any, ...], unlike: str | None
) -> None:
    found = checked(directory(settings, tensors))
    assert found.status == ("pass" if unlike is None else "fail")
    assert found.detail == unlike or unlike is None


def test_token_ids_are_those_of_a_hugging_face_source_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = SimpleNamespace(bos_token_id=1, eos_token_id=[2, 3])
    monkeypatch.setattr(HuggingFaceSource, "transformers_config", lambda _source: theirs)
    source = HuggingFaceSource.__new__(HuggingFaceSource)
    source.hyperparameters = HYPER
    same = directory(bos_token_id=1, eos_token_id=[2, 3])
    assert check_directory_config(same, source, 33, None, {}).status == "pass"
    others = directory(bos_token_id=2, eos_token_id=2, pad_token_id=5)
    assert check_directory_config(others, source, 33, None, {}).detail == (
        "bos_token_id: expected 1, found 2; eos_token_id: expected [2, 3], found 2; pad_token_id: expected None, "
        "found 5"
    )
    assert checked(others).status == "pass"


def test_a_report_has_the_names_of_a_header() -> None:
    found = report_config(directory(rope_parameters=OF_YARN))
    scaling = {key: value for key, value in dataclasses.asdict(YARN).items() if value}
    assert found["rope_scaling"] == scaling
    assert (found["shared_classifier"], found["group_size"], found["dim"], "tied" in found) == (False, 0, 48, False)
    for said in ({"rope_theta": 5e5}, {"rope_type": "default", "rope_theta": 5e5}):
        assert report_config(directory(rope_parameters=said))["rope_scaling"] == {"type": "none"}


def test_integers_are_compared_exactly_even_where_they_are_one_float32() -> None:
    large = dataclasses.replace(HYPER, vocab_size=2**24)
    found = checked(directory(vocab_size=2**24 + 1), large)
    assert found.detail == f"vocab_size: expected {2**24}, found {2**24 + 1}"


MIXTRAL: dict[str, Any] = {"model_type": "mixtral", "num_experts_per_tok": 2, "num_local_experts": 4}


def test_a_config_may_ask_for_a_million_experts_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its two layers together: 2^20."""
    assert implied(directory(**{**MIXTRAL, "num_local_experts": 1 << 19})).n_experts == 1 << 19
    with pytest.raises(CannotJudgeError) as caught:
        implied(directory(**{**MIXTRAL, "num_local_experts": (1 << 19) + 1}))
    assert str(caught.value) == "d/config.json: expected at most 1048576 experts in all layers, found more"
    # of which a model without experts has none
    monkeypatch.setattr(module, "_MOST_EXPERTS", 1)
    assert implied(directory()).n_experts == 0
