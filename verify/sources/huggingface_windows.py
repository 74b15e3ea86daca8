"""Decides how many positions a model has, and which of its layers attend to a window of them.

A query sees itself and the W - 1 positions before it. A sequence of at most W tokens never reaches beyond the window,
so within max_seq_len W or less the window is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.sources.checked_numbers import count
from verify.sources.huggingface_families import FAMILIES
from verify.sources.refusal import refusal


@dataclass(frozen=True)
class Windows:
    """Holds how many positions a model has here, which layers are windowed, and to how many positions (0: none).

    sliding: which layers transformers calls "sliding", which may also have a RoPE of their own.
    """

    length: int
    width: int
    windowed: tuple[bool, ...]
    sliding: tuple[bool, ...]
    notes: tuple[str, ...]


def read_windows(where: Path, family: str, config: Any, longest: int, asked: int | None) -> Windows:
    """Return the windows. longest: max_position_embeddings. asked: the number of positions that the user wants.
    Raises CannotJudgeError where transformers would make something else of them."""
    length = longest
    if asked is not None:
        if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= longest:
            raise refusal(where, "max_seq_len", f"1 to max_position_embeddings = {longest}", asked)
        length = asked
    layers = int(config.num_hidden_layers)
    sliding = _sliding(where, family, config, layers)
    plain = (False,) * layers
    if not any(sliding):
        return Windows(length, 0, plain, sliding, ())
    width = count(where, "sliding_window", getattr(config, "sliding_window", None))
    if width >= length:
        notes = [f"config.json: sliding_window {width} is no limit within max_seq_len {length}"]
        return Windows(length, 0, plain, sliding, tuple(notes if width < longest else ()))
    if FAMILIES[family].windows == "none":
        what = "max_position_embeddings" if asked is None else "max_seq_len"
        advice = f"--max-seq-len {width} or less makes it exact"
        raise refusal(where, "sliding_window", f"none, or at least {what} = {length}", width, advice)
    return Windows(length, width, sliding, sliding, ())


def _sliding(where: Path, family: str, config: Any, layers: int) -> tuple[bool, ...]:
    """Return which layers have a window; Llama's is one of its cache alone, which cuts what a later query sees."""
    listed = getattr(config, "layer_types", None)
    if FAMILIES[family].windows == "all" or listed is None:
        return (getattr(config, "sliding_window", None) is not None,) * layers
    for kind in listed:
        if kind not in ("full_attention", "sliding_attention"):
            raise refusal(where, "layer_types", "full_attention or sliding_attention", kind)
    if len(listed) != layers:
        raise refusal(where, "layer_types", f"a type for each of {layers} layers", len(listed))
    sliding = tuple(kind == "sliding_attention" for kind in listed)
    if family == "smollm3" and any(sliding) and not config.use_sliding_window:
        raise refusal(where, "layer_types", "full_attention alone, as use_sliding_window is false", "others")
    return sliding
