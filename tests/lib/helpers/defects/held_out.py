"""26 more mistakes, written down when the forty were all diagnosed, to see whether that holds beyond them.

When they were first tried, 23 were right and 3 wrong; docs/reliability.md says which. Clipped and pruned weights, for
which "no known mistake" was right then, have names now.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import exporter
from exporter.quantize import Quantized
from helpers import toy_engine
from helpers.defects.drafts import Draft, Seed
from helpers.defects.forty_engines import EngineMistake
from helpers.defects.forty_files import UNKNOWN, FileMistake
from helpers.defects.forty_seeds import every, everywhere, nothing, tables_of
from helpers.models import arrays


def _of_unit_length(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w / np.sqrt(np.square(w).sum(axis=1, keepdims=True))


def _norms_folded(draft: Draft) -> None:
    for layer in range(draft.model.n_layers):
        norm = draft.arrays[f"layers.{layer}.attention_norm.weight"]
        for letter in "qkv":
            draft.arrays[f"layers.{layer}.attention.w{letter}.weight"] *= norm


def _neurons_reordered(draft: Draft) -> None:
    order = np.random.default_rng(1).permutation(draft.model.hidden_dim)
    for digit in "13":
        name = f"layers.1.feed_forward.w{digit}.weight"
        draft.arrays[name] = draft.arrays[name][order].copy()
    name = "layers.1.feed_forward.w2.weight"
    draft.arrays[name] = draft.arrays[name][:, order].copy()


def _scales_of_powers_of_two(w: np.ndarray, group_size: int, *_progress: object) -> Quantized:
    g = w.reshape(-1, group_size)
    scale = (2.0 ** np.ceil(np.log2(np.abs(g).max(axis=1, keepdims=True) / 127))).astype(np.float32)
    q = np.rint(g / scale).astype(np.int8)
    return Quantized(q.reshape(w.shape), scale.reshape(*w.shape[:-1], -1), 0.0)


def _clipped(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return w.clip(-2 * w.std(), 2 * w.std())


def _neighbours_swapped(draft: Draft) -> None:
    for layer in range(0, draft.model.n_layers, 2):
        a, b = (f"layers.{n}.attention.wk.weight" for n in (layer, layer + 1))
        draft.arrays[a], draft.arrays[b] = draft.arrays[b], draft.arrays[a]


def _rounded_at_random(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    noise = np.random.default_rng(w.size).integers(0, 1 << 16, w.shape, dtype=np.uint32)
    return ((w.view(np.uint32) + noise) & np.uint32(0xFFFF0000)).view(np.float32)


def _pruned(w: np.ndarray, _: exporter.ModelConfig) -> np.ndarray:
    return np.where(np.abs(w) < np.quantile(np.abs(w), 0.3), np.float32(0), w) if w.ndim == 2 else w


def _half_loaded(draft: Draft) -> None:
    other = arrays(draft.model, seed=78)
    for name in draft.arrays:
        if name.startswith(("layers.2.", "layers.3.")):
            draft.arrays[name] = other[name]


def _second_halves_negated(w: np.ndarray, c: exporter.ModelConfig) -> np.ndarray:
    second = np.arange(len(w)) % c.head_dim >= c.head_dim // 2
    return np.where(second[:, None], -w, w)


def _one(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Seed:
    return every(name, change=lambda w, _: change(w))


MORE_FILES = (
    FileMistake(
        "one wv scaled as at initialisation",
        every("layers.2.attention.wv", change=lambda w, c: w / np.float32(np.sqrt(2 * c.n_layers))),
        "scaled",
        ("layers.2.attention.wv.weight",),
        format="v2",
    ),
    FileMistake("embeddings of length 1", every("tok_emb", change=_of_unit_length), "rows-normalized", ("rows",)),
    FileMistake(
        "a norm folded into q, k and v", _norms_folded, "scaled-by-norm", ("attention_norm", "layers 0-3"), "v0"
    ),
    FileMistake(
        "neurons of one layer in another order",
        _neurons_reordered,
        "rows-reordered",
        ("layers.1.feed_forward.w1.weight",),
        storage="bf16",
    ),
    FileMistake(
        "scales that are powers of two",
        everywhere(_scales_of_powers_of_two),
        "scales-chosen",
        ("1 to 2 times",),
        format="v2",
    ),
    FileMistake("weights clipped", every("weight", change=_clipped), "clipped", format="v1-fp32"),
    FileMistake("wk of neighbouring layers swapped", _neighbours_swapped, "layers-in-another-order", storage="fp16"),
    FileMistake("rounded at random to bfloat16", every("weight", change=_rounded_at_random), UNKNOWN, storage="bf16"),
    FileMistake(
        "embedding two rows down", _one("tok_emb", lambda w: np.roll(w, 2, axis=0)), "rows-reordered", storage="q8_0"
    ),
    FileMistake(
        "positions in the tables over 4", nothing, "tables-scaled", ("0.25",), "v0", damage=tables_of(1e4, 0.25)
    ),
    FileMistake("small weights pruned", every("weight", change=_pruned), "pruned"),
    FileMistake("layers 2 and 3 of another checkpoint", _half_loaded, "unrelated-numbers", ("layers 2-3",), "v1"),
    FileMistake(
        "q's bias negated",
        _one("wq.bias", np.negative),
        "scaled",
        ("-1", "attention.wq.bias of layers 0-3"),
        needs={"qkv_bias": True},
    ),
    FileMistake(
        "second halves of heads negated",
        every("wq", "wk", change=_second_halves_negated),
        "rows-negated",
        ("layers 0-3",),
    ),
)

MORE_ENGINES = (
    EngineMistake("gelu by tanh for silu", toy_engine.GeluTanh, "activation", ("gelu_tanh",)),
    EngineMistake("a temperature of 0.7", toy_engine.Temperature, "logits-scaled", ("divides", "0.7")),
    EngineMistake("log-probabilities", toy_engine.LogProbabilities, "logits-normalised", ("log-prob",)),
    EngineMistake("the last layer left out", toy_engine.LastLayerMissing, "layer-missing", ("layer 3",)),
    EngineMistake("epsilon 1e-6", toy_engine.SmallEpsilon, "norm-eps", ("1e-06",)),
    EngineMistake("a cache that keeps its first 49", toy_engine.FullCache, "stale-cache", ("position 50",)),
    EngineMistake("one embedding of zeros", toy_engine.ZeroEmbedding, "one-embedding", ("token 7", "zeros")),
    EngineMistake("a window in odd layers", toy_engine.WindowInOddLayers, ""),
    EngineMistake("keys not rotated", toy_engine.KeysNotRotated, "rope-missing", ("keys",)),
    EngineMistake("gates clipped", toy_engine.GatesClipped, "stage-clipped", ("clips gate (w1) to +-1",)),
    EngineMistake("no final norm, theta 500000", toy_engine.TwoMistakes, ""),
    EngineMistake("logits in bfloat16", toy_engine.LogitsInBfloat16, "logits-narrowed"),
)
