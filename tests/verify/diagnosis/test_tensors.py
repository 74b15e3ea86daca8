"""Every known mistake, seeded into files of several models and formats, must get its own name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from helpers import mistake_seeds as m
from helpers.mistake_files import diagnosed, written
from helpers.mistake_parts import IN_PARTS
from helpers.mistake_tables import (
    ELEVEN,
    IN_ARRAYS,
    MODELS,
    QUANTIZED,
    SMALL,
    STORED,
    WIDER,
    K,
    Q,
    healthy,
)
from helpers.models import LEGACY_FORMATS, arrays, config
from hypothesis import settings

import exporter
import reader_c
from verify.diagnosis.tensor_mistakes import TENSOR_MISTAKES

# drawn examples of a law, beyond which every mistake is seeded into every model
_FEW = 100


def nans(part: np.ndarray) -> np.ndarray:
    """Every bit set: a NaN in any storage."""
    return np.full(part.shape, -1, f"i{part.itemsize}").view(part.dtype)


def taken_in_turn(models: Iterable[exporter.ModelConfig], turn: int) -> list[tuple[int, exporter.ModelConfig]]:
    """Every model with a seed of its own in the profile `deep`, else one, and another one in the next turn."""
    seeded = list(enumerate(models))
    return seeded if settings().max_examples > _FEW else [seeded[turn % len(seeded)]]


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("defect", IN_ARRAYS)
def test_a_mistake_with_tensors_gets_its_name(tmp_path: Path, defect: str, kind: str) -> None:
    seed_defect, mistake, not_in = IN_ARRAYS[defect]
    models = MODELS | (WIDER if kind.startswith("v3") else {})
    able = [model for name, model in models.items() if name not in not_in]
    for seed, model in taken_in_turn(able, list(IN_ARRAYS).index(defect) + STORED.index(kind)):
        right = healthy(seed, model)
        wrong = dict(right)
        seed_defect(wrong, model)
        found = diagnosed(written(tmp_path / "out.bin", model, wrong, kind), model, right)
        assert found is not None
        assert found.signature == mistake, found
        differing = {name for name in right if right[name].tobytes() != wrong[name].tobytes()}
        if mistake != "unrelated-numbers":
            assert found.explained == 1
            assert set(found.tensors) == differing


@pytest.mark.parametrize(("defect", "kind"), [(d, kind) for d, (_, _, kinds) in IN_PARTS.items() for kind in kinds])
def test_a_mistake_with_parts_gets_its_name(tmp_path: Path, defect: str, kind: str) -> None:
    change, mistake, kinds = IN_PARTS[defect]
    for seed, model in taken_in_turn(SMALL, list(IN_PARTS).index(defect) + list(kinds).index(kind)):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        names = ["layers.1.feed_forward.w1.weight"]
        if mistake not in ("bit-flipped", "few-elements"):
            names = [name for name, array in right.items() if array.ndim == 2]
        m.patch_parts(path, names, right, change)
        found = diagnosed(path, model, right)
        assert found is not None
        assert (found.signature, found.explained) == (mistake, 1), found


@pytest.mark.parametrize("kind", QUANTIZED)
def test_scales_of_another_layer_get_their_name(tmp_path: Path, kind: str) -> None:
    for seed, model in enumerate(SMALL):
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
    for seed, model in enumerate(SMALL):
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
    for seed, model in enumerate(SMALL):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        with reader_c.open(path) as file:
            span = file.spans(skipped)[0]
        m.bytes_moved(path, span.offset, -span.nbytes)
        found = diagnosed(path, model, right)
        assert found is not None
        assert found.signature == "bytes-shifted", found
        assert f"as if {skipped}" in found.sentence


@pytest.mark.parametrize("kind", ["v0", "v1-fp32"])
def test_a_tensor_written_twice_gets_its_name(tmp_path: Path, kind: str) -> None:
    twice = "layers.1.attention.wo.weight"
    for seed, model in enumerate(SMALL):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        with reader_c.open(path) as file:
            (span,) = file.spans(twice)
        m.bytes_moved(path, span.offset + span.nbytes, span.nbytes)
        found = diagnosed(path, model, right)
        assert found is not None
        assert found.signature == "bytes-shifted", found
        assert f"as if {twice} had been written twice" in found.sentence


def test_both_parts_left_out_of_v1_are_two_distances(tmp_path: Path) -> None:
    for seed, model in enumerate(SMALL):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, "v1")
        with reader_c.open(path) as file:
            spans = file.spans("layers.1.attention.wo.weight")
        for span in spans[::-1]:
            m.bytes_moved(path, span.offset, -span.nbytes)
        found = diagnosed(path, model, right)
        assert found is not None
        assert found.signature == "bytes-displaced", found
        assert found.explained > 0.9


@pytest.mark.parametrize("kind", ["v0", "v1-fp32", "v3-fp32"])
@pytest.mark.parametrize("group_size", [32, 64, 128])
def test_values_of_a_quantized_model_get_their_name(tmp_path: Path, kind: str, group_size: int) -> None:
    model = config(dim=128, hidden_dim=128, n_heads=4, n_kv_heads=2)
    right = healthy(0, model)
    wrong = dict(right)
    for name in [name for name, array in right.items() if array.ndim == 2]:
        q = exporter.quantize_q80(right[name], group_size)
        wrong[name] = (q.q * np.repeat(q.scale, group_size, axis=1)).astype(np.float32)
    found = diagnosed(written(tmp_path / "out.bin", model, wrong, kind), model, right)
    assert found is not None
    assert (found.signature, found.explained) == ("quantized-on-the-way", 1)


def test_flushed_subnormals_get_their_name(tmp_path: Path) -> None:
    model = SMALL[0]
    right = {name: array * np.float32(2**-13) for name, array in healthy(0, model).items()}
    wrong = {name: np.where(np.abs(array) < 2**-14, np.float32(0), array) for name, array in right.items()}
    found = diagnosed(written(tmp_path / "out.bin", model, wrong, "v3-fp16"), model, right)
    assert found is not None
    assert (found.signature, found.explained) == ("subnormals-flushed", 1), found


@pytest.mark.parametrize("kind", STORED)
def test_nans_are_called_that(tmp_path: Path, kind: str) -> None:
    for seed, model in enumerate(SMALL):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        m.patch_parts(
            path, ["layers.1.attention.wv.weight"], right, m.to_parts("fp32", "fp16", "bf16", "scale", change=nans)
        )
        found = diagnosed(path, model, right)
        assert found is not None
        assert (found.signature, found.explained) == ("not-comparable", 0), found


@pytest.mark.parametrize("kind", ["v3-fp32", "v3-fp16", "v3-bf16", "v3-q8_0"])
def test_whole_heads_that_were_unpermuted_get_their_name(tmp_path: Path, kind: str) -> None:
    """RoPE rotates 8 of 12 rows, and only those have Hugging Face's order."""
    model = config(dim=72, rotary_dim=8)
    right = healthy(0, model)

    def unpermuted(w: np.ndarray, heads: int) -> np.ndarray:
        turned, rest = np.split(w.reshape(heads, 12, -1), [8], axis=1)
        theirs = np.concatenate((m.half_split(turned, heads).reshape(turned.shape), rest), axis=1)
        return m.interleaved(theirs.reshape(w.shape), heads)

    for part, heads in ((Q, 6), (K, 3)):
        wrong = dict(right)
        m.each(part, lambda w, _, heads=heads: unpermuted(w, heads))(wrong, model)
        found = diagnosed(written(tmp_path / "out.bin", model, wrong, kind), model, right)
        assert found is not None
        assert (found.signature, found.explained) == ("q-k-whole-heads-permuted", 1), found


