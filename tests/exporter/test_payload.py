"""PayloadWriter: every part at its offset, and no more in memory than promised."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import arrays, checkpoint, config, same_bits

import exporter
from exporter.config import tensor_shapes
from exporter.encode import encode
from exporter.formats.layout import Part
from exporter.formats.rope_tables import TABLES, rope_table
from exporter.formats.v3 import Stored
from exporter.payload import PayloadWriter, write_all
from exporter.summary import TensorSummary


def test_parts_stand_at_their_offsets_and_nothing_else_is_written(tmp_path: Path) -> None:
    source = checkpoint()
    parts = [
        Part("norm.weight", "fp32", (48,), 16, 192),
        Part("layers.0.attention.wq.weight", "int8", (48, 48), 301, 2304),
        Part("layers.0.attention.wq.weight", "scale", (48, 6), 3000, 1152),
    ]
    stored = {"norm.weight": Stored("fp32"), "layers.0.attention.wq.weight": Stored("q8_0", 8)}
    seen: list[tuple[int, int]] = []
    written: dict[str, list[int]] = {}
    path = tmp_path / "payload"
    with path.open("wb+") as file:
        file.truncate(5000)
        summaries = PayloadWriter(source, lambda done, total: seen.append((done, total))).write(
            file, parts, stored, 5000, lambda name, own: written.update({name: [array.nbytes for array in own]})
        )
    content = path.read_bytes()
    quantized = exporter.quantize_q80(source.load("layers.0.attention.wq.weight"), 8)
    expected = bytearray(5000)
    expected[16:208] = source.load("norm.weight").tobytes()
    expected[301:2605] = quantized.q.tobytes()
    expected[3000:4152] = quantized.scale.tobytes()
    assert content == bytes(expected)
    assert written == {"norm.weight": [192], "layers.0.attention.wq.weight": [2304, 1152]}
    # what is not of a tensor counts as done
    assert seen[0][1] == 5000
    assert seen[-1] == (5000, 5000)
    assert [(s.name, s.storage, s.bytes, s.shape) for s in summaries] == [
        ("norm.weight", "fp32", 192, (48,)),
        ("layers.0.attention.wq.weight", "q8_0", 3456, (48, 48)),
    ]
    assert summaries[0].max_abs_error == summaries[0].bound == 0
    assert summaries[1].max_abs_error == quantized.max_error <= summaries[1].bound == quantized.max_bound


def test_a_part_of_another_size_than_its_tensor_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "payload").open("wb+") as file, pytest.raises(exporter.FormatError) as caught:
        PayloadWriter(checkpoint()).write(
            file, [Part("norm.weight", "fp32", (47,), 0, 188)], {"norm.weight": Stored("fp32")}, 188
        )
    assert str(caught.value) == "norm.weight: expected (47,), 188 bytes, found (48,)"


@pytest.mark.parametrize(("shape", "nbytes"), [((24, 2), 192), ((48,), 191)])
def test_a_part_has_the_shape_and_the_bytes_of_its_tensor(
    tmp_path: Path, shape: tuple[int, ...], nbytes: int
) -> None:
    part = Part("norm.weight", "fp32", shape, 0, nbytes)
    with (tmp_path / "payload").open("wb+") as file, pytest.raises(exporter.FormatError) as caught:
        PayloadWriter(checkpoint()).write(file, [part], {"norm.weight": Stored("fp32")}, 192)
    assert str(caught.value) == f"norm.weight: expected {shape}, {nbytes} bytes, found (48,)"


def test_what_is_held_at_once_is_counted_in_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a whole tensor, but of a table only those of a block."""
    held: dict[str, int] = {}

    def noted(work: Any, items: list[str], size: Any, _most: int, _finished: Any, _waiting: Any) -> list[Any]:
        held.update({name: size(name) for name in items})
        return [work(name) for name in items]

    monkeypatch.setattr("exporter.payload.in_parallel", noted)
    monkeypatch.setattr("exporter.payload.TABLE_BLOCK", 100)
    parts = [
        Part("layers.0.attention.wq.weight", "int8", (48, 48), 0, 2304),
        Part("layers.0.attention.wq.weight", "scale", (48, 6), 2304, 1152),
        Part("freqs_cos", "fp32", (33, 4), 3456, 528),
        Part("freqs_sin", "fp32", (9, 4), 3984, 144),
    ]
    stored = {"layers.0.attention.wq.weight": Stored("q8_0", 8)} | dict.fromkeys(TABLES, Stored("fp32"))
    with (tmp_path / "payload").open("wb+") as file:
        summaries = PayloadWriter(checkpoint()).write(file, parts, stored, 4128)
    assert held == {"layers.0.attention.wq.weight": 2304, "freqs_cos": 100, "freqs_sin": 36}
    assert summaries[1] == TensorSummary("freqs_cos", (33, 4), "fp32", 528, 0.0, 0.0)


@pytest.mark.parametrize("block", [1, 4, 12, 132, 1 << 18])
def test_a_table_is_written_from_its_first_row_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("exporter.payload.TABLE_BLOCK", block)
    parts = [Part(name, "fp32", (33, 4), 16 + 528 * number, 528) for number, name in enumerate(TABLES)]
    path = tmp_path / "payload"
    with path.open("wb+") as file:
        PayloadWriter(checkpoint()).write(file, parts, dict.fromkeys(TABLES, Stored("fp32")), 1072)
    tables = [rope_table(name, range(33), 8, 10000.0).astype("<f4").tobytes() for name in TABLES]
    assert path.read_bytes() == bytes(16) + b"".join(tables)


