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
    """Return how many positions the model has here, and a note where a window made them fewer. Raises
    CannotJudgeError where a window is shorter than the model and than what was asked for."""
    window = _window(where, family, config)
    if window is None or window >= longest:
        return longest, []
    advice = f"--max-seq-len {window} or less makes it exact"
    if asked is None:
        why = f"none, or at least max_position_embeddings = {longest}"
        raise refusal(where, "sliding_window", why, window, advice)
    if isinstance(asked, bool) or not 1 <= asked <= window:
        raise refusal(where, "sliding_window", f"at least max_seq_len = {asked}", window, advice)
    return asked, [f"config.json: sliding_window {window} is no limit within max_seq_len {asked}"]


def _window(where: Path, family: str, config: Any) -> int | None:
    """The shortest window of any layer; Llama's is one of its cache alone, which cuts what a later query sees."""
    layers, width = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    if family == "mistral" or layers is None:
        return None if width is None else count(where, "sliding_window", width)
    for kind in layers:
        if kind not in ("full_attention", "sliding_attention"):
            raise refusal(where, "layer_types", "full_attention or sliding_attention", kind)
    return count(where, "sliding_window", width) if "sliding_attention" in layers else None
