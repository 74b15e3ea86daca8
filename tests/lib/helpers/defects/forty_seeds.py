"""What seeds the mistakes of forty_files.py: changes of tensors, other quantizers, and damage to v0's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import exporter
import reader_c
from exporter.quantize import Quantized, quantize_q80
from helpers.defects.drafts import Draft, Seed
from helpers.models import arrays

Change = Callable[[np.ndarray, exporter.ModelConfig], np.ndarray]


def every(*kinds: str, change: Change) -> Seed:
    """Change every tensor that has one of kinds in its name."""

    def seed(draft: Draft) -> None:
        for name in [name for name in draft.arrays if any(kind in name for kind in kinds)]:
            draft.arrays[name] = np.ascontiguousarray(change(draft.arrays[name], draft.model), np.float32)

    return seed


def everywhere(quantize: Callable[[np.ndarray, int], Quantized]) -> Seed:
    def seed(draft: Draft) -> None:
        draft.quantize = quantize

    return seed


def scaled(by: float) -> Change:
    return lambda w, _: w * np.float32(by)


def heads(order: list[int]) -> Change:
    """Put the heads of a matrix's rows in this order."""
    return lambda w, _: w.reshape(len(order), -1, w.shape[-1])[order].reshape(w.shape)


def columns_of_heads(order: list[int]) -> Change:
    return lambda w, _: w.reshape(len(w), len(order), -1)[:, order].reshape(w.shape)


def odd_rows_negated(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w * np.where(np.arange(len(w)) % 2, -1, 1)[:, None].astype(np.float32)


def rows_never_trained(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    """Give the last five token ids new random rows, as a resized embedding has them."""
    w = w.copy()
    w[-5:] = np.random.default_rng(3).normal(size=w[-5:].shape) * 0.02
    return w


def with_adapter(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    rng = np.random.default_rng(len(w))
    return w + np.outer(rng.normal(size=len(w)), rng.normal(size=w.shape[1])).astype(np.float32) * np.float32(0.02)


def subnormals_flushed(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return np.where(np.abs(w) < 2**-14, np.float32(0), w)


def small(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w * np.float32(2**-12)


def gate_up_interleaved(draft: Draft) -> None:
    """Split a fused gate and up by even and odd rows although it holds one after the other."""
    for layer in range(draft.model.n_layers):
        gate, up = (f"layers.{layer}.feed_forward.w{n}.weight" for n in "13")
        fused = np.concatenate((draft.arrays[gate], draft.arrays[up]))
        draft.arrays[gate], draft.arrays[up] = fused[::2].copy(), fused[1::2].copy()


def another_checkpoint(draft: Draft) -> None:
    draft.arrays = arrays(draft.model, seed=77)


def fine_tuned(draft: Draft) -> None:
    rng = np.random.default_rng(5)
    for name, w in draft.arrays.items():
        draft.arrays[name] = (w + rng.normal(size=w.shape) * 0.05 * w.std()).astype(np.float32)


# ---- other quantizers ----


def groups(w: np.ndarray, group_size: int) -> np.ndarray:
    return w.reshape(-1, group_size)


def packed(q: np.ndarray, scale: np.ndarray, like: np.ndarray) -> Quantized:
    shape = (*like.shape[:-1], -1)
    return Quantized(q.astype(np.int8).reshape(like.shape), scale.astype(np.float32).reshape(shape), 0.0)


def asymmetric(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    """Quantize with a zero point, which the file has no place for."""
    g = groups(w, group_size)
    low = g.min(axis=1, keepdims=True)
    scale = (g.max(axis=1, keepdims=True) - low) / np.float32(255)
    zero = -128 - np.rint(low / scale)
    return packed(np.clip(np.rint(g / scale) + zero, -128, 127), scale, w)


def one_place_late(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    right = quantize_q80(w, group_size)
    return right._replace(q=np.roll(right.q.ravel(), 1).reshape(right.q.shape))


def plus_one(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    right = quantize_q80(w, group_size)
    return right._replace(q=np.clip(right.q.astype(np.int16) + 1, -128, 127).astype(np.int8))


def signed_scale(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    """Divide by -128 the value of the largest magnitude, with its sign, as ggml's Q4_0 does with -8."""
    g = groups(w, group_size)
    extreme = np.take_along_axis(g, np.abs(g).argmax(axis=1)[:, None], 1)
    scale = extreme / np.float32(-128)
    return packed(np.clip(np.rint(g / scale), -128, 127), scale, w)


def half_added_and_truncated(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    """Round as (int8_t)(x / scale + 0.5f) does in C, where negative numbers come out one too high."""
    g = groups(w, group_size)
    scale = np.abs(g).max(axis=1, keepdims=True) / np.float32(127)
    return packed(np.trunc(g / scale + np.float32(0.5)), scale, w)


def groups_of_twice_the_size(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    wide = quantize_q80(w, 2 * group_size)
    return wide._replace(scale=np.repeat(wide.scale, 2, axis=-1))


def tables_of(theta: float, positions: float = 1.0) -> Callable[[Path, exporter.ModelConfig], None]:
    """Overwrite v0's tables with those of another theta, and of multiplied positions."""

    def damage(path: Path, model: exporter.ModelConfig) -> None:
        exponents = np.arange(0, model.head_dim, 2) / model.head_dim
        angles = np.outer(positions * np.arange(model.max_seq_len), theta**-exponents)
        content = bytearray(path.read_bytes())
        with reader_c.open(path) as file:
            for name, table in (("freqs_cos", np.cos(angles)), ("freqs_sin", np.sin(angles))):
                (span,) = file.spans(name)
                content[span.offset : span.offset + span.nbytes] = table.astype(np.float32).tobytes()
        path.write_bytes(content)

    return damage


def nothing(_: Draft) -> None:
    """Change no tensor, where the file is damaged."""
