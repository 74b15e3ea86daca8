"""Adapters, merges, pruning, few bits and rotations are recognised by what they leave, and by nothing less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import arrays, config

from verify.diagnosis import Diagnosis

MODEL = config(dim=64, hidden_dim=96, n_heads=4, n_kv_heads=2, vocab_size=40)
RIGHT = arrays(MODEL, seed=3)
OTHER = arrays(MODEL, seed=4)
RNG = np.random.default_rng
Change = Callable[[np.ndarray], np.ndarray]
MATRICES = [name for name, array in RIGHT.items() if array.ndim == 2]
ONE = "layers.1.feed_forward.w1.weight"


def found(directory: Path, change: Change, kind: str = "v1-fp32", names: list[str] = MATRICES) -> Diagnosis:
    wrong = {name: np.ascontiguousarray(change(RIGHT[name]), np.float32) for name in names}
    diagnosis = diagnosed(written(directory / "x.bin", MODEL, RIGHT | wrong, kind), MODEL, RIGHT)
    assert diagnosis is not None
    return diagnosis


def adapted(rank: int, size: float = 0.3) -> Change:
    def change(w: np.ndarray) -> np.ndarray:
        rng = RNG(rank)
        delta = rng.standard_normal((len(w), rank)) @ rng.standard_normal((rank, w.shape[1]))
        return w + size * w.std() / np.sqrt(rank) * delta

    return change


def abliterated(w: np.ndarray) -> np.ndarray:
    direction = RNG(1).standard_normal(len(w))
    direction /= np.linalg.norm(direction)
    return w - np.outer(direction, direction @ w)


def of_four(w: np.ndarray) -> np.ndarray:
    smaller = np.abs(w.reshape(-1, 4)).argsort(axis=1)[:, :2]
    kept = w.reshape(-1, 4).copy()
    np.put_along_axis(kept, smaller, 0, axis=1)
    return kept.reshape(w.shape)


def levels(bits: int, group: int) -> Change:
    """Quantized from the least to the largest of each group, and back."""

    def change(w: np.ndarray) -> np.ndarray:
        grouped = w.reshape(-1, group)
        low = grouped.min(axis=1, keepdims=True)
        step = (grouped.max(axis=1, keepdims=True) - low) / (2**bits - 1)
        return (np.rint((grouped - low) / step) * step + low).reshape(w.shape)

    return change


def symmetric(w: np.ndarray) -> np.ndarray:
    """4 bits in the groups of 8 that the file has, too."""
    grouped = w.reshape(-1, 8)
    step = np.abs(grouped).max(axis=1, keepdims=True) / 7
    return (np.rint(grouped / step) * step).reshape(w.shape)


def turned(w: np.ndarray) -> np.ndarray:
    return w @ np.linalg.qr(RNG(2).standard_normal((w.shape[1], w.shape[1])))[0]


@pytest.mark.parametrize("kind", ["v1-fp32", "v3-bf16", "v2"])
@pytest.mark.parametrize("rank", [1, 4, 8])
def test_a_merged_adapter_is_named_with_its_rank(tmp_path: Path, rank: int, kind: str) -> None:
    diagnosis = found(tmp_path, adapted(rank), kind, [ONE])
    assert (diagnosis.signature, diagnosis.explained) == ("low-rank-added", 0)
    assert diagnosis.sentence == (
        f"{ONE} holds the source's values plus a matrix of rank {rank}: a LoRA of that rank was probably merged"
    )


@pytest.mark.parametrize(
    ("change", "kind", "name", "text"),
    [
        (abliterated, "v1-fp32", "direction-removed", "as abliteration removes it"),
        (of_four, "v1-fp32", "values-zeroed", "zeros for 2 of every 4 values, as after pruning"),
        (lambda w: w * (RNG(3).random(w.shape) < 0.7), "v3-bf16", "values-zeroed", "zeros for about 30 %"),
        (
            lambda w: np.where(RNG(7).random(w.shape) < 0.5, 2 * w, 0),
            "v1-fp32",
            "values-zeroed",
            "values multiplied by 2, but zeros for about 50 %",
        ),
        (levels(4, 32), "v1-fp32", "few-levels", "in each run of 32, as after a quantization to 4 bits"),
        (levels(4, 64), "v3-bf16", "few-levels", "to 4 bits"),
        (symmetric, "v2", "few-levels", "in each run of 8, as after a quantization to 4 bits"),
        (turned, "v1-fp32", "rotated", "turned by an orthogonal matrix"),
    ],
)
def test_a_change_before_the_export_gets_its_name(
    tmp_path: Path, change: Change, kind: str, name: str, text: str
) -> None:
    diagnosis = found(tmp_path, change, kind)
    assert (diagnosis.signature, diagnosis.explained) == (name, 0), diagnosis
    assert text in diagnosis.sentence
    # the embedding's columns are no outputs, but its rows are enough for a direction
    assert set(diagnosis.tensors) == set(MATRICES)


@pytest.mark.parametrize("kind", ["v1-fp32", "v3-bf16", "v2"])
def test_a_removed_direction_is_no_adapter_in_a_matrix_of_many_rows(tmp_path: Path, kind: str) -> None:
    model = config(dim=64, hidden_dim=600, n_heads=4, n_kv_heads=2, vocab_size=300)
    right = arrays(model, seed=3)
    embedding = "tok_embeddings.weight"
    # the direction is strong enough to be seen in any storage
    for name, axis in ((ONE, 0), (embedding, 1)):
        direction = np.expand_dims(RNG(1).standard_normal(right[name].shape[axis]), 1 - axis)
        along = np.expand_dims(RNG(2).standard_normal(right[name].shape[1 - axis]), axis)
        right[name] = (right[name] + 0.5 * right[name].std() * direction * along).astype(np.float32)

    def sentence(name: str, change: Change) -> str:
        wrong = right | {name: np.ascontiguousarray(change(right[name]), np.float32)}
        diagnosis = diagnosed(written(tmp_path / "x.bin", model, wrong, kind), model, right)
        assert diagnosis is not None
        return diagnosis.sentence

    removed = " holds the source's values without one direction of their outputs, as abliteration removes it"
    assert sentence(ONE, abliterated) == ONE + removed
    assert sentence(embedding, lambda w: abliterated(w.T).T) == embedding + removed
    for name in (ONE, embedding):
        assert "a LoRA of that rank was probably merged" in sentence(name, adapted(1))


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["v1-fp32", "v2"])
def test_an_average_of_two_checkpoints_is_named_with_its_share(tmp_path: Path, share: float, kind: str) -> None:
    merged = {name: (share * RIGHT[name] + (1 - share) * OTHER[name]).astype(np.float32) for name in RIGHT}
    diagnosis = diagnosed(written(tmp_path / "x.bin", MODEL, merged, kind), MODEL, RIGHT)
    assert diagnosis is not None
    assert diagnosis.signature == "weighted-average"
    assert any(f"hold {percent} % of the source's" in diagnosis.sentence for percent in (int(100 * share), 51, 49))


def few_columns(w: np.ndarray) -> np.ndarray:
    wrong = w.copy()
    wrong[:, :8] = RNG(6).standard_normal((len(w), 8))
    return wrong


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda w: w + 0.1 * w.std() * RNG(5).standard_normal(w.shape), "v1-fp32"),
        (lambda w: w + 0.1 * w.std() * RNG(5).standard_normal(w.shape), "v2"),
        (lambda w: 0.9 * w + 0.02 * w.std() * RNG(5).standard_normal(w.shape), "v1-fp32"),
        (lambda w: w + 0.5 * np.roll(w, 1, axis=0), "v3-bf16"),
        (adapted(40), "v1-fp32"),
        (few_columns, "v1-fp32"),
        (lambda w: turned(w) * 1.01, "v1-fp32"),
        (lambda w: np.where(RNG(7).random(w.shape) < 0.5, 2 * w, w), "v1-fp32"),
        (levels(7, 32), "v1-fp32"),
        (lambda w: np.sign(w) * np.sqrt(np.abs(w)), "v3-bf16"),
    ],
    ids=[
        "noise",
        "noise in int8",
        "a factor and noise",
        "sums of rows",
        "a high rank",
        "wrong columns",
        "rotated and scaled",
        "some doubled",
        "many levels",
        "signed roots",
    ],
)
def test_neighbours_are_not_called_by_these_names(tmp_path: Path, change: Change, kind: str) -> None:
    named = {
        "low-rank-added",
        "direction-removed",
        "few-levels",
        "values-zeroed",
        "rotated",
        "weighted-average",
    }
    for names in (MATRICES, [ONE]):
        assert found(tmp_path, change, kind, names).signature not in named


@pytest.mark.parametrize(("axis", "what"), [(0, "column"), (1, "row")])
@pytest.mark.parametrize("kind", ["v1-fp32", "v3-bf16"])
def test_the_mean_that_was_taken_away_is_named(tmp_path: Path, axis: int, what: str, kind: str) -> None:
    def centred(w: np.ndarray) -> np.ndarray:
        w = w + np.float32(0)
        return w - w.mean(axis=axis, keepdims=True)

    diagnosis = found(tmp_path, centred, kind, ["tok_embeddings.weight"])
    assert (diagnosis.signature, diagnosis.explained) == ("centred", 0)
    assert diagnosis.sentence.endswith(f"the source's values minus the mean of each {what}")


@pytest.mark.parametrize("kind", ["v2", "v3-bf16"])
def test_factors_of_columns_are_seen_through_rounding(tmp_path: Path, kind: str) -> None:
    diagnosis = found(tmp_path, lambda w: w * np.exp(RNG(2).normal(size=w.shape[1]) * 0.3), kind, [ONE])
    assert (diagnosis.signature, diagnosis.explained) == ("rows-scaled", 0)
    assert "columns, each multiplied by a factor of its own" in diagnosis.sentence


def test_factors_of_columns_with_noise_have_no_name(tmp_path: Path) -> None:
    def noisy(w: np.ndarray) -> np.ndarray:
        return w * np.exp(RNG(2).normal(size=w.shape[1]) * 0.3) * (1 + 0.2 * RNG(3).normal(size=w.shape))

    assert found(tmp_path, noisy, "v3-bf16", [ONE]).signature == "no-known-mistake"
