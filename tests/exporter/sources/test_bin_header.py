"""Headers of llama2.c's .bin files: every field at both sides of its rule."""

from __future__ import annotations

import dataclasses
import struct
from math import prod
from typing import Any

import pytest
from helpers.models import config

import exporter
from exporter.config import tensor_shapes
from exporter.formats.layout import lay_out
from exporter.sources.bin_header import BinFile, is_v0, read_header

MODEL = config()
COUNTS = (48, 40, 2, 6, 3, 29, 33)


def v0(counts: tuple[int, ...] = COUNTS) -> bytes:
    return struct.pack("<7i", *counts)


def v1(version: int = 1, flag: int = 0, group: int = 0, counts: tuple[int, ...] = COUNTS, rest: bytes = b"") -> bytes:
    return (struct.pack("<Ii7iBi", 0x616B3432, version, *counts, flag, group) + rest).ljust(256, b"\0")


def size(model: exporter.ModelConfig, format_name: str, group: int = 8) -> int:
    """Counted by hand."""
    norms = [prod(shape) for shape in tensor_shapes(model).values() if len(shape) == 1]
    matrices = [prod(shape) for shape in tensor_shapes(model).values() if len(shape) == 2]
    if format_name == "v0":
        return 28 + 4 * (sum(norms) + sum(matrices) + 2 * model.max_seq_len * model.head_dim // 2)
    if format_name == "v1-fp32":
        return 256 + 4 * (sum(norms) + sum(matrices))
    return 256 + 4 * sum(norms) + sum(matrices) + 4 * (sum(matrices) // group)


def refused(*given: Any, of_v0: bool = False) -> str:
    with pytest.raises(exporter.CheckpointError) as caught:
        read_header("here", *given, v0=of_v0)
    return str(caught.value)


@pytest.mark.parametrize("tied", [True, False])
def test_a_header_says_what_the_file_is(tied: bool) -> None:
    model = dataclasses.replace(MODEL, tied=tied)
    counts = COUNTS if tied else (*COUNTS[:5], -29, 33)
    found = read_header("here", v0(counts), size(model, "v0"), v0=True)
    assert found == BinFile("v0", model, 0, lay_out(model, "v0", 0))
    for format_name, header, group in (
        ("v1-fp32", v1(flag=int(tied)), 0),
        ("v1", v1(flag=int(tied), group=8), 8),
        ("v2", v1(2, int(tied), 8), 8),
    ):
        found = read_header("here", header, size(model, format_name), v0=False)
        assert found == BinFile(format_name, model, group, lay_out(model, format_name, group))


def test_a_v0_has_just_the_size_of_its_counts() -> None:
    tied = size(dataclasses.replace(MODEL, tied=True), "v0")
    assert [is_v0(v0() + bytes(9), tied + off) for off in (-1, 0, 1)] == [False, True, False]
    assert not is_v0(v0()[:27], tied)
    assert refused(v0()[:27], 27, of_v0=True) == "here: expected a header of 28 bytes, found a file of 27"
    assert refused(v0(), tied + 1, of_v0=True) == (
        f"here: expected {tied} bytes, as its v0 header says, found {tied + 1}"
    )
    for vocab_size in (0, -(2**31)):
        assert "vocab_size" in refused(v0((*COUNTS[:5], vocab_size, 33)), tied, of_v0=True)
    for one in (1, -1):
        model = dataclasses.replace(MODEL, vocab_size=1, tied=one > 0)
        found = read_header("here", v0((*COUNTS[:5], one, 33)), size(model, "v0"), v0=True)
        assert found.config == model


def test_a_header_has_256_bytes() -> None:
    assert refused(v1()[:255], 255) == "here: expected a header of 256 bytes, found a file of 255"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (v1(0), "version: expected 1 or 2, found 0"),
        (v1(3), "version: expected 1 or 2, found 3"),
        (v1(-1), "version: expected 1 or 2, found -1"),
        (v1(flag=2), "shared_classifier: expected 0 or 1, found 2"),
        (v1(flag=255), "shared_classifier: expected 0 or 1, found 255"),
        (v1(group=-1), "group_size: expected a positive integer, found -1"),
        (v1(2, group=-1), "group_size: expected a positive integer, found -1"),
        (v1(2, group=0), "group_size: expected a positive integer, found 0"),
        (v1(rest=b"\1"), "expected zeros from byte 41 to 256, found others"),
        (v1(rest=bytes(214) + b"\1"), "expected zeros from byte 41 to 256, found others"),
        (
            v1(2, group=16),
            "group_size: expected a divisor of 40, the width of layers.0.feed_forward.w2.weight, found 16",
        ),
        (v1(group=7), "group_size: expected a divisor of 48, the width of tok_embeddings.weight, found 7"),
        (v1(counts=(48, 40, 0, 6, 3, 29, 33)), "n_layers: expected 1 to 2147483647, found 0"),
        (v1(counts=(48, 40, 2, 7, 7, 29, 33)), "n_heads: expected a divisor of dim = 48, found 7"),
        (v1(counts=(*COUNTS[:5], -29, 33)), "vocab_size: expected 1 to 2147483647, found -29"),
    ],
)
def test_headers_that_nobody_wrote_are_refused(header: bytes, message: str) -> None:
    assert refused(header, size(MODEL, "v1-fp32")) == f"here: {message}"


def test_what_stands_behind_the_header_is_the_weights() -> None:
    read_header("here", v1() + b"\1", size(MODEL, "v1-fp32"), v0=False)


@pytest.mark.parametrize(("format_name", "header"), [("v1", v1(group=8)), ("v2", v1(2, group=8)), ("v1-fp32", v1())])
def test_another_size_is_refused(format_name: str, header: bytes) -> None:
    expected = size(MODEL, format_name)
    for found in (expected - 1, expected + 1):
        assert refused(header, found) == (
            f"here: expected {expected} bytes, as its {format_name} header says, found {found}"
        )


def test_layers_are_limited_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.sources.bin_header.MOST_TENSORS", 3)
    for n_layers in (1, 3, 4):
        model = config(n_layers=n_layers)
        header, whole = v1(counts=(48, 40, n_layers, 6, 3, 29, 33)), size(model, "v1-fp32")
        if n_layers > 3:
            assert refused(header, whole) == "here: n_layers: expected at most 3, found 4"
        else:
            assert read_header("here", header, whole, v0=False).config == model


def test_the_sign_of_a_v0_vocabulary_is_no_part_of_it() -> None:
    """Even where its magnitude is no int32; what then does not fit is the size."""
    low = v0((*COUNTS[:5], -(2**31), 33))
    assert refused(low, 100, of_v0=True) == "here: vocab_size: expected 1 to 2147483647, found -2147483648"
    for count in (2**30, 62, 2**31 - 1):
        assert ", as its v0 header says, found 100" in refused(v0((*COUNTS[:5], -count, 33)), 100, of_v0=True)


def test_the_last_byte_of_a_group_size_is_its_own() -> None:
    message = "here: group_size: expected a divisor of 48, the width of tok_embeddings.weight, found 16777216"
    assert refused(v1(group=1 << 24), size(MODEL, "v1-fp32")) == message
