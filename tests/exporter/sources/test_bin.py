"""llama2.c's own .bin files as sources: what comes out of each format, and what is refused."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import LEGACY_FORMATS, arrays, config, same_bits

import exporter
from exporter.formats.layout import lay_out
from exporter.sources.bin import _rows


def written(directory: Path, format_name: str, *, tied: bool = False, **changes: Any) -> tuple[Path, dict[str, Any]]:
    model = config(tied=tied, **changes)
    mine = arrays(model)
    path = directory / "source.bin"
    exporter.export(
        exporter.Checkpoint.from_arrays(model, mine), path, format=format_name, group_size=8, overwrite=True
    )
    return path, mine


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("format_name", ["v0", "v1-fp32"])
def test_float32_comes_out_by_bits(tmp_path: Path, format_name: str, *, tied: bool) -> None:
    path, mine = written(tmp_path, format_name, tied=tied)
    opened = exporter.open_checkpoint(path)
    assert (opened.kind, opened.config, opened.notes) == ("bin", config(tied=tied), ())
    assert set(opened.names) == set(mine)
    for name, array in mine.items():
        assert same_bits(opened.load(name), array)
        assert opened.dtype(name) == "fp32"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("format_name", ["v1", "v2"])
def test_q80_comes_out_as_the_numbers_it_stands_for(tmp_path: Path, format_name: str, *, tied: bool) -> None:
    path, mine = written(tmp_path, format_name, tied=tied)
    opened = exporter.open_checkpoint(path)
    assert opened.config == config(tied=tied)
    assert opened.notes == ("the source is itself quantized (Q8_0, groups of 8): its weights are q * scale",)
    for name, array in mine.items():
        if array.ndim == 1:
            assert same_bits(opened.load(name), array)
            continue
        made = exporter.quantize_q80(array, 8)
        numbers = made.q.reshape(-1, 8).astype(np.float32) * made.scale.reshape(-1, 1)
        assert same_bits(opened.load(name), numbers.reshape(array.shape))


@pytest.mark.parametrize("format_name", LEGACY_FORMATS)
def test_what_is_read_is_written_again_by_bytes(tmp_path: Path, format_name: str) -> None:
    path, _ = written(tmp_path, format_name)
    again = tmp_path / "again.bin"
    exporter.export(exporter.open_checkpoint(path), again, format=format_name, group_size=8)
    layout = lay_out(config(), format_name, 8)
    for part in layout.parts:
        if part.part != "scale":  # the scale of rounded numbers may be a unit off
            old, new = (file.read_bytes()[part.offset : part.offset + part.nbytes] for file in (path, again))
            assert old == new


def test_the_kind_can_be_said(tmp_path: Path) -> None:
    for format_name in LEGACY_FORMATS:
        path, _ = written(tmp_path, format_name)
        assert exporter.open_checkpoint(path, "bin").kind == "bin"
    (tmp_path / "odd.bin").write_bytes(b"odd")
    with pytest.raises(exporter.CheckpointError, match="expected a header of 28 bytes, found a file of 3"):
        exporter.open_checkpoint(tmp_path / "odd.bin", "bin")
    with pytest.raises(
        exporter.CheckpointError, match=r"expected a .bin file of llama2.c .* found a directory: omit --source-kind"
    ):
        exporter.open_checkpoint(tmp_path, "bin")


def _at(offset: int, content: bytes) -> Callable[[bytearray], None]:
    def change(file: bytearray) -> None:
        file[offset : offset + len(content)] = content

    return change


def _int(offset: int, value: int) -> Callable[[bytearray], None]:
    return _at(offset, struct.pack("<i", value))


@pytest.mark.parametrize(
    ("format_name", "change", "message"),
    [
        ("v1-fp32", _int(8, 0), "dim: expected 1 to 2147483647, found 0"),
        ("v1-fp32", _int(8, 50), "n_heads: expected a divisor of dim = 50, found 6"),
        ("v1-fp32", _int(16, 3), r"expected \d+ bytes, as its v1-fp32 header says, found \d+"),
        ("v2", _int(16, 2**31 - 1), r"expected \d+ bytes, as its v2 header says, found \d+"),
        ("v2", _at(36, b"\2"), "shared_classifier: expected 0 or 1, found 2"),
        ("v2", _int(37, 0), "group_size: expected a positive integer, found 0"),
        ("v1", _int(37, -8), "group_size: expected a positive integer, found -8"),
        (
            "v2",
            _int(37, 16),
            "group_size: expected a divisor of 40, the width of layers.0.feed_forward.w2.w",
        ),
        ("v2", _at(200, b"\1"), "expected zeros from byte 41 to 256, found others"),
        ("v1", lambda file: file.append(0), r"expected \d+ bytes, as its v1 header says, found \d+"),
        ("v1", lambda file: file.pop(), r"expected \d+ bytes, as its v1 header says, found \d+"),
        ("v2", lambda file: file.__delitem__(slice(99, None)), "expected a header of 256 bytes, found a file of 99"),
    ],
)
def test_headers_are_checked(
    tmp_path: Path, format_name: str, change: Callable[[bytearray], None], message: str
) -> None:
    path, _ = written(tmp_path, format_name)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(exporter.CheckpointError, match=f"source.bin: {message}") as caught:
        exporter.open_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_v0_is_told_by_its_size_alone(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v0")
    content = path.read_bytes()
    for wrong in (content + b"\0", content[:-1], content[:27], b"\0" * 28 + content[28:]):
        path.write_bytes(wrong)
        with pytest.raises(
            exporter.CheckpointError,
            match=r"found a file whose size is not that of a v0 file with its header: copy or export it again$",
        ):
            exporter.open_checkpoint(path)


@pytest.mark.parametrize("table", ["freqs_cos", "freqs_sin"])
def test_v0s_tables_must_be_right(tmp_path: Path, table: str) -> None:
    path, _ = written(tmp_path, "v0")
    part = next(part for part in lay_out(config(), "v0", 0).parts if part.tensor == table)
    content = bytearray(path.read_bytes())
    values = np.frombuffer(content, "<f4", part.shape[0] * part.shape[1], part.offset).reshape(part.shape)
    values[20, 0] = np.nextafter(values[20, 0], np.float32(9))
    path.write_bytes(content)
    exporter.open_checkpoint(path)
    for wrong in (values[20, 0] + 0.01, np.nan):
        values[20, 0] = wrong
        path.write_bytes(content)
        with pytest.raises(exporter.CheckpointError, match=rf"{table}: expected RoPE's table for theta .*20, 0"):
            exporter.open_checkpoint(path)


def test_a_file_that_changes_under_the_reader_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v2")
    opened = exporter.open_checkpoint(path)
    written(tmp_path, "v2", tied=True)
    with pytest.raises(exporter.CheckpointError, match="changed while it was being read"):
        opened.load("norm.weight")


def test_layers_that_are_only_said_to_be_there_take_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    path, _ = written(tmp_path, "v2", dim=12, hidden_dim=8, n_heads=6, n_kv_heads=3)
    content = bytearray(path.read_bytes())
    _int(16, 2**31 - 1)(content)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(exporter.CheckpointError, match="as its v2 header says"):
            exporter.open_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_it_becomes_a_hugging_face_directory(tmp_path: Path) -> None:
    path, mine = written(tmp_path, "v1-fp32")
    exporter.export(exporter.open_checkpoint(path), tmp_path / "hf", format="hf")
    again = exporter.open_checkpoint(tmp_path / "hf")
    assert dataclasses.replace(again.config) == config()
    assert all(same_bits(again.load(name), array) for name, array in mine.items())


def test_rows_are_read_from_where_they_stand(tmp_path: Path) -> None:
    path, mine = written(tmp_path, "v0")
    name = "layers.1.feed_forward.w1.weight"
    (part,) = (part for part in lay_out(config(), "v0", 0).parts if part.tensor == name and len(part.shape) == 2)
    for rows in (range(1), range(3, 7), range(39, 40)):
        assert same_bits(_rows(path, part, rows), mine[name][rows.start : rows.stop])


@pytest.mark.parametrize(("error", "found"), [(OSError("Odd"), "odd"), (OSError(5, "Input Error"), "input error")])
def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, found: str
) -> None:
    path, _ = written(tmp_path, "v1-fp32")
    opened = exporter.open_checkpoint(path)

    def fail(*_how: Any, **_more: Any) -> Any:
        raise error

    monkeypatch.setattr(np, "fromfile", fail)
    with pytest.raises(exporter.CheckpointError) as caught:
        opened.load("norm.weight")
    assert str(caught.value) == f"{path}: {found}"
