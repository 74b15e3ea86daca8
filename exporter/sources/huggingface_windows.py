"""Sliding windows: layers that attend to the last positions alone. No format can express them, but a window no
shorter than the sequence hides nothing, so a model cut to its window's length is exact."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.strict_json import Json, shown

# transformers has renamed the first.
_FULL = ("attention", "full_attention")
_SLIDING = "sliding_attention"


def check_windows(raw: Json, given: Json, family: str, *, positions: int, asked: int | None) -> list[str]:
    """Raise CheckpointError where a window is shorter than the model, and return what there is to note.

    given: raw with the family's defaults; positions: max_position_embeddings; asked: the user's max_seq_len.
    """
    window = _window(raw, given, family)
    if window is None:
        return []
    where = "sliding_window" if "sliding_window" in raw else "sliding_window (4096 where it is not given)"
    length = positions if asked is None else asked
    if window < 1:
        raise CheckpointError(f"{where}: expected null or at least 1, found {window}")
    if window < length:
        field = "max_position_embeddings" if asked is None else "max_seq_len"
        raise CheckpointError(
            f"{where}: expected null or at least {field} = {length}, found {window}: "
            f"--max-seq-len {window} or less makes it exact"
        )
    return [f"sliding_window = {window} is exact at max_seq_len = {length}"] if window < positions else []


def _window(raw: Json, given: Json, family: str) -> int | None:
    """The window that some layer has; None where all attend to everything."""
    if family == "mistral":
        if "layer_types" in raw:
            raise CheckpointError(
                "layer_types: expected none for mistral (transformers takes a mistral with layer_types for "
                f"ministral, which this project does not support), found {shown(raw['layer_types'])}"
            )
        return _integer(given["sliding_window"])
    window = given.get("sliding_window")
    if family == "qwen2" and not given["use_sliding_window"]:
        window = None
    types = given.get("layer_types")
    if types is None:
        # Qwen2 has full attention in its first max_window_layers layers; Llama's cache forgets in all of them.
        slides = family == "llama" or given["num_hidden_layers"] > given["max_window_layers"]
        return _integer(window) if slides else None
    if not _any_slides(types, given["num_hidden_layers"]):
        return None
    if window is None:
        raise CheckpointError("layer_types: expected a sliding_window for sliding_attention, found none in use")
    return _integer(window)


def _any_slides(types: object, n_layers: int) -> bool:
    # their number first: what num_hidden_layers says is not yet held against any tensor
    if not isinstance(types, list) or len(types) != n_layers or any(kind not in (*_FULL, _SLIDING) for kind in types):
        raise CheckpointError(
            f"layer_types: expected full_attention or sliding_attention for each of {n_layers} layers, "
            f"found {shown(types)}"
        )
    return _SLIDING in types


def _integer(window: object) -> int | None:
    if window is not None and (isinstance(window, bool) or not isinstance(window, int)):
        raise CheckpointError(f"sliding_window: expected an integer or null, found {shown(window)}")
    return window
