"""Sliding windows at their limits: a window of W positions hides nothing from W tokens, and something from W + 1."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verify.errors import CannotJudgeError
from verify.sources.huggingface_windows import exact_length

WHERE = Path("config.json")
SLIDING = {"layer_types": ["full_attention", "sliding_attention"]}


@pytest.mark.parametrize(("family", "more"), [("mistral", {}), ("llama", {}), ("qwen2", SLIDING), ("llama", SLIDING)])
def test_a_window_is_exact_up_to_its_length(family: str, more: dict[str, Any]) -> None:
    config = SimpleNamespace(sliding_window=16, **more)
    note = "config.json: sliding_window 16 is no limit within max_seq_len"
    # a model no longer than the window needs no note
    for longest in (15, 16):
        assert exact_length(WHERE, family, config, longest, None) == (longest, [])
    assert exact_length(WHERE, family, config, 16, 15) == (15, [])
    for asked in (1, 15, 16):
        assert exact_length(WHERE, family, config, 17, asked) == (asked, [f"{note} {asked}"])
    for asked, what in ((None, "max_position_embeddings"), (17, "max_seq_len")):
        with pytest.raises(
            CannotJudgeError,
            match=rf"expected none, or at least {what} = 17, found 16.*--max-seq-len 16 or",
        ):
            exact_length(WHERE, family, config, 17, asked)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("mistral", SimpleNamespace(sliding_window=None)),
        ("llama", SimpleNamespace()),
        ("qwen2", SimpleNamespace(sliding_window=2, layer_types=["full_attention"] * 2)),
    ],
)
def test_no_window_is_no_limit(family: str, config: Any) -> None:
    assert exact_length(WHERE, family, config, 17, None) == (17, [])


@pytest.mark.parametrize("asked", [0, 18, True, 4.0])
def test_a_length_is_from_one_to_the_models(asked: Any) -> None:
    config = SimpleNamespace(sliding_window=None)
    assert [exact_length(WHERE, "mistral", config, 17, fits)[0] for fits in (1, 17)] == [1, 17]
    with pytest.raises(CannotJudgeError, match="max_seq_len: expected 1 to max_position_embeddings = 17, found "):
        exact_length(WHERE, "mistral", config, 17, asked)


@pytest.mark.parametrize("window", [0, -1, True, 4.0])
def test_a_window_is_a_positive_integer(window: Any) -> None:
    with pytest.raises(CannotJudgeError, match="sliding_window: expected a positive integer"):
        exact_length(WHERE, "mistral", SimpleNamespace(sliding_window=window), 17, None)
    assert exact_length(WHERE, "mistral", SimpleNamespace(sliding_window=1), 17, 1)[0] == 1
