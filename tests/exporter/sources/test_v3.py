"""v3 files as the exporter's source: every storage, every seam, every digest."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.models import arrays, config, same_bits, toy_file
from helpers.v3_files import SCALINGS, healthy, table_at

import exporter
from exporter.encode import to_bf16
from exporter.formats.v3_fields import V3Error
from exporter.sources import v3
from exporter.sources.v3 import open_v3, read_head


@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_was_stored_comes_back(tmp_path: Path, scaling: str) -> None:
    path = tmp_path / "a.bin"
    healthy(path, scaling, alignment=128)
    opened = open_v3(path)
    model = config(
        head_dim=10, qkv_bias=True, wo_bias=True, mlp_bias=True, rope_scaling=SCALINGS[scaling], rope_theta=5e5
    )
    assert opened.config == model
    assert (opened.where, opened.kind, opened.files) == (str(path), "v3", (path,))
    mine = arrays(model)
    for name, array in mine.items():
        kept = array
        if ".wq.weight" in name or name.endswith("wq.bias"):
            kept = array.astype(np.float16).astype(np.float32)
        elif "feed_forward" in name:
            kept = to_bf16(array)[1]
        if name in ("tok_embeddings.weight", "layers.1.attention.wo.weight"):
            group = 12 if name.startswith("tok") else 20
            quantized = exporter.quantize_q80(array, group)
            numbers = quantized.q.reshape(-1, group).astype(np.float32) * quantized.scale.reshape(-1, 1)
            kept = numbers.reshape(array.shape)
        found = opened.load(name)
        assert same_bits(np.ascontiguousarray(found), kept.astype(np.float32)), name
    dtypes = {"norm.weight": "fp32", "layers.0.attention.wq.weight": "fp16", "tok_embeddings.weight": "fp32"}
    assert {name: opened.dtype(name) for name in dtypes} == dtypes
    assert opened.dtype("layers.0.feed_forward.w1.weight") == "bf16"


def table_of(content: bytes) -> tuple[int, list[tuple[int, int, int, int]]]:
    """head_size, and (offset, length, scale offset, scale length) of each tensor."""
    head_size, count = struct.unpack_from("<Q", content, 136)[0], struct.unpack_from("<I", content, 152)[0]
    return head_size, [
        struct.unpack_from("<4Q", content, table_at(content) + 192 * row + 112) for row in range(count)
    ]


def test_every_byte_between_tensors_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    whole = healthy(path, alignment=128)
    head_size, rows = table_of(whole)
    used = np.zeros(len(whole), bool)
    used[:head_size] = True
    for offset, length, scale_offset, scale_length in rows:
        used[head_size + offset :][:length] = True
        used[head_size + scale_offset :][:scale_length] = True
    seams = np.flatnonzero(~used)
    assert len(seams) > 100
    ends = seams[np.flatnonzero(np.diff(seams, prepend=-9, append=-9)[:-1] != 1)].tolist()
    last = seams[np.flatnonzero(np.diff(seams, append=-9) != 1)].tolist()
    for at in {*ends[:4], *last[:4], *ends[-2:], *last[-2:]}:
        damaged = bytearray(whole)
        damaged[at] = 7
        path.write_bytes(damaged)
        with pytest.raises(V3Error) as caught:
            read_head(path)
        assert "padding" in str(caught.value)
        assert str(at) in str(caught.value).replace(",", "")
        assert "expected 0, found 7" in str(caught.value)


def test_each_tensor_is_held_against_its_own_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    whole = healthy(path)
    head_size, rows = table_of(whole)
    names = list(arrays(open_v3(path).config))
    for row in (0, 1, 5, len(rows) - 1):
        damaged = bytearray(whole)
        damaged[head_size + rows[row][0]] ^= 1
        path.write_bytes(damaged)
        opened = open_v3(path)
        for number, name in enumerate(names):
            if number != row:
                opened.load(name)
                continue
            with pytest.raises(exporter.CheckpointError) as caught:
                opened.load(name)
            assert name in str(caught.value)
            # where the digest stands in the table
            assert str(table_at(whole) + 192 * row + 160) in str(caught.value).replace(",", "")


def test_a_file_that_changes_or_is_none_is_refused(tmp_path: Path) -> None:
    path = toy_file(tmp_path, "v3")
    opened = open_v3(path)
    path.touch()
    with pytest.raises(exporter.CheckpointError, match="changed"):
        opened.load("norm.weight")
    with pytest.raises(exporter.CheckpointError) as caught:
        open_v3(tmp_path / "none")
    assert str(caught.value).endswith("no such file or directory")


def test_a_file_that_cannot_be_opened_is_told_in_words(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(exporter.CheckpointError) as caught:
            read_head(path)
        assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("claimed", "read"),
    [(0, 512), (512, 512), (513, 513), (10315, 10315), (10316, 10316), (10317, 10316), (1 << 56, 10316)],
)
def test_no_more_of_a_file_is_read_than_the_longest_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int, read: int
) -> None:
    for name, value in (("MOST_TENSORS", 2), ("MOST_METADATA_BYTES", 100), ("MOST_TOKENIZER_BYTES", 1000)):
        monkeypatch.setattr(v3.v3, name, value)
    monkeypatch.setattr(v3, "MOST_FACTORS", 16)
    taken: list[tuple[int, int]] = []

    def parser(_where: str, content: bytes, size: int) -> None:
        taken.append((len(content), size))
        raise exporter.CheckpointError("enough")

    monkeypatch.setattr(v3, "Parser", parser)
    path = tmp_path / "a.bin"
    with path.open("wb") as file:
        file.write(bytes(136) + claimed.to_bytes(8, "little"))
        file.truncate(20000)
    with pytest.raises(exporter.CheckpointError, match="enough"):
        read_head(path)
    # layers, factors and the table, metadata, the tokenizer, and what a digest and an alignment may take
    assert taken == [(read, 20000)]


@pytest.mark.parametrize("size", [0, 100, 255, 256, 511, 512, 600])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    path = toy_file(tmp_path, "v3")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(exporter.CheckpointError):
        read_head(path)
