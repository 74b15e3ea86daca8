"""Models, and the table of mistakes with whole tensors: what seeds each, and the name that it must get."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import exporter
from helpers import mistake_seeds as m
from helpers.models import LEGACY_FORMATS, Arrays, arrays, config

GROUP = 8
# head sizes that are multiples of 4, so that n_heads divides a key's rows, but not 4 or 8, in which some permutations
# are the same
ONE_HEAD_A_KEY, ELEVEN = "one head a key, tied, odd vocabulary", "eleven layers"
MODELS = {
    "grouped": config(dim=72),
    ONE_HEAD_A_KEY: config(dim=48, hidden_dim=56, n_layers=3, n_heads=3, n_kv_heads=3, vocab_size=31, tied=True),
    ELEVEN: config(dim=48, hidden_dim=16, n_layers=11, n_heads=4, n_kv_heads=2, vocab_size=37),
    "square": config(dim=48, hidden_dim=48, n_layers=3, n_heads=4, n_kv_heads=2, vocab_size=48),
}
SMALL = [model for name, model in MODELS.items() if name != ELEVEN]
BUT_ELEVEN = ("grouped", ONE_HEAD_A_KEY, "square", "biased")
WIDER = {"biased": config(head_dim=20, qkv_bias=True, wo_bias=True, mlp_bias=True)}
Q, K, V, W1, W2, W3 = "attention.wq", "attention.wk", "attention.wv", *(f"feed_forward.w{n}" for n in "123")
QUANTIZED = ("v1", "v2", "v3-q8_0")
STORED = (*LEGACY_FORMATS, "v3-fp32", "v3-fp16", "v3-bf16", "v3-q8_0")
FLOATS = ("v0", "v1-fp32", "v3-fp32", "v3-fp16")
FP32 = FLOATS[:3]


UNDER_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))  # a float32 sum with a half is 1


def healthy(seed: int, model: exporter.ModelConfig) -> Arrays:
    """With zeros and halves of a step among the weights, as trained ones have."""
    mine = arrays(model, seed)
    rng = np.random.default_rng(seed)
    for array in mine.values():
        if array.ndim == 2:
            array[1::3, 1] = 0
            array[2, :GROUP] = [127, 0.5, -0.5, 2.5, -2.5, 1.25, UNDER_HALF, -UNDER_HALF]
            # halves up to the rounding of the quotient
            array[3] = np.float32(0.01) * (rng.integers(-120, 120, array.shape[1]) + np.float32(0.5))
            array[3, ::GROUP] = np.float32(1.27)
    return mine


def norm_folded(mine: Arrays, model: exporter.ModelConfig) -> None:
    for layer in range(model.n_layers):
        for kind in (W1, W3):
            name = f"layers.{layer}.{kind}.weight"
            mine[name] = mine[name] * mine[f"layers.{layer}.ffn_norm.weight"]


def gate_up(split: Callable[[np.ndarray], Sequence[np.ndarray]]) -> m.InArrays:
    """Split one fused matrix into w1 and w3. split: of both, one after the other."""

    def apply(mine: Arrays, model: exporter.ModelConfig) -> None:
        for layer in range(model.n_layers):
            names = [f"layers.{layer}.{kind}.weight" for kind in (W1, W3)]
            for name, part in zip(names, split(np.concatenate([mine[name] for name in names])), strict=True):
                mine[name] = np.ascontiguousarray(part)

    return apply


# name -> what seeds it, the mistake's name, and models that it does not show in
IN_ARRAYS: dict[str, tuple[m.InArrays, str, tuple[str, ...]]] = {
    "q not unpermuted": (m.each(Q, lambda w, c: m.half_split(w, c.n_heads)), "q-k-not-unpermuted", ()),
    "q and k not unpermuted": (
        m.both(
            m.each(Q, lambda w, c: m.half_split(w, c.n_heads)), m.each(K, lambda w, c: m.half_split(w, c.n_kv_heads))
        ),
        "q-k-not-unpermuted",
        (),
    ),
    "k permuted with n_heads": (
        m.each(K, lambda w, c: m.interleaved(m.half_split(w, c.n_kv_heads), c.n_heads)),
        "k-permuted-with-n-heads",
        (ONE_HEAD_A_KEY,),
    ),
    "q permuted with n_kv_heads": (
        m.each(Q, lambda w, c: m.interleaved(m.half_split(w, c.n_heads), c.n_kv_heads)),
        "q-permuted-with-n-kv-heads",
        (ONE_HEAD_A_KEY,),
    ),
    "k permuted twice": (m.each(K, lambda w, c: m.interleaved(w, c.n_kv_heads)), "q-k-permuted-twice", ()),
    "q permuted twice": (m.each(Q, lambda w, c: m.interleaved(w, c.n_heads)), "q-k-permuted-twice", ()),
    "q permuted with n_kv_heads from the right order": (
        m.each(Q, lambda w, c: m.half_split(w, c.n_kv_heads)),
        "q-permuted-with-n-kv-heads",
        (ONE_HEAD_A_KEY,),
    ),
    "k permuted backwards": (
        m.each(K, lambda w, c: m.half_split(m.half_split(w, c.n_kv_heads), c.n_kv_heads)),
        "q-k-permuted-backwards",
        (),
    ),
    "v half-split": (m.each(V, lambda w, c: m.half_split(w, c.n_kv_heads)), "v-permuted", ()),
    "q permuted backwards": (
        m.each(Q, lambda w, c: m.half_split(m.half_split(w, c.n_heads), c.n_heads)),
        "q-k-permuted-backwards",
        (),
    ),
    "k permuted with n_heads from the right order": (
        m.each(K, lambda w, c: m.half_split(w, c.n_heads)),
        "k-permuted-with-n-heads",
        (ONE_HEAD_A_KEY,),
    ),
    "heads of a key apart": (
        m.each(
            Q, lambda w, c: np.swapaxes(w.reshape(c.n_kv_heads, c.n_heads // c.n_kv_heads, -1), 0, 1).reshape(w.shape)
        ),
        "query-heads-regrouped",
        (ONE_HEAD_A_KEY,),
    ),
    "v permuted": (m.each(V, lambda w, c: m.interleaved(w, c.n_kv_heads)), "v-permuted", ()),
    "w2 transposed": (m.each(f"{W2}.weight", lambda w, _: w.T.reshape(w.shape)), "transposed", ()),
    "wo transposed": (m.each("attention.wo.weight", lambda w, _: w.T.reshape(w.shape)), "transposed", ()),
    "w1 and w3 swapped": (m.swapped(W1, W3), "tensors-swapped", ()),
    "w1 and w2 swapped": (m.swapped(f"{W1}.weight", f"{W2}.weight"), "tensors-swapped", ()),
    "wk and wv swapped": (m.swapped(K, V), "tensors-swapped", ()),
    "norms swapped": (m.swapped("attention_norm", "ffn_norm"), "tensors-swapped", ()),
    "two layers swapped": (m.layers(lambda n: [1, 0, *range(2, n)]), "layers-swapped", ()),
    "wv of two layers swapped": (m.layers(lambda n: [1, 0, *range(2, n)], V), "layers-swapped", ()),
    "layers shifted": (m.layers(lambda n: [n - 1, *range(n - 1)]), "layers-shifted", ("grouped", "biased")),
    "layers shifted, one twice": (m.layers(lambda n: [*range(1, n), n - 1]), "layers-shifted", ()),
    "layers reversed": (
        m.layers(lambda n: [*range(n)][::-1]),
        "layers-reversed",
        BUT_ELEVEN,
    ),
    "layers sorted as text": (
        m.layers(lambda n: sorted(range(n), key=str)),
        "layers-in-order-of-text",
        BUT_ELEVEN,
    ),
    "three layers in a circle": (
        m.layers(lambda n: [2, 0, 1, *range(3, n)]),
        "layers-in-another-order",
        BUT_ELEVEN,
    ),
    "wk is wv too": (
        m.instead("layers.0.attention.wk.weight", "layers.0.attention.wv.weight"),
        "values-of-another-tensor",
        (),
    ),
    "w1 is another layer's w3": (
        m.instead("layers.1.feed_forward.w1.weight", "layers.0.feed_forward.w3.weight"),
        "values-of-another-tensor",
        (),
    ),
    "the classifier is the embedding": (
        m.instead("output.weight", "tok_embeddings.weight"),
        "classifier-is-embedding",
        (ONE_HEAD_A_KEY,),
    ),
    "the embedding is the classifier": (
        m.instead("tok_embeddings.weight", "output.weight"),
        "embedding-is-classifier",
        (ONE_HEAD_A_KEY,),
    ),
    "the embedding rolled": (m.each("tok_emb", lambda w, _: np.roll(w, 1, axis=0)), "rows-rolled", ()),
    "the embedding shifted": (m.each("tok_emb", lambda w, _: np.vstack([w[1:], w[:1] * 3])), "rows-rolled", ()),
    "the embedding scaled": (m.each("tok_emb", lambda w, c: w * np.float32(np.sqrt(c.dim))), "scaled", ()),
    "wq scaled": (m.each(Q, lambda w, c: w / np.float32(np.sqrt(c.head_dim))), "scaled", ()),
    "wv halved": (m.each(V, lambda w, _: w * np.float32(0.5)), "scaled", ()),
    "norms plus 1": (m.each("norm", lambda w, _: w + np.float32(1)), "offset", ()),
    "norms minus 1": (m.each("norm", lambda w, _: w - np.float32(1)), "offset", ()),
    "norms times -2, minus 1": (
        m.each("norm", lambda w, _: w * np.float32(-2) - np.float32(1)),
        "scaled-and-offset",
        (),
    ),
    "kv heads in a circle": (
        m.both(
            m.each(K, lambda w, c: np.roll(w, w.shape[0] // c.n_kv_heads, axis=0)),
            m.each(V, lambda w, c: np.roll(w, w.shape[0] // c.n_kv_heads, axis=0)),
        ),
        "heads-reordered",
        (),
    ),
    "columns of wo in another order of heads": (
        m.each("attention.wo.weight", lambda w, c: np.roll(w, w.shape[1] // c.n_heads, axis=1)),
        "heads-reordered",
        (),
    ),
    "rows of w2 in reverse order": (m.each(f"{W2}.weight", lambda w, _: w[::-1]), "rows-reordered", ()),
    "odd rows of wq negated": (
        m.each(f"{Q}.weight", lambda w, _: w * np.resize(np.array([[1], [-1]], np.float32), (len(w), 1))),
        "rows-negated",
        (),
    ),
    "a norm folded into w1 and w3": (norm_folded, "scaled-by-norm", ()),
    "gate and up by even and odd rows": (
        gate_up(lambda both: (both[::2], both[1::2])),
        "gate-up-interleaved",
        (),
    ),
    "gate and up in halves": (
        gate_up(lambda both: np.split(both.reshape(2, -1, both.shape[1]).swapaxes(0, 1).reshape(both.shape), 2)),
        "gate-up-interleaved",
        (),
    ),
    "a tensor of zeros": (m.each(f"1.{V}.weight", lambda w, _: np.zeros_like(w)), "zeros", ()),
    "a tensor never loaded": (
        m.each(f"1.{W1}.weight", lambda w, _: np.random.default_rng(9).normal(size=w.shape).astype(np.float32)),
        "unrelated-numbers",
        (),
    ),
}
