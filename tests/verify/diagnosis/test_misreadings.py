"""Numbers that were misread or narrowed on their way are named, in whatever storage the file has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.mistake_files import diagnosed, written
from helpers.models import arrays, config
from ml_dtypes import bfloat16, float8_e4m3fn

import reader_c
from verify.diagnosis.result import Diagnosis

# wider and higher than a block of fp8's scales, but no multiple of it
MODEL = config(dim=192, hidden_dim=136, n_layers=1, n_heads=6, n_kv_heads=3)
RIGHT = arrays(MODEL)
NAME = "layers.0.feed_forward.w1.weight"
Change = Callable[[np.ndarray], np.ndarray]


def of(directory: Path, change: Change, kind: str) -> Diagnosis:
    wrong = np.ascontiguousarray(change(RIGHT[NAME]), np.float32)
    finite = np.isfinite(wrong).all()
    path = written(directory / "x.bin", MODEL, {**RIGHT, NAME: wrong} if finite else RIGHT, kind)
    if not finite:
        # the exporter refuses it, but another program writes it
        content = bytearray(path.read_bytes())
        with reader_c.open(path) as model:
            (span,) = model.spans(NAME)
        content[span.offset : span.offset + span.nbytes] = wrong.tobytes()
        path.write_bytes(content)
    found = diagnosed(path, MODEL, RIGHT)
    assert found is not None
    return found


def half(right: type, wrong: type) -> Change:
    return lambda w: w.astype(right).view(wrong).astype(np.float32)


def of_float32(wrong: type) -> Change:
    return lambda w: w.view(wrong).ravel()[: w.size].astype(np.float32).reshape(w.shape)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (half(np.float16, bfloat16), "v0", "in fp16, whose bits were read as bf16"),
        (half(bfloat16, np.float16), "v0", "in bf16, whose bits were read as fp16"),
        (half(bfloat16, np.float16), "v2", "in bf16, whose bits were read as fp16"),
        (half(bfloat16, np.int16), "v2", "in bf16, whose bits were read as integers of 16 bits"),
        (of_float32(bfloat16), "v0", "in float32, whose bits were read as two bf16"),
        (of_float32(np.float16), "v0", "in float32, whose bits were read as two fp16"),
        (lambda w: w.view(np.int32).astype(np.float32), "v2", "in float32, whose bits were read as integers of 32"),
        (lambda w: w.astype(np.float16).byteswap().astype(np.float32), "v0", "in fp16, whose bits were read as big-"),
        (
            lambda w: w.astype(bfloat16).view(np.uint16).byteswap().view(bfloat16).astype(np.float32),
            "v0",
            "in bf16, whose bits were read as big-endian bf16",
        ),
    ],
)
def test_bits_that_were_read_as_another_type_are_named(tmp_path: Path, change: Change, kind: str, text: str) -> None:
    found = of(tmp_path, change, kind)
    assert (found.signature, found.explained) == ("bits-misread", 1)
    assert text in found.sentence


def blocks(w: np.ndarray, size: int) -> np.ndarray:
    """The largest magnitude of each block of so many rows and columns, for each element."""
    peak = np.empty_like(w)
    for row in range(0, len(w), size):
        for column in range(0, w.shape[1], size):
            peak[row : row + size, column : column + size] = np.abs(w[row : row + size, column : column + size]).max()
    return peak


def fp8(peak_of: Change, *, applied: bool) -> Change:
    def change(w: np.ndarray) -> np.ndarray:
        scale = peak_of(w) / np.float32(448)
        levels = (w / scale).astype(float8_e4m3fn).astype(np.float32)
        return levels * scale if applied else levels

    return change


def whole(bits: int, peak_of: Change, *, applied: bool = True) -> Change:
    def change(w: np.ndarray) -> np.ndarray:
        scale = peak_of(w) / np.float32(2 ** (bits - 1) - 1)
        levels = np.rint(w / scale)
        return levels * scale if applied else levels

    return change


def of_row(w: np.ndarray) -> np.ndarray:
    return np.abs(w).max(axis=1, keepdims=True)


def of_groups(w: np.ndarray) -> np.ndarray:
    return np.repeat(np.abs(w.reshape(len(w), -1, 32)).max(axis=2), 32, axis=1)


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        (fp8(lambda w: np.abs(w).max(), applied=False), "fp8-unscaled", "for the tensor was not applied"),
        (fp8(of_row, applied=False), "fp8-unscaled", "for each row was not applied"),
        (fp8(lambda w: blocks(w, 128), applied=True), "fp8-with-scales", "for each block of 128 x 128"),
        (fp8(lambda w: blocks(w, 128), applied=False), "fp8-unscaled", "for each block of 128 x 128 was not applied"),
        (whole(8, of_row), "rounded-to-levels", "rounded to 8 bits with one scale for each row"),
        (whole(8, lambda w: np.abs(w).max(axis=0)), "rounded-to-levels", "8 bits with one scale for each column"),
        (whole(4, of_groups), "rounded-to-levels", "rounded to 4 bits with one scale for each 32 values"),
        (whole(4, of_groups, applied=False), "levels-unscaled", "whose scale for each 32 values was not applied"),
    ],
)
@pytest.mark.parametrize("kind", ["v0", "v3-bf16"])
def test_scales_of_fewer_bits_are_named(tmp_path: Path, change: Change, name: str, text: str, kind: str) -> None:
    found = of(tmp_path, change, kind)
    assert (found.signature, found.explained) == (name, 1)
    assert text in found.sentence


@pytest.mark.parametrize(
    "change",
    [
        fp8(lambda w: blocks(w, 64), applied=True),
        whole(5, of_row),
        whole(8, lambda w: of_row(w) * np.float32(1.01)),
        lambda w: w.astype(np.float16).byteswap().byteswap().astype(np.float32) * np.float32(1.01) + w**2,
    ],
    ids=["blocks of 64", "5 bits", "a wider scale", "another function"],
)
def test_neighbours_have_no_exact_name(tmp_path: Path, change: Change) -> None:
    assert of(tmp_path, change, "v0").explained == 0