def test_every_mistake_within_tensors_has_a_seed() -> None:
    seeded = {mistake for _, mistake, _ in (*IN_ARRAYS.values(), *IN_PARTS.values())}
    above = {"quantized-on-the-way", "subnormals-flushed", "q-k-whole-heads-permuted"}
    of_test_value_fits = {"rounded-to-fp8", "fp8-with-scales"}
    of_test_column_groups = {
        "groups-of-columns",
        "int8-transposed",
        "rounded-up",
        "scales-squared",
        "signed-maximum",
    }
    of_test_mixed_rows = {"pairs-exchanged", "shards-joined"}
    of_test_misreadings = {"bits-misread", "fp8-unscaled", "rounded-to-levels", "levels-unscaled"}
    elsewhere = above | of_test_value_fits | of_test_column_groups | of_test_mixed_rows | of_test_misreadings
    assert {known.mistake.name for known in TENSOR_MISTAKES} - seeded == elsewhere


@pytest.mark.parametrize(("format_name", "said"), [("v1", 2), ("v2", 1)])
def test_the_other_version_gets_its_name(tmp_path: Path, format_name: str, said: int) -> None:
    for seed, model in enumerate(SMALL):
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
    for seed, model in enumerate(SMALL):
        right = healthy(seed, model)
        path = written(tmp_path / "out.bin", model, right, kind)
        assert diagnosed(path, model, right) is None


@pytest.mark.parametrize("kind", STORED)
def test_unknown_damage_is_called_that(tmp_path: Path, kind: str) -> None:
    """A known mistake is named on its bits alone, not because it comes near."""
    for seed, model in enumerate(SMALL):
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


@pytest.mark.slow
def test_nine_of_ten_seeds_in_random_models_get_their_name(tmp_path: Path) -> None:
    """Any ratio of heads, sizes that are no multiples of one another: where two mistakes give the same bits, the
    likelier one is named."""
    rng = np.random.default_rng(0)
    right_names = seeds = 0
    while seeds < 100:
        model = random_model(rng)
        right = arrays(model, seeds)
        wrong = dict(right)
        seed_defect, mistake, _ = list(IN_ARRAYS.values())[rng.integers(len(IN_ARRAYS))]
        try:
            seed_defect(wrong, model)
        except (ValueError, KeyError):
            continue  # rows that do not divide, or a tensor or layer that this model does not have
        if all(np.array_equal(right[name], wrong[name]) for name in right):
            continue
        seeds += 1
        kind = STORED[rng.integers(len(STORED))]
        found = diagnosed(written(tmp_path / "out.bin", model, wrong, kind), model, right)
        assert found is not None
        right_names += found.signature == mistake
    assert right_names >= 90


def random_model(rng: np.random.Generator) -> exporter.ModelConfig:
    n_kv_heads, shared, head_size = (int(rng.integers(1, end)) for end in (5, 5, 12))
    n_heads = n_kv_heads * shared
    return config(
        dim=n_heads * 2 * head_size,
        hidden_dim=int(rng.integers(2, 80)),
        n_layers=int(rng.integers(1, 14)),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        vocab_size=int(rng.integers(20, 90)),
        tied=bool(rng.integers(2)),
    )
