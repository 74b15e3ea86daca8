"""What a writer is about to write, and the changes of it that are mistakes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import exporter
from exporter.config import tensor_shapes
from exporter.quantize import Quantized, quantize_q80
from helpers.models import Arrays


@dataclass
class Draft:
    """What a writer is about to write; seeding changes it in place."""

    model: exporter.ModelConfig
    arrays: Arrays
    quantize: Callable[..., Quantized] = quantize_q80


Seed = Callable[[Draft], None]


def change(name: str, function: Callable[[np.ndarray, exporter.ModelConfig], np.ndarray]) -> Seed:
    def seed(draft: Draft) -> None:
        draft.arrays[name] = np.ascontiguousarray(function(draft.arrays[name], draft.model), np.float32)

    return seed


def swap(a: str, b: str) -> Seed:
    def seed(draft: Draft) -> None:
        draft.arrays[a], draft.arrays[b] = draft.arrays[b], draft.arrays[a]

    return seed


def swap_layers(draft: Draft) -> None:
    for name in [name for name in draft.arrays if name.startswith("layers.0.")]:
        swap(name, name.replace("0", "1", 1))(draft)


def copy(of: str, to: str) -> Seed:
    def seed(draft: Draft) -> None:
        draft.arrays[to] = draft.arrays[of]

    return seed


def nudged(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    """One weight to a neighbour in float32: the lowest bit of its significand the other way."""
    w = w.copy()
    w.view(np.uint32)[3, 7] ^= 1
    return w


def misread(**fields: Any) -> Seed:
    """The config with other values. Tensors of another shape are cut from what there is, as by pointer."""

    def seed(draft: Draft) -> None:
        draft.model = dataclasses.replace(draft.model, **fields)
        draft.arrays = {
            name: np.resize(draft.arrays[name], shape) for name, shape in tensor_shapes(draft.model).items()
        }

    return seed


def shortened(draft: Draft) -> None:
    misread(max_seq_len=draft.model.max_seq_len - 1)(draft)


def quantizing(function: Callable[[np.ndarray, int], Quantized], name: str | None = None) -> Seed:
    """With another quantizer, for one tensor or all."""

    def seed(draft: Draft) -> None:
        chosen = draft.arrays[name] if name else None

        def quantize(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
            mistaken = chosen is None or (w.shape == chosen.shape and np.array_equal(w, chosen))
            return function(w, group_size) if mistaken else quantize_q80(w, group_size)

        draft.quantize = quantize

    return seed


def with_scales(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, int], Quantized]:
    """The right int8 beside other scales (rows, groups)."""

    def quantize(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
        right = quantize_q80(w, group_size)
        return right._replace(scale=np.ascontiguousarray(function(right.scale), np.float32))

    return quantize


def with_int8(function: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray, int], Quantized]:
    """The right scales beside int8 (rows, groups, group_size) that function changes in place."""

    def quantize(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
        right = quantize_q80(w, group_size)
        q = right.q.copy()
        function(q.reshape(len(q), -1, group_size))
        return right._replace(q=q)

    return quantize


def half_away(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    right = quantize_q80(w, group_size)
    quotient = (w.reshape(-1, group_size) / np.maximum(right.scale.reshape(-1, 1), 1e-30)).astype(np.float64)
    return right._replace(q=np.copysign(np.floor(np.abs(quotient) + 0.5), quotient).astype(np.int8).reshape(w.shape))


def over_128(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    groups = w.reshape(-1, group_size)
    scale = np.abs(groups).max(axis=1) / np.float32(128)
    q = np.clip(np.rint(groups / np.maximum(scale, 1e-30)[:, None]), -128, 127).astype(np.int8)
    return Quantized(q.reshape(w.shape), scale.reshape(*w.shape[:-1], -1), 0.0)


def last_group_zero(w: np.ndarray, group_size: int) -> np.ndarray:
    w = w.copy()
    w[:, -group_size:] = 0
    return w


def flip(bit: int) -> Callable[[np.ndarray], None]:
    def flipped(q: np.ndarray) -> None:
        q[3, 1, 5] = (q.view(np.uint8)[3, 1, 5] ^ np.uint8(1 << bit)).view(np.int8)

    return flipped
