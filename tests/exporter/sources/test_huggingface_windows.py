"""Sliding windows: exact up to their length, and refused with that advice beyond it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import transformers
from helpers.hf_configs import SIZES, noted, read, read_text, refused

import exporter

_SLIDING = ["full_attention", "sliding_attention"]
_QWEN = {"use_sliding_window": True, "sliding_window": 16}
_WINDOWED, _FULL = exporter.LayerKind(windowed=True), exporter.LayerKind()


@pytest.mark.parametrize("changes", [{}, {"layer_types": _SLIDING}])
def test_a_window_of_llamas_cache_is_exact_up_to_its_length(changes: dict[str, Any]) -> None:
    """Its class has no window, and what it computes beyond this one depends on how it is called."""
    changes = {**changes, "sliding_window": 16, "max_position_embeddings": 17}
    message = "sliding_window: expected null or at least max_position_embeddings = 17, found 16: "
    refused(message + "--max-seq-len 16 or less makes it exact$", **changes)
    refused("at least max_seq_len = 17, found 16: --max-seq-len 16 or less", asked=17, **changes)


@pytest.mark.parametrize(
    ("kind", "changes", "layers"),
    [
        ("mistral", {"sliding_window": 16}, (_WINDOWED, _WINDOWED)),
        ("qwen2", {**_QWEN, "max_window_layers": 1}, (_FULL, _WINDOWED)),
        ("qwen2", {**_QWEN, "max_window_layers": 0}, (_WINDOWED, _WINDOWED)),
        ("qwen2", {**_QWEN, "max_window_layers": 5, "layer_types": _SLIDING[::-1]}, (_WINDOWED, _FULL)),
        ("qwen3", {**_QWEN, "max_window_layers": 1, "head_dim": 2}, (_FULL, _WINDOWED)),
        ("phi3", {"sliding_window": 16, "pad_token_id": None}, (_WINDOWED, _WINDOWED)),
    ],
)
def test_layers_have_the_window_that_config_json_says(
    kind: str, changes: dict[str, Any], layers: tuple[exporter.LayerKind, ...]
) -> None:
    changes = {**changes, "max_position_embeddings": 17}
    for asked in (None, 17):
        config, notes = noted(kind, asked=asked, **changes)
        assert (config.window, config.layers, notes) == (16, layers, [])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"sliding_window": 16}),
        ("llama", {"sliding_window": 16, "layer_types": _SLIDING}),
        ("mistral", {"sliding_window": 16}),
        ("qwen2", {**_QWEN, "max_window_layers": 1}),
        ("qwen2", {**_QWEN, "layer_types": _SLIDING}),
    ],
)
def test_a_window_as_long_as_the_model_is_none(kind: str, changes: dict[str, Any]) -> None:
    changes = {**changes, "max_position_embeddings": 17}
    for asked in (16, 3):
        config, notes = noted(kind, asked=asked, **changes)
        assert (config.max_seq_len, config.window, config.layers) == (asked, 0, ())
        assert notes == [f"sliding_window = 16 is exact at max_seq_len = {asked}"]
    changes["max_position_embeddings"] = 16
    config, notes = noted(kind, **changes)
    assert (config.window, notes) == (0, [])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"sliding_window": None}),
        ("llama", {"sliding_window": 16, "layer_types": ["full_attention"] * 2}),
        ("llama", {"layer_types": ["attention", "full_attention"]}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {"sliding_window": 16, "max_window_layers": 0}),
        ("qwen2", {**_QWEN, "max_window_layers": 2}),
        ("qwen2", {**_QWEN, "layer_types": ["full_attention"] * 2}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0}),
    ],
)
def test_a_window_that_no_layer_has_is_none(kind: str, changes: dict[str, Any]) -> None:
    assert read(kind, **changes) == read(kind)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("mistral", {"sliding_window": 0}, "sliding_window: expected null or at least 1, found 0"),
        ("llama", {"sliding_window": True}, "sliding_window: expected an integer or null, found True"),
        (
            "llama",
            {"layer_types": _SLIDING},
            "layer_types: expected a sliding_window for .*, found none",
        ),
        (
            "llama",
            {"layer_types": ["full_attention"]},
            "expected full_attention or sliding_attention for each",
        ),
        (
            "llama",
            {"layer_types": ["chunked_attention"] * 2},
            "expected full_attention or sliding_attention for each",
        ),
        ("llama", {"layer_types": 2}, "expected full_attention or sliding_attention for each of 2 layers, found 2"),
        (
            "qwen2",
            {"layer_types": _SLIDING},
            "layer_types: expected a sliding_window for .*, found none",
        ),
        ("mistral", {"layer_types": None}, "layer_types: expected none for mistral .*for ministral"),
        ("llama", {"asked": 0}, "max_seq_len: expected 1 to max_position_embeddings = 2048, found 0"),
        ("llama", {"asked": 2049}, "max_seq_len: expected 1 to max_position_embeddings = 2048, found 2049"),
    ],
)
def test_windows_are_checked(kind: str, changes: dict[str, Any], message: str) -> None:
    refused(message, kind, **changes)


def test_a_window_of_one_position_is_one() -> None:
    assert read("mistral", sliding_window=1).window == 1


def test_mistrals_window_is_4096_where_it_is_not_given() -> None:
    assert transformers.MistralConfig().sliding_window == 4096
    text = {"model_type": "mistral", **SIZES, "max_position_embeddings": 4096}
    assert read_text(json.dumps(text)).window == 0
    text["max_position_embeddings"] = 4097
    assert read_text(json.dumps(text)).window == 4096


def test_more_layers_than_any_format_holds_are_refused_before_a_window_is_given_to_each() -> None:
    refused(
        "num_hidden_layers: expected at most 65536, found 1000000000$",
        "mistral",
        sliding_window=16,
        num_hidden_layers=10**9,
    )
