"""adapter_config.json by itself: which modules PEFT changes, by how much, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import exporter
from exporter.sources.lora_config import LoraConfig, read_lora_config

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["q_proj"]}
LEAVES_IT = "one that leaves the base model as it is (true, false, gaussian)"
QUERY = "model.layers.3.self_attn.q_proj"


def made(directory: Path, **said: Any) -> LoraConfig:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**LORA, **said}))
    return read_lora_config(path)


def refused(directory: Path, **said: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        made(directory, **said)
    return str(caught.value).removeprefix(f"{directory / 'adapter_config.json'}: ")


def test_a_matrix_is_scaled_by_alpha_over_rank(tmp_path: Path) -> None:
    assert made(tmp_path) == LoraConfig(4, 6.0, False, {}, {}, ("q_proj",))
    assert (made(tmp_path).rank(QUERY), made(tmp_path).scale(QUERY)) == (4, 1.5)
    for off in (False, None):
        assert made(tmp_path, use_rslora=off).scale(QUERY) == 1.5
    assert made(tmp_path, use_rslora=True).scale(QUERY) == 6 / math.sqrt(4)


def test_patterns_match_a_modules_end(tmp_path: Path) -> None:
    found = made(
        tmp_path, rank_pattern={"k_proj": 2, "q_proj": 8, "3.self_attn.q_proj": 16}, alpha_pattern={"q_proj": 2}
    )
    assert found.rank(QUERY) == 8
    assert found.scale(QUERY) == 0.25
    assert found.rank("model.layers.3.self_attn.my_q_proj") == 4
    assert found.rank("q_proj") == 8
    assert found.rank("q_proj.x") == 4
    only = made(tmp_path, alpha_pattern={r"layers\.\d+\.self_attn\.q_proj": 2.5}, use_rslora=True)
    assert only.scale(QUERY) == 1.25
    assert only.scale("model.layers.3.self_attn.v_proj") == 3


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("q_proj", True),
        ("x" * 500, True),
        ("x" * 501, False),
        (r"^layers\.(1|2)\.q", True),
        (r"\d+", True),
        ("a*", False),
        ("(a)+", False),
        ("a{2}", False),
        ("", False),
        ("a b", False),
    ],
)
def test_a_pattern_is_simple(tmp_path: Path, key: str, pattern: str, fits: bool) -> None:
    if fits:
        assert getattr(made(tmp_path, **{key: {pattern: 1}}), key) == {pattern: 1}
    else:
        found = refused(tmp_path, **{key: {pattern: 1}})
        assert found.startswith(f"{key}: expected names of modules or simple patterns, found ")


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_patterns_are_an_object_of_expressions(tmp_path: Path, key: str) -> None:
    for silent in (None, {}):
        assert getattr(made(tmp_path, **{key: silent}), key) == {}
    assert refused(tmp_path, **{key: ["q_proj"]}).startswith(f"{key}: expected an object or null, found ")
    assert refused(tmp_path, **{key: {"(a": 1}}).startswith(f"{key}: expected a regular expression, found '(a': ")
    assert refused(tmp_path, **{key: {"q_proj": "8"}}).startswith(f"{key}: q_proj: expected a ")


@pytest.mark.parametrize("rank", [0, -1, 2**31, True, 2.0, "2", None])
def test_a_rank_is_a_positive_integer_of_32_bits(tmp_path: Path, rank: Any) -> None:
    assert made(tmp_path, r=1).r == 1
    assert made(tmp_path, r=2**31 - 1).r == 2**31 - 1
    assert refused(tmp_path, r=rank).startswith("r: expected a positive integer, found ")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type: expected LORA, found 'IA3'"),
        ({"bias": "all"}, "bias: expected none, found 'all'"),
        (
            {"init_lora_weights": "pissa"},
            f"init_lora_weights: expected {LEAVES_IT}, found 'pissa'",
        ),
        (
            {"init_lora_weights": 1},
            f"init_lora_weights: expected {LEAVES_IT}, found 1",
        ),
        ({"use_dora": True}, "use_dora: expected null or false in a plain LoRA, found True"),
        ({"use_rslora": 1}, "use_rslora: expected true or false, found 1"),
    ],
)
def test_anything_but_plain_lora_is_refused(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    assert refused(tmp_path, **said) == message


def test_what_changes_nothing_is_accepted(tmp_path: Path) -> None:
    made(tmp_path, use_dora=False, layer_replication=None, lora_dropout=0.1, base_model_name_or_path="x", bias="none")
    for start in (None, True, False, "gaussian"):
        made(tmp_path, init_lora_weights=start)


@pytest.mark.parametrize(
    ("targets", "module", "aimed"),
    [
        (["q_proj"], QUERY, True),
        (["q_proj"], "q_proj", True),
        (["q_proj"], "model.layers.3.self_attn.my_q_proj", False),
        (["v_proj", QUERY], QUERY, True),
        ("all-linear", QUERY, True),
        ("all-linear", "lm_head", False),
        ("all-linear", "model.embed_tokens", False),
    ],
)
def test_modules_are_aimed_at_by_name(tmp_path: Path, targets: Any, module: str, aimed: bool) -> None:
    assert made(tmp_path, target_modules=targets).aims_at(module) is aimed


@pytest.mark.parametrize("targets", [None, [], [1], ["q_proj", 1], ".*", {"q_proj": 1}])
def test_targets_are_names(tmp_path: Path, targets: object) -> None:
    assert refused(tmp_path, target_modules=targets).startswith(
        "target_modules: expected a list of names of modules, or all-linear, found "
    )


def test_a_message_is_cut(tmp_path: Path) -> None:
    assert len(refused(tmp_path, rank_pattern={"x" * 499: "y"})) == 400
