"""adapter_config.json by itself: which modules PEFT changes, by how much, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.adapter_config import AdapterConfig

WHERE = Path("adapter_config.json")
LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["q_proj"]}
QUERY = "model.layers.3.self_attn.q_proj"
LEAVES_IT = "one that leaves the base as it is"


def made(**said: Any) -> AdapterConfig:
    return AdapterConfig(WHERE, {**LORA, **said})


def refused(**said: Any) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        made(**said)
    return str(caught.value)


def test_a_matrix_is_scaled_by_alpha_over_rank() -> None:
    assert (made().rank, made().rank_of(QUERY), made().scale_of(QUERY)) == (4, 4, 1.5)
    for off in (False, None):
        assert made(use_rslora=off).scale_of(QUERY) == 1.5
    assert made(use_rslora=True).scale_of(QUERY) == 6 / math.sqrt(4)


def test_patterns_match_a_modules_end() -> None:
    found = made(rank_pattern={"k_proj": 2, "q_proj": 8, r"3\.self_attn\.q_proj": 16}, alpha_pattern={"q_proj": 2.5})
    assert found.rank_of(QUERY) == 8
    assert found.scale_of(QUERY) == 2.5 / 8
    assert found.rank_of("model.layers.3.self_attn.my_q_proj") == 4
    assert found.rank_of("q_proj") == 8
    assert found.rank_of("q_proj.x") == 4
    only = made(alpha_pattern={"q_proj": 2.5}, use_rslora=True)
    assert only.scale_of(QUERY) == 2.5 / 2
    assert only.scale_of("model.layers.3.self_attn.v_proj") == 3


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("q_proj", True),
        ("x" * 200, True),
        ("x" * 201, False),
        (r"a*b+", True),
        (r"a*b+c{2}", False),
        (r"a\*b\+c\{d*e*", True),
        ("(a)*", False),
        ("(a)+", False),
        ("(a){2}", False),
        ("(a)?", False),
        ("(?:a)", False),
        (r"(a)\1", False),
        ("(a|b)", True),
        ("a\nb", False),
    ],
)
def test_a_pattern_is_simple(key: str, pattern: str, fits: bool) -> None:
    if fits:
        made(**{key: {pattern: 1}})
    else:
        shown = " ".join(pattern.split())[:200]
        assert refused(**{key: {pattern: 1}}) == (
            f"adapter_config.json: {key}: expected patterns of at most 2 simple repeats, found {shown}"
        )


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_patterns_are_an_object_of_expressions(key: str) -> None:
    for silent in (None, {}, []):
        made(**{key: silent})
    assert refused(**{key: ["q_proj"]}) == f"adapter_config.json: {key}: expected an object, found list"
    assert refused(**{key: {"[a": 1}}) == f"adapter_config.json: {key}: expected regular expressions, found [a"
    found = made(**{key: {"q_proj": 0}})
    with pytest.raises(CannotJudgeError, match=f"{key}: expected a positive"):
        found.scale_of(QUERY)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected LORA, found IA3"),
        ({"use_dora": True}, "use_dora: expected nothing (this project does not support it), found True"),
        ({"bias": "all"}, "bias: expected none, found all"),
        ({"bias": None}, "bias: expected none, found None"),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights: expected one that leaves the base as it is, found pissa",
        ),
        ({"init_lora_weights": 1}, "init_lora_weights: expected one that leaves the base as it is, found 1"),
        ({"use_rslora": 1}, "use_rslora: expected true or false, found 1"),
        ({"r": 0}, "r: expected a positive integer below 2^31, found 0"),
        ({"lora_alpha": 0}, "lora_alpha: expected a positive finite number, found 0"),
    ],
)
def test_anything_but_plain_lora_is_refused(said: dict[str, Any], message: str) -> None:
    assert refused(**said) == f"adapter_config.json: {message}"


def test_what_changes_nothing_is_accepted() -> None:
    made(use_dora=False, layer_replication=None, lora_dropout=0.1, base_model_name_or_path="x")
    for start in (None, True, False, "gaussian", "eva", "orthogonal"):
        made(init_lora_weights=start, bias="none")


@pytest.mark.parametrize(
    ("said", "module", "selected"),
    [
        ({}, QUERY, True),
        ({}, "q_proj", True),
        ({}, "model.layers.3.self_attn.my_q_proj", False),
        ({}, "model.layers.3.self_attn.v_proj", False),
        ({"target_modules": ["v_proj", QUERY]}, QUERY, True),
        ({"target_modules": "all-linear"}, QUERY, True),
        ({"target_modules": "all-linear"}, "lm_head", False),
        ({"target_modules": ".*q_proj"}, QUERY, None),
        ({"layers_to_transform": [1, 3]}, QUERY, True),
        ({"layers_to_transform": 3}, QUERY, True),
        ({"layers_to_transform": [1, 2]}, QUERY, False),
        ({"layers_to_transform": 0}, QUERY, False),
        ({"layers_to_transform": [3]}, "lm_head", False),
        ({"layers_to_transform": [3], "target_modules": ".*"}, QUERY, None),
        ({"layers_to_transform": [1], "target_modules": ".*"}, QUERY, False),
        ({"layers_to_transform": [1], "target_modules": "all-linear"}, QUERY, False),
    ],
)
def test_modules_are_selected_by_name_and_layer(said: dict[str, Any], module: str, selected: bool | None) -> None:
    assert made(**said).selects(module) is selected


@pytest.mark.parametrize("targets", [None, [], [1], ["q_proj", 1], {"q_proj": 1}])
def test_targets_are_names(targets: object) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        made(target_modules=targets).selects(QUERY)
    assert str(caught.value) == f"adapter_config.json: target_modules: expected names of modules, found {targets}"


@pytest.mark.parametrize("layers", ["3", ["3"], [3, True], True, 3.0])
def test_layers_are_numbers(layers: object) -> None:
    with pytest.raises(CannotJudgeError) as caught:
        made(layers_to_transform=layers).selects(QUERY)
    assert (
        str(caught.value) == f"adapter_config.json: layers_to_transform: expected numbers of layers, found {layers}"
    )
