"""llama2.c's own .bin files as sources: v0, v1 and v2."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import arrays, config
from hypothesis import given
from hypothesis import strategies as st

import exporter
import reader_c
import verify
from verify.errors import CannotJudgeError
from verify.oracle.expected import numbers
from verify.sources import open_source
from verify.testing import configs

# group 8 divides both widths, and no two counts are the same
MODEL = config(dim=48, hidden_dim=40, n_heads=6, n_kv_heads=3, vocab_size=29)
FORMATS = ("v0", "v1-fp32", "v1", "v2")
Q8 = ("v1", "v2")


def written(
    directory: Path, format_name: str, model: exporter.ModelConfig = MODEL, **more: Any
) -> tuple[Path, dict[str, np.ndarray]]:
    """A file, and the arrays that it was made of."""
    mine = arrays(model)
    path = directory / f"{format_name}.bin"
    checkpoint = exporter.Checkpoint.from_arrays(model, mine)
    exporter.export(checkpoint, path, format=format_name, overwrite=True, **{"group_size": 8, **more})
    return path, mine


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_gives_the_weights_that_are_in_it(tmp_path: Path, format_name: str, *, tied: bool) -> None:
    model = dataclasses.replace(MODEL, tied=tied)
    path, mine = written(tmp_path, format_name, model)
    source = open_source(path)
    assert (source.kind, source.tokenizer_path) == ("bin", tmp_path / "tokenizer.model")
    assert source.files == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert dataclasses.asdict(source.hyperparameters) == dataclasses.asdict(model)
    quantized = format_name in Q8
    assert source.notes == (("the source is itself quantized (Q8_0, groups of 8)",) if quantized else ())
    assert source.hyperparameters.shapes().keys() == mine.keys()
    with reader_c.open(path) as read:
        for name, array in mine.items():
            tensor = source.tensor(name)
            storage = "q8_0" if quantized and array.ndim == 2 else "fp32"
            assert torch.equal(tensor, numbers(torch.from_numpy(array), storage, 8)), name
            stored = read.tensor(name)
            theirs = stored.dequantize() if isinstance(stored, reader_c.QuantizedTensor) else stored
            assert np.array_equal(tensor.numpy(), np.asarray(theirs, np.float32)), name
            assert source.dtype(name) == "fp32"
    if tied:
        assert torch.equal(source.tensor("output.weight"), source.tensor("tok_embeddings.weight"))


@given(configs(), st.sampled_from(FORMATS))
def test_any_model_that_a_format_holds(
    tmp_path_factory: pytest.TempPathFactory, model: exporter.ModelConfig, format_name: str
) -> None:
    directory = tmp_path_factory.getbasetemp()
    try:
        path, mine = written(directory, format_name, model, group_size=2)
    except exporter.ExportError:
        return  # widths that no group divides
    source = open_source(path)
    assert source.kind == "bin"
    assert dataclasses.asdict(source.hyperparameters) == dataclasses.asdict(model)
    for name, array in mine.items():
        assert source.tensor(name).shape == array.shape


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_conversion_to_v3_is_verified(tmp_path: Path, format_name: str) -> None:
    path, _ = written(tmp_path, format_name)
    source = open_source(path)
    made = {name: source.tensor(name).numpy() for name in source.hyperparameters.shapes()}
    out = tmp_path / "out.bin"
    exporter.export(exporter.Checkpoint.from_arrays(MODEL, made), out, format="v3", provenance=False)
    report = verify.verify(path, out, depth="quick")
    assert report.passed, [check.detail for check in report.checks]


def patched(path: Path, offset: int, content: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


@pytest.mark.parametrize(
    ("format_name", "offset", "content", "message"),
    [
        ("v2", 36, b"\2", "shared_classifier: expected 0 or 1, found 2"),
        ("v2", 37, b"\7\0\0\0", "group_size: expected a divisor of 48 and 40, found 7"),
        ("v2", 37, b"\x10\0\0\0", "group_size: expected a divisor of 48 and 40, found 16"),
        ("v2", 37, b"\5\0\0\0", "group_size: expected a divisor of 48 and 40, found 5"),
        ("v2", 37, b"\0\0\0\0", "group_size: expected a divisor of 48 and 40, found 0"),
        ("v2", 37, b"\4\0\0\0", "size: expected {q4} bytes, by its header, found {size} bytes"),
        ("v1", 37, b"\xff\xff\xff\xff", "group_size: expected a divisor of 48 and 40, found -1"),
        ("v1", 60, b"\1", "header: expected zeros behind its fields, found other bytes"),
        (
            "v1",
            8,
            b"\0\0\0\0",
            r"header: expected the counts of a Llama (dim, hidden_dim, n_layers, n_heads, n_kv_heads, ",
        ),
        ("v1", 28, struct.pack("<i", -29), "header: expected the counts of a Llama "),
        ("v1-fp32", 20, struct.pack("<i", 5), "header: expected the counts of a Llama "),
        ("v1-fp32", 32, struct.pack("<i", 0), "header: expected the counts of a Llama "),
        ("v1-fp32", 28, struct.pack("<i", 2**31 - 1), "size: expected "),
    ],
)
def test_headers_that_contradict_the_file_are_refused(
    tmp_path: Path, format_name: str, offset: int, content: bytes, message: str
) -> None:
    path, _ = written(tmp_path, format_name)
    size = path.stat().st_size
    scales = sum(array.size for array in arrays(MODEL).values() if array.ndim == 2) // 8
    patched(path, offset, content)
    with pytest.raises(CannotJudgeError) as caught:
        open_source(path)
    assert str(caught.value).startswith(f"{path}: {message.format(q4=size + 4 * scales, size=size)}")


def test_a_v0_has_no_magic_and_is_known_by_its_size(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v0")
    whole = path.read_bytes()
    for content in (whole[:-4], whole + bytes(4), whole[:20]):
        path.write_bytes(content)
        with pytest.raises(
            CannotJudgeError,
            match=r"found a file whose size is not that of a v0 file with its header: copy or export it again$",
        ):
            open_source(path)
    path.write_bytes(whole[:-4])
    with pytest.raises(CannotJudgeError, match=rf"size: expected {len(whole)} bytes, by its header, found"):
        open_source(path, "bin")
    path.write_bytes(whole[:20])
    with pytest.raises(CannotJudgeError, match=r"header: expected the counts of a Llama .* found 20 bytes"):
        open_source(path, "bin")
    path.write_bytes(whole[:8] + bytes(4) + whole[12:])
    with pytest.raises(CannotJudgeError, match=r"header: expected the counts of a Llama .* found \(48, 40, 0, 6"):
        open_source(path, "bin")


def test_a_header_of_28_bytes_is_told_by_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(struct.pack("<7i", 48, 40, 2, 7, 3, 29, 33))
    with pytest.raises(CannotJudgeError, match=r"header: expected the counts of a Llama .* found \(48, 40, 2, 7, "):
        open_source(path, "bin")


@pytest.mark.parametrize("format_name", Q8)
def test_a_group_may_be_one_weight(tmp_path: Path, format_name: str) -> None:
    path, mine = written(tmp_path, format_name, group_size=1)
    source = open_source(path)
    assert source.notes == ("the source is itself quantized (Q8_0, groups of 1)",)
    name = "layers.1.feed_forward.w2.weight"
    assert torch.equal(source.tensor(name), numbers(torch.from_numpy(mine[name]), "q8_0", 1))


def test_versions_that_nobody_wrote(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v2")
    patched(path, 4, b"\x09")
    with pytest.raises(CannotJudgeError, match="version: expected 1 or 2, found 9"):
        open_source(path, "bin")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CannotJudgeError, match="header: expected 256 bytes, found 100"):
        open_source(path, "bin")


def test_rotations_that_another_model_has_are_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v0")
    size, pairs = path.stat().st_size, 33 * 4
    behind = 4 * 29 * 48  # the classifier
    for name, offset in (("freqs_sin", size - behind - 4 * pairs), ("freqs_cos", size - behind - 8 * pairs)):
        table = np.fromfile(path, "<f4", pairs, offset=offset)
        patched(path, offset + 4 * 50, np.float32(table[50] + 1e-4).tobytes())
        with pytest.raises(CannotJudgeError, match=rf"{name}: expected rotations by rope_theta 10000 of 4 pairs"):
            open_source(path)
        patched(path, offset + 4 * 50, np.nextafter(table[50], np.float32(2)).tobytes())
        assert open_source(path).hyperparameters.max_seq_len == 33


def test_a_nan_is_told_by_its_place(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v0")
    patched(path, 28 + 4 * (48 * 3 + 7), np.float32(np.nan).tobytes())
    with pytest.raises(CannotJudgeError, match=r"tok_embeddings.weight: expected finite numbers, found nan at row 3"):
        open_source(path).tensor("tok_embeddings.weight")
    path, _ = written(tmp_path, "v2")
    size = path.stat().st_size
    patched(path, size - 4, np.float32(np.inf).tobytes())
    with pytest.raises(CannotJudgeError, match=r"output.weight: scales: expected finite numbers, found inf at el"):
        open_source(path).tensor("output.weight")


def test_a_change_while_reading_is_noticed(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "v1")
    source = open_source(path)
    path.touch()
    with pytest.raises(CannotJudgeError, match="changed while it was being read"):
        source.tensor("norm.weight")
