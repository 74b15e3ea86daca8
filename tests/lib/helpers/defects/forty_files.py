"""24 mistakes in files, over all formats and storages, that were written down before the diagnosis was tried on them.

Each names the diagnosis that it must get and what the sentence must say. Their order is the order in which they were
thought of; "forty_engines.py" has the other 16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import exporter
import reader_c
from exporter.quantize import Quantized, quantize_q80
from helpers.defects.drafts import Draft, Seed
from helpers.mistake_seeds import half_split
from helpers.models import arrays, config

# Four layers, so that "one of them" and "all of them" are different answers; four heads over two keys' heads twice.
MODEL = config(
    dim=64, hidden_dim=96, n_layers=4, n_heads=8, n_kv_heads=4, vocab_size=95, max_seq_len=112, rope_theta=10000.0
)
UNKNOWN = "no-known-mistake"

Change = Callable[[np.ndarray, exporter.ModelConfig], np.ndarray]


@dataclass(frozen=True)
class FileMistake:
    """One mistake. seed: changes the tensors, or the file after it was written (damage). says: texts that the
    diagnosis's sentence must have. needs: fields of the config."""

    name: str
    seed: Seed
    expected: str
    says: tuple[str, ...] = ()
    format: str = "v3"
    storage: Any = "fp32"
    needs: dict[str, Any] = dataclasses.field(default_factory=dict)
    damage: Callable[[Path, exporter.ModelConfig], None] | None = None

    def __str__(self) -> str:
        return self.name


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


def _scaled(by: float) -> Change:
    return lambda w, _: w * np.float32(by)


def _heads(order: list[int]) -> Change:
    """Put the heads of a matrix's rows in this order."""
    return lambda w, _: w.reshape(len(order), -1, w.shape[-1])[order].reshape(w.shape)


def _columns_of_heads(order: list[int]) -> Change:
    return lambda w, _: w.reshape(len(w), len(order), -1)[:, order].reshape(w.shape)


