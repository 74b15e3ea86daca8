"""Sliding windows: layers that attend to the last positions alone. A window no shorter than the sequence hides
nothing, so a model that is cut to its window's length has none."""

from __future__ import annotations

from exporter.errors import CheckpointError
from exporter.families.family import Family
from exporter.families.layer_kinds import Windows, by_layer, optional_window
from exporter.strict_json import Json


def read_windows(
    raw: Json, given: Json, family: Family, *, positions: int, asked: int | None
) -> tuple[Windows, list[str]]:
    """Return the windows of a model's layers, and what there is to note. Raises CheckpointError.

    given: raw with the family's defaults; positions: max_position_embeddings; asked: the user's max_seq_len.
    """
    windows = _of_llama(given) if family.model_type == "llama" else family.windows(given)
    if windows.window is None:
        return windows, []
    length = positions if asked is None else asked
    where = "sliding_window"
    if "sliding_window" not in raw:
        where += f" ({given['sliding_window']} where it is not given)"
    if windows.window < 1:
        raise CheckpointError(f"{where}: expected null or at least 1, found {windows.window}")
    if windows.window < length:
        if family.model_type == "llama":
            field = "max_position_embeddings" if asked is None else "max_seq_len"
            _refuse_shorter(where, windows.window, length, field)
        return windows, []
    note = f"sliding_window = {windows.window} is exact at max_seq_len = {length}"
    return Windows(None, windows.slides), [note] if windows.window < positions else []


def _of_llama(given: Json) -> Windows:
    """Llama's class has no window; its cache, which forgets in every layer, has the one that config.json says."""
    return by_layer(given, optional_window(given), lambda _number: True)


def _refuse_shorter(where: str, window: int, length: int, field: str) -> None:
    """Refuse a window of Llama's cache: what the model computes then depends on how it is called."""
    raise CheckpointError(
        f"{where}: expected null or at least {field} = {length}, found {window}: "
        f"--max-seq-len {window} or less makes it exact"
    )