@pytest.mark.parametrize("block", [1, 5, 47, 48, 1 << 22])
@pytest.mark.parametrize("at", [0, 1, 5, 46, 47])
def test_a_weight_that_is_not_finite_is_found_in_every_block(
    monkeypatch: pytest.MonkeyPatch, block: int, at: int
) -> None:
    monkeypatch.setattr("exporter.payload._FINITE_BLOCK", block)
    mine = arrays(config())
    payload = PayloadWriter(exporter.Checkpoint.from_arrays(config(), mine))
    payload.load("norm.weight")
    mine["norm.weight"][at] = np.inf
    with pytest.raises(exporter.WeightError) as caught:
        payload.load("norm.weight")
    assert caught.value.index == (at,)


def test_progress_counts_what_is_no_tensors_as_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    parts = [Part("norm.weight", "fp32", (48,), 100, 192), Part("layers.0.ffn_norm.weight", "fp32", (48,), 300, 192)]
    with (tmp_path / "payload").open("wb+") as file:
        PayloadWriter(checkpoint(), lambda done, total: seen.append((done, total))).write(
            file, parts, {part.tensor: Stored("fp32") for part in parts}, 500
        )
    assert seen == [(308, 500), (500, 500)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_load_refuses_the_first_weight_that_is_not_finite(bad: float) -> None:
    mine = arrays(config())
    payload = PayloadWriter(exporter.Checkpoint.from_arrays(config(), mine))
    assert same_bits(payload.load("norm.weight"), mine["norm.weight"])
    mine["norm.weight"][[7, 11]] = bad
    with pytest.raises(exporter.WeightError) as caught:
        payload.load("norm.weight")
    assert str(caught.value) == f"arrays in memory: norm.weight: [7]: expected a finite weight, found {bad}"
    assert caught.value.index == (7,)


def test_write_all_writes_the_rest_after_a_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: pwrite(fd, content[:3], offset))
    with (tmp_path / "file").open("wb+") as file:
        write_all(file, memoryview(b"0123456789"), 2)
    assert (tmp_path / "file").read_bytes() == b"\0\x000123456789"


def test_tables_as_long_as_the_model_take_no_more_memory_than_a_short_one_s(tmp_path: Path) -> None:
    peaks = []
    for length in (1, 500_000):
        model = config(max_seq_len=length)
        checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model, 0))
        tracemalloc.start()
        try:
            exporter.export(checkpoint, tmp_path / f"{length}.bin", format="v0")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**24  # each of the two tables takes 2^23 in the file


def test_tables_have_the_same_bytes_in_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = config(max_seq_len=1001)
    checkpoint = exporter.Checkpoint.from_arrays(model, arrays(model, 0))
    files = set()
    for elements in (1, 12, 1000, 1 << 18):
        monkeypatch.setattr("exporter.payload.TABLE_BLOCK", elements)
        exporter.export(checkpoint, tmp_path / "out.bin", format="v0", overwrite=True)
        files.add((tmp_path / "out.bin").read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize(
    ("format_name", "storage", "most"),
    [
        ("v1-fp32", "source", 1.5),
        ("v2", "source", 2.2),
        ("v3", "source", 1.5),
        ("v3", "fp16", 2.2),
        ("v3", "bf16", 2.2),
        ("v3", "q8_0", 2.2),
    ],
)
def test_writing_keeps_one_large_tensor_in_memory(
    tmp_path: Path, format_name: str, storage: str, most: float
) -> None:
    """One large one, with half of it again. As a multiple of the largest tensor, which every layer has three of."""
    model = config(dim=512, hidden_dim=8192, n_layers=2, n_heads=8, n_kv_heads=8, vocab_size=8, tied=True)
    shapes = tensor_shapes(model)

    def load(name: str) -> np.ndarray:
        return np.full(shapes[name], 0.5, np.float32)

    source = exporter.Checkpoint(model, shapes, load, where="memory", kind="memory")
    tracemalloc.start()
    exporter.export(source, tmp_path / "out.bin", format=format_name, storage=storage, provenance=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most * 4 * 512 * 8192


def test_progress_within_a_tensor_counts_half_of_what_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix of 2,304 elements becomes 3,456 bytes; the other half is to write them."""
    seen: list[tuple[int, int]] = []
    reports: list[Any] = []

    def one_by_one(work: Any, items: list[str], _size: Any, _most: int, finished: Any, waiting: Any) -> list[Any]:
        reports.append(waiting)
        waiting()
        made = []
        for name in items:
            made.append(work(name))
            finished(made[-1])
        return made

    def in_steps(weights: Any, storage: str, group_size: int, where: str, advance: Any) -> Any:
        for elements in (2, 7, 1):
            advance(elements)
            reports[0]()
        return encode(weights, storage, group_size, where)

    monkeypatch.setattr("exporter.payload.in_parallel", one_by_one)
    monkeypatch.setattr("exporter.payload.encode", in_steps)
    name = "layers.0.attention.wq.weight"
    parts = [Part(name, "int8", (48, 48), 0, 2304), Part(name, "scale", (48, 6), 2304, 1152)]
    with (tmp_path / "payload").open("wb+") as file:
        PayloadWriter(checkpoint(), lambda done, total: seen.append((done, total))).write(
            file, parts, {name: Stored("q8_0", 8)}, 3456
        )
    assert seen == [(0, 3456), (1, 3456), (6, 3456), (7, 3456), (3456, 3456)]
    assert {type(done) for done, _total in seen} == {int}
