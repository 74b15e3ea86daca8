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
from helpers.defects import forty_seeds as s
from helpers.defects.drafts import Seed
from helpers.mistake_seeds import half_split
from helpers.models import config

# Four layers, so that "one of them" and "all of them" are different answers; four heads over two keys' heads twice.
MODEL = config(
    dim=64, hidden_dim=96, n_layers=4, n_heads=8, n_kv_heads=4, vocab_size=95, max_seq_len=112, rope_theta=10000.0
)
UNKNOWN = "no-known-mistake"


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


FILE_MISTAKES: tuple[FileMistake, ...] = (
    FileMistake(
        "embedding multiplied by sqrt(dim)",
        s.every("tok_embeddings", change=lambda w, c: w * np.float32(np.sqrt(c.dim))),
        "scaled",
        ("tok_embeddings.weight", "sqrt(dim)"),
    ),
    FileMistake(
        "norm weights with 1 added",
        s.every("norm", change=lambda w, _: w + np.float32(1)),
        "offset",
        ("plus 1", "norm.weight", "layers 0-3"),
    ),
    FileMistake(
        "norm weights with 1 subtracted",
        s.every("norm", change=lambda w, _: w - np.float32(1)),
        "offset",
        ("minus 1", "norm.weight", "layers 0-3"),
        format="v2",
    ),
    FileMistake(
        "the score scale folded into wq",
        s.every("wq", change=lambda w, c: w / np.float32(np.sqrt(c.head_dim))),
        "scaled",
        ("attention.wq.weight", "sqrt(head_dim)", "layers 0-3"),
        format="v0",
    ),
    FileMistake(
        "every tensor times 0.999", s.every("", change=s.scaled(0.999)), "scaled", ("0.999",), format="v1-fp32"
    ),
    FileMistake(
        "a zero point dropped", s.everywhere(s.asymmetric), "zero-point-dropped", ("zero point",), format="v2"
    ),
    FileMistake(
        "int8 one place late", s.everywhere(s.one_place_late), "int8-displaced", ("one place too late",), format="v1"
    ),
    FileMistake("int8 plus one", s.everywhere(s.plus_one), "int8-offset", ("1 too high",), storage="q8_0"),
    FileMistake(
        "scale with the sign of the extreme", s.everywhere(s.signed_scale), "signed-scales", ("-128",), format="v2"
    ),
    FileMistake(
        "half added, then truncated",
        s.everywhere(s.half_added_and_truncated),
        "half-added-then-truncated",
        ("towards zero",),
        format="v1",
    ),
    FileMistake(
        "another theta in the tables",
        s.nothing,
        "rope-theta",
        ("theta 500000", "10000"),
        format="v0",
        damage=s.tables_of(500000.0),
    ),
    FileMistake(
        "kv heads in reverse order",
        s.every("wk", "wv", change=s.heads([3, 2, 1, 0])),
        "heads-reordered",
        ("attention.wk.weight", "attention.wv.weight", "layers 0-3", "3, 2, 1, 0"),
        storage="bf16",
    ),
    FileMistake(
        "odd rows of q and k negated",
        s.every("wq", "wk", change=s.odd_rows_negated),
        "rows-negated",
        ("odd rows", "attention.wq.weight", "attention.wk.weight", "layers 0-3"),
    ),
    FileMistake("another checkpoint", s.another_checkpoint, "another-checkpoint", ("checkpoint",), storage="bf16"),
    FileMistake("a fine-tune of the model", s.fine_tuned, "another-version", ("fine-tune",), format="v2"),
    FileMistake(
        "query heads one place on",
        s.every("wq", change=s.heads([1, 2, 3, 4, 5, 6, 7, 0])),
        "heads-reordered",
        ("attention.wq.weight", "layers 0-3", "1, 2, 3, 4, 5, 6, 7, 0"),
        format="v1-fp32",
    ),
    FileMistake(
        "wo's inputs in another order of heads",
        s.every("wo", change=s.columns_of_heads([0, 4, 1, 5, 2, 6, 3, 7])),
        "heads-reordered",
        ("attention.wo.weight", "columns", "layers 0-3"),
        format="v0",
    ),
    FileMistake(
        "an adapter merged into wq and wv",
        s.every("wq", "wv", change=s.with_adapter),
        "low-rank-added",
        ("layers 0-3", "rank 1"),
    ),
    FileMistake(
        "rows of the last five tokens never trained",
        s.every("tok_embeddings", change=s.rows_never_trained),
        "few-rows",
        ("tok_embeddings.weight", "rows 90-94"),
        storage="q8_0",
    ),
    FileMistake(
        "scales of groups of twice the size",
        s.everywhere(s.groups_of_twice_the_size),
        "groups-of-another-size",
        ("16",),
        format="v2",
    ),
    FileMistake(
        "subnormal halves flushed to zero",
        s.every("wv", change=s.subnormals_flushed),
        "subnormals-flushed",
        ("attention.wv.weight", "layers 0-3"),
        storage="fp16",
    ),
    FileMistake(
        "rounded to half precision before bfloat16",
        s.every("feed_forward", change=lambda w, _: w.astype(np.float16)),
        "rounded-to-fp16",
        ("layers 0-3",),
        storage="bf16",
    ),
    FileMistake(
        "q's bias left in half-split order",
        s.every("wq.bias", change=lambda w, c: half_split(w, c.n_heads)),
        "q-k-not-unpermuted",
        ("attention.wq.bias", "layers 0-3"),
        needs={"qkv_bias": True},
    ),
    FileMistake(
        "gate and up split by even and odd rows",
        s.gate_up_interleaved,
        "gate-up-interleaved",
        ("feed_forward.w1.weight", "feed_forward.w3.weight", "layers 0-3"),
        storage={"*": "bf16", "*.w3.*": "fp32", "layers.1.*": "fp16"},
    ),
)

# A source whose weights are so small that halves of them are subnormal, where the mistake is in those.
SMALL_SOURCES = {"subnormal halves flushed to zero": s.every("wv", change=s.small)}
