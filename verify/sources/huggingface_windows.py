"""Decides up to which length a model that attends to a window of positions computes what a plain Llama does.

A query sees itself and the W - 1 positions before it. A sequence of at most W tokens never reaches beyond the window,
so a file that says max_seq_len W or less holds that model exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verify.sources.checked_numbers import count
from verify.sources.refusal import refusal


def exact_length(where: Path, family: str, config: Any, longest: int, asked: int | None) -> tuple[int, list[str]]:
    """Return how many positions the model has here, which the user may have asked to be fewer, and a note where that
    makes a window exact. Raises CannotJudgeError where a window is shorter."""
    length = longest
    if asked is not None:
        if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= longest:
            raise refusal(where, "max_seq_len", f"1 to max_position_embeddings = {longest}", asked)
        length = asked
    window = _window(where, family, config)
    if window is None or window >= longest:
        return length, []
    if window < length:
        what = "max_position_embeddings" if asked is None else "max_seq_len"
        advice = f"--max-seq-len {window} or less makes it exact"
        raise refusal(where, "sliding_window", f"none, or at least {what} = {length}", window, advice)
    return length, [f"config.json: sliding_window {window} is no limit within max_seq_len {length}"]


def _window(where: Path, family: str, config: Any) -> int | None:
    """The shortest window of any layer; Llama's is one of its cache alone, which cuts what a later query sees."""
    layers, width = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    if family == "mistral" or layers is None:
        return None if width is None else count(where, "sliding_window", width)
    for kind in layers:
        if kind not in ("full_attention", "sliding_attention"):
            raise refusal(where, "layer_types", "full_attention or sliding_attention", kind)
    return count(where, "sliding_window", width) if "sliding_attention" in layers else None
