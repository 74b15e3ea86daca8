"""A v0 file's own tables of cosines and sines: what is wrong with them, and nothing where they are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.models import arrays, config, hyperparameters

import exporter
import reader_c
from verify.diagnosis.result import Diagnosis
from verify.diagnosis.rope_table_mistakes import diagnose_tables

MODEL = config(dim=96)
Tables = tuple[np.ndarray, np.ndarray]


def tables(theta: float = 10000.0, positions: float = 1.0) -> Tables:
    exponents = np.arange(0, MODEL.head_dim, 2) / MODEL.head_dim
    angles = np.outer(positions * np.arange(MODEL.max_seq_len), theta**-exponents)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def diagnosed(directory: Path, change: Callable[[Tables], Tables], format_name: str = "v0") -> Diagnosis | None:
    path = directory / "x.bin"
    exporter.export(exporter.Checkpoint.from_arrays(MODEL, arrays(MODEL)), path, format=format_name, group_size=8)
    if format_name == "v0":
        content = bytearray(path.read_bytes())
        with reader_c.open(path) as file:
            spans = [file.spans(name)[0] for name in ("freqs_cos", "freqs_sin")]
        for span, table in zip(spans, change(tables()), strict=True):
            content[span.offset : span.offset + span.nbytes] = table.astype("<f4").tobytes()
        path.write_bytes(content)
    with reader_c.open(path) as file:
        return diagnose_tables(file, hyperparameters(MODEL))


def one_wrong(right: Tables) -> Tables:
    right[1][4, 2] = 0.999
    return right


def three_wrong(right: Tables) -> Tables:
    right[0][4, :3] = np.nan
    return right


@pytest.mark.parametrize(
    ("change", "name", "sentence"),
    [
        (
            lambda _: tables(500000.0),
            "rope-theta",
            "freqs_cos and freqs_sin hold RoPE's tables for theta 500000 instead of 10000",
        ),
        (
            lambda _: tables(31250.0),
            "rope-theta",
            "freqs_cos and freqs_sin hold RoPE's tables for theta 31250 instead of 10000",
        ),
        (
            lambda right: (right[1], right[0]),
            "tables-swapped",
            "freqs_cos and freqs_sin hold each other's values: the cosines and the sines are swapped",
        ),
        (
            lambda right: (np.roll(right[0], -1, 0), np.roll(right[1], -1, 0)),
            "tables-shifted",
            "freqs_cos and freqs_sin hold RoPE's tables with each row that of the position after",
        ),
        (
            lambda right: (np.roll(right[0], 1, 0), np.roll(right[1], 1, 0)),
            "tables-shifted",
            "freqs_cos and freqs_sin hold RoPE's tables with each row that of the position before",
        ),
        (
            lambda _: tables(positions=0.25),
            "tables-scaled",
            "freqs_cos and freqs_sin hold RoPE's tables with every position multiplied by 0.25",
        ),
        (one_wrong, "few-elements", "freqs_sin holds the right values except [4, 2]"),
        (
            three_wrong,
            "few-elements",
            "freqs_cos holds the right values except 3 elements, the first of them freqs_cos [4, 0]",
        ),
        (
            lambda right: (right[0] * 1.001, right[1]),
            "no-known-mistake",
            "freqs_cos and freqs_sin hold numbers that no known mistake makes of RoPE's tables",
        ),
    ],
)
def test_wrong_tables_get_their_name(
    tmp_path: Path, change: Callable[[Tables], Tables], name: str, sentence: str
) -> None:
    found = diagnosed(tmp_path, change)
    assert found is not None
    assert (found.signature, found.sentence) == (name, sentence)
    assert found.explained == (name != "no-known-mistake")


@pytest.mark.parametrize("format_name", ["v0", "v2", "v3"])
def test_right_tables_and_files_without_tables_have_no_diagnosis(tmp_path: Path, format_name: str) -> None:
    assert diagnosed(tmp_path, lambda right: right, format_name) is None


def turned(turn: np.ndarray) -> Tables:
    angles = np.outer(np.arange(MODEL.max_seq_len), turn)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


PAIRS = np.arange(0, MODEL.head_dim, 2)
RIGHT_TURN = 10000.0 ** -(PAIRS / MODEL.head_dim)


@pytest.mark.parametrize(
    ("change", "signature", "text"),
    [
        (lambda _: turned(10000.0 ** -(PAIRS / 96)), "tables-frequencies", "with 2i / dim in the exponent"),
        (lambda _: turned(np.roll(RIGHT_TURN, 1)), "tables-columns", "in the order 7, 0, 1, 2, 3, 4, 5, 6"),
        (lambda _: turned(RIGHT_TURN * 1.1), "tables-other-frequencies", "instead of"),
        (lambda right: (right[0], -right[1]), "tables-negated", "the sines negated"),
        (
            lambda right: tuple(part.astype(np.float16).astype(np.float32) for part in right),
            "tables-narrowed",
            "rounded to fp16",
        ),
    ],
)
def test_what_is_read_off_tables_is_named(
    tmp_path: Path, change: Callable[[Tables], Tables], signature: str, text: str
) -> None:
    found = diagnosed(tmp_path, change)
    assert found is not None
    assert (found.signature, text in found.sentence) == (signature, True), found.sentence


def test_tables_that_turn_unevenly_have_no_frequencies(tmp_path: Path) -> None:
    def bent(_right: Tables) -> Tables:
        angles = np.outer(np.arange(MODEL.max_seq_len) ** 1.01, RIGHT_TURN)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    found = diagnosed(tmp_path, bent)
    assert found is not None
    assert found.signature == "no-known-mistake"
