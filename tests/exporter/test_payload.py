"""PayloadWriter: every part at its offset, and no more in memory than promised."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.models import arrays, checkpoint, config, same_bits

import exporter
from exporter.config import tensor_shapes
from exporter.formats.layout import Part
from exporter.formats.v3 import Stored
from exporter.payload import PayloadWriter, write_all


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
