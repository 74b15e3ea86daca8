"""Changes of single values: a constant, reciprocals, a limit, zeros for small values, and eight bits on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.mistake_files import comparison, diagnosed, written
from helpers.mistake_tables import MODELS, healthy

from verify.diagnosis import Diagnosis
from verify.diagnosis.value_fits import value_changes

MODEL = MODELS["grouped"]
RIGHT = healthy(0, MODEL)
Change = Callable[[np.ndarray], np.ndarray]


def found(directory: Path, change: Change, kind: str = "v0", *, of: str = "norm") -> Diagnosis:
    """of: the part of a name that chooses the tensors; "" for all matrices."""
    wrong = {
        name: np.ascontiguousarray(change(array), np.float32) if (of in name if of else array.ndim == 2) else array
        for name, array in RIGHT.items()
    }
    diagnosis = diagnosed(written(directory / "x.bin", MODEL, wrong, kind), MODEL, RIGHT)
    assert diagnosis is not None
    return diagnosis


def fp8(dtype: torch.dtype) -> Change:
    return lambda w: torch.from_numpy(w).to(dtype).float().numpy()


def fp8_with_scale(dtype: torch.dtype, axis: int | None) -> Change:
    def change(w: np.ndarray) -> np.ndarray:
        scale = np.abs(w).max(axis=axis, keepdims=True) / np.float32(torch.finfo(dtype).max)
        return torch.from_numpy(w / scale).to(dtype).float().numpy() * scale

    return change


def pruned(w: np.ndarray) -> np.ndarray:
    return np.where(np.abs(w) <= np.quantile(np.abs(w), 0.2), 0, w)


@pytest.mark.parametrize(
    ("change", "of", "name", "text"),
    [
        (np.ones_like, "norm", "constant", " hold 1 everywhere, as if the values were never loaded"),
        (lambda w: np.full_like(w, -0.125), "norm", "constant", " hold -0.125 everywhere"),
        (lambda w: 1 / w, "norm", "reciprocals", " hold the reciprocals of the source's values"),
        (lambda w: np.clip(w, -2 * w.std(), 2 * w.std()), "", "clipped", "larger ones are cut to it"),
        (pruned, "", "pruned", " hold the source's large values, and zeros instead of all small ones"),
        (fp8(torch.float8_e4m3fn), "", "rounded-to-fp8", " rounded to fp8 (e4m3)"),
        (fp8(torch.float8_e5m2), "", "rounded-to-fp8", " rounded to fp8 (e5m2)"),
        (
            fp8_with_scale(torch.float8_e4m3fn, None),
            "",
            "fp8-with-scales",
            "fp8 (e4m3) with one scale for the tensor",
        ),
        (fp8_with_scale(torch.float8_e5m2, 1), "", "fp8-with-scales", "fp8 (e5m2) with one scale for each row"),
    ],
)
@pytest.mark.parametrize("kind", ["v0", "v3-bf16"])
def test_a_change_of_each_value_is_named_with_all_its_tensors(
    tmp_path: Path, change: Change, of: str, name: str, text: str, kind: str
) -> None:
    diagnosis = found(tmp_path, change, kind, of=of)
    assert (diagnosis.signature, diagnosis.explained) == (name, 1)
    assert text in diagnosis.sentence


@pytest.mark.parametrize(
    "change",
    [
        lambda w: np.maximum(w, 0),
        lambda w: np.clip(w, -2 * w.std(), w.std()),
        lambda w: np.where(np.abs(w) >= np.quantile(np.abs(w), 0.8), 0, w),
        lambda w: 1 / np.where(w == 0, 1, w) + 1,
    ],
    ids=["negatives zero", "two limits", "large values zero", "reciprocals plus 1"],
)
def test_other_changes_of_values_are_not_called_by_these_names(tmp_path: Path, change: Change) -> None:
    known = {"constant", "reciprocals", "clipped", "pruned", "rounded-to-fp8"}
    assert found(tmp_path, change, of="").signature not in known


def test_a_few_values_get_no_proposal(tmp_path: Path) -> None:
    model = MODELS["grouped"]
    with comparison(written(tmp_path / "x.bin", model, RIGHT, "v0"), model, RIGHT) as compared:
        name = next(iter(RIGHT))
        assert list(value_changes(compared, name))
        compared.weights = lambda _name: torch.ones(7, 1)  # type: ignore[method-assign]
        assert not list(value_changes(compared, name))
