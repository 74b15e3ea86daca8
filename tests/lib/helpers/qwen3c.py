"""qwen3.c: random models that it can run, and its arithmetic again in numpy float32 scalars.

Slow and literal, without code of the C reader: where qwen3.c differs from runq.c, this differs from Replay.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

import exporter
import reader_c
from helpers.float32 import F, Row
from helpers.models import Arrays
from helpers.replay import Replay, call, sum_in_order
from verify.testing import random_arrays


class Qwen3cReplay(Replay):
    """qwen3.c's pass over a file of its own."""

    def softmax(self, scores: Row) -> Row:
        """The largest score counts only above 0."""
        shares = np.array([call("expf", score - max(F(0), scores.max())) for score in scores], F)
        return shares / sum_in_order(shares)

    def _feed_forward(self, number: int, h: Row) -> Row:
        p = f"layers.{number}.feed_forward"
        gate, up = self._linear(f"{p}.w1", h), self._linear(f"{p}.w3", h)
        return self._linear(f"{p}.w2", gate * (up * self.sigmoid(gate)))

    def _rotated(self, number: int, x: Row, position: int) -> Row:  # noqa: ARG002  # all layers are alike
        half = self.c.head_dim // 2
        frequencies = [self.power(F(1e6), -F(i) / F(half)) for i in range(half)]
        turns = [self.turn(F(position) * frequency) for frequency in frequencies]
        cosine, sine = (np.array(column, F) for column in zip(*turns, strict=True))
        real, imaginary = x[:, :half], x[:, half:]
        return np.concatenate((real * cosine - imaginary * sine, real * sine + imaginary * cosine), axis=1)


def replay(model: reader_c.Model, tokens: list[int], *, q8: bool) -> Row:
    """Logits (len(tokens), vocab_size) of a file of qwen3.c's."""
    return Qwen3cReplay(model, q8=q8).logits(tokens)


def qwen3c_config(**changes: object) -> exporter.ModelConfig:
    """A toy that qwen3.c can run, whose counts all differ, as those of helpers.models.config() do."""
    fields: dict[str, object] = {
        "dim": 48,
        "hidden_dim": 40,
        "n_layers": 2,
        "n_heads": 6,
        "n_kv_heads": 3,
        "head_dim": 12,
        "vocab_size": 29,
        "max_seq_len": 33,
        "tied": False,
        "norm_eps": 1e-6,
        "rope_theta": 1e6,
        "qk_norm": "head",
    }
    return exporter.ModelConfig(**{**fields, **changes})  # type: ignore[arg-type]


@st.composite
def qwen3c_configs(draw: st.DrawFn) -> exporter.ModelConfig:
    """Any sizes that qwen3.c can run."""
    n_kv_heads = draw(st.integers(1, 3))
    n_heads, head_dim = n_kv_heads * draw(st.integers(1, 3)), 2 * draw(st.integers(1, 8))
    return qwen3c_config(
        dim=draw(st.integers(1, n_heads * head_dim)),
        hidden_dim=draw(st.integers(1, 41)),
        n_layers=draw(st.integers(1, 3)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        vocab_size=draw(st.integers(2, 40)),
        max_seq_len=draw(st.integers(2, 40)),
        tied=draw(st.booleans()),
    )


def qwen3c_file(path: Path, model: exporter.ModelConfig, arrays: Arrays | None = None, group_size: int = 64) -> Path:
    """A healthy file of random weights."""
    checkpoint = exporter.Checkpoint.from_arrays(model, random_arrays(model, 0) if arrays is None else arrays)
    exporter.export(checkpoint, path, format="ajc1", group_size=group_size, overwrite=True)
    return path
