"""Fields and keys of config.json by themselves: types, defaults, and what is noted or refused."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.huggingface import quiet_transformers

import exporter
from exporter.sources.huggingface_fields import DEFAULTS, check_types
from exporter.sources.huggingface_meanings import check_keys, shown_key

CLASSES = {"llama": "LlamaConfig", "mistral": "MistralConfig", "qwen2": "Qwen2Config"}


def refused(call: Any, *given: Any) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        call(*given)
    return str(caught.value)


@pytest.mark.parametrize("family", CLASSES)
def test_defaults_are_those_of_transformers(family: str) -> None:
    """num_key_value_heads among them: Qwen2 has 32, Mistral 8, Llama as many as heads."""
    with quiet_transformers() as transformers:
        made = getattr(transformers, CLASSES[family])(num_attention_heads=4, hidden_size=64)
    for key, value in DEFAULTS[family].items():
        expected = 4 if family == "llama" and key == "num_key_value_heads" else value
        if key == "sliding_window" and family == "qwen2":
            assert made.sliding_window is None  # use_sliding_window is false
        elif hasattr(made, key):
            assert getattr(made, key) == expected, key
            assert type(getattr(made, key)) is type(expected), key
        else:
            assert key == "is_causal"
    assert DEFAULTS["qwen2"]["num_key_value_heads"] == 32
    assert DEFAULTS["qwen2"]["sliding_window"] == 4096


INTEGER = "expected an integer, found"


@pytest.mark.parametrize(
    ("family", "key", "fitting", "other", "message"),
    [
        ("llama", "hidden_size", [1, -1], [1.0, True, None, "1", [1]], INTEGER),
        ("qwen2", "head_dim", [8], [None, True], INTEGER),
        ("llama", "head_dim", [8, None], ["8", True], "expected an integer or null, found"),
        ("llama", "rms_norm_eps", [1e-5], [1, True, None], "expected a float, found"),
        ("mistral", "use_cache", [True, False], [0, None, "true"], "expected true or false, found"),
        ("llama", "hidden_act", ["silu"], [None, 1, True], "expected a string, found"),
        ("llama", "rope_parameters", [{}, None], [[], True], "expected an object or null, found"),
        (
            "llama",
            "eos_token_id",
            [1, [1, 2], [], None],
            [[True], ["1"], [1, None], True, "1"],
            "expected an integer or a list of integers or null, found",
        ),
        ("qwen2", "layer_types", [["a"], [], None], [[1], "a"], "expected a list of strings or null, found"),
        ("mistral", "attention_dropout", [0, 0.5], [None, True], "expected an integer or a float, found"),
        ("llama", "attention_dropout", [0, 0.5, None], [False], "expected an integer or a float or null, found"),
        ("llama", "anything", [1, None, True, {}, []], [], ""),
    ],
)
def test_a_value_has_the_type_that_transformers_asks_for(
    family: str, key: str, fitting: list[Any], other: list[Any], message: str
) -> None:
    for value in fitting:
        check_types({key: value}, family)
    for value in other:
        assert refused(check_types, {key: value}, family).startswith(f"{key}: {message} ")


def test_an_initializer_range_of_llama_is_a_share() -> None:
    for value in (0.0, 0.02, 1.0):
        check_types({"initializer_range": value}, "llama")
    for value in (-0.01, 1.01):
        assert refused(check_types, {"initializer_range": value}, "llama") == (
            f"initializer_range: expected 0 to 1, found {value}"
        )
        check_types({"initializer_range": value}, "qwen2")
    check_types({}, "llama")


IGNORED = "ignored, as transformers ignores it:"


@pytest.mark.parametrize(
    ("raw", "notes"),
    [
        ({"hidden_size": 48, "use_cache": True, "bos_token_id": 1, "temperature": 0.5}, []),
        ({"zoo": 1, "ape": "x"}, [f"{IGNORED} zoo, ape"]),
        ({"zoo": 0, "ape": None, "bear": [], "cat": False}, []),
        ({f"k{number}": 1 for number in range(20)}, [f"{IGNORED} {', '.join(f'k{n}' for n in range(20))}"]),
        (
            {f"k{number}": 1 for number in range(22)},
            [f"{IGNORED} {', '.join(f'k{n}' for n in range(20))} and 2 more"],
        ),
    ],
)
def test_what_is_not_read_is_noted(raw: dict[str, Any], notes: list[str]) -> None:
    assert check_keys(raw, "llama") == notes


def test_a_key_is_shown_as_it_is_where_it_is_plain() -> None:
    assert shown_key("a_key") == "a_key"
    assert shown_key("x" * 80) == "x" * 80
    assert shown_key("x" * 81) != "x" * 81
    assert shown_key("a key") == "'a key'"


@pytest.mark.parametrize(
    ("key", "default", "others"),
    [
        ("is_causal", "true", [False, None, 1]),
        ("is_encoder_decoder", "false", [True, 0]),
        ("return_dict", "true", [False, 1]),
        ("attention_chunk_size", "null", [8, False, 0]),
        ("text_config", "null", [{}]),
    ],
)
def test_what_transformers_reads_and_this_project_does_not_is_the_default(
    key: str, default: str, others: list[Any]
) -> None:
    values = {"true": True, "false": False, "null": None}
    assert check_keys({key: values[default]}, "llama") == []
    if key != "is_causal":
        assert check_keys({key: None}, "llama") == []
    for other in others:
        message = refused(check_keys, {key: other}, "llama")
        assert message.startswith(
            f"{key}: expected {default} (transformers reads it for llama, and this project does not support other "
            "values), found "
        )