def _odd_rows_negated(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w * np.where(np.arange(len(w)) % 2, -1, 1)[:, None].astype(np.float32)


def _rows_never_trained(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    """Give the last five token ids new random rows, as a resized embedding has them."""
    w = w.copy()
    w[-5:] = np.random.default_rng(3).normal(size=w[-5:].shape) * 0.02
    return w


def _with_adapter(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    rng = np.random.default_rng(len(w))
    return w + np.outer(rng.normal(size=len(w)), rng.normal(size=w.shape[1])).astype(np.float32) * np.float32(0.02)


def _subnormals_flushed(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return np.where(np.abs(w) < 2**-14, np.float32(0), w)


def _small(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w * np.float32(2**-12)


def _gate_up_interleaved(draft: Draft) -> None:
    """Split a fused gate and up by even and odd rows although it holds one after the other."""
    for layer in range(draft.model.n_layers):
        gate, up = (f"layers.{layer}.feed_forward.w{n}.weight" for n in "13")
        fused = np.concatenate((draft.arrays[gate], draft.arrays[up]))
        draft.arrays[gate], draft.arrays[up] = fused[::2].copy(), fused[1::2].copy()


def _another_checkpoint(draft: Draft) -> None:
    draft.arrays = arrays(draft.model, seed=77)


def _fine_tuned(draft: Draft) -> None:
    rng = np.random.default_rng(5)
    for name, w in draft.arrays.items():
        draft.arrays[name] = (w + rng.normal(size=w.shape) * 0.05 * w.std()).astype(np.float32)


# ---- other quantizers ----


def _groups(w: np.ndarray, group_size: int) -> np.ndarray:
    return w.reshape(-1, group_size)


def _packed(q: np.ndarray, scale: np.ndarray, like: np.ndarray) -> Quantized:
    shape = (*like.shape[:-1], -1)
    return Quantized(q.astype(np.int8).reshape(like.shape), scale.astype(np.float32).reshape(shape), 0.0)


def _asymmetric(w: np.ndarray, group_size: int) -> Quantized:
    """Quantize with a zero point, which the file has no place for."""
    g = _groups(w, group_size)
    low = g.min(axis=1, keepdims=True)
    scale = (g.max(axis=1, keepdims=True) - low) / np.float32(255)
    zero = -128 - np.rint(low / scale)
    return _packed(np.clip(np.rint(g / scale) + zero, -128, 127), scale, w)


def _one_place_late(w: np.ndarray, group_size: int) -> Quantized:
    right = quantize_q80(w, group_size)
    return right._replace(q=np.roll(right.q.ravel(), 1).reshape(right.q.shape))


def _plus_one(w: np.ndarray, group_size: int) -> Quantized:
    right = quantize_q80(w, group_size)
    return right._replace(q=np.clip(right.q.astype(np.int16) + 1, -128, 127).astype(np.int8))


def _signed_scale(w: np.ndarray, group_size: int) -> Quantized:
    """Divide by -128 the value of the largest magnitude, with its sign, as ggml's Q4_0 does with -8."""
    g = _groups(w, group_size)
    extreme = np.take_along_axis(g, np.abs(g).argmax(axis=1)[:, None], 1)
    scale = extreme / np.float32(-128)
    return _packed(np.clip(np.rint(g / scale), -128, 127), scale, w)


def _half_added_and_truncated(w: np.ndarray, group_size: int) -> Quantized:
    """Round as (int8_t)(x / scale + 0.5f) does in C, where negative numbers come out one too high."""
    g = _groups(w, group_size)
    scale = np.abs(g).max(axis=1, keepdims=True) / np.float32(127)
    return _packed(np.trunc(g / scale + np.float32(0.5)), scale, w)


def _groups_of_twice_the_size(w: np.ndarray, group_size: int) -> Quantized:
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


FILE_MISTAKES: tuple[FileMistake, ...] = (
    FileMistake(
        "embedding multiplied by sqrt(dim)",
        every("tok_embeddings", change=lambda w, c: w * np.float32(np.sqrt(c.dim))),
        "scaled",
        ("tok_embeddings.weight", "sqrt(dim)"),
    ),
    FileMistake(
        "norm weights with 1 added",
        every("norm", change=lambda w, _: w + np.float32(1)),
        "offset",
        ("plus 1", "norm.weight", "layers 0-3"),
    ),
    FileMistake(
        "norm weights with 1 subtracted",
        every("norm", change=lambda w, _: w - np.float32(1)),
        "offset",
        ("minus 1", "norm.weight", "layers 0-3"),
        format="v2",
    ),
    FileMistake(
        "the score scale folded into wq",
        every("wq", change=lambda w, c: w / np.float32(np.sqrt(c.head_dim))),
        "scaled",
        ("attention.wq.weight", "sqrt(head_dim)", "layers 0-3"),
        format="v0",
    ),
    FileMistake("every tensor times 0.999", every("", change=_scaled(0.999)), "scaled", ("0.999",), format="v1-fp32"),
    FileMistake("a zero point dropped", everywhere(_asymmetric), "zero-point-dropped", ("zero point",), format="v2"),
    FileMistake(
        "int8 one place late", everywhere(_one_place_late), "int8-displaced", ("one place too late",), format="v1"
    ),
    FileMistake("int8 plus one", everywhere(_plus_one), "int8-offset", ("1 too high",), storage="q8_0"),
    FileMistake(
        "scale with the sign of the extreme", everywhere(_signed_scale), "signed-scales", ("-128",), format="v2"
    ),
    FileMistake(
        "half added, then truncated",
        everywhere(_half_added_and_truncated),
        "half-added-then-truncated",
        ("towards zero",),
        format="v1",
    ),
    FileMistake(
        "another theta in the tables",
        nothing,
        "rope-theta",
        ("theta 500000", "10000"),
        format="v0",
        damage=tables_of(500000.0),
    ),
    FileMistake(
        "kv heads in reverse order",
        every("wk", "wv", change=_heads([3, 2, 1, 0])),
        "heads-reordered",
        ("attention.wk.weight", "attention.wv.weight", "layers 0-3", "3, 2, 1, 0"),
        storage="bf16",
    ),
    FileMistake(
        "odd rows of q and k negated",
        every("wq", "wk", change=_odd_rows_negated),
        "rows-negated",
        ("odd rows", "attention.wq.weight", "attention.wk.weight", "layers 0-3"),
    ),
    FileMistake("another checkpoint", _another_checkpoint, "another-checkpoint", ("checkpoint",), storage="bf16"),
    FileMistake("a fine-tune of the model", _fine_tuned, "another-version", ("fine-tune",), format="v2"),
    FileMistake(
        "query heads one place on",
        every("wq", change=_heads([1, 2, 3, 4, 5, 6, 7, 0])),
        "heads-reordered",
        ("attention.wq.weight", "layers 0-3", "1, 2, 3, 4, 5, 6, 7, 0"),
        format="v1-fp32",
    ),
    FileMistake(
        "wo's inputs in another order of heads",
        every("wo", change=_columns_of_heads([0, 4, 1, 5, 2, 6, 3, 7])),
        "heads-reordered",
        ("attention.wo.weight", "columns", "layers 0-3"),
        format="v0",
    ),
    FileMistake(
        "an adapter merged into wq and wv", every("wq", "wv", change=_with_adapter), UNKNOWN, ("layers 0-3",)
    ),
    FileMistake(
        "rows of the last five tokens never trained",
        every("tok_embeddings", change=_rows_never_trained),
        "few-rows",
        ("tok_embeddings.weight", "rows 90-94"),
        storage="q8_0",
    ),
    FileMistake(
        "scales of groups of twice the size",
        everywhere(_groups_of_twice_the_size),
        "groups-of-another-size",
        ("16",),
        format="v2",
    ),
    FileMistake(
        "subnormal halves flushed to zero",
        every("wv", change=_subnormals_flushed),
        "subnormals-flushed",
        ("attention.wv.weight", "layers 0-3"),
        storage="fp16",
    ),
    FileMistake(
        "rounded to half precision before bfloat16",
        every("feed_forward", change=lambda w, _: w.astype(np.float16)),
        "rounded-to-fp16",
        ("layers 0-3",),
        storage="bf16",
    ),
    FileMistake(
        "q's bias left in half-split order",
        every("wq.bias", change=lambda w, c: half_split(w, c.n_heads)),
        "q-k-not-unpermuted",
        ("attention.wq.bias", "layers 0-3"),
        needs={"qkv_bias": True},
    ),
    FileMistake(
        "gate and up split by even and odd rows",
        _gate_up_interleaved,
        "gate-up-interleaved",
        ("feed_forward.w1.weight", "feed_forward.w3.weight", "layers 0-3"),
        storage={"*": "bf16", "*.w3.*": "fp32", "layers.1.*": "fp16"},
    ),
)

# A source whose weights are so small that halves of them are subnormal, where the mistake is in those.
SMALL_SOURCES = {"subnormal halves flushed to zero": every("wv", change=_small)}
