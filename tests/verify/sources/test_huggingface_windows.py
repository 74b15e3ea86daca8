"""Sliding windows at their limits: a window of W positions hides nothing from W tokens, and something from W + 1."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_windows import Windows, read_windows

WHERE = Path("config.json")
SLIDING = {"layer_types": ["full_attention", "sliding_attention"]}
EVERY, SECOND, NONE = (True, True), (False, True), (False, False)


def windows(family: str, longest: int, asked: int | None = None, **config: Any) -> Windows:
    return read_windows(WHERE, family, SimpleNamespace(num_hidden_layers=2, **config), longest, asked)


@pytest.mark.parametrize(
    ("family", "more", "sliding"),
    [
        ("mistral", {}, EVERY),
        ("phi3", {}, EVERY),
        ("ministral3", {}, EVERY),
        ("qwen2", SLIDING, SECOND),
        ("qwen3", SLIDING, SECOND),
        ("smollm3", {"use_sliding_window": True, **SLIDING}, SECOND),
        ("gemma2", SLIDING, SECOND),
        ("gemma3_text", SLIDING, SECOND),
        ("olmo3", SLIDING, SECOND),
        ("llama", {}, EVERY),
        ("llama", SLIDING, SECOND),
    ],
)
def test_a_window_is_none_up_to_its_length(family: str, more: dict[str, Any], sliding: tuple[bool, ...]) -> None:
    note = "config.json: sliding_window 16 is no limit within max_seq_len"
    config = {"sliding_window": 16, **more}
    # a model no longer than the window needs no note
    for longest in (15, 16):
        assert windows(family, longest, **config) == Windows(longest, 0, NONE, sliding, ())
    assert windows(family, 16, 15, **config) == Windows(15, 0, NONE, sliding, ())
    for asked in (1, 15, 16):
        assert windows(family, 17, asked, **config) == Windows(asked, 0, NONE, sliding, (f"{note} {asked}",))
    for asked, what in ((None, "max_position_embeddings"), (17, "max_seq_len")):
        if family != "llama":
            assert windows(family, 17, asked, **config) == Windows(17, 16, sliding, sliding, ())
            continue
        # its window is one of its cache alone
        with pytest.raises(
            CannotJudgeError,
            match=rf"expected none, or at least {what} = 17, found 16.*--max-seq-len 16 or",
        ):
            windows(family, 17, asked, **config)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("mistral", {"sliding_window": None}),
        ("phi3", {"sliding_window": None}),
        ("llama", {}),
        ("qwen2", {"sliding_window": 2, "layer_types": ["full_attention"] * 2}),
    ],
)
def test_no_window_is_no_limit(family: str, config: Any) -> None:
    assert windows(family, 17, **config) == Windows(17, 0, NONE, NONE, ())


@pytest.mark.parametrize("asked", [0, 18, True, 4.0])
def test_a_length_is_from_one_to_the_models(asked: Any) -> None:
    assert [windows("mistral", 17, fits, sliding_window=None).length for fits in (1, 17)] == [1, 17]
    with pytest.raises(CannotJudgeError, match="max_seq_len: expected 1 to max_position_embeddings = 17, found "):
        windows("mistral", 17, asked, sliding_window=None)


@pytest.mark.parametrize("window", [0, -1, True, 4.0])
def test_a_window_is_a_positive_integer(window: Any) -> None:
    with pytest.raises(CannotJudgeError, match="sliding_window: expected a positive integer"):
        windows("mistral", 17, sliding_window=window)
    assert windows("mistral", 17, 1, sliding_window=1).length == 1


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        ("gemma2", {"layer_types": ["chunked_attention"] * 2}, "full_attention or sliding_attention, found chunked"),
        ("olmo3", {"layer_types": ["full_attention"]}, "layer_types: expected a type for each of 2 layers, found 1"),
        # which kernel runs decides there whether the window counts
        (
            "smollm3",
            {"use_sliding_window": False, **SLIDING},
            "layer_types: expected full_attention alone, as use_sliding_window is false, found others",
        ),
    ],
)
def test_types_of_layers_that_no_window_fits_are_refused(family: str, config: Any, message: str) -> None:
    with pytest.raises(CannotJudgeError, match=message):
        windows(family, 17, sliding_window=4, **config)
