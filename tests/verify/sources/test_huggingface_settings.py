"""The keys of config.json, judged by themselves: which count, which are noted, which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_settings import ARCHITECTURES, judged_settings

WHERE = Path("config.json")
FAMILIES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def notes(**said: Any) -> list[str]:
    return judged_settings(WHERE, {**LLAMA, **said}).notes


def refused(said: dict[str, Any]) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        judged_settings(WHERE, said)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_understood_is_passed_on(family: str) -> None:
    said = {"model_type": family, "architectures": [FAMILIES[family]], "hidden_size": 48, "pad_token_id": 0}
    found = judged_settings(WHERE, {**said, "use_cache": True, "attention_dropout": 0.5})
    assert (found.family, found.understood, found.notes) == (family, {"hidden_size": 48}, [])
    assert found.said["use_cache"] is True


@pytest.mark.parametrize(
    ("key", "families"),
    [
        ("attention_bias", {"llama"}),
        ("mlp_bias", {"llama"}),
        ("use_sliding_window", {"qwen2"}),
        ("max_window_layers", {"qwen2"}),
        ("sliding_window", set(FAMILIES)),
    ],
)
def test_each_family_has_its_own_keys(key: str, families: set[str]) -> None:
    for family, name in FAMILIES.items():
        found = judged_settings(WHERE, {"model_type": family, "architectures": [name], key: 1})
        assert (key in found.understood) == (family in families)
        ignored = [f"config.json: ignored, as transformers ignores it: {key}"]
        assert found.notes == ([] if family in families else ignored)


def test_what_transformers_does_not_read_is_noted_if_it_says_something() -> None:
    assert notes(zoo=1, ape="x") == ["config.json: ignored, as transformers ignores it: ape, zoo"]
    assert notes(zoo=0, ape=None, bear=False) == []
    assert notes(bos_token_id=1, temperature=0.5) == []
    assert notes(pretraining_tp=1) == []
    assert notes(pretraining_tp=2) == ["config.json: ignored, as transformers ignores it: pretraining_tp"]
    assert notes(auto_map={"AutoModel": "x"}) == ["config.json: auto_map names remote code, which is not used"]
    assert notes(auto_map={}) == []


NOT_SUPPORTED = "(transformers reads it for llama, and this project does not support other values)"


@pytest.mark.parametrize(
    ("key", "default", "other"),
    [
        ("is_causal", True, False),
        ("is_causal", True, None),
        ("is_causal", True, 1),
        ("is_encoder_decoder", False, True),
        ("is_encoder_decoder", False, 0),
        ("return_dict", True, False),
        ("attention_chunk_size", None, 8),
        ("text_config", None, {}),
    ],
)
def test_what_transformers_reads_and_this_project_does_not_must_be_the_default(
    key: str, default: object, other: object
) -> None:
    assert notes(**{key: default}) == []
    if key != "is_causal":
        assert notes(**{key: None}) == []
    expected = "none" if default is None else default
    assert refused({**LLAMA, key: other}) == f"config.json: {key}: expected {expected} {NOT_SUPPORTED}, found {other}"


def test_a_mistral_with_layer_types_is_another_model() -> None:
    said = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "layer_types": None}
    assert refused(said) == (
        "config.json: layer_types: expected none (transformers takes a Mistral with layer_types for a Ministral: "
        "name that as model_type), found None"
    )
    assert notes(layer_types=["full_attention"]) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_an_architecture_alone_names_the_family(family: str) -> None:
    name = FAMILIES[family]
    for spelled in (name, name.lower()):
        found = judged_settings(WHERE, {"architectures": [spelled]})
        assert found.family == family
        assert found.notes == [f"config.json: no model_type; it was taken from the architecture {spelled}"]


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        (["LlamaForCausalLM", "LlamaModel"], "LlamaForCausalLM, LlamaModel"),
        (["CohereForCausalLM"], "CohereForCausalLM"),
        ([], "none"),
        (None, "none"),
        ("LlamaForCausalLM", "LlamaForCausalLM"),
        ([1], "1"),
    ],
)
def test_other_architectures_alone_name_none(listed: object, shown: str) -> None:
    assert refused({"architectures": listed}) == (
        f"config.json: model_type: expected one of {', '.join(ARCHITECTURES)}, found no model_type and the "
        f"architectures {shown}"
    )


@pytest.mark.parametrize(
    ("named", "listed", "shown"),
    [
        ("cohere", None, "cohere"),
        ("cohere", ["A", "B"], "cohere (A, B)"),
        (["llama"], None, "['llama']"),
        (0, "A", "0 (A)"),
    ],
)
def test_another_family_is_refused(named: object, listed: object, shown: str) -> None:
    message = f"config.json: model_type: expected one of {', '.join(ARCHITECTURES)}, found {shown}"
    assert refused({"model_type": named, "architectures": listed}) == message


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        (None, "none"),
        ([], "none"),
        (["LlamaForCausalLM", "B"], "LlamaForCausalLM, B"),
        (["MistralForCausalLM"], "MistralForCausalLM"),
        (["x" * 101], "x" * 100),
    ],
)
def test_model_type_decides_over_architectures(listed: object, shown: str) -> None:
    note = f"config.json: architectures says {shown}; model_type llama decides, as in transformers"
    assert notes(architectures=listed) == [note]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq of 4 bits"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"load_in_8bit": True}, "bitsandbytes of 8 bits"),
        ({"load_in_4bit": True}, "bitsandbytes of 4 bits"),
        ({"load_in_4bit": True, "quant_method": "x", "bits": 3}, "x of 4 bits"),
        ({"load_in_4bit": 1}, "an unnamed method"),
        ({"load_in_4bit": False, "load_in_8bit": False, "quant_method": "", "bits": "4"}, "an unnamed method"),
        ({"quant_method": ["x"]}, "an unnamed method"),
        ({}, "an unnamed method"),
        ("x", "an unnamed method"),
    ],
)
def test_quantized_weights_are_refused_with_their_method(said: object, shown: str) -> None:
    assert notes(quantization_config=None) == []
    assert refused({**LLAMA, "quantization_config": said}) == (
        f"config.json: quantization_config: expected unquantized weights, found {shown}: give the unquantized model"
    )


def test_attention_in_both_directions_is_refused_and_its_absence_is_not() -> None:
    gemma = {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}
    for said in (False, None):
        assert judged_settings(WHERE, {**gemma, "use_bidirectional_attention": said}).notes == []
    assert refused({**gemma, "use_bidirectional_attention": True}) == (
        "config.json: use_bidirectional_attention: expected False (transformers reads it for gemma, and this project "
        "does not support other values), found True"
    )
