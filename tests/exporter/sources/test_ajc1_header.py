"""Files of qwen3.c's as a source: their headers at both sides of each rule, and what comes out of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import same_bits
from helpers.qwen3c import qwen3c_config, qwen3c_configs, qwen3c_file
from hypothesis import given

import exporter
from exporter.formats.ajc1 import choose_group_size, lay_out
from exporter.sources.ajc1_header import is_ajc1, read_ajc1_header
from exporter.sources.bin_header import BinFile
from verify.testing import random_arrays

MODEL = qwen3c_config()
COUNTS = (48, 40, 2, 6, 3, 29, 33, 12)


def header(
    version: int = 1, flag: int = 0, group: int = 8, counts: tuple[int, ...] = COUNTS, rest: bytes = b""
) -> bytes:
    return (struct.pack("<Ii10i", 0x616A6331, version, *counts, flag, group) + rest).ljust(256, b"\0")


@given(qwen3c_configs())
def test_a_header_says_what_the_file_is(model: exporter.ModelConfig) -> None:
    group = choose_group_size(model, 64, exact=False)
    layout = lay_out(model, group)
    assert is_ajc1(layout.header)
    assert read_ajc1_header("here", layout.header, layout.size) == BinFile("ajc1", model, group, layout)


SIZE = lay_out(MODEL, 8).size
REFUSED: list[tuple[bytes, int, str]] = [
    (header()[:255], 255, "expected a header of 256 bytes, found a file of 255"),
    (header(version=2), SIZE, "version: expected 1, found 2"),
    (header(flag=2), SIZE, "shared_classifier: expected 0 or 1, found 2"),
    (header(flag=-1), SIZE, "shared_classifier: expected 0 or 1, found -1"),
    (header(rest=b"\1"), SIZE, "expected zeros from byte 48 to 256, found others"),
    (header(counts=(0, *COUNTS[1:])), SIZE, f"dim: expected 1 to {2**31 - 1}, found 0"),
    (header(counts=(*COUNTS[:7], 0)), SIZE, f"head_dim: expected 1 to {2**31 - 1}, found 0"),
    (header(counts=(*COUNTS[:7], -2)), SIZE, f"head_dim: expected 1 to {2**31 - 1}, found -2"),
    (header(counts=(*COUNTS[:7], 13)), SIZE, "head_dim: expected an even number, found 13"),
    (header(counts=(*COUNTS[:7], 6)), SIZE, "n_heads * head_dim: expected at least dim = 48, found 36"),
    (header(counts=(*COUNTS[:4], 4, *COUNTS[5:])), SIZE, "n_kv_heads: expected a divisor of n_heads = 6, found 4"),
    (header(group=0), SIZE, "group_size: expected a positive integer, found 0"),
    (header(group=-8), SIZE, "group_size: expected a positive integer, found -8"),
    (
        header(group=16),
        SIZE,
        "group_size: expected a divisor of 72, the width of layers.0.attention.wo.weight, found 16",
    ),
    (header(), SIZE + 1, f"expected {SIZE} bytes, as its ajc1 header says, found {SIZE + 1}"),
    (header(flag=1), SIZE, f"expected {lay_out(qwen3c_config(tied=True), 8).size} bytes, as its ajc1 header says"),
]


@pytest.mark.parametrize(("content", "size", "message"), REFUSED)
def test_a_header_that_no_file_can_have(content: bytes, size: int, message: str) -> None:
    with pytest.raises(exporter.CheckpointError) as caught:
        read_ajc1_header("here", content, size)
    assert str(caught.value).startswith(f"here: {message}")


def test_heads_together_may_be_as_wide_as_the_model() -> None:
    size = lay_out(qwen3c_config(head_dim=8), 8).size
    assert read_ajc1_header("here", header(counts=(*COUNTS[:7], 8)), size).config.q_dim == 48


@pytest.mark.parametrize("tied", [False, True])
def test_weights_come_out_as_the_numbers_they_stand_for_in_llama2_c_s_order(tmp_path: Path, *, tied: bool) -> None:
    model = qwen3c_config(tied=tied)
    mine = random_arrays(model, 4)
    opened = exporter.open_checkpoint(qwen3c_file(tmp_path / "model.bin", model, mine))
    assert (opened.kind, opened.config) == ("bin", model)
    assert opened.notes == ("the source is itself quantized (Q8_0, groups of 8): its weights are q * scale",)
    assert set(opened.names) == set(mine)
    for name, array in mine.items():
        if array.ndim == 1:
            assert same_bits(opened.load(name), array)
            continue
        made = exporter.quantize_q80(array, 8)
        numbers = made.q.reshape(-1, 8).astype(np.float32) * made.scale.reshape(-1, 1)
        assert same_bits(opened.load(name), numbers.reshape(array.shape))


def test_a_number_that_is_not_finite_is_named_where_the_file_has_it(tmp_path: Path) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    place = next(part for part in lay_out(MODEL, 8).parts if part.tensor == "layers.1.attention.q_norm.weight")
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, place.offset + 4 * 7, float("nan"))
    path.write_bytes(content)
    with pytest.raises(exporter.WeightError, match=r"q_norm.weight: \[7\]: expected a finite weight, found nan"):
        exporter.export(path, tmp_path / "out.bin", format="v3")


def test_a_file_becomes_qwen3_for_transformers_and_comes_back_the_same(tmp_path: Path) -> None:
    path = qwen3c_file(tmp_path / "model.bin", MODEL)
    exporter.export(path, tmp_path / "hf", format="hf")
    for source, name in ((tmp_path / "hf", "again.bin"), (path, "copy.bin")):
        exporter.export(source, tmp_path / name, format="ajc1")
        assert (tmp_path / name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("kind", "fits"), [("bin", True), ("v3", False), ("llama2c", False)])
def test_the_kind_that_a_user_may_name(tmp_path: Path, kind: str, *, fits: bool) -> None:
    path: Any = qwen3c_file(tmp_path / "model.bin", MODEL)
    if fits:
        assert exporter.open_checkpoint(path, kind).kind == "bin"
        return
    with pytest.raises(
        exporter.CheckpointError, match=f"for --source-kind {kind}, found a .bin file of qwen3.c: omit"
    ):
        exporter.open_checkpoint(path, kind)
