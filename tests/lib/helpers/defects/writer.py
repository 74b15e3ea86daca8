"""Mistakes of a writer: what it takes for the model's config or tensors, or how it quantizes them."""

from __future__ import annotations

from typing import Any

import numpy as np

import exporter
from helpers.defects.drafts import (
    Seed,
    change,
    copy,
    flip,
    half_away,
    last_group_zero,
    misread,
    nudged,
    over_128,
    quantizing,
    shortened,
    swap,
    swap_layers,
    with_int8,
    with_scales,
)
from helpers.defects.kinds import PLAIN, QUANTIZED, V3, Defect, Where
from helpers.mistake_seeds import half_split, interleaved

Q, K, V, O = (f"layers.1.attention.w{letter}.weight" for letter in "qkvo")  # noqa: E741
W1, W3 = (f"layers.0.feed_forward.w{digit}.weight" for digit in "13")
V0 = V.replace("1", "0", 1)
EMBEDDING, OUTPUT, FINAL_NORM = "tok_embeddings.weight", "output.weight", "norm.weight"
ATTENTION_NORM, FFN_NORM = (f"layers.0.{name}_norm.weight" for name in ("attention", "ffn"))

# The operation of a pass that is first to compute with a tensor.
_OPERATIONS = {
    Q: (1, "q"),
    K: (1, "k"),
    V: (1, "v"),
    O: (1, "wo"),
    V0: (0, "v"),
    W1: (0, "gate"),
    EMBEDDING: (None, "embedding"),
    OUTPUT: (None, "logits"),
    ATTENTION_NORM: (0, "attention_norm"),
}


def at(tensor: str, *checks: str, **where: Any) -> dict[str, Where]:
    """tensors, and what else of "operations", "execution", at a tensor."""
    layer, operation = _OPERATIONS[tensor]
    caught: dict[str, Where] = {"tensors": {"tensor": tensor, **where}}
    if "operations" in checks:
        caught["operations"] = {"layer": layer, "operation": operation}
    return caught | {name: {} for name in checks if name != "operations"}


def _seen(tensor: str) -> dict[str, Where]:
    """Of a mistake that everything but the header shows."""
    return at(tensor, "operations", "execution")


def _writer(name: str, seed: Seed, caught_by: dict[str, Where], diagnosis: str | None = None, **more: Any) -> Defect:
    return Defect(name, "writer", seed, caught_by, diagnosis, **more)


def grouped(c: exporter.ModelConfig) -> bool:
    return c.n_kv_heads < c.n_heads


def turns(c: exporter.ModelConfig) -> bool:
    """Whether half-split order is another order at all."""
    return c.head_dim > 2


def untied(c: exporter.ModelConfig) -> bool:
    return not c.tied


_TENSORS = (
    _writer(
        "q left in half-split order",
        change(Q, lambda w, c: half_split(w, c.n_heads)),
        _seen(Q),
        "q-k-not-unpermuted",
        applies=turns,
    ),
    _writer(
        "k left in half-split order",
        change(K, lambda w, c: half_split(w, c.n_kv_heads)),
        _seen(K),
        "q-k-not-unpermuted",
        applies=turns,
    ),
    _writer(
        "k permuted with n_heads",
        change(K, lambda w, c: interleaved(half_split(w, c.n_kv_heads), c.n_heads)),
        _seen(K),
        "k-permuted-with-n-heads",
        # with two rows a head there is nothing to undo, and k is left in half-split order
        applies=lambda c: grouped(c) and c.kv_dim % (2 * c.n_heads) == 0 and c.kv_dim > 2 * c.n_heads,
    ),
    _writer("a square matrix transposed", change(O, lambda w, _: w.T), _seen(O), "transposed"),
    _writer("w1 and w3 swapped", swap(W1, W3), _seen(W1), "tensors-swapped"),
    _writer("norms swapped", swap(ATTENTION_NORM, FFN_NORM), _seen(ATTENTION_NORM), "tensors-swapped"),
    _writer("wv of two layers swapped", swap(V, V0), _seen(V0), "layers-swapped"),
    _writer("two layers swapped", swap_layers, _seen(ATTENTION_NORM), "layers-swapped"),
    _writer(
        "embedding shifted by a row",
        change(EMBEDDING, lambda w, _: np.roll(w, 1, axis=0)),
        _seen(EMBEDDING),
        "rows-rolled",
    ),
    _writer(
        "the classifier is the embedding's",
        copy(EMBEDDING, OUTPUT),
        _seen(OUTPUT),
        "classifier-is-embedding",
        applies=untied,
    ),
    _writer(
        "a tensor rounded to half precision",
        change(V, lambda w, _: w.astype(np.float16)),
        at(V, "operations", "execution"),
        "rounded-to-fp16",
        formats=PLAIN,
    ),
    _writer(
        "a tensor rounded to half precision before Q8_0",
        change(V, lambda w, _: w.astype(np.float16)),
        at(V),
        "rounded-to-fp16",
        formats=QUANTIZED,
    ),
    _writer("a tensor of zeros", change(V, lambda w, _: np.zeros_like(w)), _seen(V), "zeros"),
    _writer(
        "a tensor of random numbers",
        change(V, lambda w, _: np.random.default_rng(9).normal(size=w.shape)),
        _seen(V),
        "unrelated-numbers",
    ),
    _writer(
        "one weight an ulp off", change(V, nudged), at(V, part="fp32", index=[3, 7]), "bit-flipped", formats=PLAIN
    ),
    _writer(
        "the last group of each row zero",
        change(V, lambda w, _: last_group_zero(w, 8)),
        _seen(V),
        "row-tails-zero",
    ),
)

