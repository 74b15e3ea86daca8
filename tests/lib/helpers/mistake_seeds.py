"""Writers' mistakes, seeded: into the tensors before they are written, or into the file's parts after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import exporter
import reader_c
from helpers.models import Arrays

Change = Callable[[np.ndarray], np.ndarray]
InArrays = Callable[[Arrays, exporter.ModelConfig], None]
"""Changes the arrays in place."""
InParts = Callable[[dict[str, np.ndarray], np.ndarray, int], None]
"""Of one tensor: (int8 and scale, to be changed in place; its weights; group size)."""


def half_split(w: np.ndarray, heads: int) -> np.ndarray:
    """llama2.c's order of a head's rows to Hugging Face's."""
    return w.reshape(heads, -1, 2, w.shape[-1] if w.ndim > 1 else 1).swapaxes(1, 2).reshape(w.shape)


def interleaved(w: np.ndarray, heads: int) -> np.ndarray:
    return w.reshape(heads, 2, -1, w.shape[-1] if w.ndim > 1 else 1).swapaxes(1, 2).reshape(w.shape)


def each(kind: str, change: Callable[[np.ndarray, exporter.ModelConfig], np.ndarray]) -> InArrays:
    """Every tensor whose name has kind in it."""

    def apply(mine: Arrays, model: exporter.ModelConfig) -> None:
        for name in [name for name in mine if kind in name]:
            mine[name] = np.ascontiguousarray(change(mine[name], model))

    return apply


def both(one: InArrays, other: InArrays) -> InArrays:
    def apply(mine: Arrays, model: exporter.ModelConfig) -> None:
        one(mine, model)
        other(mine, model)

    return apply


def swapped(a: str, b: str) -> InArrays:
    """Two kinds, in every layer; their values written flat where the shapes differ."""

    def apply(mine: Arrays, _: exporter.ModelConfig) -> None:
        for name in [name for name in mine if a in name]:
            other = name.replace(a, b)
            shapes = mine[name].shape, mine[other].shape
            mine[name], mine[other] = mine[other].reshape(shapes[0]), mine[name].reshape(shapes[1])

    return apply


def layers(order: Callable[[int], list[int]], kind: str = "") -> InArrays:
    """Layer i holds what layer order(n_layers)[i] should, of the kinds that have kind in their name."""

    def apply(mine: Arrays, model: exporter.ModelConfig) -> None:
        right = dict(mine)
        for layer, of in enumerate(order(model.n_layers)):
            for name in [name for name in mine if name.startswith(f"layers.{layer}.") and kind in name]:
                mine[name] = right[name.replace(f"layers.{layer}.", f"layers.{of}.")]

    return apply


def instead(name: str, of: str) -> InArrays:
    def apply(mine: Arrays, _: exporter.ModelConfig) -> None:
        mine[name] = mine[of]

    return apply


def patch_parts(path: Path, names: list[str], mine: Arrays, change: InParts) -> None:
    """Change the parts of a file's tensors where they stand."""
    content = bytearray(path.read_bytes())
    with reader_c.open(path) as model:
        for name in names:
            parts = {span.part: model.view(span).copy() for span in model.spans(name)}
            change(parts, mine[name], model.storage(name).group_size)
            for span in model.spans(name):
                assert parts[span.part].nbytes == span.nbytes
                content[span.offset : span.offset + span.nbytes] = parts[span.part].tobytes()
    path.write_bytes(content)


def requantized(recipe: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> InParts:
    """recipe: groups (n, group_size) -> int8 and scales (n, 1)."""

    def apply(parts: dict[str, np.ndarray], w: np.ndarray, group_size: int) -> None:
        q, scale = recipe(w.reshape(-1, group_size))
        parts["int8"] = q.astype(np.int8).reshape(parts["int8"].shape)
        parts["scale"] = scale.astype(np.float32).reshape(parts["scale"].shape)

    return apply


def scale_of(groups: np.ndarray) -> np.ndarray:
    return np.abs(groups).max(axis=1, keepdims=True) / np.float32(127)


def with_peaks(peak_of: Change) -> InParts:
    """Q8_0 with scales of other magnitudes: weights -> what stretches over (rows, groups)."""

    def apply(parts: dict[str, np.ndarray], w: np.ndarray, group_size: int) -> None:
        scale = np.broadcast_to(peak_of(w) / np.float32(127), parts["scale"].shape)
        parts["int8"] = np.rint(w / np.repeat(scale, group_size, axis=1)).astype(np.int8)
        parts["scale"] = np.ascontiguousarray(scale)

    return apply


def from_weights(part: str, change: Change) -> InParts:
    """One part made of the weights."""

    def apply(parts: dict[str, np.ndarray], w: np.ndarray, _: int) -> None:
        parts[part] = change(w).astype(parts[part].dtype)

    return apply


def to_parts(*names: str, change: Change) -> InParts:
    def apply(parts: dict[str, np.ndarray], _: np.ndarray, __: int) -> None:
        for name in parts.keys() & set(names):
            parts[name] = np.ascontiguousarray(change(parts[name]))

    return apply


def bytes_moved(path: Path, at: int, by: int) -> None:
    """What stands from `at` on, `by` bytes later (or earlier, where the first ones are lost): same size of file."""
    content = path.read_bytes()
    size = len(content)
    rest = bytes(by) + content[at:] if by > 0 else content[at - by :] + bytes(-by)
    path.write_bytes((content[:at] + rest)[:size])
