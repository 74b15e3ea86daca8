"""Which family a config.json is of, by itself: model_type, a single architecture, and the reason for a refusal."""

from __future__ import annotations

from typing import Any

import pytest

import exporter
from exporter.families import FAMILIES
from exporter.sources.huggingface_family import read_family

SUPPORTED = f"model_type: expected one of {', '.join(FAMILIES)}, found"


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        read_family(raw)
    return str(caught.value)


def test_model_type_decides_and_what_speaks_against_it_is_noted() -> None:
    for model_type, family in FAMILIES.items():
        for architectures in (None, [family.architecture]):
            assert read_family({"model_type": model_type, "architectures": architectures}) == (model_type, [])
    raw = {"model_type": "llama", "architectures": ["MistralForCausalLM"], "auto_map": None}
    notes = ["architectures is ['MistralForCausalLM']: transformers goes by model_type 'llama'"]
    assert read_family(raw) == ("llama", notes)
    for remote in ({}, {"AutoModel": "x.Y"}):
        assert read_family({"model_type": "llama", "auto_map": remote}) == (
            "llama",
            ["auto_map names remote code, which is not used"],
        )


@pytest.mark.parametrize("architectures", ["Qwen2ForCausalLM", ["Qwen2ForCausalLM"], ["qwen2forcausallm"]])
def test_one_known_architecture_decides_where_there_is_no_model_type(architectures: object) -> None:
    assert read_family({"architectures": architectures}) == (
        "qwen2",
        ["model_type is not given: architectures says qwen2"],
    )


@pytest.mark.parametrize(
    ("architectures", "found"),
    [
        (None, "None"),
        ([], "[]"),
        ([7], "[7]"),
        (["X"], "['X']"),
        (["X", "LlamaForCausalLM"], "['X', 'LlamaForCausalLM']"),
        (["LlamaForCausalLM", "X"], "['LlamaForCausalLM', 'X']"),
    ],
)
def test_other_architectures_decide_nothing(architectures: object, found: str) -> None:
    assert refused({"architectures": architectures}) == f"{SUPPORTED} none, and architectures: {found}"


@pytest.mark.parametrize(
    ("model_type", "found"),
    [
        ("gpt2", "'gpt2', which is not supported"),
        ("phi", "'phi', which is not supported: LayerNorm"),
        ("qwen2_moe", "'qwen2_moe', which is not supported: another mixture of experts"),
        (
            "gpt_oss",
            "'gpt_oss', which is not supported: attention sinks and another mixture of experts",
        ),
        ("qwen3_next", "'qwen3_next', which is not supported: gated DeltaNet"),
        (["phi"], "['phi'], which is not supported"),
        (7, "7, which is not supported"),
    ],
)
def test_another_model_type_is_refused_with_the_reason_where_one_is_known(model_type: object, found: str) -> None:
    assert refused({"model_type": model_type}) == f"{SUPPORTED} {found}"
