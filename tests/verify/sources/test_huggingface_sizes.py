"""Config against tensors by itself: every size at both sides, and the families' biases and defaults."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.models import config, hyperparameters

from verify.errors import CannotJudgeError
from verify.sources.huggingface_config import derived, resolved
from verify.sources.huggingface_settings import Settings, judged_settings
from verify.sources.source import Hyperparameters, LayerKind

WHERE = Path("model/config.json")
MODEL = hyperparameters(config(head_dim=10, norm_eps=1e-6, rope_theta=5e5))
CONFIG: dict[str, Any] = {
    **{"vocab_size": 29, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2},
    **{"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10, "hidden_act": "silu"},
    **{"max_position_embeddings": 33, "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
    **{"attention_bias": False, "mlp_bias": False, "sliding_window": None},
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
}


def derive(
    family: str = "llama",
    shapes: dict[str, tuple[int, ...]] | None = None,
    said: dict[str, Any] | None = None,
    asked: int | None = None,
    **changes: Any,
) -> Hyperparameters:
    config = SimpleNamespace(**{key: value for key, value in {**CONFIG, **changes}.items() if value is not ...})
    settings = Settings(family, said or {}, {})
    return derived(WHERE, settings, config, MODEL.shapes() if shapes is None else shapes, asked)[0]


def refused(**given: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        derive(**given)
    return str(caught.value)


def shapes_with(**changes: Any) -> dict[str, tuple[int, ...]]:
    """Of the model with other hyper-parameters."""
    return dataclasses.replace(MODEL, **changes).shapes()


def test_a_model_that_agrees_with_its_config() -> None:
    assert derive() == MODEL
    assert derive(asked=7) == dataclasses.replace(MODEL, max_seq_len=7)
    for number, name in enumerate(["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh"]):
        activation = ["silu", "silu", "gelu", "gelu_tanh", "gelu_tanh"][number]
        assert derive(hidden_act=name).activation == activation
    assert refused(hidden_act="relu") == (
        "model/config.json: hidden_act: expected one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh, found relu"
    )


def test_biases_are_those_of_the_family() -> None:
    qkv, all_four = {"qkv_bias": True}, {"qkv_bias": True, "wo_bias": True}
    for family, changes, biases in (
        ("llama", {"attention_bias": True}, all_four),
        ("llama", {"mlp_bias": True}, {"mlp_bias": True}),
        ("qwen2", {"attention_bias": ..., "mlp_bias": ...}, qkv),
        ("qwen2", {"attention_bias": False, "mlp_bias": True}, qkv),
        ("mistral", {"attention_bias": True, "mlp_bias": True}, {}),
    ):
        expected = dataclasses.replace(MODEL, **biases)
        assert derive(family, expected.shapes(), **changes) == expected
    assert derive(shapes=shapes_with(tied=True), tie_word_embeddings=True).tied


@pytest.mark.parametrize(
    ("key", "value", "of_what"),
    [
        ("vocab_size", 29, "the rows of the embedding"),
        ("hidden_size", 48, "as the tensors say"),
        ("intermediate_size", 40, "as the tensors say"),
        ("num_hidden_layers", 2, "as the tensors say"),
        ("num_key_value_heads", 3, "as the tensors say"),
        ("head_dim", 10, "as the tensors say"),
    ],
)
def test_a_size_on_either_side_of_the_tensors_is_refused(key: str, value: int, of_what: str) -> None:
    for other in (value - 1, value + 1, None, str(value)):
        assert refused(**{key: other}) == f"model/config.json: {key}: expected {value}, {of_what}, found {other}"


def test_true_is_no_size() -> None:
    one = shapes_with(n_layers=1)
    assert derive(shapes=one, num_hidden_layers=1).n_layers == 1
    assert refused(shapes=one, num_hidden_layers=True).endswith("expected 1, as the tensors say, found True")


def test_a_class_without_head_dim_divides() -> None:
    shapes = shapes_with(head_dim=8)
    assert derive("qwen2", shapes_with(head_dim=8, qkv_bias=True), head_dim=...).head_dim == 8
    assert derive(shapes=shapes, head_dim=8).head_dim == 8
    found = refused(family="qwen2", shapes=shapes_with(qkv_bias=True), head_dim=...)
    assert found == "model/config.json: head_dim: expected 10, as the tensors say, found 8"


def test_mixtral_divides_where_head_dim_is_null_and_not_where_it_is_a_number() -> None:
    """Sixty rows are six heads of 10, and 48 / 6 is 8."""
    experts = {
        "n_experts": 2,
        "n_active_experts": 1,
        "expert_hidden_dim": 40,
        "layers": (LayerKind(experts=True),) * 2,
    }
    said = {"num_local_experts": 2, "num_experts_per_tok": 1}
    assert derive("mixtral", shapes_with(**experts), **said).head_dim == 10
    config = SimpleNamespace(**{**CONFIG, **said, "head_dim": None})
    settings = Settings("mixtral", {}, {})
    assert derived(WHERE, settings, config, shapes_with(**experts, head_dim=8), None)[0].head_dim == 8
    with pytest.raises(CannotJudgeError, match="head_dim: expected 10, as the tensors say, found 8"):
        derived(WHERE, settings, config, shapes_with(**experts), None)
    # where another family's class has null there, it says nothing that fits
    assert refused(head_dim=None).endswith("head_dim: expected 10, as the tensors say, found None")


def test_one_kv_head_serves_all() -> None:
    assert derive(shapes=shapes_with(n_kv_heads=1), num_key_value_heads=1).n_kv_heads == 1


def test_heads_are_whole_and_even() -> None:
    assert derive(shapes=shapes_with(head_dim=2), head_dim=2).head_dim == 2
    wq, wk = "layers.0.attention.wq.weight", "layers.0.attention.wk.weight"
    for rows in (59, 61, 18, 30, 6):
        assert refused(shapes={**MODEL.shapes(), wq: (rows, 48)}) == (
            f"model: {wq}: expected rows of 6 heads of even size, found {rows}"
        )
    for rows in (29, 31, 40, 5, 120):
        assert refused(shapes={**MODEL.shapes(), wk: (rows, 48)}) == (
            f"model: {wk}: expected rows of whole heads of 10, found {rows}"
        )


@pytest.mark.parametrize(
    "name",
    [
        *("tok_embeddings.weight", "layers.0.feed_forward.w1.weight"),
        *("layers.0.attention.wq.weight", "layers.0.attention.wk.weight"),
    ],
)
def test_what_decides_the_sizes_is_a_matrix(name: str) -> None:
    for shape in ((48,), (4, 0), (0, 4), (1, 2, 3)):
        found = refused(shapes={**MODEL.shapes(), name: shape})
        assert found == f"model: {name}: expected a matrix, found {shape}"
    absent = {key: shape for key, shape in MODEL.shapes().items() if key != name}
    assert refused(shapes=absent) == f"model: {name}: expected a matrix, found no such tensor"


def test_every_tensor_has_its_shape_and_no_other_is_there() -> None:
    shapes = MODEL.shapes()
    name = "layers.1.attention.wo.weight"
    assert refused(shapes={**shapes, name: (60, 48)}) == f"model: {name}: expected (48, 60), found (60, 48)"
    assert refused(shapes={**shapes, "norm.bias": (48,)}) == "model: norm.bias: expected no such tensor, found (48,)"
    del shapes["norm.weight"]
    assert refused(shapes=shapes) == "model: norm.weight: expected (48,), found no such tensor"


@pytest.mark.parametrize("padding", [30, 29, -30])
def test_a_padding_row_is_one_of_the_embedding(padding: int) -> None:
    for fits in (None, 0, 28, -29, "x"):
        derive(said={"pad_token_id": fits})
    assert refused(said={"pad_token_id": padding}) == (
        f"model/config.json: pad_token_id: expected none, or -29 to 28, found {padding}"
    )


FULL = {
    **{"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    **{"vocab_size": 29, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 2},
    **{"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10},
}


def config_of(**said: Any) -> Any:
    return resolved(WHERE, judged_settings(WHERE, {**FULL, **said}))


def test_transformers_own_defaults_stand_where_config_json_is_silent() -> None:
    """Of Qwen2, 32 kv heads, however many heads a model has; of the others, as many as heads."""
    qwen = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "head_dim": None}
    silent = {key: value for key, value in FULL.items() if key != "num_key_value_heads"}
    found = resolved(WHERE, judged_settings(WHERE, {**silent, **qwen}))
    assert found.num_key_value_heads == 32
    assert resolved(WHERE, judged_settings(WHERE, silent)).num_key_value_heads == 6
    said = config_of(rope_scaling={"type": "linear", "factor": 2.0}, unknown_key="x", pad_token_id=3)
    assert said.rope_parameters["rope_type"] == "linear"
    assert not hasattr(said, "unknown_key")


def test_what_transformers_refuses_is_refused() -> None:
    with pytest.raises(CannotJudgeError, match=r"^model/config\.json: expected a config that transformers accepts, "):
        config_of(hidden_size="48")
    for dtype in ("float33", 7):
        with pytest.raises(CannotJudgeError, match=r"^model/config\.json: "):
            config_of(dtype=dtype)
    assert config_of(dtype="float16").vocab_size == 29


def test_what_was_read_is_not_written_to() -> None:
    said = {"rope_type": "linear", "factor": 2.0}
    config_of(rope_parameters=said)
    assert said == {"rope_type": "linear", "factor": 2.0}