_QUANTIZATION = tuple(
    _writer(name, seed, caught_by, diagnosis, formats=QUANTIZED, **more)
    for name, seed, caught_by, diagnosis, more in (
        (
            "scales shifted by a group",
            quantizing(with_scales(lambda s: np.roll(s.ravel(), 1).reshape(s.shape)), V),
            at(V, "operations", "execution", part="scale"),
            "scales-shifted-by-a-group",
            {},
        ),
        (
            "scales rounded to half precision",
            quantizing(with_scales(lambda s: s.astype(np.float16)), V),
            at(V, "operations", "execution", part="scale"),
            "scales-rounded-to-fp16",
            {},
        ),
        (
            "halves rounded away from zero",
            quantizing(half_away, V),
            at(V, "operations", part="int8"),
            "halves-rounded-away-from-zero",
            {"weights": "halves"},
        ),
        (
            "scale = max / 128",
            quantizing(over_128, V),
            at(V, "operations", "execution"),
            "divided-by-128",
            {},
        ),
        (
            "the last int8 group of each row zero",
            quantizing(with_int8(lambda q: q[:, -1].fill(0)), V),
            at(V, "operations", "execution", part="int8"),
            "row-tails-zero",
            {},
        ),
        *(
            (
                f"bit {bit} of one int8 flipped",
                quantizing(with_int8(flip(bit)), V),
                at(V, "operations", part="int8", index=[3, 13]),
                "bit-flipped",
                {},
            )
            for bit in (0, 3, 7)
        ),
    )
)

_CONFIG = (
    *(
        _writer(
            f"another model's {field} implied",
            misread(**{field: implied}),
            {"config": {"field": field}, "operations": {"layer": 0, "operation": operation}, "execution": {}},
            diagnosis=diagnosis,
            formats=formats,
            needs={field: value},
        )
        for field, value, implied, operation, diagnosis, formats in (
            ("rope_theta", 500000.0, 10000.0, "cosine", "rope-theta", ("v1", "v1-fp32", "v2")),
            ("norm_eps", 1e-6, 1e-5, "attention_norm", "norm-eps", ("v0", "v1", "v1-fp32", "v2")),
        )
    ),
    _writer(
        "another model's rope_theta implied and in the tables",
        misread(rope_theta=10000.0),
        {"config": {"field": "rope_theta"}, "tensors": {"tensor": "freqs"}, "execution": {}},
        "rope-theta",
        formats=("v0",),
        needs={"rope_theta": 500000.0},
    ),
    *(
        _writer(
            f"another model's {field} in the header",
            misread(**{field: value}),
            {
                "config": {"field": field},
                "file": {},
                "operations": {"layer": 0, "operation": operation},
                "execution": {},
            },
            diagnosis,
            formats=V3,
        )
        for field, value, operation, diagnosis in (
            ("rope_theta", 500000.0, "cosine", "rope-theta"),
            ("norm_eps", 1e-6, "attention_norm", "norm-eps"),
            ("activation", "gelu", "gated", "activation"),
        )
    ),
    *(
        _writer(
            f"{bias} dropped",
            misread(**{bias: False}),
            {"config": {"field": bias}},
            formats=V3,
            needs={bias: True},
        )
        for bias in ("qkv_bias", "wo_bias", "mlp_bias")
    ),
    _writer(
        "head_dim taken for dim / n_heads",
        misread(head_dim=0),
        {"config": {"field": "head_dim"}},
        formats=V3,
        needs={"head_dim": 16},
        applies=lambda c: c.dim % (2 * c.n_heads) == 0 and c.dim != 16 * c.n_heads,
    ),
    _writer(
        "the classifier lost",
        misread(tied=True),
        {"config": {"field": "tied"}},
        "header-tied",
        applies=untied,
    ),
    _writer("another max_seq_len", shortened, {"config": {"field": "max_seq_len"}}),
)

WRITER_DEFECTS = (*_TENSORS, *_QUANTIZATION, *_CONFIG)
