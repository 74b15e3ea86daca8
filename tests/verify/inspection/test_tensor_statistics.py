"""One tensor's statistics, histogram and copy are those that numpy computes of the whole of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run
from helpers.models import arrays, config

import exporter
import reader_c
from verify.inspection import numbers
from verify.inspection.tensor_statistics import BINS, tensor_statistics

NAME = "layers.0.feed_forward.w2.weight"


@pytest.fixture(params=["fp32", "fp16", "bf16", "q8_0"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "m.bin"
    checkpoint = exporter.Checkpoint.from_arrays(config(), arrays(config()))
    exporter.export(checkpoint, path, format="v3", storage=request.param, group_size=8)
    return path, request.param


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_statistics_are_numpy_s(stored: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(numbers, "BLOCK", block)
    path, storage = stored
    with reader_c.open(path) as model:
        found, tensor = tensor_statistics(model, NAME), model.tensor(NAME)
    quantized = isinstance(tensor, reader_c.QuantizedTensor)
    values = (tensor.dequantize() if quantized else tensor).astype(np.float64)
    assert (found.storage, found.shape, found.numbers) == (storage, values.shape, values.size)
    assert (found.smallest, found.largest) == (values.min(), values.max())
    assert (found.zeros, found.not_finite) == (np.count_nonzero(values == 0), 0)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert found.standard_deviation == pytest.approx(values.std(), rel=1e-9)
    assert found.rms == pytest.approx(np.sqrt(np.square(values).mean()), rel=1e-9)
    assert found.histogram == tuple(np.histogram(values, BINS)[0])
    assert (found.saturated is None, found.empty_groups is None) == (not quantized, not quantized)
    if quantized:
        assert found.saturated == np.count_nonzero(np.abs(tensor.q.astype(int)) == 127)
        assert found.bits == 8 + 32 / 8


def test_the_copy_is_what_an_engine_computes_with(stored: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = stored
    out = tmp_path / "w2.npy"
    result = run("inspect", path, "--tensor", NAME, "--npy", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"float32 values: {out}\n")
    with reader_c.open(path) as model:
        tensor = model.tensor(NAME)
    whole = tensor.dequantize() if isinstance(tensor, reader_c.QuantizedTensor) else tensor
    copy = np.load(out)
    assert copy.dtype == np.float32
    assert copy.tobytes() == whole.tobytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.bin", "w2.npy"]


def test_a_nan_is_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    exporter.export(exporter.Checkpoint.from_arrays(config(), arrays(config())), path, format="v0")
    content = bytearray(path.read_bytes())
    with reader_c.open(path) as model:
        at = model.spans("norm.weight")[0].offset
    content[at : at + 8] = np.array([np.nan, np.inf], "<f4").tobytes()
    path.write_bytes(content)
    found = json.loads(run("inspect", path, "--tensor", "norm.weight", "--json").stdout)
    assert (found["numbers"], found["not_finite"]) == (48, 2)
    assert sum(found["histogram"]) == 46
    content[at : at + 4 * 48] = np.full(48, np.nan, "<f4").tobytes()
    path.write_bytes(content)
    result = run("inspect", path, "--tensor", "norm.weight")
    assert result.returncode == 0
    assert "smallest            -\n" in result.stdout
