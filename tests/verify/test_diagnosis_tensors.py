"""Every known mistake, seeded into files of several models and formats, must get its own name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import mistakes as m
from helpers.memory_source import MemorySource
from helpers.models import LEGACY_FORMATS, Arrays, arrays, config
from ml_dtypes import bfloat16

import exporter
import reader_c
from verify.diagnosis import Diagnosis, diagnose_tensors

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
BUT_ELEVEN = ("grouped", ONE_HEAD_A_KEY, "square", "biased")
WIDER = {"biased": config(head_dim=20, qkv_bias=True, wo_bias=True, mlp_bias=True)}
Q, K, V, W1, W2, W3 = "attention.wq", "attention.wk", "attention.wv", *(f"feed_forward.w{n}" for n in "123")
QUANTIZED = ("v1", "v2", "v3-q8_0")
STORED = (*LEGACY_FORMATS, "v3-fp32", "v3-fp16", "v3-bf16", "v3-q8_0")
FLOATS = ("v0", "v1-fp32", "v3-fp32", "v3-fp16")
FP32 = FLOATS[:3]


def half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def brain(array: np.ndarray) -> np.ndarray:
    return array.astype(bfloat16).astype(np.float32)


def cut(array: np.ndarray) -> np.ndarray:
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def over_128(groups: np.ndarray) -> np.ndarray:
    return np.abs(groups).max(axis=1, keepdims=True) / np.float32(128)


def first_500(array: np.ndarray) -> np.ndarray:
    return np.where(np.arange(array.size).reshape(array.shape) < 500, array, array.dtype.type(0))


def without_tail(array: np.ndarray, columns: int) -> np.ndarray:
    return np.hstack([array[:, :-columns], np.zeros_like(array[:, -columns:])])


def flip(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.view(np.uint8).flat[77] ^= 4
    return changed


def nudge_three(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.view(np.uint8)[3:6, 9] ^= 0x55
    return changed


def written(path: Path, model: exporter.ModelConfig, mine: Arrays, kind: str) -> Path:
    format_name, _, storage = kind.partition("-") if kind.startswith("v3") else (kind, "", "")
    more = {"storage": storage} if storage else {}
    source = exporter.Checkpoint.from_arrays(model, mine)
    exporter.export(source, path, format=format_name, group_size=GROUP, overwrite=True, **more)
    return path


def diagnosed(path: Path, model: exporter.ModelConfig, right: Arrays) -> Diagnosis | None:
    source = MemorySource(model, right)
    with reader_c.open(path) as file:
        names = [name for name in source.hyperparameters.shapes() if name in file.names]
        return diagnose_tensors(file, source, names)


def healthy(seed: int, model: exporter.ModelConfig) -> Arrays:
    """With zeros and halves of a step among the weights, as trained ones have."""
    mine = arrays(model, seed)
    rng = np.random.default_rng(seed)
    for array in mine.values():
        if array.ndim == 2:
            array[1::3, 1] = 0
            array[2, :GROUP] = [127, 0.5, -0.5, 2.5, -2.5, 1.25, -1.25, -3.5]
            # halves up to the rounding of the quotient
            array[3] = np.float32(0.01) * (rng.integers(-120, 120, array.shape[1]) + np.float32(0.5))
            array[3, ::GROUP] = np.float32(1.27)
    return mine


# name -> what seeds it, the signature, and models that it does not show in
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
    "q permuted backwards": (
        m.each(Q, lambda w, c: m.half_split(m.half_split(w, c.n_heads), c.n_heads)),
        "q-k-permuted-backwards",
        (),
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
    "a tensor of zeros": (m.each(f"1.{V}.weight", lambda w, _: np.zeros_like(w)), "zeros", ()),
    "a tensor never loaded": (
        m.each(f"1.{W1}.weight", lambda w, _: np.random.default_rng(9).normal(size=w.shape).astype(np.float32)),
        "unrelated-numbers",
        (),
    ),
}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("defect", IN_ARRAYS)
def test_a_mistake_with_tensors_gets_its_name(tmp_path: Path, defect: str, kind: str) -> None:
    seed_defect, signature, not_in = IN_ARRAYS[defect]
    models = MODELS | (WIDER if kind.startswith("v3") else {})
    for seed, model in enumerate(model for name, model in models.items() if name not in not_in):
        right = healthy(seed, model)
        wrong = dict(right)
        seed_defect(wrong, model)
        found = diagnosed(written(tmp_path / "out.bin", model, wrong, kind), model, right)
        assert found is not None
        assert found.signature == signature, found
        differing = {name for name in right if right[name].tobytes() != wrong[name].tobytes()}
        if signature != "unrelated-numbers":
            assert found.explained == 1
            assert set(found.tensors) == differing


IN_PARTS: dict[str, tuple[m.InParts, str, tuple[str, ...]]] = {
    "scales in fp16": (
        m.to_parts("scale", change=half),
        "scales-rounded-to-fp16",
        QUANTIZED,
    ),
    "scales in bf16": (
        m.to_parts("scale", change=brain),
        "scales-rounded-to-bf16",
        QUANTIZED,
    ),
    "divided by fp16 scales": (
        m.requantized(lambda g: (np.rint(g / half(m.scale_of(g))).clip(-127, 127), half(m.scale_of(g)))),
        "scales-rounded-to-fp16",
        QUANTIZED,
    ),
    "halves away from zero": (
        m.requantized(lambda g: (np.trunc(g / m.scale_of(g) + np.copysign(0.5, g)), m.scale_of(g))),
        "halves-rounded-away-from-zero",
        QUANTIZED,
    ),
    "halves up": (
        m.requantized(lambda g: (np.floor(g / m.scale_of(g) + 0.5), m.scale_of(g))),
        "halves-rounded-up",
        QUANTIZED,
    ),
    "floor": (m.requantized(lambda g: (np.floor(g / m.scale_of(g)), m.scale_of(g))), "rounded-down", QUANTIZED),
    "trunc": (
        m.requantized(lambda g: (np.trunc(g / m.scale_of(g)), m.scale_of(g))),
        "rounded-towards-zero",
        QUANTIZED,
    ),
    "over 128": (
        m.requantized(lambda g: (np.rint(g / over_128(g)).clip(-128, 127), over_128(g))),
        "divided-by-128",
        QUANTIZED,
    ),
    "times the reciprocal": (
        m.requantized(lambda g: (np.rint(g * (1 / m.scale_of(g))), m.scale_of(g))),
        "multiplied-by-reciprocal",
        QUANTIZED,
    ),
    "magnitudes for scales": (
        m.requantized(lambda g: (np.rint(g / m.scale_of(g)), np.abs(g).max(axis=1))),
        "scales-not-divided",
        QUANTIZED,
    ),
    "reciprocals for scales": (m.to_parts("scale", change=lambda s: 1 / s), "scales-inverted", QUANTIZED),
    "scales a group late": (
        m.to_parts("scale", change=lambda s: np.roll(s, 1)),
        "scales-shifted-by-a-group",
        QUANTIZED,
    ),
    "scales a group early, the last one lost": (
        m.to_parts("scale", change=lambda s: np.append(s.ravel()[1:], np.float32(7)).reshape(s.shape)),
        "scales-shifted-by-a-group",
        QUANTIZED,
    ),
    "scales a row late": (
        m.to_parts("scale", change=lambda s: np.roll(s, s.shape[1])),
        "scales-shifted-by-a-row",
        QUANTIZED,
    ),
    "scales of zero": (m.to_parts("scale", change=np.zeros_like), "scales-zero", QUANTIZED),
    "int8 negated": (m.to_parts("int8", change=np.negative), "int8-negated", QUANTIZED),
    "int8 unsigned": (
        m.to_parts("int8", change=lambda q: q.view(np.uint8) + np.uint8(128)),
        "int8-unsigned",
        QUANTIZED,
    ),
    "the last group dropped": (
        m.to_parts("int8", change=lambda q: without_tail(q, GROUP)),
        "row-tails-zero",
        QUANTIZED,
    ),
    "the last columns dropped": (
        m.to_parts("fp32", "fp16", change=lambda w: without_tail(w, GROUP)),
        "row-tails-zero",
        FLOATS,
    ),
    "big-endian": (m.to_parts("fp32", "fp16", "bf16", "scale", change=np.ndarray.byteswap), "big-endian", STORED),
    "rounded to bf16": (
        m.to_parts("fp32", change=brain),
        "rounded-to-bf16",
        FP32,
    ),
    "rounded to fp16": (m.to_parts("fp32", change=half), "rounded-to-fp16", FP32),
    "cut to bf16": (m.to_parts("fp32", change=cut), "cut-to-bf16", FP32),
    "cut short": (
        m.to_parts("fp32", "fp16", change=first_500),
        "cut-short",
        FLOATS,
    ),
    "a flipped bit": (m.to_parts("fp32", "int8", "fp16", "bf16", change=flip), "bit-flipped", STORED),
    "three weights": (m.to_parts("fp32", "int8", "fp16", "bf16", change=nudge_three), "few-elements", STORED),
}


@pytest.mark.parametrize(("defect", "kind"), [(d, kind) for d, (_, _, kinds) in IN_PARTS.items() for kind in kinds])
def test_a_mistake_with_parts_gets_its_name(tmp_path: Path, defect: str, kind: str) -> None:
    change, signature, _ = IN_PARTS[defect]
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        names = ["layers.1.feed_forward.w1.weight"]
        if signature not in ("bit-flipped", "few-elements"):
            names = [name for name, array in right.items() if array.ndim == 2]
        m.patch_parts(path, names, right, change)
        found = diagnosed(path, model, right)
        assert found is not None
        assert (found.signature, found.explained) == (signature, 1), found


@pytest.mark.parametrize("kind", QUANTIZED)
def test_scales_of_another_layer_get_their_name(tmp_path: Path, kind: str) -> None:
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        with reader_c.open(path) as file:
            others = file.tensor("layers.0.attention.wv.weight").scale.copy()
        change = m.to_parts("scale", change=lambda _, others=others: others)
        m.patch_parts(path, ["layers.1.attention.wv.weight"], right, change)
        found = diagnosed(path, model, right)
        assert found is not None
        assert (found.signature, found.explained) == ("scales-of-another-tensor", 1)
        assert "layers.0.attention.wv.weight" in found.sentence


@pytest.mark.parametrize("by", [4, -4, 3, 228])
@pytest.mark.parametrize("kind", LEGACY_FORMATS)
def test_a_header_of_another_size_gets_its_name(tmp_path: Path, kind: str, by: int) -> None:
    header = 28 if kind == "v0" else 256
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        m.bytes_moved(path, header, by)
        found = diagnosed(path, model, right)
        assert found is not None
        assert found.signature == "bytes-shifted", found
        assert found.explained > 0.9
        if abs(by) < header:
            assert f"a header of {header + by} bytes instead of {header}" in found.sentence


@pytest.mark.parametrize("kind", LEGACY_FORMATS)
def test_a_tensor_left_out_gets_its_name(tmp_path: Path, kind: str) -> None:
    skipped = "layers.1.attention.wo.weight"
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        with reader_c.open(path) as file:
            span = file.spans(skipped)[0]
        m.bytes_moved(path, span.offset, -span.nbytes)
        found = diagnosed(path, model, right)
        assert found is not None
        assert found.signature == "bytes-shifted", found
        assert f"as if {skipped}" in found.sentence


@pytest.mark.parametrize(("format_name", "said"), [("v1", 2), ("v2", 1)])
def test_the_other_version_gets_its_name(tmp_path: Path, format_name: str, said: int) -> None:
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, format_name)
        content = bytearray(path.read_bytes())
        content[4] = said
        path.write_bytes(content)
        found = diagnosed(path, model, right)
        assert found is not None
        assert (found.signature, found.explained) == ("v1-v2-mixed-up", 1), found


@pytest.mark.parametrize("kind", STORED)
def test_a_healthy_file_has_no_diagnosis(tmp_path: Path, kind: str) -> None:
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        assert diagnosed(path, model, right) is None


@pytest.mark.parametrize("kind", STORED)
def test_unknown_damage_is_called_that(tmp_path: Path, kind: str) -> None:
    """A known mistake is named on its bits alone, not because it comes near."""
    for seed, model in enumerate(MODELS.values()):
        right = healthy(seed, model)
        rng = np.random.default_rng(seed)
        wrong = {name: (w * (1 + 0.2 * rng.random(w.shape))).astype(np.float32) for name, w in right.items()}
        found = diagnosed(written(tmp_path / "out.bin", model, wrong, kind), model, right)
        assert found is not None
        assert (found.signature, found.explained) == ("no-known-mistake", 0)


def test_of_two_mistakes_the_larger_is_named_and_the_rest_counted(tmp_path: Path) -> None:
    model = MODELS[ELEVEN]
    right = healthy(0, model)
    wrong = dict(right)
    m.each(K, lambda w, c: m.half_split(w, c.n_kv_heads))(wrong, model)
    m.instead("layers.5.attention.wq.weight", "layers.6.attention.wq.weight")(wrong, model)
    found = diagnosed(written(tmp_path / "out.bin", model, wrong, "v2"), model, right)
    assert found is not None
    assert (found.signature, found.explained) == ("q-k-not-unpermuted", 11 / 12)
    assert "1 of 12 differing tensors" in found.sentence
